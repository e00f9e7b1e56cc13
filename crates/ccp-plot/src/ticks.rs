//! Where an axis has its ticks, and what they say.

/// Whether a value has a place in a chart: finite, and small enough to reckon with.
pub(crate) fn is_shown(value: f64) -> bool {
    value.abs() <= 1e100
}

/// An axis: its range and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that covers `low..=high` and ends on ticks, about `count` of them.
    pub(crate) fn rounded(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = widened(low, high);
        let step = step((high - low) / count.max(1) as f64);
        // A little less than the value counts as it: 0.30000000000000004 needs no further tick.
        let first = (low / step + 1e-6).floor() * step;
        let last = (high / step - 1e-6).ceil() * step;
        Self {
            low: first,
            high: last,
            ticks: ticks(first, last, step),
        }
    }

    /// An axis from `low` to `high` exactly, with about `count` ticks inside.
    pub(crate) fn exact(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = widened(low, high);
        let step = step((high - low) / count.max(1) as f64);
        Self {
            low,
            high,
            ticks: ticks(low, high, step),
        }
    }

    /// Place of a value between the ends: 0 to 1.
    pub(crate) fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// A range that is not empty.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let (low, high) = if low <= high {
        (low, high)
    } else {
        (high, low)
    };
    let least = low.abs().max(high.abs()) * 1e-9;
    if high - low > least {
        return (low, high);
    }
    if low == 0.0 {
        (0.0, 1.0)
    } else {
        (low - low.abs() * 0.1, high + high.abs() * 0.1)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `about`.
fn step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    let digit = about / power;
    let nice = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|&n| digit <= n * (1.0 + 1e-9));
    nice.unwrap_or(10.0) * power
}

fn ticks(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    let first = (low / step - 1e-6).ceil() as i64;
    let last = (high / step + 1e-6).floor() as i64;
    let biggest = low.abs().max(high.abs());
    (first..=last)
        .map(|n| {
            let value = n as f64 * step;
            (value, label(value, step, biggest))
        })
        .collect()
}

/// A tick's text: as many decimals as the step needs; from 10,000 on in thousands, millions, ….
fn label(value: f64, step: f64, biggest: f64) -> String {
    if biggest >= 1e13 || step < 1e-9 {
        return if value == 0.0 {
            "0".to_owned()
        } else {
            format!("{value:.1e}")
        };
    }
    let (unit, suffix) = scale(biggest);
    let digits = decimals(step / unit);
    format!(
        "{:.digits$}{}",
        value / unit,
        if value == 0.0 { "" } else { suffix }
    )
}

fn scale(biggest: f64) -> (f64, &'static str) {
    match biggest {
        b if b >= 1e10 => (1e9, "G"),
        b if b >= 1e7 => (1e6, "M"),
        b if b >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    }
}

fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize
}

/// A measured value as text: three significant digits, or all before the point.
pub(crate) fn value(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() >= 1e13 || value.abs() < 1e-9 {
        return format!("{value:.1e}");
    }
    let (unit, suffix) = scale(value.abs());
    let digits = (2.0 - (value.abs() / unit).log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{:.digits$}", value / unit);
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    text + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> String {
        axis.ticks
            .iter()
            .map(|(_, label)| label.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn rounded_axes_end_on_ticks() {
        let axis = Axis::rounded(0.0, 48.3, 5);
        assert_eq!((axis.low, axis.high), (0.0, 50.0));
        assert_eq!(labels(&axis), "0 10 20 30 40 50");
        assert_eq!(labels(&Axis::rounded(0.0, 0.3, 4)), "0.0 0.1 0.2 0.3");
        assert_eq!(labels(&Axis::rounded(20.1, 39.8, 4)), "20 25 30 35 40");
        assert_eq!(labels(&Axis::rounded(0.0, 125_000.0, 5)), "0 50k 100k 150k");
        assert_eq!(
            labels(&Axis::rounded(0.0, 3.2e9, 4)),
            "0 1000M 2000M 3000M 4000M"
        );
        assert_eq!(labels(&Axis::rounded(-3.0, 3.0, 3)), "-4 -2 0 2 4");
        assert_eq!(
            labels(&Axis::rounded(0.0, 0.000_42, 5)),
            "0.0000 0.0001 0.0002 0.0003 0.0004 0.0005"
        );
    }

    #[test]
    fn exact_axes_have_ticks_inside() {
        let axis = Axis::exact(0.37, 10.2, 10);
        assert_eq!((axis.low, axis.high), (0.37, 10.2));
        assert_eq!(labels(&axis), "1 2 3 4 5 6 7 8 9 10");
        assert_eq!(labels(&Axis::exact(0.0, 60.0, 8)), "0 10 20 30 40 50 60");
    }

    #[test]
    fn a_range_of_nothing_is_widened() {
        assert_eq!(labels(&Axis::rounded(0.0, 0.0, 2)), "0.0 0.5 1.0");
        let axis = Axis::rounded(7.0, 7.0, 4);
        assert!(
            axis.low < 7.0 && axis.high > 7.0 && axis.ticks.len() >= 2,
            "{axis:?}"
        );
        let axis = Axis::rounded(1e15, 1e15 + 1.0, 4);
        assert!(axis.ticks.len() < 20, "{axis:?}");
    }

    #[test]
    fn values_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (48.266, "48.3"),
            (5.0, "5"),
            (0.001234, "0.00123"),
            (999.6, "1000"),
            (4321.0, "4321"),
            (43_210.0, "43.2k"),
            (12_345_678.0, "12.3M"),
            (-2.5, "-2.5"),
            (1e99, "1.0e99"),
        ] {
            assert_eq!(value(number), text);
        }
    }
}
