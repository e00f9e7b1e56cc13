//! What can be wrong with a program: found by the stages, put into words here, drawn in
//! `render.rs`.

use std::fmt;

use ccp_program::Type;

use crate::scan::{MAX_DEPTH, MAX_SOURCE};
use crate::span::{Lines, Position, Span};

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

/// Every kind of mistake, with what is needed to explain it.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    // The text as a whole.
    TooLong {
        len: usize,
    },
    TooDeep,
    UnexpectedClose,
    Unclosed {
        count: usize,
    },
    Stray {
        text: String,
    },
    More {
        count: usize,
        severity: Severity,
    },
    // The shape.
    MissingDef,
    LateDef,
    SecondDef,
    NoClause,
    NotAClause {
        word: String,
        near: Option<String>,
    },
    DeclShape {
        in_report: bool,
    },
    ReportShape,
    SecondReport,
    DefaultNotLiteral {
        name: String,
    },
    NoCondition,
    EmptyBody,
    EmptyList,
    HeadNotOperator,
    UnknownOperator {
        word: String,
        near: Option<String>,
        alone: bool,
    },
    Misplaced {
        word: String,
    },
    Operands {
        sign: String,
        wanted: &'static str,
        got: usize,
    },
    TargetNotName,
    BadNumber {
        text: String,
    },
    NumberTooLarge,
    // Names.
    ReservedName {
        name: String,
    },
    TakenName {
        name: String,
        by: &'static str,
    },
    DuplicateName {
        name: String,
    },
    UnknownName {
        name: String,
        near: Option<String>,
    },
    UnknownTarget {
        name: String,
        near: Option<String>,
    },
    ReadOnly {
        name: String,
    },
    // Types and places.
    Assigned {
        name: String,
        wanted: Type,
        got: Type,
    },
    Operand {
        sign: String,
        wanted: Type,
        got: Type,
    },
    Comparison {
        sign: String,
        left: Type,
        right: Type,
    },
    NoValue {
        sign: &'static str,
    },
    IfTakesOneValue {
        got: usize,
    },
    EffectInCondition {
        what: &'static str,
    },
    EwmaWeight {
        weight: u64,
    },
    ReportsNothing,
    // Too much.
    TooMany {
        what: &'static str,
        got: usize,
        limit: usize,
    },
    Target {
        message: String,
    },
    Refused {
        why: String,
    },
    // Warnings.
    NeverReached,
    NeverTrue,
    NeverReports,
    NoEffect,
    NeverRead {
        name: String,
        near: Option<String>,
    },
}

impl Problem {
    fn severity(&self) -> Severity {
        match self {
            Self::NeverReached
            | Self::NeverTrue
            | Self::NeverReports
            | Self::NoEffect
            | Self::NeverRead { .. } => Severity::Warning,
            Self::More { severity, .. } => *severity,
            _ => Severity::Error,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::TooDeep => "too-deep",
            Self::UnexpectedClose => "unexpected-bracket",
            Self::Unclosed { .. } => "unclosed-bracket",
            Self::Stray { .. } => "stray-text",
            Self::More { .. } => "more",
            Self::MissingDef => "missing-def",
            Self::LateDef => "late-def",
            Self::SecondDef => "second-def",
            Self::NoClause => "no-clause",
            Self::NotAClause { .. } => "not-a-clause",
            Self::DeclShape { .. } => "declaration-shape",
            Self::ReportShape => "report-shape",
            Self::SecondReport => "second-report",
            Self::DefaultNotLiteral { .. } => "default-not-constant",
            Self::NoCondition => "no-condition",
            Self::EmptyBody => "empty-body",
            Self::EmptyList => "empty-brackets",
            Self::HeadNotOperator => "operator-expected",
            Self::UnknownOperator { .. } => "unknown-operator",
            Self::Misplaced { .. } => "misplaced",
            Self::Operands { .. } => "operand-count",
            Self::TargetNotName => "target-not-name",
            Self::BadNumber { .. } => "bad-number",
            Self::NumberTooLarge => "number-too-large",
            Self::ReservedName { .. } => "reserved-name",
            Self::TakenName { .. } => "taken-name",
            Self::DuplicateName { .. } => "duplicate-name",
            Self::UnknownName { .. } => "unknown-name",
            Self::UnknownTarget { .. } => "unknown-target",
            Self::ReadOnly { .. } => "read-only",
            Self::Assigned { .. } => "assigned-type",
            Self::Operand { .. } => "operand-type",
            Self::Comparison { .. } => "comparison-type",
            Self::NoValue { .. } => "no-value",
            Self::IfTakesOneValue { .. } => "if-one-value",
            Self::EffectInCondition { .. } => "effect-in-condition",
            Self::EwmaWeight { .. } => "ewma-weight",
            Self::ReportsNothing => "reports-nothing",
            Self::TooMany { .. } => "too-many",
            Self::Target { .. } => "target",
            Self::Refused { .. } => "refused",
            Self::NeverReached => "never-reached",
            Self::NeverTrue => "never-true",
            Self::NeverReports => "never-reports",
            Self::NoEffect => "no-effect",
            Self::NeverRead { .. } => "never-read",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::TooLong { len } => {
                format!("the program is {len} bytes long; at most {MAX_SOURCE} are compiled")
            }
            Self::TooDeep => format!("brackets are nested more than {MAX_DEPTH} deep"),
            Self::UnexpectedClose => "this bracket closes nothing".into(),
            Self::Unclosed { .. } => "this bracket is never closed".into(),
            Self::Stray { text } => format!("`{text}` has no meaning in a program"),
            Self::More { count: 1, severity } => format!("1 more {severity} is not shown"),
            Self::More { count, severity } => format!("{count} more {severity}s are not shown"),
            Self::MissingDef => "a program begins with `(def …)`".into(),
            Self::LateDef => "`(def …)` comes before the clauses".into(),
            Self::SecondDef => "a program has one `(def …)`".into(),
            Self::NoClause => "the program has no `(when …)` clause".into(),
            Self::NotAClause { word, .. } => {
                format!("I was expecting a `(when …)` clause here, not {word}")
            }
            Self::DeclShape { .. } => "I was expecting a declaration here".into(),
            Self::ReportShape => "`(Report …)` needs at least one variable".into(),
            Self::SecondReport => "a program has one `(Report …)` block".into(),
            Self::DefaultNotLiteral { name } => {
                format!("the default of `{name}` must be a constant")
            }
            Self::NoCondition => "this clause has no condition".into(),
            Self::EmptyBody => "there is no statement here".into(),
            Self::EmptyList => "there is nothing between these brackets".into(),
            Self::HeadNotOperator => "I was expecting an operator after the bracket".into(),
            Self::UnknownOperator { word, .. } => format!("unknown operator `{word}`"),
            Self::Misplaced { word } => format!("`({word} …)` cannot stand inside another form"),
            Self::Operands { sign, wanted, got } => {
                format!("`{sign}` takes {wanted}, here are {got}")
            }
            Self::TargetNotName => "only a name can be assigned to".into(),
            Self::BadNumber { text } => format!("`{text}` is neither a number nor a name"),
            Self::NumberTooLarge => "this number does not fit 64 bits".into(),
            Self::ReservedName { name } => format!("the name `{name}` is reserved"),
            Self::TakenName { name, by: "" } => {
                format!("`{name}` would be a measurement, not a variable")
            }
            Self::TakenName { name, by } => format!("`{name}` is {by} already"),
            Self::DuplicateName { name } => format!("`{name}` is declared twice"),
            Self::UnknownName { name, .. } => format!("unknown {} `{name}`", kind_of(name)),
            Self::UnknownTarget { name, .. } if name.starts_with("Report.") => {
                format!("`{name}` is not declared as a report variable")
            }
            Self::UnknownTarget { name, .. } => format!("unknown {} `{name}`", kind_of(name)),
            Self::ReadOnly { name } => format!("`{name}` is measured, it cannot be assigned to"),
            Self::Assigned { name, wanted, got } => {
                format!("`{name}` is a {wanted}, but a {got} is assigned to it")
            }
            Self::Operand { sign, wanted, got } => {
                format!("`{sign}` works on {wanted}s, but this is a {got}")
            }
            Self::Comparison { sign, left, right } => {
                format!("`{sign}` compares a {left} with a {right}")
            }
            Self::NoValue { sign } => format!("`({sign} …)` has no value of its own"),
            Self::IfTakesOneValue { got } => {
                format!("`if` as a value takes one value, here are {got}")
            }
            Self::EffectInCondition { what } => format!("a condition cannot contain {what}"),
            Self::EwmaWeight { weight } => {
                format!("the weight of `ewma` is in tenths, 0 to 10; {weight} would always fault")
            }
            Self::ReportsNothing => "the program reports but has no report variable".into(),
            Self::TooMany { what, got, limit } => {
                format!("the program has {got} {what}; {limit} is the limit")
            }
            Self::Target { message } => message.clone(),
            Self::Refused { why } => format!("the program is refused: {why}"),
            Self::NeverReached => "this clause is never reached".into(),
            Self::NeverTrue => "this condition is never true".into(),
            Self::NeverReports => "the program never reports".into(),
            Self::NoEffect => "this statement has no effect".into(),
            Self::NeverRead { name, .. } => {
                format!("the local variable `{name}` is assigned but never read")
            }
        }
    }

    fn label(&self) -> String {
        let did_you_mean = |near: &Option<String>| match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => String::new(),
        };
        match self {
            Self::Unclosed { count: 1 } => "opened here".into(),
            Self::Unclosed { count } => format!("opened here; {count} are open at the end"),
            Self::NotAClause { near, .. }
            | Self::UnknownOperator { near, .. }
            | Self::UnknownName { near, .. }
            | Self::UnknownTarget { near, .. }
            | Self::NeverRead { near, .. } => did_you_mean(near),
            Self::Operand { wanted, .. } => format!("a {wanted} is needed here"),
            Self::NeverReached => "the clause before it is always true and stops here".into(),
            Self::NeverReports => "no clause says `(report)`".into(),
            _ => String::new(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooDeep => "keep intermediate results in variables".into(),
            Self::MissingDef => {
                "declare the variables first: `(def (Report (volatile acked 0)))`".into()
            }
            Self::Stray { text } if text.starts_with('-') => {
                "numbers are never negative: subtract instead".into()
            }
            Self::NoClause => "add one, such as `(when true (report))`".into(),
            Self::DeclShape { in_report: true } => {
                "write `(name default)` or `(volatile name default)`".into()
            }
            Self::DeclShape { in_report: false } => {
                "write `(name default)`, `(volatile name default)` or `(Report …)`".into()
            }
            Self::DefaultNotLiteral { .. } => {
                "write a number, `+infinity`, `true` or `false`".into()
            }
            Self::UnknownOperator { word, alone, .. } => match word.as_str() {
                "=" => "`:=` assigns, `==` compares".into(),
                "not" | "!" => "write `(== x false)`, or `!if` for `if not`".into(),
                "else" => "write a second `!if` with the same condition".into(),
                "%" | "mod" => "there is no remainder; `(- a (* (/ a b) b))` is the same".into(),
                _ if *alone => format!("a name alone needs no brackets: `{word}`"),
                _ => return None,
            },
            Self::Misplaced { .. } => "is a bracket before it not closed?".into(),
            Self::Operands { sign, .. } => match sign.as_str() {
                ":=" | "bind" => "write `(:= name value)`".into(),
                "if" | "!if" => {
                    "write `(:= x (if condition value))` or `(if condition (report))`".into()
                }
                "report" | "fallthrough" | "reset" => format!("write `({sign})`"),
                _ => format!("write `({sign} a b)`; nest for more: `({sign} ({sign} a b) c)`"),
            },
            Self::IfTakesOneValue { .. } => {
                "for the other case write a second assignment with `!if`".into()
            }
            Self::BadNumber { text } => match unit(text) {
                Some(micros) => format!("times are in microseconds: `{micros}`"),
                None if text.parse::<f64>().is_ok() => {
                    "there are no fractions: multiply first, then divide, `(/ (* 5 x) 4)`".into()
                }
                None => "a name begins with a letter; a number is decimal digits only".into(),
            },
            Self::TargetNotName => "a name is letters, digits, `.` and `_`".into(),
            Self::NumberTooLarge => format!("the largest number is {}, `+infinity`", u64::MAX),
            Self::ReservedName { name } if name.starts_with("__") => {
                "names beginning with `__` are the compiler's own".into()
            }
            Self::ReservedName { .. } | Self::TakenName { .. } => "choose another name".into(),
            Self::UnknownName { near: None, name } if kind_of(name) == "name" => format!(
                "declare it in `(def …)`: `({name} 0)`, or assign to it somewhere: `(:= {name} …)`"
            ),
            Self::UnknownName { near: None, name } | Self::UnknownTarget { near: None, name }
                if name.starts_with("Report.") =>
            {
                let short = name.strip_prefix("Report.").unwrap_or(name);
                format!("declare it: `(def (Report ({short} 0)))`")
            }
            Self::ReadOnly { .. } => "assign to a variable of your own instead".into(),
            Self::Assigned {
                wanted: Type::Bool, ..
            } => "compare to get a boolean: `(> x 0)`".into(),
            Self::Assigned {
                wanted: Type::Num, ..
            } => "numbers are not booleans: `(:= x (if condition 1))`".into(),
            Self::Operand {
                wanted: Type::Bool, ..
            } => "compare to get a boolean: `(> x 0)`".into(),
            Self::NoValue { sign: "if" | "!if" } => {
                "`if` is the right side of an assignment, `(:= x (if condition value))`, or a \
                 statement, `(if condition (report))`"
                    .into()
            }
            Self::NoValue { sign: "ewma" } => {
                "`ewma` is the right side of an assignment: `(:= x (ewma 8 sample))`".into()
            }
            Self::NoValue { .. } => "it is a statement: give it a place of its own".into(),
            Self::EffectInCondition { .. } => "move it into the body of a clause".into(),
            Self::ReportsNothing => {
                "an empty report means that the flow was closed; declare what to report: \
                 `(def (Report (volatile acked 0)))`"
                    .into()
            }
            Self::NeverReached => "say `(fallthrough)` in the clause before".into(),
            _ => return None,
        })
    }
}

/// What a name that begins like `name` would be.
fn kind_of(name: &str) -> &'static str {
    if name.starts_with("Report.") {
        "report variable"
    } else if name.starts_with("Flow.") || name.starts_with("Ack.") {
        "measurement"
    } else {
        "name"
    }
}

/// The microseconds of a number with a unit of time.
fn unit(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let scale = match text.get(digits.len()..)? {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}
