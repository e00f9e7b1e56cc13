//! What a datapath tells of a flow beside its ends: named values, an open set.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// One thing that a datapath tells of a flow.
///
/// Names are lower-case words. These mean the same wherever they are given:
///
/// | name | value |
/// |---|---|
/// | [`CGROUP`](Self::CGROUP) | the path of the control group that the socket was made in, from the root; also the group's number |
/// | [`NETNS`](Self::NETNS) | the number (inode) of its network namespace; also the namespace's names, [`INITIAL`](Self::INITIAL) for the initial one |
/// | [`UID`](Self::UID) | the user who owns the socket, a number as in the initial user namespace |
/// | [`MARK`](Self::MARK) | the socket's mark (`SO_MARK`), a number |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// What it is.
    pub name: Cow<'static, str>,
    /// Its value. An attribute with several has the name several times.
    pub value: AttributeValue,
}

/// The value of an [`Attribute`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttributeValue {
    /// A number.
    Number(u64),
    /// A text, such as a path.
    Text(Arc<str>),
}

impl Attribute {
    /// The name of the attribute for the control group.
    pub const CGROUP: &'static str = "cgroup";
    /// The name of the attribute for the network namespace.
    pub const NETNS: &'static str = "netns";
    /// The name of the attribute for the user.
    pub const UID: &'static str = "uid";
    /// The name of the attribute for the mark.
    pub const MARK: &'static str = "mark";
    /// The name of the initial network namespace, as a value of [`NETNS`](Self::NETNS).
    pub const INITIAL: &'static str = "initial";

    /// The attribute `name` with a number.
    #[must_use]
    pub fn number(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self {
            name: name.into(),
            value: AttributeValue::Number(value),
        }
    }

    /// The attribute `name` with a text.
    #[must_use]
    pub fn text(name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            value: AttributeValue::Text(value.into()),
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// What a datapath tells of a flow. Cheap to clone; takes no memory of its own if it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Option<Arc<[Attribute]>>);

impl Attributes {
    /// All of them, in the order in which they were told.
    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.0.as_deref().unwrap_or_default().iter()
    }

    /// The values of `name`; none if it is not told.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &AttributeValue> {
        let named = self.iter().filter(move |a| a.name == name);
        named.map(|attribute| &attribute.value)
    }

    /// The first number that `name` has.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.values(name).find_map(|value| match value {
            AttributeValue::Number(number) => Some(*number),
            AttributeValue::Text(_) => None,
        })
    }

    /// The texts that `name` has.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).filter_map(|value| match value {
            AttributeValue::Number(_) => None,
            AttributeValue::Text(text) => Some(&**text),
        })
    }

    /// Whether nothing is told.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(all: I) -> Self {
        let all: Vec<Attribute> = all.into_iter().collect();
        Self((!all.is_empty()).then(|| all.into()))
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = &'a Attribute;
    type IntoIter = std::slice::Iter<'a, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{Attribute, Attributes};

    #[test]
    fn a_name_may_have_several_values_and_nothing_costs_nothing() {
        assert!(Attributes::from_iter([]).is_empty());
        assert_eq!(Attributes::from_iter([]), Attributes::default());
        assert_eq!(size_of::<Attributes>(), 2 * size_of::<usize>());
        let told = Attributes::from_iter([
            Attribute::number(Attribute::NETNS, 4_026_531_840),
            Attribute::text(Attribute::NETNS, "blue"),
            Attribute::number(Attribute::UID, 0),
        ]);
        assert_eq!(told.number("netns"), Some(4_026_531_840));
        assert_eq!(told.texts("netns").collect::<Vec<_>>(), ["blue"]);
        assert_eq!(told.number("uid"), Some(0));
        assert_eq!(told.number("mark"), None);
        assert_eq!(told.values("netns").count(), 2);
    }
}
