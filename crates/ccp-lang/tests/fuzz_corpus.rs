//! What the fuzz target keeps in its corpus is checked by every ordinary test run.

#![allow(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/lang.rs"]
mod checks;

#[test]
fn every_text_of_the_corpus_is_compiled_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/lang_compile");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        println!("{}", path.display());
        let text = fs::read(&path).expect("readable");
        checks::compile(&text);
        // Cut anywhere, it is still answered.
        for at in 0..text.len() {
            checks::compile(&text[..at]);
        }
        count += 1;
    }
    assert!(count >= 15);
}
