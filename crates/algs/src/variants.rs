//! One algorithm for every datapath: a program that uses what kernel TCP measures, and one that
//! makes do with libccp's base set.

use ccp_core::{CompiledProgram, NewFlow};

/// A program together with the places of its fields.
pub(crate) trait Program {
    /// The program itself.
    fn code(&self) -> &CompiledProgram;
}

/// The two programs of an algorithm.
#[derive(Clone, Debug)]
pub(crate) struct Variants<P> {
    /// For datapaths that measure what it wants.
    pub(crate) full: P,
    /// For all others.
    pub(crate) base: P,
}

impl<P: Program> Variants<P> {
    /// Both, to be installed.
    pub(crate) fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.full.code().clone(), self.base.code().clone()]
    }

    /// One of the two is enough.
    pub(crate) fn fits(&self, runs: &dyn Fn(&CompiledProgram) -> bool) -> bool {
        runs(self.full.code()) || runs(self.base.code())
    }

    /// The better one of those that the flow's datapath runs.
    pub(crate) fn choose(&self, flow: &NewFlow<'_>) -> &P {
        if flow.runs(self.full.code()) {
            &self.full
        } else {
            &self.base
        }
    }
}
