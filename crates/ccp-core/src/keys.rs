//! A TOML file as it is written: keys looked up one by one, everything that is wrong collected with
//! its place. What nobody asked for is unknown, and refused. The daemon's configuration and the
//! simulator's scenarios are read with it.
//!
//! ```
//! use ccp_core::SourceText;
//! use ccp_core::keys::{Source, read};
//!
//! let text = SourceText::new("a.toml", "[pond]\ndepth = 12\nducks = 0\nfrogz = 1");
//! let wrong = read(&text, |root, _| {
//!     let pond = root.section("pond")?;
//!     let ducks = pond.integer("ducks", 1..=9, "ducks").map(|found| found.value);
//!     let _frogs = pond.integer("frogs", 0..=9, "frogs");
//!     let _depth = pond.number("depth", 0.5..=2.0, "metres");
//!     pond.finish();
//!     root.finish();
//!     ducks
//! })
//! .unwrap_err();
//! assert_eq!(
//!     wrong.to_string(),
//!     "a.toml:2:9: pond.depth = 12: must be a number of metres from 0.5 to 2\n\
//!      a.toml:3:9: pond.ducks = 0: must be a whole number of ducks from 1 to 9\n\
//!      a.toml:4:1: pond.frogz: there is no key `frogz`; did you mean `frogs`?"
//! );
//! ```

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::near::near;
use crate::source::SourceText;

mod problem;

pub use problem::{Problem, Problems};

/// Reads `text` with `read`, which gets the file's root and says what it means.
///
/// # Errors
/// With everything that is wrong, in the order of the file: that it is not TOML, or what `read` found.
/// Also if `read` gives nothing, which it must not without having found something wrong.
pub fn read<T>(
    text: &SourceText,
    read: impl FnOnce(Section<'_>, &Source) -> Option<T>,
) -> Result<T, Problems> {
    let source = Source::new(text.clone());
    let (table, errors) = DeTable::parse_recoverable(text.text());
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        source.problem(&span, format_args!("not TOML: {}", error.message()));
    }
    // After a slip in the notation what was read is a guess: say nothing more about it.
    let meaning = if errors.is_empty() {
        read(Section::root(&source, &table), &source)
    } else {
        None
    };
    let problems = source.into_problems();
    match meaning {
        Some(meaning) if problems.is_empty() => Ok(meaning),
        _ => Err(Problems(problems)),
    }
}

/// The text of a file and what was found wrong with it so far.
#[derive(Debug)]
pub struct Source {
    text: SourceText,
    problems: RefCell<Vec<Problem>>,
}

impl Source {
    /// `text`, with nothing wrong so far.
    #[must_use]
    pub const fn new(text: SourceText) -> Self {
        Self {
            text,
            problems: RefCell::new(Vec::new()),
        }
    }

    /// The text.
    #[must_use]
    pub const fn text(&self) -> &SourceText {
        &self.text
    }

    /// Notes that what is written at `span` is wrong.
    pub fn problem(&self, span: &Range<usize>, text: impl fmt::Display) {
        let position = self.text.position(span.start);
        self.note(Problem::new(&self.text, position, text));
    }

    /// Notes a problem that was found elsewhere.
    pub fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Everything found, in the order of the file.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(Problem::place);
        problems
    }

    /// The text of a value, as it is written; shortened if it goes on for long.
    fn written(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 60;
        let text = self.text.text().get(span.clone()).unwrap_or("");
        let line = text.lines().next().unwrap_or("");
        let mut short: String = line.chars().take(LONGEST).collect();
        if short.len() < text.len() {
            short.push_str("...");
        }
        short
    }
}

/// A table: reads its keys and knows which were asked for.
#[derive(Debug)]
pub struct Section<'d> {
    source: &'d Source,
    /// Its name in messages, such as `policy.rule[0]`; empty for the whole file.
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
    asked: RefCell<Vec<String>>,
}

/// A value with its name and place.
#[derive(Debug)]
pub struct Found<'d, T> {
    source: &'d Source,
    path: String,
    /// Where the value stands.
    pub span: Range<usize>,
    /// The value.
    pub value: T,
}

impl<'d> Section<'d> {
    /// The whole file.
    #[must_use]
    pub fn root(source: &'d Source, table: &'d Spanned<DeTable<'d>>) -> Self {
        Self::new(source, String::new(), table.span(), table.get_ref())
    }

    const fn new(
        source: &'d Source,
        path: String,
        span: Range<usize>,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self {
            source,
            path,
            span,
            table,
            asked: RefCell::new(Vec::new()),
        }
    }

    /// Where the value of `key` stands; the table itself if it is not there.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        let value = self.table.iter().find(|(k, _)| k.get_ref() == key);
        value.map_or_else(|| self.span.clone(), |(_, value)| value.span())
    }

    /// Its name in messages.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name of `key` in messages.
    fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(k, _)| k.get_ref() == key)
    }

    /// Whatever stands at `key`.
    fn find(&self, key: &str) -> Option<Found<'d, &'d DeValue<'d>>> {
        self.asked.borrow_mut().push(key.to_owned());
        let (_, value) = self.table.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(Found {
            source: self.source,
            path: self.name_of(key),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// A text.
    pub fn text(&self, key: &str, expected: impl fmt::Display) -> Option<Found<'d, &'d str>> {
        let found = self.find(key)?;
        match found.value {
            DeValue::String(text) => Some(found.with(text.as_ref())),
            _ => found.wrong(expected),
        }
    }

    /// A text that has to be one of `choices`.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<String> = choices.iter().map(|(n, _)| format!("\"{n}\"")).collect();
        let expected = format!("one of {}", names.join(", "));
        let found = self.text(key, &expected)?;
        match choices.iter().find(|(name, _)| *name == found.value) {
            Some((_, value)) => Some(*value),
            None => found.wrong(expected),
        }
    }

    /// A whole number within `range`, counting `unit` (nothing, if that is empty).
    pub fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<Found<'d, u64>> {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number{} from {least} to {most}", of(unit));
        let found = self.whole_number(key, &expected)?;
        if range.contains(&found.value) {
            Some(found)
        } else {
            found.wrong(expected)
        }
    }

    /// A whole number.
    pub fn whole_number(&self, key: &str, expected: impl fmt::Display) -> Option<Found<'d, u64>> {
        let found = self.find(key)?;
        let number = found.value.as_integer();
        match number.and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok()) {
            Some(value) => Some(found.with(value)),
            None => found.wrong(expected),
        }
    }

    /// A number within `range`, whole or not, counting `unit`.
    pub fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        unit: &str,
    ) -> Option<Found<'d, f64>> {
        self.find(key)?.number(&range, unit)
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<Found<'d, bool>> {
        let found = self.find(key)?;
        match found.value {
            DeValue::Boolean(value) => Some(found.with(*value)),
            _ => found.wrong("true or false"),
        }
    }

    /// Texts in a list.
    pub fn texts(&self, key: &str, expected: impl fmt::Display) -> Option<Vec<Found<'d, &'d str>>> {
        let items = self.items(key, expected)?;
        let item = |item: Found<'d, &'d DeValue<'d>>| match item.value {
            DeValue::String(text) => Some(item.with(text.as_ref())),
            _ => item.wrong("a text"),
        };
        items.into_iter().map(item).collect()
    }

    /// Numbers within `range`, whole or not, in a list.
    pub fn numbers(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        unit: &str,
    ) -> Option<Vec<Found<'d, f64>>> {
        let items = self.items(key, format_args!("a list of numbers{}", of(unit)))?;
        let number = |item: Found<'d, &'d DeValue<'d>>| item.number(&range, unit);
        items.into_iter().map(number).collect()
    }

    fn items(
        &self,
        key: &str,
        expected: impl fmt::Display,
    ) -> Option<Vec<Found<'d, &'d DeValue<'d>>>> {
        let found = self.find(key)?;
        let DeValue::Array(array) = found.value else {
            return found.wrong(expected);
        };
        let item = |(index, item): (usize, &'d Spanned<DeValue<'d>>)| Found {
            source: self.source,
            path: format!("{}[{index}]", found.path),
            span: item.span(),
            value: item.get_ref(),
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A text, or a whole number as it is written: what can be given either way.
    pub fn text_or_integer(
        &self,
        key: &str,
        expected: impl fmt::Display,
    ) -> Option<Found<'d, &'d str>> {
        self.find(key)?.text_or_integer(expected)
    }

    /// Texts, or whole numbers as they are written, in a list; or one of them alone.
    pub fn one_or_more(
        &self,
        key: &str,
        expected: impl fmt::Display,
    ) -> Option<Vec<Found<'d, &'d str>>> {
        let found = self.find(key)?;
        if !matches!(found.value, DeValue::Array(_)) {
            return found.text_or_integer(expected).map(|one| vec![one]);
        }
        let items = self.items(key, &expected)?;
        let item = |item: Found<'d, &'d DeValue<'d>>| item.text_or_integer(&expected);
        items.into_iter().map(item).collect()
    }

    /// As [`text_or_integer`](Self::text_or_integer), where a number may also be written as TOML writes
    /// hexadecimal ones: `0x1f`.
    pub fn text_or_any_integer(
        &self,
        key: &str,
        expected: impl fmt::Display,
    ) -> Option<Found<'d, Cow<'d, str>>> {
        let found = self.find(key)?;
        match found.value {
            DeValue::String(text) => Some(found.with(Cow::Borrowed(text.as_ref()))),
            DeValue::Integer(number) if number.radix() == 10 => {
                let text = number.as_str();
                Some(found.with(Cow::Borrowed(text)))
            }
            DeValue::Integer(number) if number.radix() == 16 => {
                let text = format!("0x{}", number.as_str());
                Some(found.with(Cow::Owned(text)))
            }
            _ => found.wrong(expected),
        }
    }

    /// A table within this one.
    pub fn section(&self, key: &str) -> Option<Self> {
        let found = self.find(key)?;
        match found.value {
            DeValue::Table(table) => Some(Self::new(found.source, found.path, found.span, table)),
            _ => found.wrong("a table"),
        }
    }

    /// Tables written as `[[key]]`. `None` if there is not one.
    pub fn sections(&self, key: &str) -> Option<Vec<Self>> {
        let found = self.find(key)?;
        let expected = format!("given as [[{}]]", self.name_of(key));
        let DeValue::Array(array) = found.value else {
            found.problem(format!("{}: must be {expected}", found.path));
            return None;
        };
        let mut sections = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", found.path);
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Self::new(self.source, path, item.span(), table));
                }
                _ => {
                    return Found {
                        source: self.source,
                        path,
                        span: item.span(),
                        value: (),
                    }
                    .wrong(expected);
                }
            }
        }
        Some(sections)
    }

    /// The names of what is in it, in the order of the file.
    pub fn names(&self) -> Vec<&'d str> {
        let mut names: Vec<_> = self.table.keys().collect();
        names.sort_by_key(|name| name.span().start);
        names
            .into_iter()
            .map(|name| name.get_ref().as_ref())
            .collect()
    }

    /// Something that has to be there is not.
    pub fn missing(&self, key: &str, what: impl fmt::Display) {
        self.source.problem(
            &self.span,
            format!("{} is missing: {what}", self.name_of(key)),
        );
    }

    /// What stands at `key` is wrong for the reason `why`.
    pub fn refuse(&self, key: &str, why: impl fmt::Display) {
        let span = self.span_of(key);
        let written = self.source.written(&span);
        let text = format!("{} = {written}: {why}", self.name_of(key));
        self.source.problem(&span, text);
    }

    /// All is read: what was not asked for is unknown.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !asked.iter().any(|a| a == name) {
                let mut known: Vec<&str> = asked.iter().map(String::as_str).collect();
                known.sort_unstable();
                known.dedup();
                let text = unknown(&self.name_of(name), name, "key", &known);
                self.source.problem(&key.span(), text);
            }
        }
    }
}

impl<'d> Found<'d, &'d DeValue<'d>> {
    fn text_or_integer(self, expected: impl fmt::Display) -> Option<Found<'d, &'d str>> {
        match self.value {
            DeValue::String(text) => Some(self.with(text.as_ref())),
            DeValue::Integer(number) if number.radix() == 10 => {
                let text = number.as_str();
                Some(self.with(text))
            }
            _ => self.wrong(expected),
        }
    }

    fn number(self, range: &RangeInclusive<f64>, unit: &str) -> Option<Found<'d, f64>> {
        let number = match self.value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(value) => Some(self.with(value)),
            None => {
                let (least, most) = (range.start(), range.end());
                self.wrong(format_args!("a number{} from {least} to {most}", of(unit)))
            }
        }
    }
}

impl<'d, T> Found<'d, T> {
    fn with<U>(self, value: U) -> Found<'d, U> {
        Found {
            source: self.source,
            path: self.path,
            span: self.span,
            value,
        }
    }

    /// The value is not what it has to be. Always `None`, so that it can be returned.
    pub fn wrong<U>(&self, expected: impl fmt::Display) -> Option<U> {
        self.refused(format_args!("must be {expected}"))
    }

    /// The value is wrong for the reason `why`. Always `None`, so that it can be returned.
    pub fn refused<U>(&self, why: impl fmt::Display) -> Option<U> {
        let written = self.source.written(&self.span);
        self.problem(format!("{} = {written}: {why}", self.path));
        None
    }

    /// The value stands for something that does not exist. Always `None`.
    pub fn no_such<U>(&self, what: &str, name: &str, known: &[&str]) -> Option<U> {
        let written = self.source.written(&self.span);
        let text = unknown(&format!("{} = {written}", self.path), name, what, known);
        self.problem(text);
        None
    }

    fn problem(&self, text: String) {
        self.source.problem(&self.span, text);
    }
}

/// ` of apples`.
fn of(unit: &str) -> String {
    if unit.is_empty() {
        String::new()
    } else {
        format!(" of {unit}")
    }
}

/// `place: there is no such key; did you mean ...`.
fn unknown(place: &str, name: &str, what: &str, known: &[&str]) -> String {
    let mut text = format!("{place}: there is no {what} `{name}`");
    if let Some(near) = near(name, known.iter().copied()) {
        text.push_str(&format!("; did you mean `{near}`?"));
    } else if known.is_empty() {
        text.push_str(" here");
    } else {
        let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
        text.push_str(&format!("; there is {}", list.join(", ")));
    }
    text
}
