//! Every mistake that the compiler knows, and the words for it.

use ccp_program::{Fault, Type};

use super::Severity;
use crate::parse::{MAX_FRACTION, MAX_PHASE_US};
use crate::scan::{MAX_DEPTH, MAX_SOURCE};

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
    Invisible {
        character: char,
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
        /// The operator that follows it.
        infix: Option<String>,
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
    NumberTooLarge {
        time: bool,
    },
    ElseNotLast,
    OnlyElse {
        negated: bool,
    },
    PhaseShape,
    PhaseGain,
    PhaseLength,
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
    LikelyTypo {
        name: String,
        near: String,
    },
    NotHere {
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
    NoOtherValue {
        sign: &'static str,
    },
    IfTakesTwoValues {
        got: usize,
    },
    ElseInValue {
        negated: bool,
    },
    Branches {
        then: Type,
        otherwise: Type,
    },
    CycleGains,
    CycleNeeds {
        name: &'static str,
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
    ConstantCondition {
        always: bool,
    },
    AlwaysFaults {
        sign: String,
        fault: Fault,
    },
    RoundTripUnused,
    NeverReports,
    NoEffect,
    NeverRead {
        name: String,
    },
    Unused {
        name: String,
        report: bool,
    },
}

impl Problem {
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::NeverReached
            | Self::ConstantCondition { .. }
            | Self::AlwaysFaults { .. }
            | Self::RoundTripUnused
            | Self::NeverReports
            | Self::NoEffect
            | Self::NeverRead { .. }
            | Self::Unused { .. } => Severity::Warning,
            Self::More { severity, .. } => *severity,
            _ => Severity::Error,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::TooDeep => "too-deep",
            Self::UnexpectedClose => "unexpected-bracket",
            Self::Unclosed { .. } => "unclosed-bracket",
            Self::Stray { .. } => "stray-text",
            Self::Invisible { .. } => "invisible-character",
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
            Self::NumberTooLarge { .. } => "number-too-large",
            Self::ElseNotLast => "else-not-last",
            Self::OnlyElse { .. } => "only-else",
            Self::PhaseShape => "phase-shape",
            Self::PhaseGain => "phase-gain",
            Self::PhaseLength => "phase-length",
            Self::ReservedName { .. } => "reserved-name",
            Self::TakenName { .. } => "taken-name",
            Self::DuplicateName { .. } => "duplicate-name",
            Self::UnknownName { .. } => "unknown-name",
            Self::UnknownTarget { .. } => "unknown-target",
            Self::ReadOnly { .. } => "read-only",
            Self::LikelyTypo { .. } => "likely-typo",
            Self::NotHere { .. } => "not-here",
            Self::Assigned { .. } => "assigned-type",
            Self::Operand { .. } => "operand-type",
            Self::Comparison { .. } => "comparison-type",
            Self::NoValue { .. } => "no-value",
            Self::NoOtherValue { .. } => "no-other-value",
            Self::IfTakesTwoValues { .. } => "if-two-values",
            Self::ElseInValue { .. } => "else-in-value",
            Self::Branches { .. } => "branch-types",
            Self::CycleGains => "cycle-gains",
            Self::CycleNeeds { .. } => "cycle-needs",
            Self::EffectInCondition { .. } => "effect-in-condition",
            Self::EwmaWeight { .. } => "ewma-weight",
            Self::ReportsNothing => "reports-nothing",
            Self::TooMany { .. } => "too-many",
            Self::Target { .. } => "target",
            Self::Refused { .. } => "refused",
            Self::NeverReached => "never-reached",
            Self::ConstantCondition { always: false } => "never-true",
            Self::ConstantCondition { always: true } => "always-true",
            Self::AlwaysFaults { .. } => "always-faults",
            Self::RoundTripUnused => "round-trip-unused",
            Self::NeverReports => "never-reports",
            Self::NoEffect => "no-effect",
            Self::NeverRead { .. } => "never-read",
            Self::Unused { report: true, .. } => "never-assigned",
            Self::Unused { report: false, .. } => "unused-control",
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::TooLong { len } => {
                format!("the program is {len} bytes long; at most {MAX_SOURCE} are compiled")
            }
            Self::TooDeep => format!("brackets are nested more than {MAX_DEPTH} deep"),
            Self::UnexpectedClose => "this bracket closes nothing".into(),
            Self::Unclosed { .. } => "this bracket is never closed".into(),
            Self::Stray { text } => format!("`{text}` has no meaning in a program"),
            Self::Invisible { character } => {
                let kind = if character.is_whitespace() {
                    "space of another kind"
                } else {
                    "character that is not shown"
                };
                format!("there is a {kind} here, U+{:04X}", u32::from(*character))
            }
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
            Self::Misplaced { word } => match word.as_str() {
                "else" => "`(else …)` belongs into an `if` that is a statement".into(),
                "rtt" => "`(rtt …)` belongs into a cycle".into(),
                _ => format!("`({word} …)` cannot stand inside another form"),
            },
            Self::Operands { sign, wanted, got } => match got {
                0 => format!("`{sign}` takes {wanted}, here is none"),
                1 => format!("`{sign}` takes {wanted}, here is one"),
                _ => format!("`{sign}` takes {wanted}, here are {got}"),
            },
            Self::TargetNotName => "only a name can be assigned to".into(),
            Self::BadNumber { text } => format!("`{text}` is neither a number nor a name"),
            Self::NumberTooLarge { time: false } => "this number does not fit 64 bits".into(),
            Self::NumberTooLarge { time: true } => {
                "this time, in microseconds, does not fit 64 bits".into()
            }
            Self::ElseNotLast => "`(else …)` is the last thing in an `if`".into(),
            Self::OnlyElse { .. } => "this `if` does something in the other case only".into(),
            Self::PhaseShape => "I was expecting a phase of the cycle here".into(),
            Self::PhaseGain => {
                format!("a gain is above 0, and its parts are at most {MAX_FRACTION}")
            }
            Self::PhaseLength => format!(
                "a phase is longer than 0 and at most {MAX_PHASE_US} microseconds or \
                 {MAX_FRACTION} round trips"
            ),
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
            Self::LikelyTypo { name, .. } => format!("`{name}` is probably misspelt"),
            Self::NotHere { name } => format!("this datapath has no `{name}`"),
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
            Self::NoOtherValue { sign } => {
                format!("this `{sign}` has no value for the other case")
            }
            Self::IfTakesTwoValues { got } => {
                format!("`if` as a value takes one value or two, here are {got}")
            }
            Self::ElseInValue { .. } => "`(else …)` takes statements, here is a value".into(),
            Self::Branches { then, otherwise } => {
                format!("this is a {then} in one case and a {otherwise} in the other")
            }
            Self::CycleGains => "these gains have no common denominator of 32 bits".into(),
            Self::CycleNeeds { name } => {
                format!("`cycle` needs `{name}`, which is not measured here")
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
            Self::ConstantCondition { always: false } => "this condition is never true".into(),
            Self::ConstantCondition { always: true } => "this condition is always true".into(),
            Self::AlwaysFaults { sign, fault } => {
                let why = match fault {
                    Fault::Overflow => "the result does not fit 64 bits",
                    Fault::Underflow => "the result would be below zero",
                    Fault::DivisionByZero => "the divisor is zero",
                    Fault::Weight => "the weight is above 10",
                };
                format!("this `{sign}` always faults: {why}")
            }
            Self::RoundTripUnused => "no phase of this cycle is counted in round trips".into(),
            Self::NeverReports => "the program never reports".into(),
            Self::NoEffect => "this statement has no effect".into(),
            Self::NeverRead { name } => {
                format!("the local variable `{name}` is assigned but never read")
            }
            Self::Unused { name, report: true } => {
                format!("the report variable `{name}` is never assigned: it is always its default")
            }
            Self::Unused {
                name,
                report: false,
            } => format!("the control variable `{name}` is never read"),
        }
    }

    pub(super) fn label(&self) -> String {
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
            | Self::UnknownTarget { near, .. } => did_you_mean(near),
            Self::LikelyTypo { near, .. } => format!("did you mean `{near}`?"),
            Self::Operand { wanted, .. } => format!("a {wanted} is needed here"),
            Self::NeverReached => "the clause before it is always true and stops here".into(),
            Self::NeverReports => "no clause says `(report)`".into(),
            _ => String::new(),
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooDeep => "keep intermediate results in variables".into(),
            Self::MissingDef => {
                "declare the variables first: `(def (Report (volatile acked 0)))`".into()
            }
            Self::Stray { text } if text.starts_with('-') => {
                "numbers are never negative: subtract instead".into()
            }
            Self::Stray { text } => match text.as_str() {
                "=" => "write `(:= name value)`".into(),
                "+inf" | "+Infinity" | "inf" => "write `+infinity`".into(),
                _ if text.contains(['{', '}', '[', ']']) => {
                    "brackets are round: `(` and `)`".into()
                }
                _ if text.contains(['"', '\'']) => "there are numbers and booleans, no text".into(),
                _ if text.ends_with([';', ',']) => "spaces separate, nothing else".into(),
                _ => return None,
            },
            Self::Invisible { character } if character.is_whitespace() => {
                "write a usual space instead".into()
            }
            Self::Invisible { .. } => "take it out".into(),
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
            Self::UnknownOperator {
                word,
                infix: Some(sign),
                ..
            } => format!("the operator comes first: `({sign} {word} …)`"),
            Self::UnknownOperator { word, alone, .. } => match word.as_str() {
                "=" => "`:=` assigns, `==` compares".into(),
                "&" => "write `&&`; there are no operations on bits".into(),
                "|" => "write `||`; there are no operations on bits".into(),
                "<>" | "/=" | "=/=" => "write `!=`".into(),
                "<<" => "multiply by a power of two".into(),
                ">>" => "divide by a power of two".into(),
                "max_of" | "maximum" => "write `max`".into(),
                "min_of" | "minimum" => "write `min`".into(),
                "%" | "mod" => "there is no remainder; `(- a (* (/ a b) b))` is the same".into(),
                _ if *alone => format!("a name alone needs no brackets: `{word}`"),
                _ => return None,
            },
            Self::Misplaced { word } if word == "else" => {
                "it is the last thing there: `(if condition (report) (else (reset)))`".into()
            }
            Self::Misplaced { word } if word == "rtt" => {
                "it follows the base of a cycle: `(cycle base (rtt Report.minrtt) (5/4 1rtt) …)`"
                    .into()
            }
            Self::Misplaced { .. } => "is a bracket before it not closed?".into(),
            Self::Operands { sign, .. } => match sign.as_str() {
                ":=" | "bind" => "write `(:= name value)`".into(),
                "if" | "!if" => {
                    "write `(:= x (if condition value))` or `(if condition (report))`".into()
                }
                "report" | "fallthrough" | "reset" => format!("write `({sign})`"),
                "!" | "not" => format!("write `({sign} condition)`"),
                "cycle" => "write `(cycle base (5/4 1rtt) (3/4 10ms))`".into(),
                _ => format!("write `({sign} a b)`"),
            },
            Self::ElseNotLast => "move it to the end".into(),
            Self::OnlyElse { negated } => {
                let other = if *negated { "if" } else { "!if" };
                format!("write `({other} condition …)`")
            }
            Self::PhaseShape => {
                "a phase is a gain and how long it lasts: `(5/4 1rtt)`, `(0.75 10ms)`, `(1 6rtt)`"
                    .into()
            }
            Self::NoOtherValue { sign } => format!(
                "write `({sign} condition a b)`; only right after `(:= name` may the second be \
                 left out, which leaves the name as it is"
            ),
            Self::IfTakesTwoValues { .. } => {
                "write `(if condition a)` or `(if condition a b)`".into()
            }
            Self::ElseInValue { negated } => {
                let sign = if *negated { "!if" } else { "if" };
                format!("write `({sign} condition a b)`")
            }
            Self::AlwaysFaults {
                fault: Fault::Underflow,
                ..
            } => "`(-| a b)` is 0 where `b` is larger".into(),
            Self::CycleGains => "choose simpler fractions".into(),
            Self::RoundTripUnused => "leave `(rtt …)` out".into(),
            Self::BadNumber { text } if text.ends_with("rtt") => {
                "round trips are counted in `(cycle …)` only; elsewhere write \
                 `(* 2 Flow.rtt_sample_us)`"
                    .into()
            }
            Self::BadNumber { text } if fraction_of_time(text) => {
                "a time has no fraction: for 1.5 ms write `1500us`".into()
            }
            Self::BadNumber { text } if text.parse::<f64>().is_ok() => {
                "there are no fractions: multiply first, then divide, `(/ (* 5 x) 4)`".into()
            }
            Self::BadNumber { text } if text.contains('_') => {
                "`_` stands between two digits: `1_000_000`".into()
            }
            Self::BadNumber { .. } => {
                "a name begins with a letter; a number is decimal digits, a time has `us`, `ms` \
                 or `s` behind it"
                    .into()
            }
            Self::TargetNotName => "a name is letters, digits, `.` and `_`".into(),
            Self::NumberTooLarge { time: false } => {
                format!("the largest number is {}, `+infinity`", u64::MAX)
            }
            Self::ReservedName { name } if name.starts_with("__") => {
                "names beginning with `__` are the compiler's own".into()
            }
            Self::ReservedName { .. } | Self::TakenName { .. } => "choose another name".into(),
            Self::UnknownName { near: None, name } if name.eq_ignore_ascii_case("infinity") => {
                "write `+infinity`".into()
            }
            Self::UnknownName { near: None, name } if kind_of(name) == "name" => format!(
                "declare it in `(def …)`: `({name} 0)`, or assign to it somewhere: `(:= {name} …)`"
            ),
            Self::UnknownName { near: None, name } | Self::UnknownTarget { near: None, name }
                if name.starts_with("Report.") =>
            {
                let short = name.strip_prefix("Report.").unwrap_or(name);
                format!("declare it: `(def (Report ({short} 0)))`")
            }
            Self::LikelyTypo { .. } => {
                "if a new local variable is meant, choose a name that differs more".into()
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

/// Whether `text` is a time with a decimal fraction.
fn fraction_of_time(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(number.len()..).unwrap_or_default();
    matches!(unit, "us" | "ms" | "s") && number.parse::<f64>().is_ok()
}
