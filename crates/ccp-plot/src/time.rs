//! Charts over time: panels of lines, stacked over a common x axis.

mod draw;

pub(crate) use draw::head;

use crate::{
    PlotError,
    ticks::{Axis, is_shown},
};

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    steps: bool,
}

impl Series {
    /// Points joined by straight lines. Where a value is not finite (or beyond 10^100), the line has a gap.
    /// Points are put in order of x; those whose x is such are left out.
    #[must_use]
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut points: Vec<_> = points.into_iter().filter(|&(x, _)| is_shown(x)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self {
            name: name.into(),
            points,
            steps: false,
        }
    }

    /// Values that hold until the next one, as a window or a rate that was set. Otherwise as
    /// [`Self::line`].
    #[must_use]
    pub fn steps(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            steps: true,
            ..Self::line(name, points)
        }
    }

    /// The stretches without a gap.
    fn stretches(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        self.points
            .split(|&(_, y)| !is_shown(y))
            .filter(|points| !points.is_empty())
    }

    fn finite(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.points.iter().filter(|&&(_, y)| is_shown(y))
    }
}

/// One panel: a title (quantity and unit), and the series in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    title: String,
    series: Vec<Series>,
    references: Vec<(f64, String)>,
    height: f64,
    from_zero: bool,
    y_max: Option<f64>,
}

impl Panel {
    /// A panel titled with the quantity and its unit, as `window (packets)`. Its y axis begins at 0.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            series: Vec::new(),
            references: Vec::new(),
            height: 170.0,
            from_zero: true,
            y_max: None,
        }
    }

    /// Adds a series.
    #[must_use]
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds a horizontal line with a name, such as the rate of the link.
    #[must_use]
    pub fn reference(mut self, value: f64, label: impl Into<String>) -> Self {
        if is_shown(value) {
            self.references.push((value, label.into()));
        }
        self
    }

    /// The y axis begins near the least value instead of 0.
    #[must_use]
    pub fn fit(mut self) -> Self {
        self.from_zero = false;
        self
    }

    /// The y axis ends at most there; what is above is cut off. For outliers that would flatten the rest.
    #[must_use]
    pub fn y_max(mut self, value: f64) -> Self {
        self.y_max = value.is_finite().then_some(value);
        self
    }

    /// Height of the plotting area in pixels (default 170; at least 40).
    #[must_use]
    pub fn height(mut self, pixels: f64) -> Self {
        self.height = if pixels.is_finite() {
            pixels.max(40.0)
        } else {
            self.height
        };
        self
    }

    fn axis(&self) -> Axis {
        let values = self.series.iter().flat_map(Series::finite).map(|&(_, y)| y);
        // With a little room, so that a reference does not lie on the frame.
        let references = self.references.iter().flat_map(|&(y, _)| [y, y * 1.04]);
        let values = values.chain(references);
        let (mut low, mut high) = range(values).unwrap_or(if self.from_zero {
            (0.0, 0.0)
        } else {
            (0.0, 1.0)
        });
        if self.from_zero {
            low = low.min(0.0);
            high = high.max(0.0);
        }
        if let Some(limit) = self.y_max.filter(|&limit| limit < high && limit > low) {
            high = limit;
        }
        Axis::rounded(low, high, (self.height / 32.0) as usize)
    }
}

/// An event, or a time with something special, across all panels.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    from: f64,
    to: f64,
    label: String,
}

impl Marker {
    /// A vertical line at `x`.
    #[must_use]
    pub fn at(x: f64, label: impl Into<String>) -> Self {
        Self::span(x, x, label)
    }

    /// A shaded band from `from` to `to`.
    #[must_use]
    pub fn span(from: f64, to: f64, label: impl Into<String>) -> Self {
        Self {
            from: from.min(to),
            to: from.max(to),
            label: label.into(),
        }
    }
}

/// Panels of series over a common x axis. See the crate's example.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeChart {
    title: String,
    subtitle: String,
    x_label: String,
    width: f64,
    panels: Vec<Panel>,
    markers: Vec<Marker>,
}

impl TimeChart {
    /// A chart without panels.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            x_label: String::new(),
            width: 1000.0,
            panels: Vec::new(),
            markers: Vec::new(),
        }
    }

    /// A smaller line below the title, as the conditions of the run.
    #[must_use]
    pub fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = text.into();
        self
    }

    /// Name and unit of the x axis, as `time (s)`.
    #[must_use]
    pub fn x_label(mut self, text: impl Into<String>) -> Self {
        self.x_label = text.into();
        self
    }

    /// Width in pixels (default 1000; at least 300).
    #[must_use]
    pub fn width(mut self, pixels: f64) -> Self {
        self.width = if pixels.is_finite() {
            pixels.max(300.0).round()
        } else {
            self.width
        };
        self
    }

    /// Adds a panel below those before.
    #[must_use]
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// Adds an event. Left out if its place is not finite.
    #[must_use]
    pub fn marker(mut self, marker: Marker) -> Self {
        if is_shown(marker.from) && is_shown(marker.to) {
            self.markers.push(marker);
        }
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
    /// [`PlotError::Size`] if there are so many panels that the picture would be too large.
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
}

/// Least and greatest.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

#[cfg(test)]
mod tests;
