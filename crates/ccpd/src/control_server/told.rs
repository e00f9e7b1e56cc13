//! What datapaths tell of flows, and what rules say to it, as the control protocol has it.

use ccp_control::{AttributeValue, Attributes, Explanation, Fit, KeyVerdict, RuleVerdict};
use ccp_core::{Attribute, Verdict};

use super::count;
use crate::change;

/// What is told of a flow that somebody asks about.
pub(super) fn read(attributes: Attributes) -> ccp_core::Attributes {
    let all = attributes.0.into_iter();
    all.map(|(name, value)| match value {
        AttributeValue::Number(number) => Attribute::number(name, number),
        AttributeValue::Text(text) => Attribute::text(name, text),
    })
    .collect()
}

/// What is told of a flow that there is.
pub(crate) fn shown(attributes: &ccp_core::Attributes) -> Attributes {
    let pair = |attribute: &Attribute| {
        let value = match &attribute.value {
            ccp_core::AttributeValue::Number(number) => AttributeValue::Number(*number),
            ccp_core::AttributeValue::Text(text) => AttributeValue::Text(text.to_string()),
        };
        (attribute.name.to_string(), value)
    };
    Attributes(attributes.iter().map(pair).collect())
}

/// What the rules say.
pub(super) fn explained(explained: change::Explanation) -> Explanation {
    let key = |verdict: Verdict| KeyVerdict {
        key: verdict.key.to_owned(),
        wanted: verdict.wanted,
        fit: match verdict.fit {
            ccp_core::Fit::Fits => Fit::Fits,
            ccp_core::Fit::Differs => Fit::Differs,
            ccp_core::Fit::Untold => Fit::Untold,
        },
    };
    let fits = explained.rule;
    let rule = |(place, rule): (usize, change::RuleVerdict)| RuleVerdict {
        rule: count(place + 1),
        algorithm: rule.algorithm,
        fits: fits == Some(place),
        keys: rule.keys.into_iter().map(key).collect(),
    };
    Explanation {
        rules: explained.rules.into_iter().enumerate().map(rule).collect(),
        rule: fits.map(|rule| count(rule + 1)),
        algorithm: explained.algorithm,
    }
}
