//! Network namespaces.
//!
//! A namespace is held by a file descriptor and a thread that lives in it; it has no name. So the
//! kernel removes it (and the devices in it) when the process ends, even by `kill -9`, and no file
//! system is touched. Child processes are started by that thread: they inherit the namespace, and the
//! kernel kills them when the thread ends, since it is their parent for `PR_SET_PDEATHSIG`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use rustix::{
    mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::{LabError, NsChild, process, requirements::tool};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of our own, with `lo` up. Removed on drop, with everything in it.
#[derive(Debug)]
pub struct Namespace {
    entrance: Entrance,
    inode: u64,
    published: Mutex<Option<PathBuf>>,
    keeper: Keeper,
}

impl Namespace {
    /// Creates a namespace; `label` appears in error messages only.
    ///
    /// TCP metrics are not remembered between connections in it (`net.ipv4.tcp_no_metrics_save`), so a
    /// flow does not start from the slow-start threshold of the one before.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the kernel refuses; call [`crate::require`] before for a better text.
    pub fn new(label: &str) -> Result<Self, LabError> {
        let (keeper, file) = Keeper::start(label)?;
        let inode = inode_of(&file)?;
        let host = inode_of(
            &File::open("/proc/self/ns/net")
                .map_err(|e| LabError::system("open /proc/self/ns/net", e))?,
        )?;
        // Settings written "in the namespace" must never reach the host.
        if inode == host {
            return Err(LabError::system(
                "create a network namespace",
                io::Error::other("the kernel gave the host's own namespace"),
            ));
        }
        let entrance = Entrance {
            file,
            label: label.to_owned(),
        };
        let namespace = Self {
            entrance,
            inode,
            published: Mutex::default(),
            keeper,
        };
        namespace.ip(["link", "set", "lo", "up"])?;
        namespace.set_sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        Ok(namespace)
    }

    /// The label given at creation.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.entrance.label
    }

    /// The namespace's inode number: what `lsns`, `/proc/<pid>/ns/net` and the kernel's `ns.inum` show.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A path that names the namespace while this value lives, for `nsenter --net=PATH` and
    /// `ip link set … netns PATH`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.entrance.file.as_raw_fd()
        ))
    }

    /// Runs `f` on a thread inside the namespace and waits for it. Sockets opened there stay in the
    /// namespace whoever uses them later. A panic in `f` continues here.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the thread cannot enter the namespace.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        self.entrance.run(f)
    }

    /// Moves the calling thread into the namespace for the rest of its life. Only for threads of the
    /// caller's own, such as a runtime's workers; otherwise use [`Self::run`].
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the kernel refuses.
    pub fn enter_thread(&self) -> Result<(), LabError> {
        self.entrance.enter_thread()
    }

    /// A handle to enter with from threads that outlive the borrow. Keeps the namespace alive.
    pub(crate) fn entrance(&self) -> Result<Entrance, LabError> {
        let file = self
            .entrance
            .file
            .try_clone()
            .map_err(|e| self.entrance.entering(e))?;
        Ok(Entrance {
            file,
            label: self.label().to_owned(),
        })
    }

    /// Starts a child process in the namespace. It is killed and reaped when the returned value is
    /// dropped, and killed by the kernel when this process or this namespace goes before.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] naming the program if it cannot be started.
    pub fn spawn(&self, command: Command) -> Result<NsChild, LabError> {
        let line = process::line(&command);
        let child = self
            .keeper
            .spawn(command)
            .map_err(|e| LabError::system(format!("start `{line}` in `{}`", self.label()), e))?;
        Ok(NsChild::new(child, line))
    }

    /// Runs a command in the namespace to its end and returns its standard output. `program` is
    /// looked up in `PATH` and where administrators' commands are.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if it cannot be started, [`LabError::Command`] if it fails.
    pub fn output<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        self.entrance.output(program, args)
    }

    /// `ip ARGS` in the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::output`].
    pub fn ip<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        self.output("ip", args)
    }

    /// `tc ARGS` in the namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::output`].
    pub fn tc<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        self.output("tc", args)
    }

    /// The TCP sockets of the namespace as `ss -tinHOe` shows them; listening ones are left out.
    ///
    /// # Errors
    ///
    /// As [`Self::output`].
    pub fn ss(&self) -> Result<Vec<crate::SsSocket>, LabError> {
        Ok(crate::parse_ss(&self.output("ss", ["-tinHOe"])?))
    }

    /// Reads a setting of this namespace, as `net.ipv4.tcp_congestion_control`.
    ///
    /// # Errors
    ///
    /// [`LabError::Sysctl`] if the key is not a `net.` one or cannot be read.
    pub fn sysctl(&self, key: &str) -> Result<String, LabError> {
        let read = sysctl_path(key).map(|path| self.run(|| fs::read_to_string(path)));
        match read {
            Ok(result) => result?
                .map(|value| value.trim().to_owned())
                .map_err(|e| self.sysctl_error("read", key, e)),
            Err(e) => Err(self.sysctl_error("read", key, e)),
        }
    }

    /// Changes a setting of this namespace only, as `net.ipv4.tcp_rmem` to `"4096 131072 8388608"`.
    ///
    /// # Errors
    ///
    /// [`LabError::Sysctl`] if the key is not a `net.` one, or is not per namespace, or the value is
    /// refused.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let written = sysctl_path(key).map(|path| self.run(|| fs::write(path, value)));
        match written {
            Ok(result) => result?.map_err(|e| self.sysctl_error("write", key, e)),
            Err(e) => Err(self.sysctl_error("write", key, e)),
        }
    }

    /// Gives the namespace a name, `ccplab-<pid>-<n>` under `/run/netns`, for `ip netns exec`. Removed
    /// on drop; after `kill -9` it stays until [`sweep`]. Once published, the name stays the same.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the file or the mount cannot be made.
    pub fn publish(&self) -> Result<String, LabError> {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*published {
            return Ok(name_of(path));
        }
        let dir = Path::new(RUN_NETNS);
        fs::create_dir_all(dir).map_err(|e| LabError::system(format!("create {RUN_NETNS}"), e))?;
        let path = dir.join(format!("{PREFIX}{}-{}", std::process::id(), self.inode));
        File::create(&path)
            .and_then(|_| Ok(mount_bind(self.path(), &path)?))
            // Private, so that no copy of the mount in another mount namespace keeps ours alive.
            .and_then(|()| Ok(mount_change(&path, MountPropagationFlags::PRIVATE)?))
            .map_err(|e| {
                remove_name(&path);
                LabError::system(format!("publish a namespace as {}", path.display()), e)
            })?;
        let name = name_of(&path);
        *published = Some(path);
        Ok(name)
    }

    fn sysctl_error(&self, action: &'static str, key: &str, source: io::Error) -> LabError {
        let hint = match source.kind() {
            io::ErrorKind::NotFound if key.ends_with("tcp_congestion_control") => {
                "; no such algorithm is registered, see net.ipv4.tcp_available_congestion_control"
            }
            io::ErrorKind::NotFound => "; not a setting of namespaces on this kernel",
            _ => "",
        };
        LabError::Sysctl {
            action,
            key: key.to_owned(),
            namespace: self.label().to_owned(),
            source,
            hint,
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.entrance.file.as_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let published = self
            .published
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = published.take() {
            remove_name(&path);
        }
    }
}

/// See [`Namespace::entrance`].
#[derive(Debug)]
pub(crate) struct Entrance {
    file: File,
    label: String,
}

impl Entrance {
    pub(crate) fn enter_thread(&self) -> Result<(), LabError> {
        self.enter().map_err(|e| self.entering(e))
    }

    /// See [`Namespace::run`].
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        let result = thread::scope(|scope| {
            thread::Builder::new()
                .name(format!("ns-{}", self.label))
                .spawn_scoped(scope, || self.enter().map(|()| f()))
                .map(thread::ScopedJoinHandle::join)
        });
        match result {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(self.entering(error)),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(LabError::system("start a thread", error)),
        }
    }

    /// See [`Namespace::output`].
    pub(crate) fn output<S: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String, LabError> {
        let mut command = Command::new(tool(program).unwrap_or_else(|| program.into()));
        command.args(args).stdin(Stdio::null());
        process::die_with_parent_thread(&mut command);
        let line = process::line(&command);
        let output = self
            .run(|| command.output())?
            .map_err(|e| LabError::system(format!("run `{line}` in `{}`", self.label), e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Command {
            command: line,
            namespace: self.label.clone(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(
            self.file.as_fd(),
            Some(LinkNameSpaceType::Network),
        )?)
    }

    fn entering(&self, error: io::Error) -> LabError {
        LabError::system(format!("enter namespace `{}`", self.label), error)
    }
}

const RUN_NETNS: &str = "/run/netns";
const PREFIX: &str = "ccplab-";

/// Removes published names of laboratories whose process is gone; returns the names removed.
///
/// # Errors
///
/// [`LabError::System`] if `/run/netns` exists and cannot be listed.
pub fn sweep() -> Result<Vec<String>, LabError> {
    let entries = match fs::read_dir(RUN_NETNS) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(LabError::system(format!("list {RUN_NETNS}"), e)),
    };
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
        else {
            continue;
        };
        let dead = pid
            .parse::<u32>()
            .is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if dead && remove_name(&entry.path()) {
            removed.push(name);
        }
    }
    Ok(removed)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Detaches and deletes a published name; true if the file is gone.
fn remove_name(path: &Path) -> bool {
    let _ = unmount(path, UnmountFlags::DETACH);
    fs::remove_file(path).is_ok()
}

fn inode_of(file: &File) -> Result<u64, LabError> {
    Ok(file
        .metadata()
        .map_err(|e| LabError::system("stat a network namespace", e))?
        .ino())
}

/// The file of a `net.` setting. `/proc/sys/net` shows the settings of the reading thread's namespace.
fn sysctl_path(key: &str) -> io::Result<PathBuf> {
    let valid = key.starts_with("net.") && !key.contains(['/', '\0']) && !key.contains("..");
    if !valid {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only `net.…` settings belong to a network namespace",
        ));
    }
    Ok(Path::new("/proc/sys").join(key.replace('.', "/")))
}

/// The thread that lives in a namespace and starts child processes there.
#[derive(Debug)]
struct Keeper {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    fn start(label: &str) -> Result<(Self, File), LabError> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("ns-{label}"))
            .spawn(move || {
                // SAFETY: only the network namespace is unshared, no file-descriptor table.
                let made = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                    .map_err(io::Error::from)
                    .and_then(|()| File::open("/proc/thread-self/ns/net"));
                let ready = made.is_ok();
                let _ = tell.send(made);
                if ready {
                    todo.into_iter().for_each(|job| job());
                }
            })
            .map_err(|e| LabError::system("start a thread", e))?;
        let keeper = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let file = told
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("thread ended")))
            .map_err(|e| LabError::system("create a network namespace", e))?;
        Ok((keeper, file))
    }

    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        process::die_with_parent_thread(&mut command);
        let (tell, told) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            let _ = tell.send(command.spawn());
        });
        let gone = || io::Error::other("the namespace's thread has ended");
        self.jobs
            .as_ref()
            .ok_or_else(gone)?
            .send(job)
            .map_err(|_| gone())?;
        told.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
