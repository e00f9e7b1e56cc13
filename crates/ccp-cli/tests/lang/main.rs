//! `ccp lang` as a user meets it: the command is started, and what it prints and how it exits is
//! compared.
//!
//! After a change of what it prints: `INSTA_UPDATE=always cargo test -p ccp-cli`, and look at the
//! difference.

mod check;
mod compile;
mod fmt;
mod run;
mod tutorial;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory with files, in which the command runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `ccp lang …` and returns all that is seen of it.
    fn ccp(&self, arguments: &[&str]) -> Seen {
        self.ccp_with(arguments, "")
    }

    fn ccp_with(&self, arguments: &[&str], stdin: &str) -> Seen {
        ccp(self.0.path(), arguments, stdin)
    }
}

fn ccp(folder: &Path, arguments: &[&str], stdin: &str) -> Seen {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ccp"))
        .arg("lang")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    // It may end without having read all.
    let writer = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Seen {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// What a run of the command showed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    out: String,
    err: String,
    code: i32,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, text) in [
            ("standard output", &self.out),
            ("standard error", &self.err),
        ] {
            if !text.is_empty() {
                writeln!(f, "--- {what}\n{text}")?;
            }
        }
        write!(f, "--- exit code {}", self.code)
    }
}

/// A program without a mistake.
const GOOD: &str = "\
# The smallest round-trip time of every 42 ms.
(def (Report (volatile minrtt +infinity)))
(when true
    (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
    (fallthrough))
(when (> Micros 42000)
    (report)
    (reset))
";

/// A program with two errors.
const BAD: &str = "\
(def (Report (rtt 0)))
(when true
    (:= Report.rtt Flow.rtt_sample)
    (:= Cwnd true)
    (report))
";

/// A program with a warning.
const DOUBTFUL: &str = "\
(def (Report (rtt 0)))
(when true
    (:= Report.rtt Flow.rtt_sample_us))
";

#[test]
fn help_tells_what_there_is() {
    let folder = Folder::new(&[]);
    for command in ["--help", "check", "compile", "fmt", "run"] {
        let arguments: &[&str] = match command {
            "--help" => &["--help"],
            _ => &[command, "--help"],
        };
        let seen = folder.ccp(arguments);
        assert_eq!((seen.code, seen.err.as_str()), (0, ""));
        insta::assert_snapshot!(format!("help_{}", command.trim_matches('-')), seen.out);
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    let folder = Folder::new(&[("x.ccp", GOOD)]);
    for arguments in [
        &[][..],
        &["chek"],
        &["check"],
        &["check", "x.ccp", "--format", "xml"],
        &["check", "x.ccp", "--target", "bsd"],
        &["compile"],
        &["compile", "x.ccp", "x.ccp"],
        &["fmt"],
        &["run", "x.ccp"],
        &["run", "x.ccp", "--acks", "t.csv", "--cwnd", "-1"],
        &["run", "x.ccp", "--acks", "t.csv", "--set", "x"],
        &["run", "-", "--acks", "-"],
    ] {
        let seen = folder.ccp(arguments);
        assert_eq!((seen.code, seen.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!seen.err.is_empty());
    }
}
