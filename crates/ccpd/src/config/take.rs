//! `[datapath.take]`: which flows of kernel TCP are taken without having asked.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use ccp_core::keys::Section;
use ccp_core::{PortRange, Prefix};
use ccp_ebpf::Take;

use super::policy::{PORT, PREFIX};

/// Which flows are taken without having asked for the datapath's name: `take`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakeConfig {
    /// Which: those that everything fits that is given here. Something is given.
    pub which: EndsConfig,
    /// Those that are left all the same: the ones that anything of this fits.
    pub except: EndsConfig,
    /// Whether flows that are under way already are taken, too. Default: no.
    pub living: bool,
    /// Whether flows are taken that run another algorithm than the default of their network namespace.
    /// Default: no.
    pub chosen_too: bool,
}

/// What flows have in common; each list fits what anything on it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndsConfig {
    /// Control groups of version 2 as `/proc/PID/cgroup` has them, with all that is in them. At most 64.
    pub cgroups: Vec<PathBuf>,
    /// Remote addresses. At most 1,024 ranges.
    pub dst: Vec<Prefix>,
    /// Local addresses. At most 1,024 ranges.
    pub src: Vec<Prefix>,
    /// Remote ports. At most 16 ranges.
    pub dst_port: Vec<PortRange>,
    /// Local ports. At most 16 ranges.
    pub src_port: Vec<PortRange>,
}

impl TakeConfig {
    pub(super) fn read(section: Section<'_>) -> Self {
        const NONE: &str = "one of `cgroups`, `dst`, `src`, `dst_port` and `src_port` says which flows are \
                            taken; `cgroups = [\"/\"]` is all";
        let which = EndsConfig::read(&section);
        let given = ["cgroups", "dst", "src", "dst_port", "src_port"];
        if !given.iter().any(|key| section.has(key)) {
            section.missing("cgroups", NONE);
        }
        let except = section.section("except").map(|inner| {
            let except = EndsConfig::read(&inner);
            inner.finish();
            except
        });
        let flag = |key| section.boolean(key).is_some_and(|found| found.value);
        let (living, chosen_too) = (flag("living"), flag("chosen_too"));
        section.finish();
        Self {
            which,
            except: except.unwrap_or_default(),
            living,
            chosen_too,
        }
    }
}

impl EndsConfig {
    fn read(section: &Section<'_>) -> Self {
        Self {
            cgroups: some(section, "cgroups", CGROUP, Take::MOST_CGROUPS, cgroup),
            dst: some(section, "dst", PREFIX, Take::MOST_RANGES, parsed),
            src: some(section, "src", PREFIX, Take::MOST_RANGES, parsed),
            dst_port: some(section, "dst_port", PORT, Take::MOST_PORTS, parsed),
            src_port: some(section, "src_port", PORT, Take::MOST_PORTS, parsed),
        }
    }
}

const CGROUP: &str =
    "a control group as /proc/PID/cgroup has it, such as \"/user.slice\"; \"/\" is all";

/// From 1 to `most` of what `read` understands, in a list or one alone.
fn some<T, E: fmt::Display>(
    section: &Section<'_>,
    key: &str,
    expected: &str,
    most: usize,
    read: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let Some(found) = section.one_or_more(key, format_args!("{expected}, or a list of such"))
    else {
        return Vec::new();
    };
    // An empty list would mean nothing where it stands and everything where it is looked at.
    if found.is_empty() {
        section.refuse(key, "an empty list fits nothing: leave the key out");
    }
    if let Some(beyond) = found.get(most) {
        let _none: Option<()> = beyond.refused(format_args!("more than {most} are given"));
    }
    found
        .into_iter()
        .filter_map(|item| match read(item.value) {
            Ok(value) => Some(value),
            Err(why) => item.refused(why),
        })
        .collect()
}

fn parsed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.parse()
}

/// A control group's path, which leads nowhere else.
fn cgroup(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) || text.contains('\0') {
        return Err(format!("must be {CGROUP}"));
    }
    match path.strip_prefix("/sys/fs/cgroup") {
        Ok(rest) => Err(format!(
            "must be as /proc/PID/cgroup has it, without where control groups are mounted; did you mean \"/{}\"?",
            rest.strip_prefix("unified").unwrap_or(rest).display()
        )),
        Err(_) => Ok(path.components().collect()),
    }
}
