//! `docs/language-tutorial.md` shows what is so: its files are written, its programs compiled, its
//! commands run, and what it shows of them is what they print.
//!
//! After a change: `UPDATE_TUTORIAL=1 cargo test -p ccp-cli tutorial` writes the page anew.

use std::path::Path;

use crate::Folder;

/// A fenced block: the name of the file before it, its language, its lines.
struct Block {
    file: Option<String>,
    language: String,
    lines: Vec<String>,
}

enum Part {
    Line(String),
    Block(Block),
}

fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut file = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<String> = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .map(str::to_owned)
                .collect();
            parts.push(Part::Block(Block {
                file: file.take(),
                language: language.to_owned(),
                lines: text,
            }));
            continue;
        }
        let name = line.strip_prefix('`').and_then(|l| l.strip_suffix("`:"));
        if name.is_some() || !line.is_empty() {
            file = name.map(str::to_owned);
        }
        parts.push(Part::Line(line.to_owned()));
    }
    parts
}

/// The page as it is when every block shows what is so.
fn as_it_is(page: &str) -> String {
    let sample = include_str!("../../../../config/programs/aimd.ccp");
    let folder = Folder::new(&[]);
    let mut out = String::new();
    let (mut programs, mut commands) = (0, 0);
    for part in parts(page) {
        let mut block = match part {
            Part::Line(line) => {
                out.push_str(&line);
                out.push('\n');
                continue;
            }
            Part::Block(block) => block,
        };
        if block.file.as_deref() == Some("aimd.ccp") {
            block.lines = sample.lines().map(str::to_owned).collect();
        }
        if let Some(file) = &block.file {
            folder.write(file, block.lines.join("\n") + "\n");
            if block.language == "ccp" {
                programs += 1;
                for check in [&["check", "--deny-warnings"][..], &["fmt", "--check"]] {
                    let seen = folder.ccp(&[check, &[file.as_str()]].concat());
                    assert_eq!(seen.to_string(), "--- exit code 0", "{file}");
                }
            }
        }
        if block.language == "console" {
            let mut shown = Vec::new();
            // Those after `# ` need root, and are run by the tests on the kernel.
            let ours = block.lines.iter().any(|line| line.starts_with("$ "));
            let commands_in = block.lines.iter().filter(|line| line.starts_with("$ "));
            for line in commands_in {
                commands += 1;
                let words: Vec<&str> = line.split_whitespace().collect();
                let ["$", "ccp", "lang", arguments @ ..] = words.as_slice() else {
                    panic!("this is not run: {line}");
                };
                let seen = folder.ccp(arguments);
                shown.push(line.clone());
                shown.extend(seen.out.lines().map(str::to_owned));
                shown.extend(seen.err.lines().map(str::to_owned));
            }
            if ours {
                block.lines = shown;
            }
        }
        out.push_str(&format!("```{}\n", block.language));
        for line in &block.lines {
            out.push_str(line);
            out.push('\n');
        }
        out.push_str("```\n");
    }
    assert!(programs >= 4 && commands >= 9, "{programs} {commands}");
    out
}

#[test]
fn the_tutorial_shows_what_is_so() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language-tutorial.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let right = as_it_is(&page);
    if std::env::var_os("UPDATE_TUTORIAL").is_some() {
        std::fs::write(&path, &right).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    the_same(&page, &right);
}

/// Both are long: only what differs is shown.
fn the_same(page: &str, right: &str) {
    for (number, (is, should)) in page.lines().zip(right.lines()).enumerate() {
        assert_eq!(is, should, "line {} of the tutorial", number + 1);
    }
    assert_eq!(page.lines().count(), right.lines().count());
}
