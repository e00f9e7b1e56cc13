//! `ccp lang run`.

use crate::{BAD, Folder, GOOD};

/// Uses a control variable, faults, and reports a boolean.
const PROGRAM: &str = "\
(def (Report (volatile acked 0) (volatile loss false)) (step 10) (on true))
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (if on (:= Cwnd (+ Cwnd step)))
    (:= Rate (/ 1000000 (- Ack.bytes_acked 1)))
    (fallthrough))
(when (> Ack.lost_pkts_sample 0)
    (:= Report.loss true)
    (report))
(when (> Micros 100)
    (report)
    (reset))
";
const ACKS: &str = "\
Ack.now,Ack.bytes_acked,Ack.lost_pkts_sample
1000,11,0
1050,21,1
1101,1,0
1102,0,0
1103,101,0
1104,51,0
";

fn folder() -> Folder {
    Folder::new(&[
        ("p.ccp", PROGRAM),
        ("t.csv", ACKS),
        ("bad.ccp", BAD),
        ("good.ccp", GOOD),
    ])
}

#[test]
fn a_row_for_each_acknowledgement() {
    insta::assert_snapshot!(folder().ccp(&["run", "p.ccp", "--acks", "t.csv"]));
}

#[test]
fn json() {
    let seen = folder().ccp(&["run", "p.ccp", "--acks", "t.csv", "--format", "json"]);
    for line in seen.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn window_rate_and_variables_can_be_given() {
    insta::assert_snapshot!(folder().ccp(&[
        "run",
        "p.ccp",
        "--acks",
        "t.csv",
        "--cwnd",
        "5",
        "--rate",
        "6",
        "--set",
        "step=1000",
        "--set",
        "on=true",
    ]));
    for (set, wrong) in [
        (
            "stop=1",
            "ccp: the program has no control variable `stop`: it has step, on\n",
        ),
        ("step=x", "ccp: `step` = `x`: must be a whole number\n"),
        ("on=1", "ccp: `on` = `1`: must be true or false\n"),
    ] {
        let seen = folder().ccp(&["run", "p.ccp", "--acks", "t.csv", "--set", set]);
        assert_eq!(
            (seen.code, seen.out.as_str(), seen.err.as_str()),
            (1, "", wrong)
        );
    }
}

#[test]
fn columns_that_are_missing_are_named() {
    let folder = folder();
    folder.write("few.csv", "Ack.now,rtt\n1,2\n");
    let refused = folder.ccp(&["run", "p.ccp", "--acks", "few.csv"]);
    let zero = folder.ccp(&["run", "p.ccp", "--acks", "few.csv", "--missing-as-zero"]);
    insta::assert_snapshot!(format!("{refused}\n\n{zero}"));
}

#[test]
fn a_bad_row_is_told_after_the_good_ones() {
    let folder = folder();
    folder.write("bad.csv", "Ack.now,Flow.rtt_sample_us\n1,2\n2,x\n");
    insta::assert_snapshot!(folder.ccp(&["run", "good.ccp", "--acks", "bad.csv"]));
}

#[test]
fn a_program_that_does_not_compile_does_not_run() {
    let seen = folder().ccp(&["run", "bad.ccp", "--acks", "t.csv"]);
    assert_eq!((seen.code, seen.out.as_str()), (1, ""));
    let seen = folder().ccp(&["run", "good.ccp", "--acks", "none.csv"]);
    assert_eq!(
        (seen.code, seen.err.as_str()),
        (
            1,
            "ccp: can't read none.csv: No such file or directory (os error 2)\n"
        )
    );
}

#[test]
fn either_may_be_standard_input() {
    let folder = folder();
    let seen = folder.ccp(&["run", "p.ccp", "--acks", "t.csv"]);
    assert_eq!(
        folder.ccp_with(&["run", "p.ccp", "--acks", "-"], ACKS),
        seen
    );
    assert_eq!(
        folder.ccp_with(&["run", "-", "--acks", "t.csv"], PROGRAM),
        seen
    );
}

/// A long table is not held in memory: the command may use little, and the first rows come before
/// the last are read.
#[test]
fn rows_are_printed_as_they_come() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ccp"))
        .args(["lang", "run", "good.ccp", "--acks", "-"])
        .current_dir(folder.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    input.write_all(b"Ack.now,Flow.rtt_sample_us\n").unwrap();
    // 4 MB in all, of which no more than pipes and buffers hold is under way at any time.
    for block in 0..200_u64 {
        let rows: String = (0..1000)
            .map(|row| format!("{},20000\n", block * 1000 + row))
            .collect();
        input.write_all(rows.as_bytes()).unwrap();
        // Buffers hold some rows back.
        let rows = if block < 2 { 0 } else { 1000 };
        for _ in 0..rows {
            output.next().unwrap().unwrap();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 64 << 10, "{kib} KiB");
    }
    drop(output);
    drop(input);
    let _ = child.wait().unwrap();
}
