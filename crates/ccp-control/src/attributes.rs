//! What datapaths tell of flows beside their ends.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a datapath tells of a flow: names, each with one or more values. For kernel TCP `cgroup` (the path
/// of the control group), `netns` (the number of the network namespace and its names; `initial` for the
/// initial one), `uid` and `mark`.
///
/// As JSON an object: `{"cgroup": "/system.slice/nginx.service", "netns": [4026531840, "initial"], "uid":
/// 33, "mark": 0}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(
    /// Names and values, in no particular order. A name with several values is there several times.
    pub Vec<(String, AttributeValue)>,
);

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A value as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Number(u64),
    Text(String),
}

/// Values as JSON has them.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Values {
    One(Plain),
    Several(Vec<Plain>),
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            return self.0.serialize(to);
        }
        let mut named: BTreeMap<&str, Vec<Plain>> = BTreeMap::new();
        for (name, value) in &self.0 {
            named.entry(name).or_default().push(match value {
                AttributeValue::Number(number) => Plain::Number(*number),
                AttributeValue::Text(text) => Plain::Text(text.clone()),
            });
        }
        let values = |(name, mut values): (_, Vec<Plain>)| match (values.pop(), values.is_empty()) {
            (Some(only), true) => (name, Values::One(only)),
            (last, _) => {
                values.extend(last);
                (name, Values::Several(values))
            }
        };
        to.collect_map(named.into_iter().map(values))
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return Vec::deserialize(from).map(Self);
        }
        let named = BTreeMap::<String, Values>::deserialize(from)?;
        let mut all = Vec::new();
        for (name, values) in named {
            let values = match values {
                Values::One(only) => vec![only],
                Values::Several(values) => values,
            };
            all.extend(values.into_iter().map(|value| {
                let value = match value {
                    Plain::Number(number) => AttributeValue::Number(number),
                    Plain::Text(text) => AttributeValue::Text(text),
                };
                (name.clone(), value)
            }));
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::{AttributeValue, Attributes};

    #[test]
    fn they_are_an_object_in_json_and_pairs_on_the_socket() {
        let number = |name: &str, value| (name.to_owned(), AttributeValue::Number(value));
        let text = |name: &str, value: &str| (name.to_owned(), AttributeValue::Text(value.into()));
        let told = Attributes(vec![
            number("mark", 0),
            number("netns", 4_026_531_840),
            text("netns", "initial"),
        ]);
        let json = serde_json::to_string(&told).unwrap();
        assert_eq!(json, r#"{"mark":0,"netns":[4026531840,"initial"]}"#);
        assert_eq!(serde_json::from_str::<Attributes>(&json).unwrap(), told);
        assert_eq!(serde_json::to_string(&Attributes::default()).unwrap(), "{}");
        let bytes = postcard::to_stdvec(&told).unwrap();
        assert_eq!(postcard::from_bytes::<Attributes>(&bytes).unwrap(), told);
    }
}
