//! Bars and boxes, for benchmarks.

use crate::{
    PlotError,
    canvas::{Anchor, Canvas},
    geometry::Frame,
    legend::{self, Sample},
    palette::{FRAME, GRID, INK, PAPER, style},
    ticks::{Axis, is_shown, value},
    time::{head, range},
};

/// One bar or box, as the value of one series in one group.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Value {
        value: f64,
        spread: Option<(f64, f64)>,
    },
    Box {
        low: f64,
        q1: f64,
        median: f64,
        q3: f64,
        high: f64,
    },
}

/// One bar or box: the value of one series in one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    series: String,
    shape: Shape,
}

impl Bar {
    /// A bar of that height.
    #[must_use]
    pub fn value(series: impl Into<String>, value: f64) -> Self {
        Self {
            series: series.into(),
            shape: Shape::Value {
                value,
                spread: None,
            },
        }
    }

    /// A bar with a whisker from `low` to `high`, as the least and the greatest of several runs.
    #[must_use]
    pub fn with_spread(series: impl Into<String>, value: f64, low: f64, high: f64) -> Self {
        let spread = Some((low.min(high), low.max(high)));
        Self {
            series: series.into(),
            shape: Shape::Value { value, spread },
        }
    }

    /// A box from the first to the third quartile with a line at the median and whiskers to the least and the
    /// greatest of these five values. The median and the greatest are written beside.
    #[must_use]
    pub fn quantiles(series: impl Into<String>, values: [f64; 5]) -> Self {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        let [low, q1, median, q3, high] = values;
        Self {
            series: series.into(),
            shape: Shape::Box {
                low,
                q1,
                median,
                q3,
                high,
            },
        }
    }

    /// A box of samples: quartiles, median, and whiskers to the 1st and 99th percentile (nearest rank);
    /// `None` if there are no finite ones.
    #[must_use]
    pub fn samples(
        series: impl Into<String>,
        samples: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        let mut samples: Vec<f64> = samples.into_iter().filter(|n| n.is_finite()).collect();
        samples.sort_by(f64::total_cmp);
        let last = samples.len().checked_sub(1)?;
        let at = |share: f64| samples[((last as f64 * share).round() as usize).min(last)];
        Some(Self::quantiles(
            series,
            [at(0.01), at(0.25), at(0.5), at(0.75), at(0.99)],
        ))
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let values = match self.shape {
            Shape::Value { value, spread } => {
                let (low, high) = spread.unwrap_or((value, value));
                [value, low, high]
            }
            Shape::Box {
                low, median, high, ..
            } => [low, median, high],
        };
        values.into_iter().filter(|&value| is_shown(value))
    }
}

/// Groups of bars or boxes over a common y axis that begins at 0.
///
/// ```
/// use ccp_plot::{Bar, BarChart};
///
/// let chart = BarChart::new("Loopback throughput of one flow", "Gbit/s")
///     .group("1 flow", [Bar::value("kernel reno", 31.0), Bar::with_spread("our reno", 30.2, 29.0, 30.9)])
///     .group("4 flows", [Bar::value("kernel reno", 44.0), Bar::value("our reno", 43.1)]);
/// assert!(chart.to_svg().contains("our reno"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    title: String,
    subtitle: String,
    y_label: String,
    width: f64,
    height: f64,
    groups: Vec<(String, Vec<Bar>)>,
}

const EDGE: f64 = 18.0;
const LABEL: f64 = 11.0;

impl BarChart {
    /// A chart without groups; `y_label` is quantity and unit.
    #[must_use]
    pub fn new(title: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            y_label: y_label.into(),
            width: 760.0,
            height: 280.0,
            groups: Vec::new(),
        }
    }

    /// A smaller line below the title.
    #[must_use]
    pub fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = text.into();
        self
    }

    /// Width in pixels (default 760; at least 300).
    #[must_use]
    pub fn width(mut self, pixels: f64) -> Self {
        self.width = if pixels.is_finite() {
            pixels.max(300.0).round()
        } else {
            self.width
        };
        self
    }

    /// Adds a group. Bars of the same series have the same colour in all groups.
    #[must_use]
    pub fn group(mut self, label: impl Into<String>, bars: impl IntoIterator<Item = Bar>) -> Self {
        self.groups.push((label.into(), bars.into_iter().collect()));
        self
    }

    /// The chart as SVG text.
    #[must_use]
    pub fn to_svg(&self) -> String {
        self.draw().to_svg()
    }

    /// The chart as PNG bytes, two pixels for each of the SVG's.
    ///
    /// # Errors
    ///
    /// [`PlotError::Size`] if the picture would be too large.
    pub fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        self.to_png_scaled(2.0)
    }

    /// The chart as PNG bytes, `scale` pixels for each of the SVG's.
    ///
    /// # Errors
    ///
    /// [`PlotError::Size`] if the picture would be empty or larger than 64 million pixels.
    pub fn to_png_scaled(&self, scale: f64) -> Result<Vec<u8>, PlotError> {
        self.draw().to_png(scale)
    }

    fn draw(&self) -> Canvas {
        let mut canvas = Canvas::new(&self.title, self.width);
        let bars = || self.groups.iter().flat_map(|(_, bars)| bars);
        let (low, high) = range(bars().flat_map(Bar::values)).unwrap_or((0.0, 0.0));
        let mut axis = Axis::rounded(low.min(0.0), high.max(0.0), (self.height / 45.0) as usize);
        // Room for the value above the highest bar.
        if axis.place(high) * self.height > self.height - 18.0 {
            let step = axis.ticks.get(1).map_or(1.0, |(tick, _)| tick - axis.low);
            let count = axis.ticks.len();
            axis = Axis::rounded(axis.low, axis.high + step, count);
        }
        let widest = axis
            .ticks
            .iter()
            .map(|(_, label)| canvas.measure(label, LABEL));
        let left = EDGE + widest.fold(0.0, f64::max) + 8.0;
        let right = self.width - EDGE;

        let mut y = head(&mut canvas, &self.title, &self.subtitle);
        let names = legend::names(bars().map(|bar| bar.series.as_str()));
        y = legend::draw(&mut canvas, &names, Sample::Block, EDGE - 14.0, right, y);
        let top = y + 24.0;
        let frame = Frame {
            left,
            top,
            right,
            bottom: top + self.height,
        };
        canvas.text((left, top - 7.0), Anchor::Start, 12.5, INK, &self.y_label);
        let y_of = |value: f64| frame.bottom - axis.place(value) * frame.height();
        for (value, label) in &axis.ticks {
            let y = y_of(*value);
            canvas.line((left, y), (right, y), GRID, 1.0, None);
            canvas.text(
                (left - 7.0, y + LABEL * 0.36),
                Anchor::End,
                LABEL,
                INK,
                label,
            );
        }
        let slot = frame.width() / self.groups.len().max(1) as f64;
        let mut lowest = frame.bottom;
        for (n, (label, bars)) in self.groups.iter().enumerate() {
            let start = left + slot * n as f64;
            let width = (slot * 0.8 / bars.len().max(1) as f64).min(90.0);
            let first = start + (slot - width * bars.len() as f64) / 2.0;
            for (i, bar) in bars.iter().enumerate() {
                let (color, _) = style(names.iter().position(|n| *n == bar.series).unwrap_or(0));
                let x = first + width * i as f64 + width * 0.06;
                draw_bar(&mut canvas, bar.shape, (x, width * 0.88), color, &y_of);
            }
            // A long label takes several lines.
            let mut y = frame.bottom + 16.0;
            for line in broken(&canvas, label, slot - 8.0) {
                canvas.text((start + slot / 2.0, y), Anchor::Middle, LABEL, INK, line);
                lowest = f64::max(lowest, y);
                y += 14.0;
            }
        }
        canvas.line((left, y_of(0.0)), (right, y_of(0.0)), FRAME, 1.0, None);
        canvas.set_height(lowest + EDGE);
        canvas
    }
}

fn draw_bar(
    canvas: &mut Canvas,
    shape: Shape,
    (x, width): (f64, f64),
    color: crate::palette::Color,
    y_of: &impl Fn(f64) -> f64,
) {
    let middle = x + width / 2.0;
    let cap = (width * 0.2).min(8.0);
    let whisker = |canvas: &mut Canvas, low: f64, high: f64| {
        canvas.line((middle, y_of(low)), (middle, y_of(high)), INK, 1.2, None);
        for end in [low, high] {
            canvas.line(
                (middle - cap, y_of(end)),
                (middle + cap, y_of(end)),
                INK,
                1.2,
                None,
            );
        }
    };
    let (top, text) = match shape {
        Shape::Value { value: height, .. } if !is_shown(height) => return,
        Shape::Value {
            value: height,
            spread,
        } => {
            let (upper, lower) = (y_of(height.max(0.0)), y_of(height.min(0.0)));
            canvas.rect(x, upper, width, (lower - upper).max(0.5), color);
            let spread = spread.filter(|(low, high)| is_shown(*low) && is_shown(*high));
            if let Some((low, high)) = spread {
                whisker(canvas, low, high);
            }
            (
                upper.min(spread.map_or(upper, |(_, high)| y_of(high))),
                value(height),
            )
        }
        Shape::Box {
            low,
            q1,
            median,
            q3,
            high,
        } => {
            if ![low, q1, median, q3, high].into_iter().all(is_shown) {
                return;
            }
            // Half as wide as a bar: the median's value stands beside it.
            let (left, right) = (middle - width / 4.0, middle + width / 4.0);
            whisker(canvas, low, high);
            canvas.rect(
                left,
                y_of(q3),
                right - left,
                (y_of(q1) - y_of(q3)).max(0.5),
                color,
            );
            canvas.line(
                (left, y_of(median)),
                (right, y_of(median)),
                PAPER,
                2.0,
                None,
            );
            let text = value(median);
            if let Some(size) = size_for(canvas, &text, width / 4.0 + 4.0) {
                let place = (right + 3.0, y_of(median) + size * 0.36);
                canvas.text(place, Anchor::Start, size, INK, text);
            }
            (y_of(high), value(high))
        }
    };
    if let Some(size) = size_for(canvas, &text, width * 1.12) {
        canvas.text((middle, top - 4.0), Anchor::Middle, size, INK, text);
    }
}

/// A smaller size where there is little room; none where the text could not be read.
fn size_for(canvas: &Canvas, text: &str, width: f64) -> Option<f64> {
    [LABEL, 9.0, 7.5]
        .into_iter()
        .find(|&size| canvas.measure(text, size) <= width)
}

/// A text broken between words into lines of at most `width`.
fn broken(canvas: &Canvas, text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if canvas.measure(&format!("{line} {word}"), LABEL) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_give_their_quantiles() {
        let bar = Bar::samples("s", (0..=1000).rev().map(f64::from)).expect("samples");
        let Shape::Box {
            low,
            q1,
            median,
            q3,
            high,
        } = bar.shape
        else {
            panic!("{bar:?}")
        };
        assert_eq!(
            [low, q1, median, q3, high],
            [10.0, 250.0, 500.0, 750.0, 990.0]
        );
        assert!(Bar::samples("s", [f64::NAN]).is_none());
        assert!(Bar::samples("s", [3.0]).is_some());
    }
}
