//! Programs as algorithms hold them: compiled once, their fields resolved once.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ccp_program::{Program, RegisterTable, Type, Variable};
use ccp_types::{Bytes, Micros, Rate};
use thiserror::Error;

use crate::fields::{self, ControlStruct, FieldErrors, ReportStruct, Reports};

/// A program that has been compiled. Cheap to clone.
#[derive(Clone)]
pub struct CompiledProgram(Arc<Inner>);

struct Inner {
    name: String,
    program: Program,
    source: Option<Box<str>>,
    /// What the compiler warned of.
    warnings: Option<Box<str>>,
}

/// A program does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("program `{name}` does not compile:\n{text}")]
pub struct CompileError {
    /// The program's name.
    pub name: String,
    /// What is wrong, with line and column, as a person reads it.
    pub text: String,
}

/// A field handle was asked for by a name or type that the program does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("program `{program}` has no {what} `{name}` of type {ty}")]
pub struct NoSuchField {
    /// The program.
    pub program: String,
    /// `report variable` or `control variable`.
    pub what: &'static str,
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub ty: Type,
}

impl CompiledProgram {
    /// Compiles `source` against every measurement that this project knows.
    ///
    /// # Errors
    /// With line, column and reason if it does not compile.
    pub fn compile(name: &str, source: &str) -> Result<Self, CompileError> {
        Self::compile_for(name, source, &RegisterTable::well_known())
    }

    /// Compiles `source` against `table`, which may hold a transport's own measurements.
    ///
    /// # Errors
    /// With line, column and reason if it does not compile.
    pub fn compile_for(
        name: &str,
        source: &str,
        table: &RegisterTable,
    ) -> Result<Self, CompileError> {
        match ccp_lang::compile(source, table) {
            Ok(compiled) => {
                let warned = !compiled.warnings.is_empty();
                let warnings = warned.then(|| compiled.warnings.render(source, name));
                Ok(Self::made(
                    name,
                    compiled.program,
                    Some(source),
                    warnings.as_deref(),
                ))
            }
            Err(diagnostics) => Err(CompileError {
                name: name.to_owned(),
                text: diagnostics.render(source, name),
            }),
        }
    }

    /// A program that comes as intermediate form.
    #[must_use]
    pub fn from_ir(name: &str, program: Program) -> Self {
        Self::made(name, program, None, None)
    }

    fn made(name: &str, program: Program, source: Option<&str>, warnings: Option<&str>) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            program,
            source: source.map(Into::into),
            warnings: warnings.map(Into::into),
        }))
    }

    /// The same program, answering losses itself: the datapath neither reduces the window on
    /// entering recovery nor steers it while recovery lasts. Without this it does, at once.
    #[must_use]
    pub fn with_own_recovery(self) -> Self {
        let program = Program {
            own_recovery: true,
            ..self.0.program.clone()
        };
        Self::made(&self.0.name, program, self.source(), self.warnings())
    }

    /// Its name, for logs and listings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The text that it was compiled from; `None` if it came as intermediate form.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.0.source.as_deref()
    }

    /// What is not wrong in the text, but probably not meant, with line and column as a person reads it; `None`
    /// if there is nothing of the kind.
    #[must_use]
    pub fn warnings(&self) -> Option<&str> {
        self.0.warnings.as_deref()
    }

    /// Its intermediate form.
    #[must_use]
    pub fn ir(&self) -> &Program {
        &self.0.program
    }

    /// Whether `self` and `other` are the same program: a field of one is a field of the other.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.program == other.0.program
    }

    /// Where the fields of `T` are in this program's reports, for [`Report::read`].
    ///
    /// # Errors
    /// If `T` and the report variables do not agree: everything in which they differ.
    ///
    /// [`Report::read`]: crate::Report::read
    pub fn reports<T: ReportStruct>(&self) -> Result<Reports<T>, FieldErrors> {
        fields::reports(self)
    }

    /// The places of the control variables that `T` names.
    ///
    /// # Errors
    /// If one is missing or has another type: all that do.
    pub fn controls<T: ControlStruct>(&self) -> Result<T, FieldErrors> {
        fields::controls(self)
    }

    /// The report variable `name` (without `Report.`), for names that are not known when the
    /// algorithm is written; otherwise see [`CompiledProgram::reports`].
    ///
    /// # Errors
    /// If there is none of this name and type.
    pub fn report<T: FieldValue>(&self, name: &str) -> Result<ReportField<T>, NoSuchField> {
        let index = self.find::<T>("report variable", &self.0.program.reports, name)?;
        Ok(ReportField {
            index,
            value: PhantomData,
        })
    }

    /// The control variable `name`, for names that are not known when the algorithm is written;
    /// otherwise see [`CompiledProgram::controls`].
    ///
    /// # Errors
    /// If there is none of this name and type.
    pub fn control<T: FieldValue>(&self, name: &str) -> Result<ControlField<T>, NoSuchField> {
        let index = self.find::<T>("control variable", &self.0.program.controls, name)?;
        Ok(ControlField::new(index))
    }

    fn find<T: FieldValue>(
        &self,
        what: &'static str,
        among: &[Variable],
        name: &str,
    ) -> Result<u16, NoSuchField> {
        among
            .iter()
            .position(|v| v.name == name && v.ty == T::TYPE)
            .and_then(|index| u16::try_from(index).ok())
            .ok_or_else(|| NoSuchField {
                program: self.0.name.clone(),
                what,
                name: name.to_owned(),
                ty: T::TYPE,
            })
    }
}

impl fmt::Debug for CompiledProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompiledProgram")
            .field(&self.0.name)
            .finish()
    }
}

/// A value that a program's variable can hold.
#[diagnostic::on_unimplemented(
    message = "no variable of a program can hold a `{Self}`",
    note = "numbers are `u64`, `Bytes`, `Micros` or `Rate`, booleans are `bool`"
)]
pub trait FieldValue: Copy {
    /// The variable's type in the program.
    const TYPE: Type;
    /// From 64 bits.
    fn from_bits(bits: u64) -> Self;
    /// To 64 bits.
    fn into_bits(self) -> u64;
}

impl FieldValue for bool {
    const TYPE: Type = Type::Bool;
    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
    fn into_bits(self) -> u64 {
        u64::from(self)
    }
}

impl FieldValue for u64 {
    const TYPE: Type = Type::Num;
    fn from_bits(bits: u64) -> Self {
        bits
    }
    fn into_bits(self) -> u64 {
        self
    }
}

macro_rules! quantity_field {
    ($($name:ty),*) => {$(
        impl FieldValue for $name {
            const TYPE: Type = Type::Num;
            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }
            fn into_bits(self) -> u64 {
                self.0
            }
        }
    )*};
}

quantity_field!(Bytes, Rate, Micros);

/// The place of a report variable in its program's reports, and its type.
#[derive(Debug)]
pub struct ReportField<T> {
    pub(crate) index: u16,
    value: PhantomData<fn() -> T>,
}

/// The place of a control variable in its program, and its type.
#[derive(Debug)]
pub struct ControlField<T> {
    pub(crate) index: u16,
    value: PhantomData<fn(T)>,
}

impl<T> ControlField<T> {
    pub(crate) const fn new(index: u16) -> Self {
        Self {
            index,
            value: PhantomData,
        }
    }
}

impl<T> Clone for ReportField<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ReportField<T> {}
impl<T> Clone for ControlField<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ControlField<T> {}
