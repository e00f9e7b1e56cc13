//! A line of the log that waits to be written: what an event says, kept beyond the event.

use std::error::Error;
use std::fmt;
use std::mem::size_of;
use std::time::SystemTime;

use tracing::field::{DisplayValue, Field, Value, Visit, display};
use tracing::{Event, Metadata};

/// An event that was taken down.
#[derive(Debug)]
pub(super) struct Line {
    at: SystemTime,
    metadata: &'static Metadata<'static>,
    /// In the order of the event's fields; those that it left out are not there.
    values: Vec<(Field, Kept)>,
    bytes: usize,
}

/// A value of a field, as the event gave it: numbers stay numbers.
#[derive(Debug)]
enum Kept {
    Signed(i64),
    Unsigned(u64),
    LongSigned(i128),
    LongUnsigned(u128),
    Float(f64),
    Bool(bool),
    Text(String),
    Error(Box<dyn Error + Send + Sync>),
    /// What has only a form for people.
    Shown(DisplayValue<String>),
}

impl Line {
    /// What `event`, which happens now, says.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self {
            at: SystemTime::now(),
            metadata,
            values: Vec::with_capacity(metadata.fields().len()),
            bytes: size_of::<Self>(),
        };
        event.record(&mut line);
        line
    }

    /// When it happened.
    pub(super) const fn at(&self) -> SystemTime {
        self.at
    }

    /// About how much memory it takes, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has `write` write the event again.
    pub(super) fn event(&self, write: impl FnOnce(&Event<'_>)) {
        let fields = self.metadata.fields();
        let mut values: Vec<Option<&dyn Value>> = vec![None; fields.len()];
        for (field, kept) in &self.values {
            if let Some(value) = values.get_mut(field.index()) {
                *value = Some(kept.value());
            }
        }
        // What the macros of `tracing` themselves expand to: it is as stable as they are.
        let values = fields.value_set_all(&values);
        write(&Event::new(self.metadata, &values));
    }

    fn keep(&mut self, field: &Field, kept: Kept, more: usize) {
        self.bytes += size_of::<(Field, Kept)>() + more;
        self.values.push((field.clone(), kept));
    }
}

impl Kept {
    fn value(&self) -> &dyn Value {
        match self {
            Self::Signed(value) => value,
            Self::Unsigned(value) => value,
            Self::LongSigned(value) => value,
            Self::LongUnsigned(value) => value,
            Self::Float(value) => value,
            Self::Bool(value) => value,
            Self::Text(text) => text,
            Self::Error(error) => error,
            Self::Shown(text) => text,
        }
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, Kept::Float(value), 0);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, Kept::Signed(value), 0);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, Kept::Unsigned(value), 0);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.keep(field, Kept::LongSigned(value), 0);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.keep(field, Kept::LongUnsigned(value), 0);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, Kept::Bool(value), 0);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, Kept::Text(value.to_owned()), value.len());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let said = Said::of(value);
        let bytes = said.bytes();
        self.keep(field, Kept::Error(Box::new(said)), bytes);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let bytes = text.len();
        self.keep(field, Kept::Shown(display(text)), bytes);
    }
}

/// What an error and its causes said.
#[derive(Debug)]
struct Said {
    text: String,
    cause: Option<Box<Self>>,
}

impl Said {
    fn of(error: &(dyn Error + 'static)) -> Self {
        Self {
            text: error.to_string(),
            cause: error.source().map(|cause| Box::new(Self::of(cause))),
        }
    }

    fn bytes(&self) -> usize {
        let cause = self.cause.as_ref().map_or(0, |cause| cause.bytes());
        size_of::<Self>() + self.text.len() + cause
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Said {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &dyn Error)
    }
}
