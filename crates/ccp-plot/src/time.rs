//! Charts over time: panels of lines, stacked over a common x axis.

use crate::{
    PlotError,
    canvas::{Anchor, Canvas},
    geometry::{Frame, Point, thinned},
    legend::{self, Sample},
    palette::{BAND, FAINT, FRAME, GRID, INK, style},
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

const EDGE: f64 = 18.0;
const TITLE: f64 = 17.0;
const SUBTITLE: f64 = 12.0;
const LABEL: f64 = 11.0;
const PANEL_TITLE: f64 = 12.5;
const MARKER_ROW: f64 = 15.0;

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

    fn draw(&self) -> Canvas {
        let mut canvas = Canvas::new(&self.title, self.width);
        let axes: Vec<Axis> = self.panels.iter().map(Panel::axis).collect();
        let labels = axes
            .iter()
            .flat_map(|axis| &axis.ticks)
            .map(|(_, label)| label);
        let widest = labels
            .map(|label| canvas.measure(label, LABEL))
            .fold(0.0, f64::max);
        let left = EDGE + widest + 8.0;
        let right = self.width - EDGE - 6.0;
        let x_axis = self.x_axis(&canvas, right - left);

        let mut y = head(&mut canvas, &self.title, &self.subtitle);
        let series = || self.panels.iter().flat_map(|panel| &panel.series);
        let names = legend::names(series().map(|series| series.name.as_str()));
        y = legend::draw(&mut canvas, &names, Sample::Line, EDGE, right, y);

        let x_of = |x: f64| left + x_axis.place(x) * (right - left);
        let rows = self.marker_rows(&canvas, &x_of, left, right);
        y += rows.iter().map(|&(row, _)| row + 1).max().unwrap_or(0) as f64 * MARKER_ROW;
        let labels_bottom = y;

        let mut frames = Vec::new();
        for panel in &self.panels {
            let top = y + 24.0;
            frames.push(Frame {
                left,
                top,
                right,
                bottom: top + panel.height,
            });
            y = top + panel.height + 6.0;
        }
        for marker in &self.markers {
            let (from, to) = (x_of(marker.from), x_of(marker.to));
            for frame in frames.iter().filter(|_| to > from) {
                canvas.rect(from, frame.top, (to - from).max(1.0), frame.height(), BAND);
            }
        }
        for ((panel, axis), frame) in self.panels.iter().zip(&axes).zip(&frames) {
            draw_grid(&mut canvas, panel, axis, &x_axis, *frame);
        }
        self.draw_events(&mut canvas, &frames, &rows, labels_bottom, &x_of);
        for ((panel, axis), frame) in self.panels.iter().zip(&axes).zip(&frames) {
            draw_values(&mut canvas, panel, axis, &x_axis, *frame, &names);
        }
        if let Some(frame) = frames.last() {
            for (x, label) in &x_axis.ticks {
                canvas.text(
                    (x_of(*x), frame.bottom + 16.0),
                    Anchor::Middle,
                    LABEL,
                    INK,
                    label,
                );
            }
            y = frame.bottom + 20.0;
        }
        if !self.x_label.is_empty() {
            y += 16.0;
            let middle = f64::midpoint(left, right);
            canvas.text((middle, y), Anchor::Middle, SUBTITLE, INK, &self.x_label);
        }
        canvas.set_height(y + EDGE);
        canvas
    }

    fn x_axis(&self, canvas: &Canvas, width: f64) -> Axis {
        let all = self
            .panels
            .iter()
            .flat_map(|panel| &panel.series)
            .flat_map(Series::finite);
        let markers = self.markers.iter().flat_map(|m| [m.from, m.to]);
        let (low, high) = range(all.map(|&(x, _)| x).chain(markers)).unwrap_or((0.0, 1.0));
        // As many ticks as their labels leave room for.
        let mut count = (width / 60.0) as usize;
        loop {
            let axis = Axis::exact(low, high, count);
            let widest = axis
                .ticks
                .iter()
                .map(|(_, label)| canvas.measure(label, LABEL));
            let room = width / axis.ticks.len().max(1) as f64;
            if count <= 2 || widest.fold(0.0, f64::max) + 14.0 <= room {
                return axis;
            }
            count -= 1;
        }
    }

    /// For each marker: the row of its label above the panels, 0 being the nearest to them, and where the
    /// label begins: at the marker. Labels do not touch, and no marker's line runs through another's label:
    /// one whose label would reach the line of a later one stands above that one's.
    fn marker_rows(
        &self,
        canvas: &Canvas,
        x_of: &impl Fn(f64) -> f64,
        left: f64,
        right: f64,
    ) -> Vec<(usize, f64)> {
        let mut order: Vec<usize> = (0..self.markers.len()).collect();
        order.sort_by(|&a, &b| self.markers[b].from.total_cmp(&self.markers[a].from));
        let mut rows = vec![(0, 0.0); self.markers.len()];
        for (place, &n) in order.iter().enumerate() {
            let marker = &self.markers[n];
            let width = canvas.measure(&marker.label, LABEL);
            let start = (x_of(marker.from) + 1.0).min(right - width).max(left);
            let reached = order[..place].iter().filter(|&&later| {
                let begin = x_of(self.markers[later].from).min(rows[later].1);
                begin < start + width + 8.0
            });
            let row = reached.map(|&later| rows[later].0 + 1).max().unwrap_or(0);
            rows[n] = (row, start);
        }
        rows
    }

    /// The vertical lines and their labels.
    fn draw_events(
        &self,
        canvas: &mut Canvas,
        frames: &[Frame],
        rows: &[(usize, f64)],
        labels_bottom: f64,
        x_of: &impl Fn(f64) -> f64,
    ) {
        let Some(bottom) = frames.last().map(|frame| frame.bottom) else {
            return;
        };
        let base = |row: usize| labels_bottom - (row as f64 + 0.25) * MARKER_ROW;
        for (marker, &(row, _)) in self.markers.iter().zip(rows) {
            let x = x_of(marker.from);
            if marker.from == marker.to {
                canvas.line(
                    (x, base(row) + 3.0),
                    (x, bottom),
                    FAINT,
                    1.1,
                    Some([4.0, 3.0]),
                );
            } else {
                // A band has its colour; its label only needs to be tied to it.
                canvas.line((x, base(row) + 3.0), (x, frames[0].top), FAINT, 0.8, None);
            }
        }
        for (marker, &(row, start)) in self.markers.iter().zip(rows) {
            canvas.text(
                (start, base(row)),
                Anchor::Start,
                LABEL,
                FAINT,
                &marker.label,
            );
        }
    }
}

/// Title and subtitle; returns where they end.
pub(crate) fn head(canvas: &mut Canvas, title: &str, subtitle: &str) -> f64 {
    let mut y = EDGE;
    for (text, size, color) in [(title, TITLE, INK), (subtitle, SUBTITLE, FAINT)] {
        for line in wrapped(canvas, text, size) {
            y += size;
            canvas.text((EDGE, y), Anchor::Start, size, color, line);
            y += 7.0;
        }
    }
    y + 2.0
}

/// A text broken between words into lines that fit the canvas.
fn wrapped(canvas: &Canvas, text: &str, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if canvas.measure(&format!("{line} {word}"), size)
                    <= canvas.width() - 2.0 * EDGE =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Title, ticks and grid of a panel.
fn draw_grid(canvas: &mut Canvas, panel: &Panel, axis: &Axis, x_axis: &Axis, frame: Frame) {
    canvas.text(
        (frame.left, frame.top - 7.0),
        Anchor::Start,
        PANEL_TITLE,
        INK,
        &panel.title,
    );
    for (value, label) in &axis.ticks {
        let y = frame.bottom - axis.place(*value) * frame.height();
        canvas.line((frame.left, y), (frame.right, y), GRID, 1.0, None);
        canvas.text(
            (frame.left - 7.0, y + LABEL * 0.36),
            Anchor::End,
            LABEL,
            INK,
            label,
        );
    }
    for (value, _) in &x_axis.ticks {
        let x = frame.left + x_axis.place(*value) * frame.width();
        canvas.line((x, frame.top), (x, frame.bottom), GRID, 1.0, None);
    }
}

/// References, series and frame of a panel.
fn draw_values(
    canvas: &mut Canvas,
    panel: &Panel,
    axis: &Axis,
    x_axis: &Axis,
    frame: Frame,
    names: &[&str],
) {
    let x_of = |x: f64| frame.left + x_axis.place(x) * frame.width();
    let y_of = |y: f64| frame.bottom - axis.place(y) * frame.height();
    for (value, _) in &panel.references {
        let y = y_of(*value);
        if (frame.top..=frame.bottom).contains(&y) {
            canvas.line(
                (frame.left, y),
                (frame.right, y),
                FAINT,
                1.2,
                Some([6.0, 4.0]),
            );
        }
    }
    for series in &panel.series {
        let n = names
            .iter()
            .position(|name| *name == series.name)
            .unwrap_or(0);
        let (color, dash) = style(n);
        for stretch in series.stretches() {
            let points: Vec<Point> = stretch.iter().map(|&(x, y)| (x_of(x), y_of(y))).collect();
            let points = thinned(points);
            let points = if series.steps {
                stepped(&points)
            } else {
                points
            };
            for part in frame.clip(&points) {
                match part[..] {
                    // A single value is a dot.
                    [(x, y)] => canvas.rect(x - 1.5, y - 1.5, 3.0, 3.0, color),
                    _ => canvas.polyline(part, color, 1.7, dash),
                }
            }
        }
    }
    // Above the lines, on a patch of paper, so that it can be read.
    for (value, label) in &panel.references {
        let y = y_of(*value);
        if (frame.top..=frame.bottom).contains(&y) {
            reference_label(canvas, label, y, frame);
        }
    }
    let Frame {
        left,
        top,
        right,
        bottom,
    } = frame;
    canvas.polyline(
        vec![
            (left, top),
            (left, bottom),
            (right, bottom),
            (right, top),
            (left, top),
        ],
        FRAME,
        1.0,
        None,
    );
}

fn reference_label(canvas: &mut Canvas, label: &str, y: f64, frame: Frame) {
    let width = canvas.measure(label, LABEL);
    let right = frame.right - 6.0;
    // Above its line, or below if there is no room.
    let base = if y - LABEL - 6.0 < frame.top {
        y + LABEL + 3.0
    } else {
        y - 4.0
    };
    canvas.rect(
        right - width - 3.0,
        base - LABEL,
        width + 6.0,
        LABEL + 3.0,
        crate::palette::PAPER,
    );
    canvas.text((right, base), Anchor::End, LABEL, FAINT, label);
}

/// Each value held until the next one's x.
fn stepped(points: &[Point]) -> Vec<Point> {
    let mut out: Vec<Point> = Vec::with_capacity(points.len() * 2);
    for &(x, y) in points {
        if let Some(&(_, before)) = out.last().filter(|&&(_, before)| before != y) {
            out.push((x, before));
        }
        out.push((x, y));
    }
    out
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
