use std::path::Path;

use super::shown;

/// The name of a file can hold anything but `/` and 0; it is written to logs as it is.
#[test]
fn a_path_does_not_forge_lines_of_the_log() {
    let forged = Path::new("/tmp/a\n2026-01-01T00:00:00Z ERROR ccpd: all is lost\u{1b}[2J");
    let expected = "/tmp/a\\n2026-01-01T00:00:00Z ERROR ccpd: all is lost\\u{1b}[2J";
    assert_eq!(shown(forged), expected);
}
