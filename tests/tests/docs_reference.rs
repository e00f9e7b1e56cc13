//! `docs/metrics.md` lists the metrics that there are, as they are described where they are defined, and
//! `docs/operating.md` says of each key whether a reload applies it.
//!
//! `CCP_WRITE_DOCS=1 cargo test -p ccp-tests --test docs_reference` writes the lists anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

const BEGIN: &str = "<!-- from the code: begin -->\n";
const END: &str = "<!-- from the code: end -->\n";

fn page(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

/// The list in the page `name` is `expected`, or is written so if that is asked for.
fn check(name: &str, expected: &str) {
    let path = page(name);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the list begins");
    let (listed, after) = rest.split_once(END).expect("where the list ends");
    if listed == expected {
        return;
    }
    if std::env::var_os("CCP_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    let mut what = String::new();
    let mut above = "the beginning of the list";
    for line in expected.lines() {
        if !listed.lines().any(|known| known == line) {
            let _ = writeln!(what, "missing, add after `{above}`:\n{line}");
        }
        above = line;
    }
    for line in listed.lines() {
        if !expected.lines().any(|known| known == line) {
            let _ = writeln!(what, "not so any more, remove:\n{line}");
        }
    }
    panic!(
        "{name} is not what the code says. \
         `CCP_WRITE_DOCS=1 cargo test -p ccp-tests --test docs_reference` writes it, or by hand:\n{what}"
    );
}

#[test]
fn every_metric_is_listed_and_no_other() {
    let mut list =
        String::from("| metric | type | unit | label | meaning |\n|---|---|---|---|---|\n");
    for metric in ccpd::metric_definitions() {
        let label = metric.label.map(|label| format!("`{label}`"));
        let _ = writeln!(
            list,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind,
            metric.unit,
            label.unwrap_or_default(),
            metric.help
        );
        for (value, meaning) in &metric.values {
            // The release is another one each time.
            if metric.label != Some("version") {
                let _ = writeln!(list, "| | | | `{value}` | {meaning} |");
            }
        }
    }
    check("docs/metrics.md", &list);
}

/// The dashboard asks for metrics and labels that there are.
#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let text = fs::read_to_string(page("config/grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known = ccpd::metric_definitions();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            let labels: Vec<&str> = known.iter().filter_map(|m| m.label).collect();
            for name in expr.split(|c| !word(c)) {
                if !name.starts_with("ccpd_") && !name.starts_with("process_") {
                    continue;
                }
                let base = name.strip_suffix("_bucket").unwrap_or(name);
                let there = known.iter().any(|m| m.name == name || m.name == base);
                assert!(there, "{}: there is no metric `{name}`", panel["title"]);
                asked += 1;
            }
            for by in expr.split("by (").skip(1) {
                let label = by.split(')').next().unwrap();
                let there = label == "le" || labels.contains(&label);
                assert!(there, "{}: there is no label `{label}`", panel["title"]);
            }
        }
    }
    assert!(asked > 20, "only {asked} metrics are asked for");
}

/// Another value for each key: table, kind of datapath, key, value.
const OTHERS: [(&str, &str, &str, &str); 34] = [
    ("ccpd", "", "control", "'/run/other.sock'"),
    ("ccpd", "", "control_mode", "'0660'"),
    ("ccpd", "", "algorithm_timeout_ms", "500"),
    ("log", "", "format", "'json'"),
    ("metrics", "", "listen", "9469"),
    ("datapath", "tcp", "name", "'other'"),
    ("datapath", "tcp", "names", "[{ name = 'more' }]"),
    ("datapath", "tcp", "namespaces", "'any'"),
    ("datapath", "tcp", "fallback_after_ms", "500"),
    ("datapath", "tcp", "max_flows", "1024"),
    ("datapath", "tcp", "max_flows_per_namespace", "5"),
    ("datapath", "tcp", "max_flows_per_user", "5"),
    ("datapath", "tcp", "unanswered_after_ms", "0"),
    ("datapath", "tcp", "max_fault_run", "5"),
    ("datapath", "tcp", "take", "{ cgroups = '/' }"),
    ("datapath", "unix", "path", "'/run/other.sock'"),
    ("datapath", "unix", "mode", "'0666'"),
    ("datapath", "unix", "max_flows", "5"),
    ("datapath", "unix", "max_flows_total", "5"),
    ("datapath", "unix", "max_flows_per_user", "5"),
    ("datapath", "unix", "max_datapaths", "5"),
    ("datapath", "unix", "max_datapaths_per_user", "5"),
    ("datapath", "unix", "max_malformed_per_s", "500"),
    ("datapath", "unix", "mute_ms", "500"),
    ("datapath", "netlink", "max_flows", "5"),
    ("datapath", "netlink", "mute_ms", "500"),
    ("take", "", "cgroups", "'/user.slice'"),
    ("take", "", "dst", "'10.0.0.0/8'"),
    ("take", "", "src", "'10.0.0.0/8'"),
    ("take", "", "dst_port", "443"),
    ("take", "", "src_port", "443"),
    ("take", "", "living", "true"),
    ("take", "", "chosen_too", "true"),
    ("take", "", "except", "{ dst_port = 22 }"),
];

/// What the page says of each key: table, kind of datapath, key, whether a reload applies it.
fn reloads(page: &str) -> Vec<(&'static str, String, String, bool)> {
    let mut said = Vec::new();
    let (mut table, mut kind) = ("", String::new());
    for line in page.lines() {
        if line.starts_with('#') {
            let tables = [
                ("### `[ccpd]`", "ccpd"),
                ("### `[log]`", "log"),
                ("### `[metrics]`", "metrics"),
                ("### `[[datapath]]`", "datapath"),
                ("### `[datapath.take]`", "take"),
            ];
            let found = tables.iter().find(|(heading, _)| *heading == line);
            (table, kind) = (found.map_or("", |(_, table)| table), String::new());
        }
        if table == "datapath"
            && let Some(of) = line.strip_prefix("With `kind = \"")
        {
            kind = of.split('"').next().unwrap().to_owned();
        }
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        if line.starts_with("| key") {
            let has = cells.get(3) == Some(&"reload");
            assert!(table.is_empty() || has, "no column reload: {line}");
        } else if line.starts_with("| `") && !table.is_empty() {
            let yes = match cells[3] {
                "yes" => true,
                "no" => false,
                other => panic!("{other}: {line}"),
            };
            for key in cells[0].split('`').skip(1).step_by(2) {
                said.push((table, kind.clone(), key.to_owned(), yes));
            }
        }
    }
    said
}

/// A change of a key is applied by a reload where the page says so; else the key is named.
#[test]
fn a_reload_applies_what_it_is_said_to() {
    let page = fs::read_to_string(page("docs/operating.md")).unwrap();
    let said = reloads(&page);
    let config = |table: &str, kind: &str, line: &str| -> ccpd::Config {
        let of = |name: &str| if name == table { line } else { "" };
        let datapath = |name: &str| match table == "datapath" && name == kind {
            true => line,
            false => "",
        };
        format!(
            "[ccpd]\n{}\n[log]\n{}\n[metrics]\n{}\n[[datapath]]\nkind = 'unix'\n{}\n\
             [[datapath]]\nkind = 'netlink'\n{}\n[[datapath]]\nkind = 'tcp'\n{}\n{}",
            of("ccpd"),
            of("log"),
            of("metrics"),
            datapath("unix"),
            datapath("netlink"),
            datapath("tcp"),
            match table {
                // It has to choose something.
                "take" if line.starts_with("cgroups") => format!("[datapath.take]\n{line}\n"),
                "take" => format!("[datapath.take]\ncgroups = '/system.slice'\n{line}\n"),
                _ => String::new(),
            }
        )
        .parse()
        .unwrap_or_else(|error| panic!("{table} {kind} {line}: {error}"))
    };
    for (table, kind, key, value) in OTHERS {
        let line = format!("{key} = {value}");
        let of = if kind == "netlink" { "unix" } else { kind };
        let is_it = |s: &&(&str, String, String, bool)| s.0 == table && s.1 == of && s.2 == key;
        let (.., applied) = said
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{table} {kind} {key} is not described"));
        let differing = config("", "", "").needs_restart(&config(table, kind, &line));
        assert_eq!(
            differing.is_empty(),
            *applied,
            "{table} {kind} {key}: {differing:?}"
        );
        let named = differing.iter().any(|told| {
            // Another name is another datapath.
            told.contains(key) || matches!(key, "name" | "path") && told.contains("the datapath")
        });
        assert!(*applied || named, "{table} {kind} {key}: {differing:?}");
    }
    for (table, kind, key, _) in &said {
        let tried = OTHERS
            .iter()
            .any(|o| o.0 == *table && o.1 == kind && o.2 == key);
        assert!(tried, "{table} {kind} {key} is described and not tried");
    }
}
