//! Metrics in the text format of Prometheus, version 0.0.4.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write as _;

use ccp_control::{Metric, MetricValue};

/// What the format is called in HTTP.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of `metrics`; those without a value are left out.
pub(super) fn encode(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics.iter().filter(|m| !m.samples.is_empty()) {
        let name = &metric.name;
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        line(&mut text, format_args!("# HELP {name} {help}"));
        line(&mut text, format_args!("# TYPE {name} {}", metric.kind));
        for sample in &metric.samples {
            let label = sample.label.as_ref();
            let own = label.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let with = |more: Option<String>| {
                let labels: Vec<String> = own.iter().cloned().chain(more).collect();
                match labels.as_slice() {
                    [] => String::new(),
                    labels => format!("{{{}}}", labels.join(",")),
                }
            };
            match &sample.value {
                MetricValue::Whole(value) => {
                    line(&mut text, format_args!("{name}{} {value}", with(None)));
                }
                MetricValue::Number(value) => {
                    line(&mut text, format_args!("{name}{} {value}", with(None)));
                }
                MetricValue::Histogram {
                    buckets,
                    sum,
                    count,
                } => {
                    for bucket in buckets {
                        let labels = with(Some(format!("le=\"{}\"", bucket.le)));
                        let count = bucket.count;
                        line(&mut text, format_args!("{name}_bucket{labels} {count}"));
                    }
                    let labels = with(Some("le=\"+Inf\"".to_owned()));
                    line(&mut text, format_args!("{name}_bucket{labels} {count}"));
                    line(&mut text, format_args!("{name}_sum{} {sum}", with(None)));
                    line(
                        &mut text,
                        format_args!("{name}_count{} {count}", with(None)),
                    );
                }
            }
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text in memory does not fail.
    let _ = writeln!(text, "{line}");
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use ccp_control::{Bucket, MetricKind, MetricSample};

    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metric = |name: &str, kind, samples| Metric {
            name: name.to_owned(),
            kind,
            unit: String::new(),
            help: "With a \\ and\na line.".to_owned(),
            samples,
        };
        let sample = |label: Option<&str>, value| MetricSample {
            label: label.map(|of| ("of".to_owned(), of.to_owned())),
            value,
        };
        let metrics = [
            metric(
                "a_total",
                MetricKind::Counter,
                vec![
                    sample(Some("x"), MetricValue::Whole(u64::MAX)),
                    sample(Some("\"quoted\"\\\n"), MetricValue::Whole(0)),
                ],
            ),
            metric("empty", MetricKind::Gauge, vec![]),
            metric(
                "b_seconds",
                MetricKind::Gauge,
                vec![sample(None, MetricValue::Number(1.5))],
            ),
            metric(
                "c_seconds",
                MetricKind::Histogram,
                vec![sample(
                    None,
                    MetricValue::Histogram {
                        buckets: vec![Bucket { le: 5e-6, count: 1 }, Bucket { le: 2.0, count: 3 }],
                        sum: 2.5,
                        count: 4,
                    },
                )],
            ),
        ];
        assert_eq!(
            encode(&metrics),
            r#"# HELP a_total With a \\ and\na line.
# TYPE a_total counter
a_total{of="x"} 18446744073709551615
a_total{of="\"quoted\"\\\n"} 0
# HELP b_seconds With a \\ and\na line.
# TYPE b_seconds gauge
b_seconds 1.5
# HELP c_seconds With a \\ and\na line.
# TYPE c_seconds histogram
c_seconds_bucket{le="0.000005"} 1
c_seconds_bucket{le="2"} 3
c_seconds_bucket{le="+Inf"} 4
c_seconds_sum 2.5
c_seconds_count 4
"#
        );
    }
}
