//! What a service manager is told (systemd's notification protocol, sd_notify(3)): nothing where there is
//! none.

use std::os::fd::AsFd as _;
use std::time::Duration;

use ccpd::{Liveness, PassedSocket};
use sd_notify::NotifyState;
use tracing::warn;

/// How often the status is told.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The service manager that started this process, if one did.
#[derive(Debug)]
pub(crate) struct Service {
    /// It ends a process that gives no sign of life for so long.
    watchdog: Option<Duration>,
    is_there: bool,
}

impl Service {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
        }
    }

    /// Everything runs: flows are steered.
    pub(crate) fn ready(&self, liveness: &Liveness) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&liveness.status())]);
    }

    /// Has it keep the daemon's own sockets, beyond the end of this process: for the next one, also after a
    /// crash. Those that it has from before are forgotten, as some may have been made anew: of two with
    /// one path the next daemon could not tell which is the one that others reach.
    pub(crate) fn keep(&self, sockets: &[PassedSocket]) {
        self.forget();
        for socket in sockets.iter().filter(|s| s.name() == PassedSocket::KEPT) {
            // One each: a number of descriptors in one message may be refused as a whole.
            let state = [
                NotifyState::FdStore,
                NotifyState::FdName(PassedSocket::KEPT),
                // Not to be thrown away when nobody is at the other end.
                NotifyState::Custom("FDPOLL=0"),
            ];
            if self.is_there
                && let Err(error) = sd_notify::notify_with_fds(&state, &[socket.socket().as_fd()])
            {
                warn!(%error, "the service manager can't be given a socket to keep");
            }
        }
    }

    /// The sockets that it keeps are not needed any more.
    pub(crate) fn forget(&self) {
        self.tell(&[
            NotifyState::FdStoreRemove,
            NotifyState::FdName(PassedSocket::KEPT),
        ]);
    }

    /// The configuration is being read again, or the program is being replaced, until [`ready`](Self::ready) is told.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "no clock to tell the service manager by"),
        }
    }

    /// The daemon stops.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Waits until the next sign of life is due.
    pub(crate) async fn due(&self) {
        if !self.is_there {
            std::future::pending::<()>().await;
        }
        // Twice as often as it has to be.
        let watchdog = self.watchdog.map_or(Duration::MAX, |limit| limit / 2);
        tokio::time::sleep(watchdog.min(STATUS_EVERY)).await;
    }

    /// A sign of life, if there is life: every datapath's task does what it is told.
    pub(crate) async fn pulse(&self, liveness: &Liveness) {
        if liveness.is_alive().await {
            self.tell(&[
                NotifyState::Watchdog,
                NotifyState::Status(&liveness.status()),
            ]);
        } else {
            warn!("a datapath's task does not answer: no sign of life to the service manager");
            self.tell(&[NotifyState::Status("a datapath's task does not answer")]);
        }
    }

    fn tell(&self, what: &[NotifyState<'_>]) {
        if self.is_there
            && let Err(error) = sd_notify::notify(what)
        {
            warn!(%error, "the service manager can't be told");
        }
    }
}
