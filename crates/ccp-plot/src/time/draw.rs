//! Layout and drawing of charts over time.

use super::{Panel, Series, TimeChart, range};
use crate::{
    canvas::{Anchor, Canvas},
    geometry::{Frame, Point, thinned},
    legend::{self, Sample},
    palette::{BAND, FAINT, FRAME, GRID, INK, PAPER, style},
    ticks::Axis,
};

pub(super) const EDGE: f64 = 18.0;
pub(super) const TITLE: f64 = 17.0;
const SUBTITLE: f64 = 12.0;
pub(super) const LABEL: f64 = 11.0;
const PANEL_TITLE: f64 = 12.5;
const MARKER_ROW: f64 = 15.0;

impl TimeChart {
    pub(super) fn draw(&self) -> Canvas {
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
    pub(super) fn marker_rows(
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
pub(super) fn wrapped(canvas: &Canvas, text: &str, size: f64) -> Vec<String> {
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
        PAPER,
    );
    canvas.text((right, base), Anchor::End, LABEL, FAINT, label);
}

/// Each value held until the next one's x.
pub(super) fn stepped(points: &[Point]) -> Vec<Point> {
    let mut out: Vec<Point> = Vec::with_capacity(points.len() * 2);
    for &(x, y) in points {
        if let Some(&(_, before)) = out.last().filter(|&&(_, before)| before != y) {
            out.push((x, before));
        }
        out.push((x, y));
    }
    out
}
