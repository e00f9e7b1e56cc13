//! A compiled program for one datapath, with errors that show their place in the source.

use ccp_program::{BindError, Limits, Program, RegisterTable, verify};

use crate::Compiled;
use crate::error::{Diagnostics, Errors, Problem};

impl Compiled {
    /// The program bound to the registers `table` of the datapath called `datapath`, which has room
    /// for `limits`.
    ///
    /// # Errors
    /// For each name of what the datapath does not have, where it stands first; or if the program is
    /// larger than what it has room for.
    pub fn bind(
        &self,
        source: &str,
        table: &RegisterTable,
        limits: &Limits,
        datapath: &str,
    ) -> Result<Program, Diagnostics> {
        let mut errors = Errors::default();
        self.lacking(table, datapath, &mut errors);
        // It fails for what was just reported, and for nothing else.
        if let Ok(bound) = self.program.bind(table) {
            match verify(&bound, limits) {
                Ok(()) => return Ok(bound),
                Err(error) => {
                    let message = error.to_string().replace("this datapath", datapath);
                    let span = self.map.too_far(&bound, limits);
                    errors.push(span.unwrap_or_default(), Problem::Target { message });
                }
            }
        }
        Err(errors.finish(source))
    }

    /// What to say of a program that its datapath refuses as a whole, for what `message` tells.
    #[must_use]
    pub fn refused(&self, source: &str, message: String) -> Diagnostics {
        let mut errors = Errors::default();
        let first = self.map.clause(0).unwrap_or_default();
        errors.push(first, Problem::Target { message });
        errors.finish(source)
    }

    /// Reports what the datapath with the registers `table` does not have of what the program uses.
    pub(crate) fn lacking(&self, table: &RegisterTable, datapath: &str, errors: &mut Errors) {
        for error in self.program.unbound(table) {
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
            let span = self.map.register(&name).unwrap_or_default();
            errors.push(span, Problem::Target { message });
        }
    }
}
