//! The parameters of one algorithm, as they stand in a configuration.

use std::fmt;
use std::ops::{Deref, Range, RangeInclusive};

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::near::near;
use crate::source::{Position, SourceText};

/// One algorithm's table in the configuration: `[algorithms.NAME]`.
///
/// ```
/// use ccp_core::Params;
/// #[derive(serde::Deserialize)]
/// struct Config {
///     cwnd_packets: u32,
/// }
/// let params = Params::parse_toml("slow", "cwnd_packets = 0")?;
/// let config: Config = params.parse()?;
/// let error = params
///     .check("cwnd_packets", config.cwnd_packets, 1..=1_000_000)
///     .unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "parameters of `slow`:1:16: algorithms.slow.cwnd_packets = 0: must be 1 to 1000000"
/// );
/// # Ok::<(), ccp_core::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Params {
    source: SourceText,
    name: String,
    kind: Spanned<String>,
    /// The tables from the top of the text down to this one; none if it is the text itself.
    path: Vec<String>,
    span: Range<usize>,
    /// Without `kind`.
    keys: Vec<Key>,
    /// Files that keys name, with their texts.
    files: Vec<(String, SourceText)>,
}

#[derive(Clone, Debug)]
struct Key {
    name: Spanned<String>,
    value: Range<usize>,
}

/// A parameter is wrong. One line: where, which key, its value, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ParamError(Box<ParamProblem>);

impl Deref for ParamError {
    type Target = ParamProblem;

    fn deref(&self) -> &ParamProblem {
        &self.0
    }
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamProblem {
    /// What the text that holds it is called.
    pub source_name: String,
    /// The line and column of the value, or of the table if the key is missing.
    pub position: Position,
    /// The same as bytes of the text.
    pub span: Range<usize>,
    /// The key with the tables that it stands in: `algorithms.slow.cwnd_packets`.
    pub key: String,
    /// The value as it was written; `None` if the key itself is wrong or missing.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for ParamProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source_name, self.position, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl Params {
    /// The table `[algorithms.NAME]` of the configuration `source`. The key `kind` is taken out of
    /// it; without one, the kind is `name`.
    ///
    /// # Errors
    /// If `source` is not TOML, has no such table, or `kind` is not a text.
    pub fn new(source: &SourceText, name: &str) -> Result<Self, ParamError> {
        Self::at(
            source.clone(),
            name,
            vec!["algorithms".to_owned(), name.to_owned()],
        )
    }

    /// The parameters `text`, the lines of a table, of the algorithm `name`.
    ///
    /// # Errors
    /// If `text` is not TOML, or its `kind` not a text.
    pub fn parse_toml(name: &str, text: &str) -> Result<Self, ParamError> {
        let source = SourceText::new(&format!("parameters of `{name}`"), text);
        Self::at(source, name, Vec::new())
    }

    fn at(source: SourceText, name: &str, path: Vec<String>) -> Result<Self, ParamError> {
        let whole = format!("algorithms.{name}");
        let (entries, span) = table(&source, &path, &whole)?;
        let mut kind = Spanned::new(span.clone(), name.to_owned());
        let mut keys = Vec::new();
        for (key, value) in &entries {
            if key.get_ref() != "kind" {
                keys.push(Key {
                    name: Spanned::new(key.span(), key.get_ref().to_string()),
                    value: value.span(),
                });
                continue;
            }
            let Some(text) = value.get_ref().as_str() else {
                return Err(error(
                    &source,
                    format!("{whole}.kind"),
                    value.span(),
                    Some(&value.span()),
                    "must be a text, the name of a kind".to_owned(),
                ));
            };
            kind = Spanned::new(value.span(), text.to_owned());
        }
        drop(entries);
        Ok(Self {
            source,
            name: name.to_owned(),
            kind,
            path,
            span,
            keys,
            files: Vec::new(),
        })
    }

    /// No parameter at all: every default of the kind `kind`, under the name `kind`.
    #[must_use]
    pub fn empty(kind: &str) -> Self {
        Self {
            source: SourceText::new(&format!("parameters of `{kind}`"), ""),
            name: kind.to_owned(),
            kind: Spanned::new(0..0, kind.to_owned()),
            path: Vec::new(),
            span: 0..0,
            keys: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The same with other values for some keys, or with further ones: `overrides` has the keys and
    /// their values as in TOML; a value that is none is taken for a text. The name tells them, so that
    /// the algorithm can be told from the one without.
    ///
    /// # Errors
    /// If that can't be read. Whether the keys exist and the values are allowed, the algorithm's code
    /// says.
    pub fn overridden(&self, overrides: &[(String, String)]) -> Result<Self, ParamError> {
        let overridden = |(key, _): &(&str, &str)| !overrides.iter().any(|(k, _)| k == key);
        let mut lines = vec![format!("kind = {}", quoted(self.kind()))];
        for (key, value) in self.entries().filter(overridden) {
            lines.push(format!("{} = {value}", quoted(key)));
        }
        let mut told = Vec::new();
        for (key, value) in overrides {
            let value = match DeValue::parse(value) {
                Ok(_) => value.clone(),
                Err(_) => quoted(value),
            };
            lines.push(format!("{} = {value}", quoted(key)));
            told.push(format!("{key}={value}"));
        }
        let name = format!("{}({})", self.name, told.join(","));
        let mut params = Self::parse_toml(&name, &lines.join("\n"))?;
        let named_as_before = |key: &str| !overrides.iter().any(|(k, _)| k == key);
        let files = self.files.iter().filter(|(key, _)| named_as_before(key));
        params.files = files.cloned().collect();
        Ok(params)
    }

    /// Whether `other` has the same kind, the same values for the same keys, and the same text in the
    /// files that they name.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let values = |params: &Self| params.parse::<toml::Table>();
        let files = |params: &Self| -> Vec<_> {
            let files = params.files.iter();
            files
                .map(|(key, file)| (key.clone(), file.text().to_owned()))
                .collect()
        };
        self.kind() == other.kind()
            && files(self) == files(other)
            && values(self).is_ok_and(|ours| values(other).is_ok_and(|theirs| ours == theirs))
    }

    /// The algorithm's name: the table's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind: the code.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind.get_ref()
    }

    /// Every key but `kind`, with its value as it is written.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().map(|key| {
            let value = self.source.text().get(key.value.clone());
            (key.name.get_ref().as_str(), value.unwrap_or_default())
        })
    }

    /// Adds the text of the file that the value of `key` names. Files are opened by who reads the
    /// configuration, for kinds that take them: the algorithms themselves do no IO.
    pub fn attach(&mut self, key: &str, text: SourceText) {
        self.files.retain(|(named_by, _)| named_by != key);
        self.files.push((key.to_owned(), text));
    }

    /// The text of the file that the value of `key` names; `None` if it was not read.
    #[must_use]
    pub fn file(&self, key: &str) -> Option<&SourceText> {
        let file = self.files.iter().find(|(named_by, _)| named_by == key);
        file.map(|(_, text)| text)
    }

    /// The value of `key` if it is there and a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        let (entries, _) = table(&self.source, &self.path, &self.name).ok()?;
        entries.get(key)?.get_ref().as_str().map(str::to_owned)
    }

    /// The parameters as a `T`. A key that `T` does not have is refused, whether `T` says
    /// `deny_unknown_fields` or not.
    ///
    /// # Errors
    /// At the first key that is unknown, missing, or has a value of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ParamError> {
        let mut unknown = None;
        let (mut entries, span) = table(&self.source, &self.path, &self.name)?;
        entries.remove("kind");
        let strict = Strict {
            params: self,
            inner: Spanned::new(span, DeValue::Table(entries)).into(),
            unknown: &mut unknown,
        };
        let parsed = T::deserialize(strict);
        if let Some(error) = unknown {
            return Err(error);
        }
        parsed.map_err(|wrong| self.located(&wrong))
    }

    /// `value` if it is in `allowed`.
    ///
    /// # Errors
    /// With the key's place and the allowed range if it is not.
    pub fn check<T: PartialOrd + fmt::Display>(
        &self,
        key: &str,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, ParamError> {
        if allowed.contains(&value) {
            Ok(value)
        } else {
            let (least, most) = allowed.into_inner();
            Err(self.refuse(key, format_args!("must be {least} to {most}")))
        }
    }

    /// The error that the value of `key` is wrong because of `reason`. If the key is not there, the
    /// error points at the table.
    #[must_use]
    pub fn refuse(&self, key: &str, reason: impl fmt::Display) -> ParamError {
        let value = self.keys.iter().find(|k| k.name.get_ref() == key);
        let value = value.map(|key| &key.value);
        error(
            &self.source,
            self.path(key),
            value.unwrap_or(&self.span).clone(),
            value,
            reason.to_string(),
        )
    }

    /// As [`refuse`](Self::refuse), for a value that is long, or a text of which `reason` shows what is
    /// wrong: without the value.
    #[must_use]
    pub fn refuse_without_value(&self, key: &str, reason: impl fmt::Display) -> ParamError {
        let value = self.keys.iter().find(|k| k.name.get_ref() == key);
        error(
            &self.source,
            self.path(key),
            value.map_or(&self.span, |key| &key.value).clone(),
            None,
            reason.to_string(),
        )
    }

    /// The error that the table as a whole is wrong because of `reason`.
    #[must_use]
    pub fn refuse_all(&self, reason: impl fmt::Display) -> ParamError {
        error(
            &self.source,
            format!("algorithms.{}", self.name),
            self.span.clone(),
            None,
            reason.to_string(),
        )
    }

    /// The error that the kind is wrong because of `reason`.
    pub(crate) fn refuse_kind(&self, reason: impl fmt::Display) -> ParamError {
        error(
            &self.source,
            self.path("kind"),
            self.kind.span(),
            None,
            reason.to_string(),
        )
    }

    fn path(&self, key: &str) -> String {
        format!("algorithms.{}.{key}", self.name)
    }

    /// What deserialising says, with the key it belongs to: the one whose value it points into.
    fn located(&self, wrong: &toml::de::Error) -> ParamError {
        let span = wrong.span().unwrap_or_else(|| self.span.clone());
        let within = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
        match self.keys.iter().find(|key| within(&key.value)) {
            Some(key) => error(
                &self.source,
                self.path(key.name.get_ref()),
                span.clone(),
                Some(&span),
                wrong.message().to_owned(),
            ),
            None => self.refuse_all(wrong.message()),
        }
    }

    fn unknown_key(&self, fields: &'static [&'static str]) -> Option<ParamError> {
        let key = &self
            .keys
            .iter()
            .find(|key| !fields.contains(&key.name.get_ref().as_str()))?
            .name;
        let known = match fields {
            [] => format!("`{}` has no parameters", self.kind()),
            fields => format!("`{}` knows {}", self.kind(), fields.join(", ")),
        };
        let hint = near(key.get_ref(), fields.iter().copied())
            .map(|near| format!("did you mean `{near}`? "))
            .unwrap_or_default();
        Some(error(
            &self.source,
            self.path(key.get_ref()),
            key.span(),
            None,
            format!("no such key: {hint}{known}"),
        ))
    }
}

/// The table at `path` in `source`, and where it stands. Texts are short and parameters are read
/// once, so nothing parsed is kept.
fn table<'s>(
    source: &'s SourceText,
    path: &[String],
    whole: &str,
) -> Result<(DeTable<'s>, Range<usize>), ParamError> {
    let wrong = |span: Range<usize>, value: Option<&Range<usize>>, reason: String| {
        error(source, whole.to_owned(), span, value, reason)
    };
    let document = DeTable::parse(source.text())
        .map_err(|e| wrong(e.span().unwrap_or(0..0), None, e.message().to_owned()))?;
    let mut span = document.span();
    let mut entries = document.into_inner();
    for step in path {
        let Some(next) = entries.remove(step.as_str()) else {
            return Err(wrong(span, None, "there is no such table".to_owned()));
        };
        span = next.span();
        entries = match next.into_inner() {
            DeValue::Table(entries) => entries,
            other => {
                let reason = format!("must be a table, not {}", with_article(other.type_str()));
                return Err(wrong(span.clone(), Some(&span), reason));
            }
        };
    }
    Ok((entries, span))
}

fn error(
    source: &SourceText,
    key: String,
    span: Range<usize>,
    value: Option<&Range<usize>>,
    reason: String,
) -> ParamError {
    ParamError(Box::new(ParamProblem {
        source_name: source.name().to_owned(),
        position: source.position(span.start),
        value: value
            .and_then(|value| source.text().get(value.clone()))
            .map(|text| text.lines().next().unwrap_or_default().to_owned())
            .filter(|text| !text.is_empty()),
        span,
        key,
        reason,
    }))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

/// A table that refuses keys which the struct it becomes does not have.
struct Strict<'p> {
    params: &'p Params,
    inner: ValueDeserializer<'p>,
    unknown: &'p mut Option<ParamError>,
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = toml::de::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.unknown = self.params.unknown_key(fields);
        self.inner.deserialize_struct(name, fields, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 char str string seq
        bytes byte_buf map unit unit_struct tuple_struct tuple enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
