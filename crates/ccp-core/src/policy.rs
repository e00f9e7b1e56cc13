//! Which algorithm a flow gets.

use crate::registry::Algorithm;
use ccp_types::FlowInfo;

mod given;
mod matching;
mod told;

pub use given::{Given, Native, NotNative};
pub use matching::{Fit, Match, MatchError, PortRange, Prefix, Verdict};
pub use told::{CgroupPath, Mark, Netns, UidRange};

/// A rule: flows that match get what it gives.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which flows.
    pub matches: Match,
    /// What they get.
    pub given: Given,
}

/// The rules in order, and what flows get that no rule matches.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    default: Algorithm,
    /// The same, as rules have it.
    otherwise: Given,
}

/// What a flow gets, and why.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'p> {
    /// The place of the rule that matched, from 0; `None` if none did.
    pub rule: Option<usize>,
    /// What it gets.
    pub given: &'p Given,
}

impl Policy {
    /// The rules `rules`, of which the first that matches wins, and `default` for the rest.
    #[must_use]
    pub fn new(rules: Vec<Rule>, default: Algorithm) -> Self {
        Self {
            rules,
            otherwise: default.clone().into(),
            default,
        }
    }

    /// What the flow `flow` of the datapath called `datapath` gets.
    #[must_use]
    pub fn choose(&self, flow: &FlowInfo, datapath: &str) -> Choice<'_> {
        self.rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.matches.covers(flow, datapath))
            .map_or(
                Choice {
                    rule: None,
                    given: &self.otherwise,
                },
                |(place, rule)| Choice {
                    rule: Some(place),
                    given: &rule.given,
                },
            )
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What flows get that no rule matches, and flows whose own algorithm failed.
    #[must_use]
    pub const fn default_algorithm(&self) -> &Algorithm {
        &self.default
    }

    /// Every algorithm that a flow may get, each once; the default first.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = vec![self.default.clone()];
        for algorithm in self.rules.iter().filter_map(|rule| rule.given.algorithm()) {
            if !all.iter().any(|known| known.same(algorithm)) {
                all.push(algorithm.clone());
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
