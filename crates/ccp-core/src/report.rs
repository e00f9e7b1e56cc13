//! What a program reported.

use crate::fields::{ReportStruct, Reports};
use crate::program::{CompiledProgram, FieldValue, ReportField};

/// One report: the values of its program's report variables.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    program: &'a CompiledProgram,
    fields: &'a [u64],
    merged: u64,
}

impl<'a> Report<'a> {
    /// The values `fields` of `program`'s report variables; `merged` earlier reports could not be
    /// sent and are contained in this one.
    ///
    /// `None` if there are not as many values as the program has report variables.
    #[must_use]
    pub fn new(program: &'a CompiledProgram, fields: &'a [u64], merged: u64) -> Option<Self> {
        (fields.len() == program.ir().reports.len()).then_some(Self {
            program,
            fields,
            merged,
        })
    }

    /// The program that reported: the one that the flow runs.
    #[must_use]
    pub const fn program(&self) -> &'a CompiledProgram {
        self.program
    }

    /// The values as a struct, whose places [`CompiledProgram::reports`] found. Nothing is looked
    /// up, nothing allocated.
    ///
    /// # Panics
    /// If `reports` belongs to another program and this one has fewer variables. A flow that runs
    /// several programs looks at [`Report::program`] first.
    #[must_use]
    pub fn read<T: ReportStruct>(&self, reports: Reports<T>) -> T {
        T::read(self.fields, &reports.0)
    }

    /// The value of one report variable.
    ///
    /// # Panics
    /// If `field` belongs to another program and this one has fewer variables. A flow that runs
    /// several programs looks at [`Report::program`] first.
    #[must_use]
    pub fn get<T: FieldValue>(&self, field: ReportField<T>) -> T {
        match self.fields.get(usize::from(field.index)) {
            Some(bits) => T::from_bits(*bits),
            None => panic!(
                "field {} of another program than `{}`",
                field.index,
                self.program.name()
            ),
        }
    }

    /// All values, in the order of the program's report variables.
    #[must_use]
    pub const fn values(&self) -> &'a [u64] {
        self.fields
    }

    /// How many earlier reports could not be sent and are contained in this one.
    #[must_use]
    pub const fn merged(&self) -> u64 {
        self.merged
    }
}
