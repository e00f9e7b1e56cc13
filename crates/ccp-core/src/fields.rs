//! A program's variables as fields of structs: what `#[derive(Report)]` and `#[derive(Controls)]`
//! make, and how it is checked against the program.

use std::fmt;

use ccp_program::{Program, Type, Variable};
use thiserror::Error;

use crate::near::near;
use crate::program::{CompiledProgram, ControlField, FieldValue};

/// The values of one report as a struct: derive it.
///
/// Each field takes the report variable of its own name, or of the name in
/// `#[ccp(rename = "…")]`. It is a [`u64`], [`Bytes`](ccp_types::Bytes),
/// [`Micros`](ccp_types::Micros) or [`Rate`](ccp_types::Rate) for a number, a [`bool`] for a
/// boolean, or an [`Option`] of one of these for a variable that not every program has.
/// [`CompiledProgram::reports`] looks the names up, once, and refuses a struct that does not fit:
/// also one that leaves a variable of the program out, unless it says `#[ccp(partial)]`.
///
/// ```
/// use ccp_core::{CompiledProgram, Micros, Report};
///
/// #[derive(Debug, PartialEq, Report)]
/// struct Seen {
///     acked: u64,
///     #[ccp(rename = "minrtt")]
///     min_rtt: Micros,
///     timeout: bool,
/// }
///
/// let program = CompiledProgram::compile("seen", "
///     (def (Report (volatile acked 0) (volatile minrtt +infinity) (volatile timeout false)))
///     (when true
///         (:= Report.acked (+ Report.acked Ack.bytes_acked))
///         (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
///         (:= Report.timeout (|| Report.timeout Flow.was_timeout))
///         (report))")?;
/// let seen = program.reports::<Seen>()?;
///
/// let report = Report::new(&program, &[1448, 20_000, 0], 0).ok_or("three values")?;
/// let expected = Seen { acked: 1448, min_rtt: Micros(20_000), timeout: false };
/// assert_eq!(report.read(seen), expected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the values of a report",
    note = "add `#[derive(Report)]` to it"
)]
pub trait ReportStruct: Sized {
    #[doc(hidden)]
    type Places: Copy + fmt::Debug + Send + Sync;
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    const PARTIAL: bool;
    #[doc(hidden)]
    fn places(find: &mut FindReports<'_>) -> Self::Places;
    #[doc(hidden)]
    fn read(values: &[u64], places: &Self::Places) -> Self;
}

/// The places of control variables as a struct: derive it.
///
/// Each field is a [`ControlField`] for the control variable of its own name, or of the name in
/// `#[ccp(rename = "…")]`; an [`Option`] of one for a variable that not every program has; or, with
/// `#[ccp(flatten)]`, another such struct. [`CompiledProgram::controls`] looks the names up, once;
/// [`Updates::set`](crate::Updates::set) takes the fields. A program may have control variables
/// that no field takes: they keep their defaults.
///
/// ```
/// use ccp_core::{Bytes, CompiledProgram, ControlField, Controls, Updates};
///
/// #[derive(Clone, Copy, Controls)]
/// struct Knobs {
///     ssthresh: ControlField<Bytes>,
///     probing: ControlField<bool>,
///     segment: Option<ControlField<u64>>,
/// }
///
/// let program = CompiledProgram::compile("knobs", "
///     (def (Report (cwnd 0)) (ssthresh +infinity) (probing true))
///     (when (&& probing (< Cwnd ssthresh))
///         (:= Cwnd (+ Cwnd Ack.bytes_acked))
///         (:= Report.cwnd Cwnd)
///         (report))")?;
/// let knobs = program.controls::<Knobs>()?;
/// let updates = Updates::none().set(knobs.ssthresh, Bytes(14_480)).set(knobs.probing, false);
/// assert!(knobs.segment.is_none());
/// # let _ = updates;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the places of control variables",
    note = "add `#[derive(Controls)]` to it"
)]
pub trait ControlStruct: Sized {
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    fn places(find: &mut FindControls<'_>) -> Option<Self>;
}

/// The type of a field of a [`ReportStruct`].
#[diagnostic::on_unimplemented(
    message = "a report variable cannot be read as `{Self}`",
    label = "not the type of a report variable",
    note = "numbers are `u64`, `Bytes`, `Micros` or `Rate`, booleans are `bool`; an `Option` of one \
            of these is a variable that not every program has"
)]
pub trait ReportValue {
    #[doc(hidden)]
    const TYPE: Type;
    #[doc(hidden)]
    const REQUIRED: bool;
    #[doc(hidden)]
    fn read(values: &[u64], place: u16) -> Self;
}

impl<T: FieldValue> ReportValue for T {
    const TYPE: Type = T::TYPE;
    const REQUIRED: bool = true;
    fn read(values: &[u64], place: u16) -> Self {
        match values.get(usize::from(place)) {
            Some(bits) => T::from_bits(*bits),
            None => panic!("a report of another program: it has no value {place}"),
        }
    }
}

impl<T: FieldValue> ReportValue for Option<T> {
    const TYPE: Type = T::TYPE;
    const REQUIRED: bool = false;
    fn read(values: &[u64], place: u16) -> Self {
        (place != NOWHERE).then(|| T::read(values, place))
    }
}

/// The type of a field of a [`ControlStruct`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the place of a control variable",
    label = "not the place of a control variable",
    note = "a field is a `ControlField<T>`, or an `Option` of one for a variable that not every \
            program has; with `#[ccp(flatten)]` it is another struct with `#[derive(Controls)]`"
)]
pub trait ControlPlace: Sized {
    #[doc(hidden)]
    const TYPE: Type;
    #[doc(hidden)]
    const REQUIRED: bool;
    #[doc(hidden)]
    fn at(place: Option<u16>) -> Option<Self>;
}

impl<T: FieldValue> ControlPlace for ControlField<T> {
    const TYPE: Type = T::TYPE;
    const REQUIRED: bool = true;
    fn at(place: Option<u16>) -> Option<Self> {
        place.map(Self::new)
    }
}

impl<T: FieldValue> ControlPlace for Option<ControlField<T>> {
    const TYPE: Type = T::TYPE;
    const REQUIRED: bool = false;
    fn at(place: Option<u16>) -> Option<Self> {
        Some(place.map(ControlField::new))
    }
}

/// Where the values of a `T` are in the reports of one program.
#[derive(Debug)]
pub struct Reports<T: ReportStruct>(pub(crate) T::Places);

impl<T: ReportStruct> Clone for Reports<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: ReportStruct> Copy for Reports<T> {}

/// The place of a variable that the program does not have.
const NOWHERE: u16 = u16::MAX;

/// A struct does not fit a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` does not fit the program `{program}`:{}", Lines(problems))]
pub struct FieldErrors {
    /// The program.
    pub program: String,
    /// The struct.
    pub name: &'static str,
    /// Everything in which they differ; not empty.
    pub problems: Vec<FieldProblem>,
}

/// In what a struct does not fit a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// The program has no such variable.
    #[error("no {what} `{variable}` for the field `{field}`{}", hint(near.as_deref()))]
    Missing {
        /// `report variable` or `control variable`.
        what: &'static str,
        /// The field; with its struct if that is a part of another.
        field: String,
        /// The variable that it takes.
        variable: &'static str,
        /// The variable that may have been meant.
        near: Option<String>,
    },
    /// The variable has another type than the field.
    #[error("the {what} `{variable}` is a {got}, the field `{field}` takes a {wanted}")]
    Type {
        /// `report variable` or `control variable`.
        what: &'static str,
        /// The field; with its struct if that is a part of another.
        field: String,
        /// The variable that it takes.
        variable: &'static str,
        /// The type of the field.
        wanted: Type,
        /// The type of the variable.
        got: Type,
    },
    /// A report variable that no field takes.
    #[error(
        "no field takes the report variable `{variable}`: add one, or say `#[ccp(partial)]` if it \
         is not needed"
    )]
    Untaken {
        /// The variable.
        variable: String,
    },
}

struct Lines<'p>(&'p [FieldProblem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Looks up one list of variables and collects what is wrong.
struct Find<'p> {
    what: &'static str,
    among: &'p [Variable],
    problems: Vec<FieldProblem>,
}

impl Find<'_> {
    fn place(
        &mut self,
        field: impl Fn() -> String,
        variable: &'static str,
        wanted: Type,
        required: bool,
    ) -> Option<u16> {
        let what = self.what;
        let found = self.among.iter().position(|v| v.name == variable);
        let Some((place, got)) = found.and_then(|at| Some((at, self.among.get(at)?.ty))) else {
            if required {
                let names = self.among.iter().map(|v| v.name.as_str());
                self.problems.push(FieldProblem::Missing {
                    what,
                    field: field(),
                    variable,
                    near: near(variable, names).map(str::to_owned),
                });
            }
            return None;
        };
        if got != wanted {
            self.problems.push(FieldProblem::Type {
                what,
                field: field(),
                variable,
                wanted,
                got,
            });
        }
        // A program has no more than a few hundred variables.
        u16::try_from(place).ok()
    }
}

/// Looks up report variables for `#[derive(Report)]`.
#[doc(hidden)]
pub struct FindReports<'p> {
    find: Find<'p>,
    taken: Vec<bool>,
}

impl FindReports<'_> {
    #[doc(hidden)]
    pub fn field<T: ReportValue>(&mut self, field: &'static str, variable: &'static str) -> u16 {
        let name = || field.to_owned();
        let place = self.find.place(name, variable, T::TYPE, T::REQUIRED);
        let Some(place) = place else { return NOWHERE };
        if let Some(taken) = self.taken.get_mut(usize::from(place)) {
            *taken = true;
        }
        place
    }
}

/// Looks up control variables for `#[derive(Controls)]`.
#[doc(hidden)]
pub struct FindControls<'p> {
    find: Find<'p>,
    outer: &'static str,
}

impl FindControls<'_> {
    #[doc(hidden)]
    pub fn field<T: ControlPlace>(
        &mut self,
        of: &'static str,
        field: &'static str,
        variable: &'static str,
    ) -> Option<T> {
        let name = || match of == self.outer {
            true => field.to_owned(),
            false => format!("{of}::{field}"),
        };
        T::at(self.find.place(name, variable, T::TYPE, T::REQUIRED))
    }

    #[doc(hidden)]
    pub fn flatten<T: ControlStruct>(&mut self) -> Option<T> {
        T::places(self)
    }
}

/// [`CompiledProgram::reports`].
pub(crate) fn reports<T: ReportStruct>(
    program: &CompiledProgram,
) -> Result<Reports<T>, FieldErrors> {
    let Program { reports, .. } = program.ir();
    let mut find = FindReports {
        find: Find {
            what: "report variable",
            among: reports,
            problems: Vec::new(),
        },
        taken: vec![false; reports.len()],
    };
    let places = T::places(&mut find);
    let mut problems = find.find.problems;
    if !T::PARTIAL {
        let untaken = reports
            .iter()
            .zip(&find.taken)
            .filter(|(_, taken)| !**taken);
        problems.extend(untaken.map(|(variable, _)| FieldProblem::Untaken {
            variable: variable.name.clone(),
        }));
    }
    if problems.is_empty() {
        Ok(Reports(places))
    } else {
        Err(errors(program, T::NAME, problems))
    }
}

/// [`CompiledProgram::controls`].
pub(crate) fn controls<T: ControlStruct>(program: &CompiledProgram) -> Result<T, FieldErrors> {
    let mut find = FindControls {
        find: Find {
            what: "control variable",
            among: &program.ir().controls,
            problems: Vec::new(),
        },
        outer: T::NAME,
    };
    let places = T::places(&mut find);
    match (places, find.find.problems) {
        (Some(places), problems) if problems.is_empty() => Ok(places),
        (_, problems) => Err(errors(program, T::NAME, problems)),
    }
}

fn errors(
    program: &CompiledProgram,
    name: &'static str,
    problems: Vec<FieldProblem>,
) -> FieldErrors {
    FieldErrors {
        program: program.name().to_owned(),
        name,
        problems,
    }
}

#[cfg(test)]
mod tests;
