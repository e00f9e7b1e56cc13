//! Algorithms, their programs, and the rules.

use serde::{Deserialize, Serialize};

use super::pairs;

/// One algorithm that flows may get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmStatus {
    /// Its name: that of its table in the configuration.
    pub name: String,
    /// Its kind: the code.
    pub kind: String,
    /// The names of its programs.
    pub programs: Vec<String>,
    /// The parameters that the configuration gives it, as they are written there; the others have
    /// their defaults.
    #[serde(with = "pairs")]
    pub parameters: Vec<(String, String)>,
    /// Whether flows get it that no rule matches.
    pub default: bool,
    /// The rules that name it, from 1, in the order of the configuration.
    pub rules: Vec<u32>,
    /// Whether no flow gets it, because it did not come back from its work. A reload ends that.
    pub quarantined: bool,
}

/// What the rules give a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The rules up to the one that fits, in order.
    pub rules: Vec<RuleVerdict>,
    /// The rule that fits, from 1; `None`: none does, it gets the default.
    pub rule: Option<u32>,
    /// The algorithm's name; `native` or `native:NAME` if the flow is left to its datapath.
    pub algorithm: String,
}

/// What one rule says to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleVerdict {
    /// Which rule, from 1.
    pub rule: u32,
    /// What it gives to flows that fit.
    pub algorithm: String,
    /// Whether the flow fits.
    pub fits: bool,
    /// What each of its keys says. The flow fits if it fits all.
    pub keys: Vec<KeyVerdict>,
}

/// What one key of a rule says to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVerdict {
    /// The key.
    pub key: String,
    /// What the rule wants, as in the configuration. A rule that names no network namespace wants the
    /// `initial` one of flows whose datapath tells of it.
    pub wanted: String,
    /// What it says.
    pub fit: Fit,
}

/// Whether a flow is as a key wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// It is.
    Fits,
    /// It is otherwise.
    Differs,
    /// Its datapath does not tell: that fits no rule which asks.
    Untold,
}

/// What reading the configuration again changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The algorithms that are new or have other parameters.
    pub changed: Vec<String>,
    /// How many algorithms there are now.
    pub algorithms: u32,
    /// How many rules there are now.
    pub rules: u32,
}

/// A program that a datapath runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// The datapath, as in the configuration. Several peers of a Unix datapath that run it under the
    /// same number are one.
    pub datapath: String,
    /// The number that it is installed under.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// The names of the algorithms whose flows may run it; none if it is left of an earlier
    /// configuration or of one flow's parameters.
    pub algorithms: Vec<String>,
    /// Its size in the datapath's own terms: instructions of the intermediate form, for libccp those of
    /// its bytecode.
    pub instructions: u32,
    /// How many flows run it.
    pub flows: u64,
    /// How many of its invocations had no effect, where the datapath tells.
    pub faults: Option<u64>,
    /// How many peers run it: 1 but for Unix datapaths.
    pub peers: u32,
}

/// A program with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramDetail {
    /// What is listed of it.
    pub status: ProgramStatus,
    /// The variables that it reports, in order.
    pub reports: Vec<String>,
    /// The variables by which its algorithm controls it, in order.
    pub controls: Vec<String>,
    /// Its source text; `None` if its algorithm has none.
    pub source: Option<String>,
}
