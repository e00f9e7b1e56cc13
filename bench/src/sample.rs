//! Repeated measurements of one thing.

use serde::Serialize;

/// Repeated measurements of one thing, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// What is not a finite number is left out.
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value that the share `share` (0 to 1) of the others does not exceed (nearest rank); not a
    /// number if there are none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return f64::NAN;
        };
        let rank = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The middle one; of an even number, the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let n = self.0.len();
        match (n, self.0.get(n / 2), self.0.get((n / 2).wrapping_sub(1))) {
            (n, Some(upper), Some(lower)) if n % 2 == 0 => f64::midpoint(*lower, *upper),
            (_, Some(middle), _) => *middle,
            _ => f64::NAN,
        }
    }

    /// Not a number if there are none.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    pub(crate) fn most(&self) -> f64 {
        self.quantile(1.0)
    }

    /// `median (first–third quartile)`.
    pub(crate) fn quartiles(&self) -> String {
        format!(
            "{} ({}–{})",
            number(self.median()),
            number(self.quantile(0.25)),
            number(self.quantile(0.75))
        )
    }

    /// `median (least–most)`.
    pub(crate) fn spread(&self) -> String {
        format!(
            "{} ({}–{})",
            number(self.median()),
            number(self.least()),
            number(self.most())
        )
    }
}

/// `ours / the kernel's (ratio)`.
pub(crate) fn pair(ours: f64, kernels: f64) -> String {
    let ratio = ours / kernels;
    let ratio = if ratio.is_finite() {
        format!("{ratio:.3}")
    } else {
        "–".to_owned()
    };
    format!("{} / {} ({ratio})", number(ours), number(kernels))
}

/// A number as tables show it: three digits that mean something, thousands apart.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size == 0.0 => 0,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |d| ("-", d));
    let mut out = sign.to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Samples, number, pair};

    #[test]
    fn medians_and_quantiles() {
        let odd = Samples::new([3.0, f64::NAN, 1.0, 2.0]);
        assert_eq!(odd.median(), 2.0);
        assert_eq!((odd.least(), odd.most()), (1.0, 3.0));
        assert_eq!(Samples::new([4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        let many = Samples::new((0..=100).map(f64::from));
        assert_eq!((many.quantile(0.5), many.quantile(0.99)), (50.0, 99.0));
        assert!(Samples::new([]).median().is_nan());
        assert_eq!(odd.spread(), "2.00 (1.00–3.00)");
        assert_eq!((many.mean(), many.len()), (50.0, 101));
        assert_eq!(pair(2.0, 4.0), "2.00 / 4.00 (0.500)");
        assert_eq!(pair(0.0, 0.0), "0 / 0 (–)");
        assert_eq!(many.quartiles(), "50.0 (25.0–75.0)");
    }

    #[test]
    fn numbers_have_three_digits_that_mean_something() {
        let cases = [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.99951, "1.00"),
            (9.996, "10.0"),
            (99.96, "100"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-1234.5, "-1,234"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value}");
        }
    }
}
