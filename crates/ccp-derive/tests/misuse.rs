//! What the derives say to those who use them wrongly. `TRYBUILD=overwrite` writes the messages anew.

use std::process::Command;

#[test]
fn misuse_is_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/misuse/*_attributes.rs");
    cases.compile_fail("tests/misuse/*_shape.rs");
    // Around ours the compiler has words of its own, which change from one to the next.
    let version = Command::new("rustc").arg("--version").output();
    let version = version.expect("rustc compiles this").stdout;
    if String::from_utf8_lossy(&version).starts_with("rustc 1.95.") {
        cases.compile_fail("tests/misuse/*_types.rs");
    } else {
        eprintln!("SKIPPED: messages of types are those of rustc 1.95");
    }
}
