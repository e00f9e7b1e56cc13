//! Published programs do what is published of them; the libccp target takes each.

use std::collections::BTreeMap;

use ccp_lang::{RegisterTable, compile, libccp};
use ccp_program::{Program, interp::Registers};

mod scripts;

use scripts::{Machine, Measured, PUBLISHED};

/// The reference semantics of the IR.
struct Reference {
    program: Program,
    registers: Option<Registers>,
    updates: Vec<(usize, u64)>,
}

impl Machine for Reference {
    fn set(&mut self, control: &str, value: u64) {
        let place = self.program.controls.iter().position(|c| c.name == control);
        self.updates.push((place.expect("declared"), value));
    }

    fn ack(
        &mut self,
        measured: &Measured,
        window: &mut [u64; 2],
        now_us: u64,
    ) -> Option<BTreeMap<String, u64>> {
        let Self {
            program,
            registers,
            updates,
        } = self;
        let registers = registers.get_or_insert_with(|| Registers::new(program, now_us));
        for (place, value) in updates.drain(..) {
            registers.control[place] = value;
        }
        registers.writable.copy_from_slice(window);
        let values: Vec<u64> = program
            .primitives
            .iter()
            .map(|def| measured.get(&def.name))
            .collect();
        let done = registers
            .invoke(program, &values, now_us)
            .expect("no fault");
        window.copy_from_slice(&registers.writable);
        if !done.report {
            return None;
        }
        let names = program.reports.iter().map(|v| v.name.clone());
        let report = names.zip(registers.report.iter().copied()).collect();
        registers.reported(program);
        Some(report)
    }
}

#[test]
fn they_do_what_is_published() {
    for (name, source, script) in PUBLISHED {
        let program = match compile(source, &RegisterTable::libccp()) {
            Ok(compiled) => compiled.program,
            Err(errors) => panic!("{}", errors.render(source, name)),
        };
        libccp::lower(&program).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut machine = Reference {
            program,
            registers: None,
            updates: Vec::new(),
        };
        let reports = scripts::run(name, script, &mut machine);
        assert!(reports > 0, "{name} never reports");
    }
}

#[test]
fn every_program_has_its_script() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");
    for entry in std::fs::read_dir(directory).expect("the directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert!(PUBLISHED.iter().any(|p| p.0 == name), "{name} is not run");
    }
}
