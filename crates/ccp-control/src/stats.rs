//! What a daemon has counted: numbers that say themselves what they are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the values of a metric can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// They only grow, as long as the daemon runs.
    Counter,
    /// They go up and down.
    Gauge,
    /// They are distributions.
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One metric with all of its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, the same in every output.
    pub name: String,
    /// What its values can do.
    pub kind: MetricKind,
    /// What is counted or measured: `reports`, `seconds`.
    pub unit: String,
    /// What it means.
    pub help: String,
    /// Its values: one, or one for each value of its label.
    pub samples: Vec<MetricSample>,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// What tells it from the other values of the metric: label and value.
    pub label: Option<(String, String)>,
    /// The value.
    pub value: MetricValue,
}

/// A value of a metric. As JSON, a number, or an object for a distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetricValue {
    /// A whole number.
    Whole(u64),
    /// Any other number.
    Number(f64),
    /// A distribution.
    Histogram {
        /// How many values do not exceed which bound, in the order of the bounds.
        buckets: Vec<Bucket>,
        /// All values added up.
        sum: f64,
        /// How many values there are.
        count: u64,
    },
}

/// How many values do not exceed a bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The bound, in the metric's unit.
    pub le: f64,
    /// How many values do not exceed it; those of the buckets before are among them.
    pub count: u64,
}

impl MetricValue {
    /// The number; for a distribution, how many values it has.
    #[must_use]
    pub const fn number(&self) -> f64 {
        match self {
            Self::Whole(number) => *number as f64,
            Self::Number(number) => *number,
            Self::Histogram { count, .. } => *count as f64,
        }
    }

    /// The bound that the share `q` (0 to 1) of a distribution's values does not exceed, guessed evenly
    /// within its bucket. `None` if there are no values, or if that is beyond the last bound.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let Self::Histogram { buckets, count, .. } = self else {
            return None;
        };
        if *count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * *count as f64;
        let (mut below, mut bound) = (0_u64, 0.0);
        for bucket in buckets {
            if bucket.count as f64 >= rank && bucket.count > below {
                let within = (rank - below as f64) / (bucket.count - below) as f64;
                return Some(bound + (bucket.le - bound) * within);
            }
            (below, bound) = (bucket.count, bucket.le);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let bucket = |le, count| Bucket { le, count };
        let values = MetricValue::Histogram {
            buckets: vec![bucket(1.0, 50), bucket(2.0, 50), bucket(4.0, 90)],
            sum: 150.0,
            count: 100,
        };
        assert_eq!(values.quantile(0.5), Some(1.0));
        assert_eq!(values.quantile(0.7), Some(3.0));
        assert_eq!(values.quantile(0.9), Some(4.0));
        assert_eq!(values.quantile(0.95), None);
        assert_eq!(values.quantile(0.25), Some(0.5));
        assert_eq!(MetricValue::Whole(3).quantile(0.5), None);
    }
}
