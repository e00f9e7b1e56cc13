//! `ccp lang check`.

use crate::{BAD, DOUBTFUL, Folder, GOOD};

fn folder() -> Folder {
    Folder::new(&[
        ("good.ccp", GOOD),
        ("bad.ccp", BAD),
        ("doubtful.ccp", DOUBTFUL),
    ])
}

#[test]
fn nothing_is_said_of_what_is_good() {
    for target in ["ccp", "libccp", "tcp"] {
        let seen = folder().ccp(&["check", "good.ccp", "--target", target]);
        assert_eq!(seen.to_string(), "--- exit code 0");
    }
}

#[test]
fn every_file_is_checked() {
    let seen = folder().ccp(&["check", "bad.ccp", "none.ccp", "good.ccp", "doubtful.ccp"]);
    insta::assert_snapshot!(seen);
}

#[test]
fn a_line_each() {
    insta::assert_snapshot!(folder().ccp(&[
        "check",
        "--format",
        "short",
        "bad.ccp",
        "doubtful.ccp"
    ]));
}

#[test]
fn json() {
    let seen = folder().ccp(&["check", "--format", "json", "bad.ccp", "doubtful.ccp"]);
    for line in seen.out.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in [
            "severity", "code", "message", "label", "hint", "file", "span", "line", "column",
        ] {
            assert!(object.get(field).is_some(), "{field}: {line}");
        }
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn warnings_fail_only_where_they_are_denied() {
    let seen = folder().ccp(&["check", "doubtful.ccp"]);
    assert_eq!((seen.code, seen.out.as_str()), (0, ""));
    let denied = folder().ccp(&["check", "--deny-warnings", "doubtful.ccp"]);
    assert_eq!((denied.code, denied.err), (1, seen.err));
    assert_eq!(
        folder().ccp(&["check", "--deny-warnings", "good.ccp"]).code,
        0
    );
}

#[test]
fn standard_input_is_a_file_too() {
    insta::assert_snapshot!(folder().ccp_with(&["check", "-", "--format", "short"], BAD));
}

#[test]
fn what_a_target_lacks_is_said_with_its_place() {
    let folder = folder();
    folder.write(
        "mss.ccp",
        "(def (Report (x 0)))\n(when (> Flow.one_way_delay_us 1)\n    (:= Report.x Flow.mss)\n    (report))\n",
    );
    assert_eq!(folder.ccp(&["check", "mss.ccp"]).code, 0);
    let libccp = folder.ccp(&["check", "mss.ccp", "--target", "libccp"]);
    let tcp = folder.ccp(&["check", "mss.ccp", "--target", "tcp"]);
    insta::assert_snapshot!(format!("{libccp}\n\n{tcp}"));
}

#[test]
fn what_does_not_fit_a_target_is_said() {
    let folder = Folder::new(&[]);
    let many = "(:= Cwnd (+ Cwnd 1))\n".repeat(4_000);
    folder.write(
        "large.ccp",
        format!("(def (Report (x 0)))\n(when true\n{many}(report))\n"),
    );
    assert_eq!(folder.ccp(&["check", "large.ccp"]).code, 0);
    for target in ["libccp", "tcp"] {
        let seen = folder.ccp(&[
            "check",
            "--format",
            "short",
            "large.ccp",
            "--target",
            target,
        ]);
        assert_eq!((seen.code, seen.out.as_str()), (1, ""), "{seen}");
        assert!(
            seen.err.starts_with("large.ccp:2:1: error[target]"),
            "{seen}"
        );
    }
    let controls: String = (0..20).map(|n| format!("\n(c{n} 1)")).collect();
    let sum: String = (0..20).map(|n| format!(" c{n}")).collect();
    folder.write(
        "controls.ccp",
        format!("(def (Report (x 0)){controls})(when true (:= Report.x (+{sum})) (report))"),
    );
    let seen = folder.ccp(&["check", "controls.ccp", "--target", "tcp"]);
    assert_eq!(seen.code, 1, "{seen}");
    // The nineteenth.
    assert!(seen.err.contains("controls.ccp:20:2\n"), "{seen}");
    // Registers of a flow in the kernel: what only the generator of its code can tell.
    let locals: String = (0..200)
        .map(|n| format!("(:= l{n} Cwnd) (:= Report.x l{n})\n"))
        .collect();
    folder.write(
        "wide.ccp",
        format!("(def (Report (x 0)))\n(when true\n{locals}(report))\n"),
    );
    assert_eq!(folder.ccp(&["check", "wide.ccp"]).code, 0);
    let seen = folder.ccp(&["check", "wide.ccp", "--target", "tcp"]);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.err.contains("a flow has room for 156"), "{seen}");
    assert!(seen.err.contains("200 local variables"), "{seen}");
}

#[test]
fn what_is_no_text_is_refused() {
    let folder = Folder::new(&[]);
    folder.write("bytes.ccp", b"(def)\n\xc3\xa4\xff");
    folder.write("long.ccp", " ".repeat(3 << 20));
    insta::assert_snapshot!(folder.ccp(&["check", "bytes.ccp", "long.ccp", "."]));
}
