//! Names with their colours, in as many rows as needed.

use crate::{
    canvas::{Anchor, Canvas},
    palette::{INK, style},
};

const SIZE: f64 = 12.0;
const ROW: f64 = 20.0;
const SAMPLE: f64 = 26.0;
const GAP: f64 = 6.0;
const BETWEEN: f64 = 22.0;

/// The distinct names in order of appearance.
pub(crate) fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What stands beside a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    Line,
    Block,
}

/// Draws the legend with its upper edge at `top`; returns where it ends.
pub(crate) fn draw(
    canvas: &mut Canvas,
    names: &[&str],
    sample: Sample,
    left: f64,
    right: f64,
    top: f64,
) -> f64 {
    if names.is_empty() {
        return top;
    }
    let (mut x, mut y) = (left, top);
    for (n, name) in names.iter().enumerate() {
        let width = SAMPLE + GAP + canvas.measure(name, SIZE);
        if x > left && x + width > right {
            x = left;
            y += ROW;
        }
        let (color, dash) = style(n);
        let middle = y + ROW / 2.0;
        match sample {
            Sample::Line => canvas.line((x, middle), (x + SAMPLE, middle), color, 2.5, dash),
            Sample::Block => canvas.rect(x + SAMPLE - 12.0, middle - 6.0, 12.0, 12.0, color),
        }
        canvas.text(
            (x + SAMPLE + GAP, middle + SIZE * 0.36),
            Anchor::Start,
            SIZE,
            INK,
            *name,
        );
        x += width + BETWEEN;
    }
    y + ROW + 4.0
}
