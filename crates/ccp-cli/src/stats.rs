//! `ccp stats`: what the daemon has counted.

use std::path::Path;
use std::process::ExitCode;

use ccp_control::{Metric, MetricSample, MetricValue};
use serde_json::json;

use crate::daemon::{ask, json, print, table};

/// Arguments of `ccp stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those whose name has this in it, such as `reports`.
    name: Option<String>,

    /// Print an array of JSON objects, with all values and what each metric means.
    #[arg(long)]
    json: bool,

    /// Also what is 0.
    #[arg(long)]
    all: bool,

    /// Say what each metric means, instead of its values.
    #[arg(long, conflicts_with = "json")]
    describe: bool,
}

/// Asks for the numbers and prints them.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let mut metrics = ask(socket, async |ccpd| ccpd.metrics().await)?;
    if let Some(name) = &args.name {
        metrics.retain(|metric| metric.name.contains(name));
        if metrics.is_empty() {
            anyhow::bail!("no metric has `{name}` in its name; `ccp stats --describe` lists all");
        }
    }
    let text = if args.json {
        json(&as_json(&metrics))?
    } else if args.describe {
        described(&metrics)
    } else {
        listed(&metrics, zeros(args))
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn described(metrics: &[Metric]) -> String {
    let row = |metric: &Metric| {
        [
            metric.name.clone(),
            metric.kind.to_string(),
            metric.unit.clone(),
            metric.help.clone(),
        ]
    };
    let rows: Vec<_> = metrics.iter().map(row).collect();
    table(
        [
            ("METRIC", false),
            ("TYPE", false),
            ("UNIT", false),
            ("MEANING", false),
        ],
        &rows,
    )
}

/// What is shown of what is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeros {
    /// Nothing.
    Hidden,
    /// Of a metric with nothing else, one line: who asked for it by name is to see that it is there.
    InALine,
    /// Each.
    Shown,
}

fn zeros(args: &Args) -> Zeros {
    match (args.all, &args.name) {
        (true, _) => Zeros::Shown,
        (false, Some(_)) => Zeros::InALine,
        (false, None) => Zeros::Hidden,
    }
}

fn listed(metrics: &[Metric], zeros: Zeros) -> String {
    let mut rows = Vec::new();
    for metric in metrics {
        let is_zero = |sample: &MetricSample| sample.value.number() == 0.0;
        if zeros == Zeros::InALine && metric.samples.iter().all(is_zero) {
            rows.push(all_zero(metric));
            continue;
        }
        for sample in &metric.samples {
            if zeros != Zeros::Shown && is_zero(sample) {
                continue;
            }
            let of = match &sample.label {
                Some((label, value)) => format!("{label}={value}"),
                None => String::new(),
            };
            let name = &metric.name;
            match &sample.value {
                MetricValue::Whole(number) => rows.push([name.clone(), of, number.to_string()]),
                MetricValue::Number(number) => {
                    rows.push([name.clone(), of, shown(&metric.unit, *number)]);
                }
                distribution @ MetricValue::Histogram { sum, count, .. } => {
                    let mean = time(sum / (*count).max(1) as f64);
                    let quantile = |q| {
                        distribution
                            .quantile(q)
                            .map_or_else(|| "?".to_owned(), time)
                    };
                    for (of, value) in [
                        ("count", count.to_string()),
                        ("mean", mean),
                        ("p50", quantile(0.5)),
                        ("p99", quantile(0.99)),
                    ] {
                        rows.push([name.clone(), of.to_owned(), value]);
                    }
                }
            }
        }
    }
    table([("METRIC", false), ("OF", false), ("VALUE", true)], &rows)
}

/// A metric of which every value is 0, or which has none yet.
fn all_zero(metric: &Metric) -> [String; 3] {
    let of = match metric.samples.as_slice() {
        [] => "(nothing yet)".to_owned(),
        [one] => one
            .label
            .as_ref()
            .map_or_else(String::new, |(label, value)| format!("{label}={value}")),
        [one, ..] => match &one.label {
            Some((label, _)) => format!("(each {label})"),
            None => "(each)".to_owned(),
        },
    };
    [metric.name.clone(), of, "0".to_owned()]
}

/// A value as people read it.
fn shown(unit: &str, number: f64) -> String {
    match unit {
        "bytes" => format!("{:.1} MiB", number / 1024.0 / 1024.0),
        "seconds" => format!("{number:.2} s"),
        _ => number.to_string(),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn as_json(metrics: &[Metric]) -> serde_json::Value {
    let metric = |metric: &Metric| {
        let samples = metric.samples.iter().map(|sample| {
            let mut object = serde_json::Map::new();
            if let Some((label, value)) = &sample.label {
                object.insert(label.clone(), json!(value));
            }
            let value = match &sample.value {
                MetricValue::Whole(number) => json!(number),
                MetricValue::Number(number) => json!(number),
                MetricValue::Histogram {
                    buckets,
                    sum,
                    count,
                } => json!({ "buckets": buckets, "sum": sum, "count": count }),
            };
            object.insert("value".to_owned(), value);
            serde_json::Value::Object(object)
        });
        json!({
            "name": metric.name,
            "type": metric.kind,
            "unit": metric.unit,
            "help": metric.help,
            "values": samples.collect::<Vec<_>>(),
        })
    };
    metrics.iter().map(metric).collect()
}

#[cfg(test)]
mod tests {
    use ccp_control::{Bucket, Metric, MetricKind, MetricSample, MetricValue};

    use super::Zeros;

    fn metrics() -> Vec<Metric> {
        let metric = |name: &str, kind, unit: &str, samples: Vec<(Option<&str>, MetricValue)>| {
            let sample = |(label, value): (Option<&str>, MetricValue)| MetricSample {
                label: label.map(|of| ("datapath".to_owned(), of.to_owned())),
                value,
            };
            Metric {
                name: name.to_owned(),
                kind,
                unit: unit.to_owned(),
                help: "What it is.".to_owned(),
                samples: samples.into_iter().map(sample).collect(),
            }
        };
        vec![
            metric(
                "process_resident_memory_bytes",
                MetricKind::Gauge,
                "bytes",
                vec![(None, MetricValue::Number(12_582_912.0))],
            ),
            metric(
                "ccpd_flows",
                MetricKind::Gauge,
                "flows",
                vec![
                    (Some("ccp"), MetricValue::Whole(3)),
                    (Some("/run/ccpd/datapath.sock"), MetricValue::Whole(0)),
                ],
            ),
            metric(
                "ccpd_report_latency_seconds",
                MetricKind::Histogram,
                "seconds",
                vec![(
                    None,
                    MetricValue::Histogram {
                        buckets: vec![
                            Bucket {
                                le: 1e-5,
                                count: 50,
                            },
                            Bucket {
                                le: 2e-5,
                                count: 99,
                            },
                        ],
                        sum: 0.0015,
                        count: 100,
                    },
                )],
            ),
        ]
    }

    #[test]
    fn what_is_0_is_left_out_unless_asked_for() {
        assert_eq!(
            super::listed(&metrics(), Zeros::Hidden),
            "METRIC                         OF               VALUE\n\
             process_resident_memory_bytes                12.0 MiB\n\
             ccpd_flows                     datapath=ccp         3\n\
             ccpd_report_latency_seconds    count              100\n\
             ccpd_report_latency_seconds    mean             15 us\n\
             ccpd_report_latency_seconds    p50              10 us\n\
             ccpd_report_latency_seconds    p99              20 us\n"
        );
        let all = super::listed(&metrics(), Zeros::Shown);
        assert!(all.contains("datapath=/run/ccpd/datapath.sock"), "{all}");
    }

    #[test]
    fn who_asks_for_a_metric_by_name_sees_also_that_it_is_0() {
        let mut metrics = metrics();
        metrics.truncate(2);
        for sample in &mut metrics[1].samples {
            sample.value = MetricValue::Whole(0);
        }
        let mut one = metrics[1].clone();
        one.name = "ccpd_one".to_owned();
        one.samples.truncate(1);
        let mut none = one.clone();
        none.name = "ccpd_none".to_owned();
        none.samples.clear();
        metrics.extend([one, none]);
        assert_eq!(
            super::listed(&metrics, Zeros::InALine),
            "METRIC                         OF                  VALUE\n\
             process_resident_memory_bytes                   12.0 MiB\n\
             ccpd_flows                     (each datapath)         0\n\
             ccpd_one                       datapath=ccp            0\n\
             ccpd_none                      (nothing yet)           0\n"
        );
        let hidden = super::listed(&metrics, Zeros::Hidden);
        assert_eq!(hidden.lines().count(), 2, "{hidden}");
    }

    #[test]
    fn json_has_numbers_and_what_they_mean() {
        let json = super::as_json(&metrics());
        assert_eq!(json[1]["name"], "ccpd_flows");
        assert_eq!(json[1]["type"], "gauge");
        assert_eq!(json[1]["help"], "What it is.");
        assert_eq!(json[1]["values"][0]["datapath"], "ccp");
        assert_eq!(json[1]["values"][0]["value"], 3);
        assert_eq!(json[2]["values"][0]["value"]["buckets"][1]["count"], 99);
        assert_eq!(json[0]["values"][0]["value"], 12_582_912.0);
    }
}
