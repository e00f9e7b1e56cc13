use ccp_program::{Limits, RegisterTable, verify};

use crate::{Compiled, Diagnostics, compile};

mod cycle;
mod limits;
mod semantics;

/// Compiles, or fails the test with the rendered errors.
pub(crate) fn good(source: &str) -> Compiled {
    let compiled = match compile(source, &RegisterTable::well_known()) {
        Ok(compiled) => compiled,
        Err(errors) => panic!("{}", errors.render(source, "test.ccp")),
    };
    verify(&compiled.program, &Limits::MAX).expect("compiled programs pass the verifier");
    compiled
}

/// The errors of a program that must not compile.
pub(crate) fn bad(source: &str) -> Diagnostics {
    match compile(source, &RegisterTable::well_known()) {
        Ok(compiled) => panic!(
            "this compiled: {source}\n{}",
            crate::listing(&compiled.program)
        ),
        Err(errors) => {
            assert!(!errors.is_empty());
            errors
        }
    }
}
