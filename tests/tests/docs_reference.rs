//! `docs/metrics.md` lists the metrics that there are, as they are described where they are defined.
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
