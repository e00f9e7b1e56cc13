//! What can be wrong with a program: found by the stages, put into words in `problem.rs`, drawn in
//! `render.rs`.

use std::fmt;

use crate::span::{Lines, Position, Span};

mod problem;

pub(crate) use problem::Problem;

/// How many errors one run tells; the rest is counted.
const MAX_ERRORS: usize = 20;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// There is no program.
    Error,
    /// There is a program, which probably does not do what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong, in words, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A short, lasting name of this kind of mistake, such as `unknown-name`.
    pub code: &'static str,
    /// What is wrong, in one line, in the program's own words.
    pub message: String,
    /// What to say right beside the place; may be empty.
    pub label: String,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
    /// The place, in bytes of the source.
    pub span: Span,
    /// Where the place begins.
    pub position: Position,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{line}:{column}: {}: {}", self.severity, self.message)?;
        if !self.label.is_empty() {
            write!(f, ": {}", self.label)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a program, in the order of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their text, without colours: message, place, the lines with marks, what to do. `name` is
    /// what the source is called, such as its file's name.
    #[must_use]
    pub fn render(&self, source: &str, name: &str) -> String {
        crate::render::plain(&self.0, source, name)
    }

    /// The same with the escape sequences for colours, for a terminal of `width` columns.
    #[must_use]
    pub fn render_coloured(&self, source: &str, name: &str, width: usize) -> String {
        crate::render::coloured(&self.0, source, name, width)
    }

    /// One line for each, as editors read them: `name:line:column: error[code]: message: label`.
    #[must_use]
    pub fn render_short(&self, name: &str) -> String {
        crate::render::short(&self.0, name)
    }

    /// One line with a JSON object for each. Its fields, always present:
    ///
    /// | field | |
    /// |---|---|
    /// | `severity` | `"error"` or `"warning"` |
    /// | `code` | lasting name of this kind of mistake ([`Diagnostic::code`]) |
    /// | `message` | what is wrong |
    /// | `label` | what to say beside the place, or `null` |
    /// | `hint` | what to do, or `null` |
    /// | `file` | `name` |
    /// | `span` | `{"start": …, "end": …}`: bytes of the source, `end` not included |
    /// | `line`, `column` | where it begins, both from 1; columns count characters |
    #[must_use]
    pub fn render_json(&self, name: &str) -> String {
        crate::render::json(&self.0, name)
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line for each.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects what the stages find.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    errors: Found,
    warnings: Found,
}

#[derive(Debug, Default)]
struct Found {
    list: Vec<(Span, Problem)>,
    count: usize,
}

impl Errors {
    pub(crate) fn push(&mut self, span: Span, problem: Problem) {
        let found = match problem.severity() {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        found.count += 1;
        // What is beyond is only counted, so that hostile text cannot fill memory. Some more than
        // are shown are kept: stages come one after the other, not in the order of the source.
        if found.list.len() < 4 * MAX_ERRORS {
            found.list.push((span, problem));
        }
    }

    /// Whether there is an error.
    pub(crate) fn any(&self) -> bool {
        self.errors.count > 0
    }

    /// Whether so much was found that suggestions are not worth their time any more.
    pub(crate) fn many(&self) -> bool {
        self.errors.count.max(self.warnings.count) > MAX_ERRORS
    }

    /// The errors if there is any, otherwise the warnings; in the order of the source.
    pub(crate) fn finish(self, source: &str) -> Diagnostics {
        let Found { mut list, count } = if self.any() {
            self.errors
        } else {
            self.warnings
        };
        if list.is_empty() {
            return Diagnostics::default();
        }
        list.sort_by_key(|(span, _)| (span.start, span.end));
        list.truncate(MAX_ERRORS);
        if let Some((span, last)) = list.last() {
            let (span, severity) = (*span, last.severity());
            if count > list.len() {
                let count = count - list.len();
                list.push((span, Problem::More { count, severity }));
            }
        }
        let lines = Lines::new(source);
        let explain = |(span, problem): (Span, Problem)| Diagnostic {
            severity: problem.severity(),
            code: problem.code(),
            message: problem.message(),
            label: problem.label(),
            hint: problem.hint(),
            span,
            position: lines.position(span.start),
        };
        Diagnostics(list.into_iter().map(explain).collect())
    }
}

/// A word of the program for a message, cut if it is very long.
pub(crate) fn short(word: &str) -> String {
    match word.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", word.get(..at).unwrap_or_default()),
        None => word.to_owned(),
    }
}
