//! Who tries again to send to a datapath that takes nothing: one flow after the other, not all at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::outlet::Sent;

/// How long one waits for a datapath that takes nothing if the system can't tell when it does.
const PAUSE: Duration = Duration::from_millis(5);

/// A datapath with thousands of flows that takes nothing for a while would otherwise wake all of them
/// whenever it takes one thing.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    turn: Mutex<()>,
    full: AtomicBool,
}

impl Turnstile {
    /// Something was sent, or could not be.
    pub(super) fn note(&self, sent: Sent) {
        let full = sent == Sent::Full;
        if self.full.load(Ordering::Relaxed) != full {
            self.full.store(full, Ordering::Relaxed);
        }
    }

    /// Waits for one's turn, and then for `room`, where the system tells of it.
    pub(super) async fn wait(&self, room: impl Future<Output = std::io::Result<()>>) {
        let _turn = self.turn.lock().await;
        if room.await.is_err() && self.full.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
            // One may try now. Who finds out that there is still no room has the next one wait.
            self.full.store(false, Ordering::Relaxed);
        }
    }
}
