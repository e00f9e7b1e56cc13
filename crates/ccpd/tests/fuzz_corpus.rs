//! What the fuzz target `config` keeps in its corpus is checked by every ordinary test run.

#![allow(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/config.rs"]
mod checks;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn every_configuration_of_the_corpus_is_read_or_refused() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("fuzz/corpus/config")).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        checks::parse(&fs::read(path).unwrap());
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

/// Cut here and there, and with bytes changed: most of it is nonsense, none of it does harm.
#[test]
fn nothing_is_harmed_by_a_slip() {
    let text = fs::read(root().join("fuzz/corpus/config/everything.toml")).unwrap();
    assert!(ccpd::Config::parse(&String::from_utf8_lossy(&text), "whole").is_ok());
    for place in (0..text.len()).step_by(3) {
        checks::parse(&text[..place]);
        for other in [b'"', b'[', b'9', 0xff] {
            let mut changed = text.clone();
            changed[place] = other;
            checks::parse(&changed);
        }
    }
}
