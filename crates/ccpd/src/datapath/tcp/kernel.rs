//! The kernel's side of the datapath, as flows' tasks see it: programs go in, updates are written, flows
//! are looked at.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ccp_core::{Command, FlowUpdate, Form, Native, Place, ProgramTable};
use ccp_ebpf::layout::FIELD_CONTROL;
use ccp_ebpf::{InstallError, Mailbox, MailboxError, TcpDatapath};
use ccp_types::{Bytes, FlowState, Micros, Rate, SockId};
use smallvec::SmallVec;
use tracing::{debug, error, info, warn};

use super::take::Taken;
use crate::outlet::{Haste, Observed, Outlet, Sent};

/// The kernel's side: what flows' tasks write to.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) mailbox: Mailbox,
    /// Gone once it is detached.
    pub(super) tcp: RwLock<Option<TcpDatapath>>,
    /// The first program that the kernel did not take, and why.
    pub(super) refused: RwLock<Option<(String, InstallError)>>,
    pub(super) taken: Mutex<Taken>,
}

impl Kernel {
    pub(super) async fn detach(self: Arc<Self>) {
        // Waits for busy flows to hand themselves over.
        let done = tokio::task::spawn_blocking(move || self.detach_now()).await;
        if done.is_err() {
            error!("giving the name back failed; this is an error in ccpd");
        }
    }

    /// Lets go of everything and leaves it in the kernel, for the next daemon.
    pub(super) fn leave(&self) {
        let mut tcp = self.tcp.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tcp) = tcp.take() {
            info!(datapath = %tcp.options().name, "flows are left to the next daemon");
        }
    }

    pub(super) fn detach_now(&self) {
        let tcp = self
            .tcp
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(tcp) = tcp else {
            return;
        };
        let name = tcp.options().name.clone();
        match tcp.detach() {
            Ok(left) => {
                info!(datapath = %name, moved = left.moved, "flows handed to the system's CUBIC");
                if left.given_back > 0 {
                    info!(
                        datapath = %name,
                        flows = left.given_back,
                        "of these, flows that had been taken went back to the algorithm that they had"
                    );
                }
                if left.refused + left.remaining > 0 || !left.unreached.is_empty() {
                    warn!(
                        datapath = %name,
                        refused = left.refused,
                        remaining = left.remaining,
                        unreached = ?left.unreached,
                        "some flows switch by themselves, with their next ACK or when they close"
                    );
                }
            }
            Err(error) => error!(datapath = %name, %error, "the kernel is not as it was before"),
        }
    }

    fn install(&self, uid: u32, program: &str, form: &Form) {
        let Form::Whole(whole) = form else {
            debug_assert!(false, "kernel TCP announced that it takes whole programs");
            return;
        };
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return;
        };
        match tcp.install(uid, whole) {
            Ok(()) => debug!(uid, program, "installed"),
            Err(error) => {
                // At the start this ends it. Later, with a new configuration, the flows that are to run it
                // go on natively.
                error!(program, %error, "the kernel does not take a program");
                let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert((program.to_owned(), error));
            }
        }
    }
}

impl Drop for Kernel {
    /// Where nobody came to do it in order: a start that was given up, a task that failed.
    fn drop(&mut self) {
        self.detach_now();
    }
}

impl Outlet for Kernel {
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent {
        let written = match command {
            Command::Install(installed) => {
                self.install(installed.uid, installed.program.name(), &installed.form);
                Ok(())
            }
            Command::Update(update) => return self.update(programs, update, Haste::Now),
            Command::Native {
                sock_id,
                generation,
                by,
                ..
            } => match by {
                Native::Own => {
                    let native = Some(ccp_ebpf::NATIVE);
                    self.mailbox.write(sock_id.0, *generation, native, &[])
                }
                Native::Named(name) => self.mailbox.hand_over(sock_id.0, *generation, name),
            },
            // It needs no hello: what the hello says is in the options it was attached with.
            _ => Ok(()),
        };
        if let Err(error) = written {
            log_refusal(&error);
        }
        Sent::Done
    }

    fn update(&self, _: &ProgramTable, update: &FlowUpdate, _: Haste) -> Sent {
        let fields: SmallVec<[(usize, u64); 8]> = update
            .fields
            .iter()
            .filter_map(|(place, value)| match *place {
                // `Ssthresh` is for programs to set.
                Place::Writable(2..) => None,
                Place::Writable(place) => Some((usize::from(place), *value)),
                Place::Control(place) => Some((FIELD_CONTROL + usize::from(place), *value)),
            })
            .collect();
        let program = update.change_program.then_some(update.program_uid);
        let (sock_id, generation) = (update.sock_id.0, update.generation);
        if let Err(error) = (self.mailbox).write(sock_id, generation, program, &fields) {
            log_refusal(&error);
        }
        Sent::Done
    }

    fn ready(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    fn handled(&self, sock_id: SockId) {
        self.mailbox.handled(sock_id.0);
    }

    fn observe(&self, sock_id: SockId) -> Option<Observed> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let flow = tcp.as_ref()?.flow(sock_id.0)?;
        Some(Observed {
            state: FlowState {
                cwnd: Bytes(flow.cwnd_bytes),
                rate: Rate(flow.pacing_rate.unwrap_or(0)),
                srtt: Micros(flow.srtt_us.unwrap_or(0).into()),
                min_rtt: Micros(flow.min_rtt_us.unwrap_or(0).into()),
            },
            mss: flow.mss,
            mode: match flow.mode {
                ccp_ebpf::Mode::Native => ccp_control::FlowMode::Native,
                ccp_ebpf::Mode::Running => ccp_control::FlowMode::Running,
                ccp_ebpf::Mode::Fallback => ccp_control::FlowMode::Fallback,
            },
            sent: flow.bytes_sent,
            delivered: flow.bytes_delivered,
            lost: flow.bytes_lost,
            timeouts: flow.timeouts,
            faults: flow.faults,
        })
    }

    fn faults(&self) -> Option<Vec<(u32, u64)>> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        tcp.as_ref()?.faults().ok()
    }
}

/// The program or field was checked before: this is not the algorithm's doing.
fn log_refusal(error: &MailboxError) {
    warn!(%error, "an update can't be written");
}
