//! What the documentation says is so: links lead somewhere, configurations are right, code and commands
//! exist, tables agree with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ccp_core::CompiledProgram;
use ccp_program::{RegisterTable, Type, Unit};
use ccp_tests::binaries;
use ccp_wire::Kind;

#[allow(unreachable_pub, reason = "in its own crate it is public")]
#[path = "../../examples/vegas/src/vegas.rs"]
mod vegas;

fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages that are about using this project, by their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    pages.sort();
    let text = |path: PathBuf| (path.clone(), read(path));
    pages.into_iter().map(text).collect()
}

/// A fenced block of a page.
struct Block {
    place: String,
    language: String,
    text: String,
}

fn blocks(path: &Path, page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push(Block {
                    place: format!("{}:{}", path.display(), number + 1),
                    language: language.split(',').next().unwrap().to_owned(),
                    text: String::new(),
                });
            }
        } else if inside {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!inside, "{}: a block does not end", path.display());
    blocks
}

fn all_blocks(language: &str) -> Vec<Block> {
    let all = pages();
    let all = all.iter().flat_map(|(path, page)| blocks(path, page));
    let found: Vec<Block> = all.filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "no block in {language}");
    found
}

/// The page without its blocks and code spans.
fn prose(page: &str) -> String {
    let mut prose = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            let outside = line.split('`').step_by(2);
            prose.push_str(&outside.collect::<Vec<_>>().join("`"));
            prose.push('\n');
        }
    }
    prose
}

/// Anchors as GitHub makes them from headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut inside = false;
    for line in page.lines() {
        inside ^= line.starts_with("```");
        if inside || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor: String = heading.chars().filter(keep).collect();
        anchors.insert(anchor.replace(' ', "-"));
    }
    anchors
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for (path, page) in pages() {
        for link in prose(&page).split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            seen += 1;
            let (file, anchor) = match target.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (target, None),
            };
            let full = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            let exists = root().join(&full).exists();
            assert!(exists, "{}: no {target}", path.display());
            if let Some(anchor) = anchor {
                let known = anchors(&read(&full));
                assert!(
                    known.contains(anchor),
                    "{}: no #{anchor} in {}: {known:?}",
                    path.display(),
                    full.display()
                );
            }
        }
    }
    assert!(seen > 30, "{seen} links");
}

#[test]
fn configurations_are_right() {
    let mut seen = 0;
    for block in all_blocks("toml") {
        if block.text.contains("[dependencies]") {
            continue;
        }
        seen += 1;
        // As if it stood beside the sample.
        let beside = root().join("config");
        let checked = ccpd::Config::parse_beside(&block.text, &block.place, &beside)
            .map_err(ccpd::StartError::from)
            .and_then(|config| {
                let builder = ccpd::Ccpd::builder().config(config);
                builder.kind("vegas", vegas::Vegas::from_params).check()
            });
        assert!(checked.is_ok(), "{}", checked.unwrap_err());
    }
    assert!(seen >= 3, "{seen} configurations");
}

/// The tutorial shows its example as it is.
#[test]
fn code_is_that_of_the_examples() {
    let mut files = String::new();
    for file in [
        "crates/ccp-core/examples/min_rtt.rs",
        "examples/vegas/Cargo.toml",
        "examples/vegas/vegas.toml",
        "examples/vegas/src/main.rs",
        "examples/vegas/src/vegas.rs",
        "examples/vegas/src/vegas.ccp",
    ] {
        files.push_str(&read(file));
    }
    let path = Path::new("docs/writing-algorithms.md");
    let page = blocks(path, &read(path));
    let code = ["rust", "toml", "ccp"];
    let mut seen = 0;
    for block in page.iter().filter(|b| code.contains(&&*b.language)) {
        seen += 1;
        assert!(
            files.contains(&block.text),
            "{}: this is in no example:\n{}",
            block.place,
            block.text
        );
    }
    assert!(seen > 10, "{seen} blocks");
}

/// The README's own excerpt of a program compiles.
#[test]
fn the_readmes_program_compiles() {
    let program = blocks(Path::new("README.md"), &read("README.md"));
    let program = program.iter().find(|b| b.language == "ccp").unwrap();
    let source = format!("(def (Report (volatile rtt +infinity))) {}", program.text);
    CompiledProgram::compile("readme", &source).unwrap();
}

/// What the tutorial says of a program that does not compile is what the compiler says.
#[test]
fn the_tutorials_error_is_the_compilers() {
    let example = read("crates/ccp-core/examples/min_rtt.rs");
    let source = example.split('"').nth(1).unwrap();
    let source = source.replace("rtt_sample_us", "rtt_sample");
    let error = CompiledProgram::compile("min_rtt", &source).unwrap_err();
    let page = read("docs/writing-algorithms.md");
    let said = format!("```text\n{}\n```", error.to_string().trim_end());
    assert!(page.contains(&said), "the compiler says:\n{said}");
}

/// Rows of the tables under a heading: the cells of each.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let level = heading.chars().take_while(|c| *c == '#').count();
    let mut lines = page.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "no heading {heading}");
    let ends = |line: &&str| {
        let depth = line.chars().take_while(|c| *c == '#').count();
        (1..=level).contains(&depth) && line[depth..].starts_with(' ')
    };
    let mut inside = false;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in lines {
        inside ^= line.starts_with("```");
        if !inside && ends(&line) {
            break;
        }
        if let Some(row) = line.strip_prefix('|').filter(|_| !inside) {
            let row = row.trim_end().trim_end_matches('|');
            rows.push(row.split('|').map(|cell| cell.trim().to_owned()).collect());
        }
    }
    // The head of each table stands before its rule.
    let rule = |row: &Vec<String>| row[0].starts_with("---");
    let heads: Vec<usize> = (1..rows.len()).filter(|&i| rule(&rows[i])).collect();
    assert!(!heads.is_empty(), "no table under {heading}");
    let body = rows.iter().enumerate();
    let body = body.filter(|(i, _)| !heads.contains(i) && !heads.contains(&(i + 1)));
    body.map(|(_, row)| row.clone()).collect()
}

/// The code spans of a cell.
fn spans(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `config/ccpd.toml` with every setting in force. Tests of `ccpd` hold it against the code.
fn sample() -> toml::Table {
    let setting = |line: &str| {
        let line = line.trim_start_matches('#');
        let first = line.chars().next()?;
        (first.is_ascii_lowercase() || first == '[').then(|| format!("{line}\n"))
    };
    let text: String = read("config/ccpd.toml")
        .lines()
        .filter_map(setting)
        .collect();
    text.parse().unwrap()
}

/// Every key is described, no other is, and defaults are the code's.
#[test]
fn keys_are_those_of_the_code() {
    let page = read("docs/operating.md");
    let sample = sample();
    let mut described: BTreeMap<String, BTreeMap<String, Option<String>>> = BTreeMap::new();
    for (table, heading) in [
        ("ccpd", "### `[ccpd]`"),
        ("datapath", "### `[[datapath]]`"),
        ("take", "### `[datapath.take]`"),
        ("algorithms", "### `[algorithms.NAME]`"),
        ("policy", "### `[policy]`"),
    ] {
        for row in rows(&page, heading) {
            let default = spans(&row[1]).first().cloned();
            for key in spans(&row[0]) {
                let keys = described.entry(table.to_owned()).or_default();
                keys.insert(key, default.clone());
            }
        }
    }
    let names = |table: &str| -> BTreeSet<String> { described[table].keys().cloned().collect() };
    let keys = |values: &[&toml::Value]| -> BTreeSet<String> {
        let tables = values.iter().map(|value| value.as_table().unwrap());
        tables
            .flat_map(|t| t.keys().cloned())
            .filter(|k| k != "kind")
            .collect()
    };
    let datapaths: Vec<&toml::Value> = sample["datapath"].as_array().unwrap().iter().collect();
    let algorithms: Vec<&toml::Value> = sample["algorithms"].as_table().unwrap().values().collect();
    let rules: Vec<&toml::Value> = sample["policy"]["rule"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let matches: Vec<&toml::Value> = rules.iter().map(|rule| &rule["match"]).collect();
    assert_eq!(names("ccpd"), keys(&[&sample["ccpd"]]));
    assert_eq!(names("datapath"), keys(&datapaths));
    let take = &sample["datapath"][0]["take"];
    assert_eq!(names("take"), keys(&[take, &take["except"]]));
    assert_eq!(names("algorithms"), keys(&algorithms));
    let mut policy = keys(&[&sample["policy"]]);
    policy.extend(keys(&matches));
    assert_eq!(names("policy"), policy);

    // What the sample has with one `#` is the default.
    let default = |key: &str, value: &toml::Value, table: &str| {
        let said = described[table][key].clone();
        assert_eq!(said, Some(value.to_string()), "default of {table}.{key}");
    };
    default("control", &sample["ccpd"]["control"], "ccpd");
    default("default", &sample["policy"]["default"], "policy");
    for datapath in datapaths {
        for (key, value) in datapath.as_table().unwrap() {
            // The sample shows these by examples, since they are absent or depend on others by default.
            let shown = [
                "kind",
                "names",
                "max_flows_per_namespace",
                "max_flows_per_user",
                "max_datapaths_per_user",
                "take",
            ];
            if !shown.contains(&key.as_str()) {
                default(key, value, "datapath");
            }
        }
    }
    for key in ["living", "chosen_too"] {
        default(key, &take[key], "take");
    }
    // One of `constant`'s two has to be given: they have none.
    for kind in ["reno", "cubic"] {
        for (key, value) in sample["algorithms"][kind].as_table().unwrap() {
            if key != "kind" {
                default(key, value, "algorithms");
            }
        }
    }
}

/// Every kind of algorithm that comes with the daemon is described, here and in the README.
#[test]
fn kinds_are_those_of_the_code() {
    let (operating, readme) = (read("docs/operating.md"), read("README.md"));
    for kind in algs::registry().kinds() {
        let heading = format!("`kind = \"{kind}\"`");
        assert!(
            operating.contains(&heading),
            "docs/operating.md: no {heading}"
        );
        let supported = readme.lines().find(|l| l.starts_with("| algorithms |"));
        let named = supported.unwrap().contains(&format!("`{kind}`"));
        assert!(named, "README.md does not name {kind} as supported");
    }
}

fn help(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg("--help").output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// Commands in blocks of the pages: `ccpd` and `ccp` with their arguments.
#[test]
fn commands_and_their_options_exist() {
    let (ccpd, ccp) = (binaries::ccpd(), binaries::ccp());
    let mut seen = 0;
    for block in all_blocks("console") {
        let prompts = ["# ", "$ "];
        let commands = block.text.lines();
        let commands = commands.filter_map(|l| prompts.iter().find_map(|p| l.strip_prefix(p)));
        for command in commands.flat_map(|line| line.split(['&', ';', '{', '}', '|'])) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let (program, rest) = match words.first() {
                Some(first) if first.ends_with("ccpd") => (&ccpd, &words[1..]),
                Some(first) if first.ends_with("ccp") => (&ccp, &words[1..]),
                _ => continue,
            };
            seen += 1;
            let comment = rest.iter().position(|w| *w == "#").unwrap_or(rest.len());
            let rest = &rest[..comment];
            let commands = [
                "flows",
                "show",
                "top",
                "watch",
                "record",
                "replay",
                "programs",
                "policy",
                "explain",
                "set",
                "algorithms",
                "stats",
                "reload",
                "log-level",
                "completions",
                "man",
                "demo",
                "lang",
                "check",
                "compile",
                "fmt",
                "run",
                "sim",
            ];
            let subcommand: Vec<&str> = rest
                .iter()
                .copied()
                .filter(|w| commands.contains(w))
                .collect();
            let help = help(program, &subcommand);
            for option in rest.iter().filter(|w| w.starts_with("--")) {
                let known =
                    help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n"));
                assert!(known, "{}: no option {option} in\n{help}", block.place);
            }
        }
    }
    assert!(seen > 8, "{seen} commands");
}

/// And no option is left out.
#[test]
fn every_option_is_described() {
    let page = read("docs/operating.md");
    for (program, arguments) in [
        (binaries::ccpd(), &[][..]),
        (binaries::ccp(), &[]),
        (binaries::ccp(), &["flows"]),
        (binaries::ccp(), &["top"]),
        (binaries::ccp(), &["watch"]),
        (binaries::ccp(), &["stats"]),
        (binaries::ccp(), &["programs", "show"]),
        (binaries::ccp(), &["demo"]),
        (binaries::ccp(), &["sim"]),
    ] {
        let help = help(&program, arguments);
        let options = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"));
        for option in options.filter(|o| !["--help", "--version"].contains(o)) {
            assert!(page.contains(option), "docs/operating.md: no {option}");
        }
    }
}

/// Nor a command.
#[test]
fn every_command_is_described() {
    let page = read("docs/operating.md") + &read("docs/language.md");
    let help = help(&binaries::ccp(), &[]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.split("\n\n").next().unwrap().lines();
    // What is said of one may go on below it, further in.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands
        .filter(|command| !["", "help"].contains(command))
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let described = [' ', '`', '\n'].map(|end| page.contains(&format!("ccp {command}{end}")));
        assert!(described.contains(&true), "docs: no `ccp {command}`");
    }
}

/// Every place that the code map names is there.
#[test]
fn the_code_map_leads_somewhere() {
    let page = read("ARCHITECTURE.md");
    let (_, section) = page.split_once("### Inside the daemon\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut seen = 0;
    for path in section.split('`').skip(1).step_by(2) {
        let there = |of: &str| {
            let below = ["", "datapath/"].iter();
            below
                .flat_map(|dir| ["", ".rs"].map(|end| format!("{of}{dir}{path}{end}")))
                .any(|file| root().join(file).exists())
        };
        let known = ["", "crates/ccpd/src/", "crates/ccp-ebpf/src/"].iter();
        assert!(
            known.copied().any(there),
            "ARCHITECTURE.md: there is no {path}"
        );
        seen += 1;
    }
    assert!(seen > 30, "{seen} places");
}

/// What `ccp watch --json` gives as a reason is listed.
#[test]
fn every_reason_of_an_event_is_described() {
    let page = read("docs/control.md");
    let code = read("crates/ccp-control/src/protocol/event.rs");
    let (_, reasons) = code.split_once("pub enum Why {\n").unwrap();
    let reasons = reasons.split("\n}").next().unwrap().lines();
    let reasons: Vec<&str> = reasons
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|line| line.chars().all(char::is_alphanumeric))
        .collect();
    assert!(reasons.len() > 4, "{reasons:?}");
    for reason in reasons {
        let mut name = String::new();
        for c in reason.chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(c.to_lowercase());
        }
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/control.md: no {name}"
        );
    }
}

/// All source text of programs, with what is split over lines put together.
fn sources() -> String {
    let mut text = String::new();
    let mut waiting = vec![root().join("crates")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                waiting.push(entry.unwrap().path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let mut joined = false;
            for line in fs::read_to_string(path).unwrap().lines() {
                let line = if joined { line.trim_start() } else { line };
                joined = line.ends_with('\\');
                text.push_str(line.strip_suffix('\\').unwrap_or(line));
                if !joined {
                    text.push('\n');
                }
            }
        }
    }
    text
}

/// Messages are said as they are given: what stands between the `…` is in the sources.
#[test]
fn messages_are_those_of_the_code() {
    let sources = sources();
    let page = read("docs/operating.md");
    let tables = [
        "### It does not start",
        "### `ccp` says",
        "### The log says",
    ];
    let mut seen = 0;
    for row in tables.iter().flat_map(|heading| rows(&page, heading)) {
        let Some(message) = spans(&row[0]).first().cloned() else {
            continue;
        };
        // Made by the system, with a text of ours before it; and the form of all others of its kind.
        if message.contains("/run/ccpd: Permission denied") || message.starts_with("FILE:") {
            continue;
        }
        for part in message.split('…').map(str::trim) {
            seen += 1;
            // Formatted values stand in backticks, which a code span can't hold.
            assert!(
                sources.contains(part),
                "`{part}` of `{message}` is said nowhere"
            );
        }
    }
    assert!(seen > 25, "{seen} parts");
}

/// The measurements of kernel TCP: names, order and units.
#[test]
fn measurements_are_those_of_kernel_tcp() {
    let table: RegisterTable = ccp_ebpf::register_table();
    let rows = rows(&read("docs/linux.md"), "## Measurements");
    let described: Vec<(String, String)> = rows
        .into_iter()
        .map(|row| (spans(&row[0]).remove(0), row[1].clone()))
        .collect();
    let unit = |ty, unit| match (ty, unit) {
        (Type::Bool, _) => "boolean",
        (_, Unit::None) => "",
        (_, Unit::Bytes) => "bytes",
        (_, Unit::Packets) => "packets",
        (_, Unit::Micros) => "µs",
        (_, Unit::BytesPerSecond) => "bytes/s",
    };
    let known: Vec<(String, String)> = table
        .primitives()
        .iter()
        .map(|def| (def.name.to_string(), unit(def.ty, def.unit).to_owned()))
        .collect();
    assert_eq!(described, known);
}

#[test]
fn limits_are_those_of_kernel_tcp() {
    let limits = ccp_ebpf::TcpDatapath::limits();
    let rows = rows(&read("docs/linux.md"), "## Limits");
    let said = |what: &str| {
        let row = rows.iter().find(|row| row[0].starts_with(what));
        row.unwrap_or_else(|| panic!("no limit of {what}"))[1].replace(',', "")
    };
    assert_eq!(said("instructions"), limits.instructions.to_string());
    assert_eq!(said("`when` clauses"), limits.clauses.to_string());
    assert_eq!(said("report variables"), limits.reports.to_string());
    assert_eq!(said("control variables"), limits.controls.to_string());
    assert_eq!(said("flows"), ccp_ebpf::layout::MAX_FLOWS.to_string());
    assert_eq!(
        said("programs installed"),
        (ccp_ebpf::layout::MAX_PROGRAMS - 1).to_string()
    );
    let pins = format!("/sys/fs/bpf/ccpd/ccp/v{}", ccp_ebpf::layout::LAYOUT_VERSION);
    assert!(read("docs/linux.md").contains(&pins), "no {pins}");
}

#[test]
fn message_types_are_those_of_the_code() {
    let page = read("docs/wire.md");
    let rows = rows(&page, "## Frames");
    let mut types = BTreeMap::new();
    for row in rows.iter().filter(|row| row.len() == 3) {
        let number = match row[0].strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).unwrap(),
            None => row[0].parse().unwrap(),
        };
        types.insert(number, row[1].clone());
    }
    let known = |number: &u16| !matches!(Kind::from_wire(*number), Kind::Unknown(_));
    let expected: BTreeMap<u16, String> = (0..0x100)
        .filter(known)
        .map(|number| (number, Kind::from_wire(number).to_string()))
        .collect();
    assert_eq!(types, expected);
    // Each has its section.
    for name in expected.values() {
        let section = page
            .lines()
            .any(|l| l.starts_with("###") && l.contains(name.as_str()));
        assert!(section, "docs/wire.md: no section on {name}");
    }
}

/// Versions and sizes that are said in several places.
#[test]
fn the_readme_is_short_and_of_this_version() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 200);
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let rust = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    assert!(readme.contains(&format!("(https://rustup.rs) {rust} or later")));
    // The message of the refusal says which kernel it takes.
    assert!(sources().contains("use Linux 6.4 or later"));
    assert!(readme.contains("Linux **6.4** or later"));
    let picture = fs::metadata(root().join("docs/img/demo.svg")).unwrap();
    assert!(picture.len() < 300_000, "{} bytes", picture.len());
    let setup = read("scripts/setup");
    for package in setup
        .split("wanted=(")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap()
        .split(' ')
    {
        let package = package.split(':').nth(1).unwrap();
        assert!(readme.contains(package), "README.md: no {package}");
    }
}
