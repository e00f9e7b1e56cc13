//! What the compiler says: each program of `tests/ui` with its messages, side by side.
//!
//! After a change of messages, look at `cargo insta review`, or run with `INSTA_UPDATE=always` and
//! look at the difference.

#![allow(clippy::disallowed_methods, reason = "the programs lie in files")]

use std::fs;
use std::path::Path;

use ccp_lang::{RegisterTable, compile, listing};

/// The programs of a folder, by name.
fn programs(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut programs: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "ccp"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    programs.sort();
    programs
}

fn snapshots(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn mistakes() {
    let programs = programs("ui");
    assert!(programs.len() >= 80);
    for (name, source) in &programs {
        let result = compile(source, &RegisterTable::well_known());
        let file = format!("{name}.ccp");
        let for_libccp = name.starts_with("libccp_");
        let good = name.starts_with("warning_") || for_libccp;
        assert_eq!(result.is_ok(), good, "{name}");
        let messages = match &result {
            // A program for our datapaths that the C library cannot run.
            Ok(compiled) if for_libccp => {
                assert_eq!(compiled.warnings.render(source, &file), "");
                let refused = ccp_lang::libccp::lower_compiled(compiled, source);
                refused.expect_err(name).render(source, &file)
            }
            Ok(compiled) => compiled.warnings.render(source, &file),
            Err(errors) => errors.render(source, &file),
        };
        for rule in ["Rule", "EOI", "item", "malformed", "name_char"] {
            assert!(
                !messages.contains(rule),
                "{name} shows the grammar:\n{messages}"
            );
        }
        snapshots("ui").bind(|| {
            insta::assert_snapshot!(name.as_str(), format!("{source}\n{messages}"));
        });
    }
    no_orphans("ui", &programs);
}

#[test]
fn listings() {
    let programs = programs("programs");
    assert!(programs.len() >= 20);
    for (name, source) in &programs {
        let compiled = match compile(source, &RegisterTable::well_known()) {
            Ok(compiled) => compiled,
            Err(errors) => panic!("{}", errors.render(source, name)),
        };
        let code = ccp_lang::libccp::lower(&compiled.program).expect("fits libccp");
        let text = format!(
            "{source}\n{}\n{}\nfor libccp\n{}",
            compiled.warnings.render(source, &format!("{name}.ccp")),
            listing(&compiled.program),
            ccp_lang::libccp::listing(&code),
        );
        snapshots("programs").bind(|| insta::assert_snapshot!(name.as_str(), text));
    }
    no_orphans("programs", &programs);
}

/// Every snapshot belongs to a program.
fn no_orphans(folder: &str, programs: &[(String, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    for entry in fs::read_dir(path).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "snap") {
            let name = path.file_stem().expect("a name").to_string_lossy();
            assert!(
                programs.iter().any(|(n, _)| *n == name),
                "{name} has no program"
            );
        }
    }
}
