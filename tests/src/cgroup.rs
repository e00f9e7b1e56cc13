//! Control groups of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ccp_ebpf::Cgroups;

use crate::{unique_name, within};

/// A control group (version 2) that is removed when this is dropped; programs that are still in it go to the
/// root then.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: PathBuf,
}

impl Cgroup {
    /// One with a name that nobody else has.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new(&format!("/ccp-test-{}", unique_name())))
    }

    /// One with this path, as `/proc/PID/cgroup` has it.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let mount = Cgroups::find().expect("control groups of version 2");
        let dir = mount
            .mount()
            .join(path.strip_prefix("/").expect("absolute"));
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        Self {
            path: path.to_owned(),
            dir,
        }
    }

    /// Its path, as `/proc/PID/cgroup` has it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `program ARGS`, to be run in it.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let enter = format!(
            "echo $$ > '{}' && exec \"$0\" \"$@\"",
            self.dir.join("cgroup.procs").display()
        );
        command.args(["-c", &enter, program]).args(args);
        command
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let procs = |dir: &Path| fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let root = Cgroups::find().map(|c| c.mount().join("cgroup.procs"));
        // Those that have ended take a moment to be out of it.
        let gone = within(Duration::from_secs(2), || {
            for pid in procs(&self.dir).lines() {
                let _ = root.as_ref().map(|root| fs::write(root, pid));
            }
            fs::remove_dir(&self.dir).ok()
        });
        if gone.is_none() {
            eprintln!("cannot remove {}", self.dir.display());
        }
    }
}
