//! That a task which does not come back holds up one of the runtime's threads, and nobody else.
//!
//! An algorithm may compute for seconds, or for ever. The runtime moves the tasks that wait behind it
//! to another of its threads, and has that one wait for files and timers from then on, but it does so
//! only when that thread has a reason to wake up; and a task that gave way with the runtime's own
//! `yield_now` stays where it was.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::warn;

/// For so long at most the other threads sleep on while one is held up.
const EVERY: Duration = Duration::from_millis(50);

/// Lets others go first. Meanwhile any thread may take the task up.
pub(crate) async fn give_way() {
    let mut gave_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Wakes up one of the present runtime's sleeping threads now and then, until dropped.
#[derive(Debug)]
pub(crate) struct Nudge {
    _alive: Arc<()>,
}

impl Nudge {
    /// Begins. Where the system gives no thread, a hang costs more; all else goes on as usual.
    pub(crate) fn start() -> Self {
        let alive = Arc::new(());
        let (runtime, watched) = (Handle::current(), Arc::downgrade(&alive));
        let thread = thread::Builder::new().name("ccpd-nudge".to_owned());
        if let Err(error) = thread.spawn(move || nudge(&runtime, &watched)) {
            warn!(%error, "no thread for what keeps a hanging algorithm from holding up other flows");
        }
        Self { _alive: alive }
    }
}

fn nudge(runtime: &Handle, alive: &Weak<()>) {
    while alive.strong_count() > 0 {
        // It has nothing to do; what wakes up for it looks for what has been left lying.
        drop(runtime.spawn(async {}));
        thread::sleep(EVERY);
    }
}
