//! `ccp lang fmt`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::{Folder, GOOD};

const LOOSE: &str = "(def(Report(volatile rtt +infinity)))#us\n\n\n(when true(:= Report.rtt Flow.rtt_sample_us)(report)\n)";
const TIDY: &str = "\
(def (Report (volatile rtt +infinity))) #us

(when true
    (:= Report.rtt Flow.rtt_sample_us)
    (report))
";

#[test]
fn files_are_changed_in_place() {
    let folder = Folder::new(&[("loose.ccp", LOOSE), ("good.ccp", GOOD)]);
    let file = folder.path("loose.ccp");
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("loose.ccp", folder.path("link.ccp")).unwrap();
    let seen = folder.ccp(&["fmt", "link.ccp", "good.ccp"]);
    assert_eq!(seen.to_string(), "--- exit code 0");
    assert_eq!(folder.read("loose.ccp"), TIDY);
    assert_eq!(folder.read("good.ccp"), GOOD);
    assert!(folder.path("link.ccp").is_symlink());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(folder.path(".")).unwrap().count(), 3);
}

#[test]
fn a_check_changes_nothing_and_names_what_is_not_in_shape() {
    let folder = Folder::new(&[("loose.ccp", LOOSE), ("tidy.ccp", TIDY)]);
    let seen = folder.ccp(&["fmt", "--check", "loose.ccp", "tidy.ccp"]);
    assert_eq!(
        (seen.code, seen.out.as_str(), seen.err.as_str()),
        (1, "loose.ccp\n", "")
    );
    assert_eq!(folder.read("loose.ccp"), LOOSE);
    assert_eq!(
        folder.ccp(&["fmt", "--check", "tidy.ccp"]).to_string(),
        "--- exit code 0"
    );
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = Folder::new(&[]);
    let seen = folder.ccp_with(&["fmt", "-"], LOOSE);
    assert_eq!(
        (seen.code, seen.out.as_str(), seen.err.as_str()),
        (0, TIDY, "")
    );
    let seen = folder.ccp_with(&["fmt", "--check", "-"], LOOSE);
    assert_eq!((seen.code, seen.out.as_str()), (1, "<stdin>\n"));
}

#[test]
fn unbalanced_brackets_are_left_alone() {
    let folder = Folder::new(&[("open.ccp", "(def\n"), ("loose.ccp", LOOSE)]);
    let seen = folder.ccp(&["fmt", "open.ccp", "loose.ccp"]);
    assert_eq!((seen.code, seen.out.as_str()), (1, ""));
    assert!(seen.err.starts_with("error[unclosed-bracket]"), "{seen}");
    assert_eq!(folder.read("open.ccp"), "(def\n");
    assert_eq!(folder.read("loose.ccp"), TIDY);
}
