//! What the kernel tells of a flow in numbers, in the words that rules use: the paths of control groups,
//! the names of network namespaces.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ccp_core::{Attribute, AttributeValue, Attributes};
use ccp_ebpf::CgroupNames;
use tracing::warn;

/// Where `ip netns` keeps namespaces.
const NAMED: &str = "/run/netns";
/// A directory that changed less than this ago is looked at again: a namespace gets its place in it a
/// moment after its name.
const SETTLED: Duration = Duration::from_secs(2);

/// Puts words beside the kernel's numbers.
#[derive(Debug)]
pub(super) struct Resolver {
    cgroups: Option<CgroupNames>,
    namespaces: Namespaces,
}

impl Resolver {
    /// Looks up what does not change. Without what the kernel needs for it, control groups stay numbers.
    pub(super) fn new() -> Self {
        let cgroups = CgroupNames::new().inspect_err(|error| {
            warn!(%error, "control groups can't be told: rules that ask for one fit no flow");
        });
        Self {
            cgroups: cgroups.ok(),
            namespaces: Namespaces::new(PathBuf::from(NAMED)),
        }
    }

    /// The attributes that the kernel tells, in words.
    pub(super) fn resolve(&mut self, told: &Attributes) -> Attributes {
        let mut all = Vec::with_capacity(told.iter().len() + 1);
        for attribute in told {
            let AttributeValue::Number(number) = attribute.value else {
                continue;
            };
            match &*attribute.name {
                Attribute::CGROUP => all.extend(self.cgroup(number)),
                Attribute::NETNS => {
                    all.push(attribute.clone());
                    let names = self.namespaces.names(number);
                    all.extend(names.map(|name| Attribute::text(Attribute::NETNS, name)));
                }
                _ => all.push(attribute.clone()),
            }
        }
        all.into_iter().collect()
    }

    fn cgroup(&mut self, id: u64) -> Option<Attribute> {
        if id == 0 {
            return None;
        }
        let path = self.cgroups.as_mut().and_then(|cgroups| cgroups.path(id));
        Some(match path {
            Some(path) => Attribute::text(Attribute::CGROUP, path),
            None => Attribute::number(Attribute::CGROUP, id),
        })
    }
}

/// Which names network namespaces have.
#[derive(Debug)]
struct Namespaces {
    initial: Option<u64>,
    dir: PathBuf,
    /// When the directory had changed last as it was read; `None` if it has to be read again in any case.
    read_at: Option<SystemTime>,
    names: HashMap<u64, Vec<Arc<str>>>,
}

impl Namespaces {
    fn new(dir: PathBuf) -> Self {
        Self {
            initial: ccp_ebpf::initial_namespace().ok().map(u64::from),
            dir,
            read_at: None,
            names: HashMap::new(),
        }
    }

    /// The names of the namespace with the number `inode`.
    fn names(&mut self, inode: u64) -> impl Iterator<Item = Arc<str>> {
        let initial = self.initial == Some(inode);
        self.read();
        let named = self.names.get(&inode).into_iter().flatten().cloned();
        initial
            .then(|| Attribute::INITIAL.into())
            .into_iter()
            .chain(named)
    }

    /// Reads the directory, unless it is as it was.
    fn read(&mut self) {
        let changed = fs::metadata(&self.dir)
            .and_then(|meta| meta.modified())
            .ok();
        if changed.is_some() && changed == self.read_at {
            return;
        }
        self.names = named(&self.dir);
        let settled = |at: &SystemTime| at.elapsed().is_ok_and(|since| since > SETTLED);
        self.read_at = changed.filter(settled);
    }
}

/// The namespaces that lie in `dir`, by number. What rules have words for is no name.
fn named(dir: &Path) -> HashMap<u64, Vec<Arc<str>>> {
    let mut names: HashMap<u64, Vec<Arc<str>>> = HashMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let (Some(name), Ok(meta)) = (name.to_str(), fs::metadata(entry.path())) else {
            continue;
        };
        if !matches!(name, Attribute::INITIAL | "any") {
            names.entry(meta.ino()).or_default().push(name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt as _;
    use std::time::{Duration, SystemTime};

    use super::Namespaces;

    #[test]
    fn names_are_those_in_the_directory_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netns");
        let mut namespaces = Namespaces::new(path.clone());
        let mut names = |inode| namespaces.names(inode).collect::<Vec<_>>();
        assert!(names(1).is_empty());
        fs::create_dir(&path).unwrap();
        let inode = |name: &str| {
            let file = path.join(name);
            File::create(&file).unwrap();
            fs::metadata(file).unwrap().ino()
        };
        let blue = inode("blue");
        assert_eq!(names(blue), ["blue".into()]);
        // The words of rules are nobody's name.
        assert!(names(inode("initial")).is_empty());
        assert!(names(inode("any")).is_empty());
        // Also when the directory has not changed for long.
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(names(blue), ["blue".into()]);
        assert_eq!(names(blue), ["blue".into()]);
        fs::remove_file(path.join("blue")).unwrap();
        assert!(names(blue).is_empty());
    }

    #[test]
    fn the_initial_namespace_has_a_name() {
        let inode = ccp_ebpf::initial_namespace().unwrap();
        let mut namespaces = Namespaces::new("/nonexistent".into());
        assert_eq!(
            namespaces.names(inode.into()).next().as_deref(),
            Some("initial")
        );
        assert_eq!(namespaces.names(1).next(), None);
    }
}
