//! `ccp lang compile`.

use crate::{BAD, DOUBTFUL, Folder, GOOD};

fn folder() -> Folder {
    Folder::new(&[
        ("good.ccp", GOOD),
        ("bad.ccp", BAD),
        ("doubtful.ccp", DOUBTFUL),
    ])
}

#[test]
fn a_listing() {
    let folder = folder();
    let whole = folder.ccp(&["compile", "good.ccp"]);
    let libccp = folder.ccp(&["compile", "good.ccp", "--target", "libccp"]);
    insta::assert_snapshot!(format!("{whole}\n\n{libccp}"));
}

#[test]
fn json() {
    let folder = folder();
    let seen = folder.ccp(&["compile", "good.ccp", "--emit", "json"]);
    assert_eq!((seen.code, seen.err.as_str()), (0, ""));
    let mut object: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    // The bytes name places of a table that grows.
    let install = object.as_object_mut().unwrap().remove("install").unwrap();
    let hex = folder.ccp(&["compile", "good.ccp", "--emit", "hex"]).out;
    assert_eq!(install, hex.trim_end());
    insta::assert_snapshot!(format!("{object:#}"));
}

/// The digits are a frame that `ccp-wire` reads, and the program in it is this program.
#[test]
fn the_bytes_install_the_program() {
    let folder = folder();
    for (target, kind) in [("ccp", 0x41_u16), ("libccp", 2), ("tcp", 0x41)] {
        let seen = folder.ccp(&[
            "compile", "good.ccp", "--emit", "hex", "--uid", "7", "--target", target,
        ]);
        assert_eq!((seen.code, seen.err.as_str()), (0, ""));
        let digits = seen.out.trim_end();
        let bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(bytes[..2], kind.to_le_bytes());
        let frames: Vec<_> = ccp_wire::frames(&bytes).map(Result::unwrap).collect();
        assert_eq!(frames.len(), 1);
        let message = frames[0].message().unwrap();
        match message {
            ccp_wire::Message::Install(install) => {
                assert_eq!(install.program_uid, 7);
                let table = ccp_program::RegisterTable::libccp();
                let compiled = ccp_lang::compile(GOOD, &table).unwrap();
                let code = ccp_lang::libccp::lower(&compiled.program).unwrap();
                assert_eq!(install.bytecode, code);
            }
            ccp_wire::Message::InstallExt(install) => {
                assert_eq!(install.program_uid, 7);
                let table = match target {
                    "tcp" => ccp_ebpf::register_table(),
                    _ => ccp_program::RegisterTable::well_known(),
                };
                let program = install
                    .to_program(&table, &ccp_program::Limits::MAX)
                    .unwrap();
                let compiled = ccp_lang::compile(GOOD, &table).unwrap();
                let bound = compiled.program.bind(&table).unwrap();
                assert_eq!(program.clauses, bound.clauses);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_is_printed_of_what_is_wrong() {
    let seen = folder().ccp(&["compile", "bad.ccp", "--emit", "hex"]);
    assert_eq!((seen.code, seen.out.as_str()), (1, ""));
    assert!(seen.err.contains("error[unknown-name]"));
}

#[test]
fn warnings_are_told_beside_the_result() {
    let seen = folder().ccp(&["compile", "doubtful.ccp"]);
    assert_eq!(seen.code, 0);
    assert!(seen.out.contains("clause 0") && seen.err.contains("warning[never-reports]"));
}

#[test]
fn standard_input_is_a_file_too() {
    let seen = folder().ccp_with(&["compile", "-"], GOOD);
    assert_eq!(seen, folder().ccp(&["compile", "good.ccp"]));
}
