//! What must hold of any text given to the compiler. Used by the fuzz target `lang_compile` and by
//! ordinary tests.

use ccp_lang::{Compiled, Diagnostics, RegisterTable, libccp};
use ccp_program::interp::Registers;
use ccp_program::{Limits, verify};

/// Compiles `text`. There is a program that every datapath takes, or errors with good places;
/// nothing panics. In its usual shape it is the same program.
pub(crate) fn compile(text: &[u8]) {
    let source = String::from_utf8_lossy(text);
    match ccp_lang::format(&source) {
        Ok(formatted) => {
            assert_eq!(ccp_lang::format(&formatted).as_ref(), Ok(&formatted));
            let table = RegisterTable::well_known();
            let program = |text: &str| {
                let compiled = ccp_lang::compile(text, &table).ok();
                compiled.map(|compiled| compiled.program)
            };
            assert_eq!(program(&source), program(&formatted));
        }
        Err(errors) => assert!(!errors.is_empty()),
    }
    match ccp_lang::compile(&source, &RegisterTable::well_known()) {
        Ok(compiled) => runs(&compiled, &source),
        Err(errors) => {
            assert!(!errors.is_empty());
            places(&errors, &source);
        }
    }
}

fn runs(compiled: &Compiled, source: &str) {
    places(&compiled.warnings, source);
    let program = &compiled.program;
    verify(program, &Limits::MAX).expect("compiled programs pass the verifier");
    assert!(!ccp_lang::listing(program).is_empty());
    for (index, clause) in program.clauses.iter().enumerate() {
        let place = compiled
            .map
            .clause(index)
            .expect("every clause has a place");
        assert!(
            source
                .get(place.start as usize..place.end as usize)
                .is_some()
        );
        let last = (clause.condition.len() + clause.body.len()).checked_sub(1);
        assert!(last.is_none_or(|last| compiled.map.inst(index, last).is_some()));
    }
    let mut registers = Registers::new(program, 0);
    for now in [1, 1 << 20, u64::MAX] {
        let prims = vec![now; program.primitives.len()];
        if registers
            .invoke(program, &prims, now)
            .is_ok_and(|o| o.report)
        {
            registers.reported(program);
        }
    }
    match libccp::lower(program) {
        Ok(code) => {
            assert!(code.instructions.len() <= libccp::MAX_INSTRUCTIONS);
            assert!(!libccp::listing(&code).is_empty());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let errors = libccp::lower_compiled(compiled, source).expect_err("the same");
            places(&errors, source);
        }
    }
}

fn places(diagnostics: &Diagnostics, source: &str) {
    let mut before = 0;
    for diagnostic in diagnostics {
        let (start, end) = (diagnostic.span.start as usize, diagnostic.span.end as usize);
        // A place that begins or ends within a character is at most one byte of it.
        assert!(start <= end && end <= source.len() + 1);
        assert!(start >= before);
        before = start;
        assert!(diagnostic.position.line >= 1 && diagnostic.position.column >= 1);
        assert!(!diagnostic.message.is_empty());
    }
    for text in [
        diagnostics.render(source, "fuzz.ccp"),
        diagnostics.render_coloured(source, "fuzz.ccp", 80),
        diagnostics.render_short("fuzz.ccp"),
        diagnostics.render_json("fuzz.ccp"),
    ] {
        assert_eq!(text.is_empty(), diagnostics.is_empty());
    }
}
