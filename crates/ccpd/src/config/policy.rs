//! `[policy]`: which flow runs which algorithm.

use std::fmt;
use std::str::FromStr;

use ccp_core::keys::Section;
use ccp_core::{Mark, Match, Native, UidRange};

use super::DatapathConfig;
use super::host::{self, NoNative};

/// Which flow runs which algorithm: the first rule that matches, else the default.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// The name of the algorithm for flows that no rule matches, and for those whose own algorithm
    /// failed. Default `reno`.
    pub default: String,
    /// The rules, in the order of the file.
    pub rules: Vec<RuleConfig>,
}

/// What flows that match run: `[[policy.rule]]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RuleConfig {
    /// Which flows.
    pub matching: Match,
    /// The algorithm's name; `native` leaves the flows to their datapath, `native:NAME` hands those of kernel
    /// TCP to that algorithm of the kernel.
    pub algorithm: String,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            default: "reno".to_owned(),
            rules: Vec::new(),
        }
    }
}

/// Said where the built-in default does not exist.
pub(super) const NO_DEFAULT: &str = "the algorithm of flows that no rule matches; it may be left out \
                                     only if there is an algorithm called `reno`";

const ALGORITHM: &str = "the name of an algorithm";
pub(super) const PREFIX: &str = "an address or prefix such as \"10.1.0.0/16\" or \"2001:db8::/32\"";
const CGROUP: &str = "the path of a control group such as \"/system.slice/nginx.service\"";
const NETNS: &str = "\"initial\", \"any\", or the name or number of a network namespace";
const UID: &str = "a user's number, a range of them such as \"1000-1999\", or a user's name";
const MARK: &str = "a mark such as 7, or value and mask such as \"0x10/0xf0\"";
pub(super) const PORT: &str = "a port from 1 to 65535 or a range such as \"5000-5999\"";

impl PolicyConfig {
    /// Reads `[policy]`; `algorithms` are the names that there are, `datapaths` have those that are ours.
    pub(super) fn read(
        section: Section<'_>,
        algorithms: &[&str],
        datapaths: &[DatapathConfig],
    ) -> Self {
        let built_in = Self::default().default;
        let default = if section.has("default") {
            algorithm(&section, "default", algorithms).unwrap_or(built_in)
        } else {
            let _asked = section.text("default", ALGORITHM);
            if !algorithms.contains(&built_in.as_str()) {
                section.missing("default", NO_DEFAULT);
            }
            built_in
        };
        let rules = section.sections("rule").unwrap_or_default();
        let rules = rules
            .into_iter()
            .filter_map(|section| {
                let rule = RuleConfig::read(&section, algorithms, datapaths);
                section.finish();
                rule
            })
            .collect();
        section.finish();
        Self { default, rules }
    }
}

impl RuleConfig {
    fn read(
        section: &Section<'_>,
        algorithms: &[&str],
        datapaths: &[DatapathConfig],
    ) -> Option<Self> {
        let matching = if section.has("match") {
            section.section("match").map(|inner| {
                let matching = read_match(&inner);
                inner.finish();
                matching
            })
        } else {
            let _asked = section.section("match");
            section.missing("match", "which flows; `match = {}` matches all");
            None
        };
        let algorithm = if section.has("algorithm") {
            given(section, "algorithm", algorithms, datapaths)
        } else {
            let _asked = section.text("algorithm", ALGORITHM);
            section.missing("algorithm", "what the flows that match run");
            None
        };
        Some(Self {
            matching: matching?,
            algorithm: algorithm?,
        })
    }
}

/// What a rule gives: an algorithm, or `native` in one of its forms.
fn given(
    section: &Section<'_>,
    key: &str,
    algorithms: &[&str],
    datapaths: &[DatapathConfig],
) -> Option<String> {
    let found = section.text(key, ALGORITHM)?;
    if !Native::is_meant(found.value) {
        return algorithm(section, key, algorithms);
    }
    let native: Native = match found.value.parse() {
        Ok(native) => native,
        Err(why) => return found.refused(why),
    };
    match check_native(&native, datapaths) {
        Ok(()) => Some(found.value.to_owned()),
        Err(why) => found.refused(why),
    }
}

/// Whether flows can be handed to what `native` names.
pub(super) fn check_native(native: &Native, datapaths: &[DatapathConfig]) -> Result<(), NoNative> {
    let Some(name) = native.algorithm() else {
        return Ok(());
    };
    if datapaths.iter().any(|datapath| datapath.has_name(name)) {
        let name = name.to_owned();
        return Err(NoNative::Ours { name });
    }
    host::check_algorithm(name)
}

fn algorithm(section: &Section<'_>, key: &str, algorithms: &[&str]) -> Option<String> {
    let found = section.text(key, ALGORITHM)?;
    if Native::is_meant(found.value) {
        return found.refused(
            "only rules leave flows to their datapath; a last rule `match = { netns = \"any\" }` does it with all that are left",
        );
    }
    if algorithms.contains(&found.value) {
        Some(found.value.to_owned())
    } else {
        found.no_such("algorithm", found.value, algorithms)
    }
}

fn read_match(section: &Section<'_>) -> Match {
    let text = |key| {
        let found = section.text(key, "a text")?;
        Some(found.value.to_owned())
    };
    let mut matching = Match::default();
    matching.datapath = text("datapath");
    matching.requested = text("requested");
    matching.src = parsed(section, "src", PREFIX);
    matching.dst = parsed(section, "dst", PREFIX);
    matching.src_port = parsed(section, "src_port", PORT);
    matching.dst_port = parsed(section, "dst_port", PORT);
    matching.cgroup = parsed(section, "cgroup", CGROUP);
    matching.netns = parsed(section, "netns", NETNS);
    matching.uid = uid(section, "uid");
    matching.mark = mark(section, "mark");
    matching
}

/// Users, as numbers or by the name that one has on this machine now.
fn uid(section: &Section<'_>, key: &str) -> Option<UidRange> {
    let found = section.text_or_integer(key, UID)?;
    let text = found.value;
    let why = match text.parse() {
        Ok(range) => return Some(range),
        Err(why) => why,
    };
    // Names of users begin otherwise.
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) {
        return found.refused(why);
    }
    match host::uid_of(text) {
        Ok(Some(uid)) => UidRange::new(uid..=uid).ok(),
        Ok(None) => found.refused(format_args!("there is no user `{text}` on this machine")),
        Err(error) => found.refused(format_args!("can't look up the user `{text}`: {error}")),
    }
}

/// TOML's own hexadecimal numbers too.
fn mark(section: &Section<'_>, key: &str) -> Option<Mark> {
    let found = section.text_or_any_integer(key, MARK)?;
    match found.value.parse() {
        Ok(mark) => Some(mark),
        Err(why) => found.refused(why),
    }
}

/// A text, or a number as it is written, that means something.
fn parsed<T>(section: &Section<'_>, key: &str, expected: &str) -> Option<T>
where
    T: FromStr<Err: fmt::Display>,
{
    let found = section.text_or_integer(key, expected)?;
    match found.value.parse() {
        Ok(value) => Some(value),
        Err(why) => found.refused(why),
    }
}
