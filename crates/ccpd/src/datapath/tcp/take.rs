//! Which flows are taken without having asked.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use ccp_core::Prefix;
use ccp_ebpf::{Ends, Range, Take, TakeError, Taking};
use tracing::{info, warn};

use super::kernel::Kernel;
use crate::config::{EndsConfig, TakeConfig};

/// Which flows are taken without having asked, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    chosen: Option<TakeConfig>,
    /// Control groups of which it was told that they are not there.
    missing: Vec<PathBuf>,
    /// What was in the way when control groups were last looked for.
    failure: String,
}

impl Kernel {
    /// Takes the flows that are chosen, instead of those that were chosen before. If that fails, those
    /// still are. Blocks for milliseconds.
    pub(super) fn take(&self, chosen: Option<TakeConfig>) -> Result<(), TakeError> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return Ok(());
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taking = tcp.take(chosen.as_ref().map(flows_of).as_ref())?;
        if chosen.is_some() || taken.chosen.is_some() {
            let cgroups = taking.cgroups.len() + taking.missing.len();
            info!(
                datapath = %tcp.options().name,
                cgroups = if chosen.is_some() { cgroups } else { 0 },
                living = taking.living,
                "taking flows that do not ask"
            );
        }
        *taken = Taken {
            chosen,
            ..Taken::default()
        };
        taken.tell(&tcp.options().name, &taking);
        Ok(())
    }

    /// Control groups come and go. They are looked for aside: flows have to be looked through.
    pub(super) fn look_for_cgroups(self: &Arc<Self>) {
        {
            // Held while a choice comes into force: then they are looked for anyway.
            let Ok(taken) = self.taken.try_lock() else {
                return;
            };
            if taken.chosen.is_none() {
                return;
            }
        }
        let kernel = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let tcp = kernel.tcp.read().unwrap_or_else(PoisonError::into_inner);
            let Some(tcp) = &*tcp else {
                return;
            };
            let datapath = &tcp.options().name;
            let mut taken = kernel.taken.lock().unwrap_or_else(PoisonError::into_inner);
            match tcp.look_for_cgroups() {
                Ok(taking) => {
                    taken.failure.clear();
                    for cgroup in &taking.cgroups {
                        info!(%datapath, cgroup = %cgroup.display(), "taking the flows of a control group that has come");
                    }
                    taken.tell(datapath, &taking);
                }
                Err(error) => {
                    let failure = error.to_string();
                    if failure != taken.failure {
                        warn!(%datapath, %error, "the flows of a control group are not taken");
                        taken.failure = failure;
                    }
                }
            }
        });
    }
}

impl Taken {
    /// Says what somebody should know of what is being taken, once.
    fn tell(&mut self, datapath: &str, taking: &Taking) {
        for cgroup in &taking.missing {
            if !self.missing.contains(cgroup) {
                warn!(%datapath, cgroup = %cgroup.display(), "there is no such control group: its flows are taken once it is there");
            }
        }
        self.missing.clone_from(&taking.missing);
        if !taking.unreached.is_empty() {
            warn!(%datapath, unreached = ?taking.unreached, "living flows there are not taken");
        }
    }
}

/// As the kernel's side has it.
fn flows_of(chosen: &TakeConfig) -> Take {
    let ends = |ends: &EndsConfig| Ends {
        cgroups: ends.cgroups.clone(),
        dst: ends.dst.iter().map(range).collect(),
        src: ends.src.iter().map(range).collect(),
        dst_ports: ends.dst_port.iter().map(|ports| ports.ends()).collect(),
        src_ports: ends.src_port.iter().map(|ports| ports.ends()).collect(),
    };
    Take {
        which: ends(&chosen.which),
        except: ends(&chosen.except),
        living: chosen.living,
        chosen_too: chosen.chosen_too,
    }
}

fn range(prefix: &Prefix) -> Range {
    Range {
        address: prefix.address(),
        bits: prefix.bits(),
    }
}
