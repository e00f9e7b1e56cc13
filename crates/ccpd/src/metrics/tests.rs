use std::collections::HashSet;

use ccp_control::{MetricKind, MetricValue};

use super::*;

fn value(all: &[Metric], name: &str, of: &str) -> Option<u64> {
    let metric = all.iter().find(|m| m.name == name).unwrap();
    let sample = metric.samples.iter().find(|s| match &s.label {
        None => of.is_empty(),
        Some((_, value)) => value == of,
    })?;
    match sample.value {
        MetricValue::Whole(value) => Some(value),
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_defined_is_what_is_gathered() {
    let metrics = Metrics::new();
    metrics
        .datapath("ccp")
        .set_kernel(ccp_ebpf::Counters::default());
    let gathered = metrics.gather();
    let defined = definitions();
    let names = |m: &Metric| (m.name.clone(), m.kind, m.unit.clone(), m.help.clone());
    let gathered_names: Vec<_> = gathered.iter().map(names).collect();
    let defined_names = defined.iter();
    let defined_names: Vec<_> = defined_names
        .map(|d| {
            (
                d.name.to_string(),
                d.kind,
                d.unit.to_owned(),
                d.help.to_string(),
            )
        })
        .collect();
    assert_eq!(gathered_names, defined_names);
    for (metric, definition) in gathered.iter().zip(&defined) {
        for sample in &metric.samples {
            let label = sample.label.as_ref().map(|(label, _)| label.as_str());
            assert_eq!(label, definition.label, "{}", metric.name);
        }
        let values = metric.samples.iter().filter_map(|s| s.label.as_ref());
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        if !definition.values.is_empty() {
            let known: Vec<&str> = definition.values.iter().map(|(value, _)| *value).collect();
            assert_eq!(values, known, "{}", metric.name);
        }
    }
}

#[test]
fn definitions_follow_the_habits_of_prometheus() {
    let mut seen = HashSet::new();
    for definition in definitions() {
        let name = &*definition.name;
        assert!(seen.insert(name.to_owned()), "{name} is there twice");
        let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
        assert!(name.chars().all(plain), "{name}");
        assert!(
            name.starts_with("ccpd_") || name.starts_with("process_"),
            "{name}"
        );
        let total = name.ends_with("_total");
        assert_eq!(total, definition.kind == MetricKind::Counter, "{name}");
        assert!(!definition.unit.is_empty(), "{name} has no unit");
        for text in [&*definition.help]
            .into_iter()
            .chain(definition.values.iter().map(|(_, m)| *m))
        {
            assert!(
                text.ends_with('.') && !text.contains("  "),
                "{name}: {text}"
            );
            assert!(!text.contains("[`"), "{name}: {text}");
        }
    }
}

#[test]
fn links_are_read_as_what_they_show() {
    let text = "All (see [`A::b`](crate::A::b)), and [`C`].";
    assert_eq!(definition::without_links(text), "All (see A::b), and C.");
}

#[test]
fn each_count_is_where_its_name_is() {
    let metrics = Metrics::new();
    metrics.count(Count::Reports, 3);
    metrics.count(Count::MalformedText, 2);
    metrics.count(Count::DatapathRestarts, 5);
    metrics.count(Count::Datapaths, 2);
    metrics.uncount(Count::Datapaths);
    let all = metrics.gather();
    for (name, of, expected) in [
        ("ccpd_reports_total", "", 3),
        ("ccpd_reports_merged_total", "", 0),
        ("ccpd_malformed_frames_total", "text", 2),
        ("ccpd_malformed_frames_total", "value", 0),
        ("ccpd_datapath_restarts_total", "", 5),
        ("ccpd_datapaths", "", 1),
    ] {
        assert_eq!(value(&all, name, of), Some(expected), "{name} {of}");
    }
}

#[test]
fn a_flow_is_counted_where_it_belongs_and_once() {
    let metrics = Metrics::new();
    let mut flow = CountedFlow::new(metrics.datapath("ccp"), metrics.algorithm(Some("reno")));
    flow.is_in(FlowMode::Fallback);
    flow.is_in(FlowMode::Fallback);
    let all = metrics.gather();
    assert_eq!(value(&all, "ccpd_flows", "ccp"), Some(1));
    assert_eq!(value(&all, "ccpd_flows_fallback", "ccp"), Some(1));
    assert_eq!(value(&all, "ccpd_algorithm_flows", "reno"), Some(1));
    flow.belongs_to(metrics.algorithm(None));
    let all = metrics.gather();
    assert_eq!(value(&all, "ccpd_algorithm_flows", "reno"), Some(0));
    assert_eq!(value(&all, "ccpd_algorithm_flows", "native"), Some(1));
    drop(flow);
    let all = metrics.gather();
    assert_eq!(value(&all, "ccpd_flows", "ccp"), Some(0));
    assert_eq!(value(&all, "ccpd_flows_fallback", "ccp"), Some(0));
    assert_eq!(value(&all, "ccpd_algorithm_flows", "native"), Some(0));
}

#[test]
fn ever_new_names_become_one() {
    let metrics = Metrics::new();
    for i in 0..1_000 {
        metrics
            .algorithm(Some(&format!("a{i}")))
            .count(OfAlgorithm::Panics);
    }
    let all = metrics.gather();
    let panics = all
        .iter()
        .find(|m| m.name == "ccpd_algorithm_panics_total")
        .unwrap();
    assert_eq!(panics.samples.len(), MOST_NAMES + 1);
    assert_eq!(value(&all, "ccpd_algorithm_panics_total", "a0"), Some(1));
    let rest = 1_000 - MOST_NAMES as u64;
    assert_eq!(
        value(&all, "ccpd_algorithm_panics_total", OTHERS),
        Some(rest)
    );
}
