//! A compiled program for one datapath, with errors that show their place in the source.

use ccp_program::{BindError, Inst, Limits, Operand, Program, Reg, RegisterTable, verify};

use crate::Compiled;
use crate::error::{Diagnostics, Errors, Problem};
use crate::span::Span;

impl Compiled {
    /// The program bound to the registers `table` of the datapath called `datapath`, which has room
    /// for `limits`.
    ///
    /// # Errors
    /// At the first place that reads or writes what the datapath does not have; or if the program is
    /// larger than what it has room for.
    pub fn bind(
        &self,
        source: &str,
        table: &RegisterTable,
        limits: &Limits,
        datapath: &str,
    ) -> Result<Program, Diagnostics> {
        let mut errors = Errors::default();
        let bound = self.program.bind(table).map_err(|error| {
            let (name, message) = match error {
                BindError::NoPrimitive { name } => {
                    let message = format!("{datapath} does not measure `{name}`");
                    (name, message)
                }
                BindError::NoWritable { name } => {
                    let message = format!("{datapath} has no `{name}`");
                    (name, message)
                }
                BindError::OtherType { name, ours, theirs } => {
                    let message = format!("`{name}` is a {theirs} on {datapath}, not a {ours}");
                    (name, message)
                }
            };
            (self.first_use(&name), message)
        });
        let (span, message) = match bound {
            Err(problem) => problem,
            Ok(bound) => match verify(&bound, limits) {
                Ok(()) => return Ok(bound),
                Err(error) => (None, error.to_string().replace("this datapath", datapath)),
            },
        };
        errors.push(span.unwrap_or_default(), Problem::Target { message });
        Err(errors.finish(source))
    }

    /// Where the measurement or register `name` of the datapath is used first.
    #[must_use]
    pub fn first_use(&self, name: &str) -> Option<Span> {
        let place =
            |defs: &[ccp_program::RegisterDef]| defs.iter().position(|def| def.name == name);
        let primitive = place(&self.program.primitives);
        let writable = place(&self.program.writables);
        let is_it = |operand: Operand| match operand {
            Operand::Primitive(i) => primitive == Some(usize::from(i)),
            Operand::Reg(Reg::Writable(i)) => writable == Some(usize::from(i)),
            _ => false,
        };
        for (number, clause) in self.program.clauses.iter().enumerate() {
            let block = |insts: &[Inst], from: usize| {
                let found = insts.iter().position(|inst| uses(inst, &is_it))?;
                self.map.inst(number, from + found)
            };
            let found = block(&clause.condition, 0)
                .or_else(|| {
                    clause
                        .test
                        .filter(|t| is_it(*t))
                        .and_then(|_| self.map.clause(number))
                })
                .or_else(|| block(&clause.body, clause.condition.len()));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

fn uses(inst: &Inst, is_it: &impl Fn(Operand) -> bool) -> bool {
    match *inst {
        Inst::Binary { dst, a, b, .. } => is_it(dst.into()) || is_it(a) || is_it(b),
        Inst::Ewma {
            dst,
            weight,
            sample,
        } => is_it(dst.into()) || is_it(weight) || is_it(sample),
        Inst::Move { dst, src } => is_it(dst.into()) || is_it(src),
        Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => is_it(cond),
        Inst::Skip { .. } | Inst::Report | Inst::Fallthrough => false,
    }
}
