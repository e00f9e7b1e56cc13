//! Algorithms are made by code that may not come back, as they may not from their work: it is waited for as long as
//! for that, on a thread which is lost otherwise.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use ccp_core::{Algorithm, BuildError, Params, Registry};
use thiserror::Error;
use tracing::{error, info};

use crate::metrics::{Count, Metrics};

/// Makes algorithms.
#[derive(Clone, Debug)]
pub(crate) struct Maker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    /// Kinds of which one has not been made in time, and has not come back since: each costs one thread.
    held_up: Mutex<BTreeSet<String>>,
    /// Where lost threads are counted.
    metrics: OnceLock<Arc<Metrics>>,
}

/// An algorithm is not made in time.
#[derive(Debug, Error)]
enum Late {
    #[error(
        "its code does not come back from making it: it was waited for {} ms (`ccpd.algorithm_timeout_ms`)",
        .0.as_millis()
    )]
    NotBack(Duration),
    #[error("the code of its kind has not come back from making another one")]
    HeldUp,
    #[error("there is no thread to make it: {0}")]
    NoThread(std::io::Error),
}

impl From<Late> for BuildError {
    fn from(late: Late) -> Self {
        Self::Other(Box::new(late))
    }
}

impl Maker {
    pub(crate) fn new(registry: Registry) -> Self {
        Self(Arc::new(Inner {
            registry,
            held_up: Mutex::default(),
            metrics: OnceLock::new(),
        }))
    }

    /// Counts lost threads there from now on.
    pub(crate) fn count(&self, metrics: &Arc<Metrics>) {
        // Once: there is one daemon.
        let _ = self.0.metrics.set(Arc::clone(metrics));
    }

    /// Makes the algorithm that `params` describes. Blocks, but not longer than `within`; `None` is for ever.
    pub(crate) fn make(
        &self,
        params: &Params,
        within: Option<Duration>,
    ) -> Result<Algorithm, BuildError> {
        let kind = params.kind().to_owned();
        if self.held_up().contains(&kind) {
            return Err(Late::HeldUp.into());
        }
        // Without room: what is given is taken, or known to be too late.
        let (give, given) = sync_channel(0);
        let (maker, params) = (self.clone(), params.clone());
        let name = params.name().to_owned();
        thread::Builder::new()
            .name("ccpd-maker".to_owned())
            .spawn(move || {
                let made = maker.0.registry.build(&params);
                // Nobody takes what comes too late.
                if give.send(made).is_err() {
                    maker.came_back(&params);
                }
            })
            .map_err(Late::NoThread)?;
        let made = match within {
            Some(within) => given.recv_timeout(within),
            None => given.recv().map_err(RecvTimeoutError::from),
        };
        if let Ok(made) = made {
            return made;
        }
        let within = within.unwrap_or_default();
        self.held_up().insert(kind.clone());
        if let Some(metrics) = self.0.metrics.get() {
            metrics.count(Count::ThreadsHeldUp, 1);
        }
        error!(
            algorithm = name,
            kind,
            milliseconds = within.as_millis(),
            "an algorithm does not come back from being made"
        );
        // It may have come at the last moment: then nobody else says so.
        if let Ok(made) = given.try_recv() {
            self.free(&kind);
            return made;
        }
        Err(Late::NotBack(within).into())
    }

    fn came_back(&self, params: &Params) {
        self.free(params.kind());
        info!(
            algorithm = params.name(),
            kind = params.kind(),
            "an algorithm has come back from being made, too late"
        );
    }

    fn free(&self, kind: &str) {
        if self.held_up().remove(kind)
            && let Some(metrics) = self.0.metrics.get()
        {
            metrics.uncount(Count::ThreadsHeldUp);
        }
    }

    fn held_up(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0
            .held_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use ccp_core::{CompiledProgram, CongAlg, Flow, NewFlow};

    use super::*;

    const WITHIN: Option<Duration> = Some(Duration::from_millis(50));

    struct Never;

    impl CongAlg for Never {
        fn programs(&self) -> Vec<CompiledProgram> {
            Vec::new()
        }

        fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
            unreachable!("no flow gets it")
        }
    }

    #[test]
    fn a_constructor_that_does_not_come_back_costs_one_thread_and_its_kind() {
        let enough = Arc::new(AtomicBool::new(false));
        let mut registry = Registry::new();
        let spins = Arc::clone(&enough);
        let make = move |_: &Params| {
            while !spins.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            Ok::<_, BuildError>(Never)
        };
        registry.register("spins", make).unwrap();
        registry
            .register("quick", |_: &Params| Ok::<_, BuildError>(Never))
            .unwrap();
        let (maker, metrics) = (Maker::new(registry), Arc::new(Metrics::new()));
        maker.count(&metrics);
        let held_up = || {
            let all = metrics.gather();
            let of = all.iter().find(|m| m.name == "ccpd_threads_held_up");
            of.unwrap().samples[0].value.number()
        };
        let error = maker.make(&Params::empty("spins"), WITHIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its code does not come back from making it: it was waited for 50 ms (`ccpd.algorithm_timeout_ms`)"
        );
        assert_eq!(held_up(), 1.0);
        // The next one of its kind costs no further thread, and no time; others are made.
        let error = maker.make(&Params::empty("spins"), None).unwrap_err();
        assert!(error.to_string().contains("another one"), "{error}");
        assert_eq!(held_up(), 1.0);
        maker.make(&Params::empty("quick"), WITHIN).unwrap();
        // Once it has come back, it may be tried again.
        enough.store(true, Ordering::Relaxed);
        let until = Instant::now() + Duration::from_secs(30);
        while held_up() > 0.0 {
            assert!(Instant::now() < until, "it does not come back");
            thread::sleep(Duration::from_millis(5));
        }
        maker.make(&Params::empty("spins"), None).unwrap();
    }
}
