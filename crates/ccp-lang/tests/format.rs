//! Every program of the project means the same in its usual shape.

#![allow(clippy::disallowed_methods, reason = "the programs lie in files")]

use std::fs;
use std::path::{Path, PathBuf};

use ccp_lang::{RegisterTable, compile, format};

fn programs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            programs(&path, found);
        } else if path.extension().is_some_and(|e| e == "ccp") {
            found.push(path);
        }
    }
}

#[test]
fn every_program_keeps_its_meaning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in ["config", "crates", "examples"] {
        programs(&root.join(folder), &mut found);
    }
    assert!(found.len() > 80, "{found:#?}");
    let table = RegisterTable::well_known();
    let mut compiled = 0;
    for path in found {
        let source = fs::read_to_string(&path).expect("text");
        let Ok(formatted) = format(&source) else {
            // Its brackets are what is wrong with it.
            assert!(compile(&source, &table).is_err(), "{}", path.display());
            continue;
        };
        assert_eq!(format(&formatted).as_ref(), Ok(&formatted));
        let program = |text: &str| compile(text, &table).map(|compiled| compiled.program).ok();
        assert_eq!(program(&source), program(&formatted), "{formatted}");
        compiled += usize::from(program(&source).is_some());
    }
    assert!(compiled >= 30, "{compiled}");
}
