//! Sockets from process to process, as sd_listen_fds(3) has it: from who started this one, and to the program
//! that takes this one's place.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use ccpd::PassedSocket;
use rustix::io::{FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::time::{Duration, timeout};

/// The descriptor of the first socket that is passed.
const FIRST: RawFd = 3;
/// The new program may look at the configuration for so long.
const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// The sockets that this process was passed. To be called once, before anything else opens a descriptor.
pub(crate) fn passed() -> anyhow::Result<Vec<PassedSocket>> {
    // Others' numbers: of a process further up, which this one was not started for.
    let ours = std::process::id().to_string();
    if env::var_os("LISTEN_PID").is_none_or(|pid| pid.to_str() != Some(&ours)) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()
        .context("the sockets that were passed (LISTEN_FDS, LISTEN_FDNAMES) can't be taken")?;
    // SAFETY: who set LISTEN_PID to our number gave these descriptors to us; nothing else in this process knows
    // of them, and each is taken once.
    let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(passed
        .map(|(fd, name)| PassedSocket::new(name, owned(fd)))
        .collect())
}

/// The program that takes this one's place: the file that this one was started from, as it is then.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Successor {
    /// To be called when the process has just started: later the file may be another.
    pub(crate) fn of_this() -> io::Result<Self> {
        Ok(Self {
            program: env::current_exe()?,
            arguments: env::args_os().skip(1).collect(),
        })
    }

    /// Whether it runs here and finds nothing wrong with the configuration.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg("--check")
            .kill_on_drop(true);
        let at = self.program.display();
        let checked = timeout(CHECK_WITHIN, command.output())
            .await
            .with_context(|| format!("`{at} --check` does not end"))?
            .with_context(|| format!("{at} can't be started"))?;
        anyhow::ensure!(
            checked.status.success(),
            "`{at} --check` ends with {}: {}",
            checked.status,
            String::from_utf8_lossy(&checked.stderr).trim_end()
        );
        Ok(())
    }

    /// Becomes that program, with the same process number, and `sockets`. Returns only if that fails; then
    /// descriptors of this process have been overwritten, and it is to end.
    pub(crate) fn take_over(&self, sockets: Vec<PassedSocket>) -> io::Error {
        let names: Vec<String> = sockets.iter().map(|s| s.name().to_owned()).collect();
        match put_in_place(sockets) {
            Ok(_in_place) => Command::new(&self.program)
                .args(&self.arguments)
                .env("LISTEN_PID", std::process::id().to_string())
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"))
                .exec(),
            Err(error) => error,
        }
    }
}

/// Gives the sockets the descriptors from the first one on, and lets them be passed on.
fn put_in_place(sockets: Vec<PassedSocket>) -> io::Result<Vec<std::mem::ManuallyDrop<OwnedFd>>> {
    let end = FIRST + sockets.len() as RawFd;
    // First all out of the way: what is in the place of one may be another of them.
    let aside: Vec<OwnedFd> = sockets
        .iter()
        .map(|socket| fcntl_dupfd_cloexec(socket.socket(), end))
        .collect::<Result<_, _>>()?;
    // Not to be closed: the numbers may be given to others below.
    sockets.into_iter().for_each(std::mem::forget);
    let mut in_place = Vec::new();
    for (number, socket) in (FIRST..end).zip(&aside) {
        debug_assert_ne!(number, socket.as_raw_fd());
        // SAFETY: whatever has this number is overwritten, not closed twice: this process does nothing more than
        // become another program, or end. It is never dropped.
        let mut place = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        dup2(socket, &mut place)?;
        fcntl_setfd(&*place, FdFlags::empty())?;
        in_place.push(place);
    }
    Ok(in_place)
}
