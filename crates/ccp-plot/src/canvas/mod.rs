//! What a chart is drawn on: a few primitives, kept as a list, turned into SVG or PNG.

mod png;
mod svg;

use crate::{
    font::Font,
    palette::{Color, PAPER},
};

/// A chart could not be made into a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The picture's size in pixels is 0 or too large.
    #[error(
        "a picture of {width}×{height} pixels cannot be made; use fewer panels or a smaller scale"
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Encoding failed.
    #[error("the picture cannot be encoded as PNG: {0}")]
    Encode(String),
}

/// Which point of a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        fill: Color,
    },
    Line {
        points: Vec<(f64, f64)>,
        stroke: Color,
        width: f64,
        dash: Option<[f64; 2]>,
    },
    Text {
        x: f64,
        y: f64,
        anchor: Anchor,
        size: f64,
        fill: Color,
        text: String,
    },
}

/// A list of what is drawn; pixels, y downwards.
pub(crate) struct Canvas {
    title: String,
    width: f64,
    height: f64,
    items: Vec<Item>,
    font: Font,
}

impl Canvas {
    /// An empty one of that width; the height is set at the end.
    pub(crate) fn new(title: &str, width: f64) -> Self {
        Self {
            title: title.to_owned(),
            width,
            height: 0.0,
            items: Vec::new(),
            font: Font::new(),
        }
    }

    pub(crate) fn width(&self) -> f64 {
        self.width
    }

    pub(crate) fn set_height(&mut self, height: f64) {
        self.height = height.ceil();
    }

    /// Width of a text in pixels.
    pub(crate) fn measure(&self, text: &str, size: f64) -> f64 {
        self.font.width(text, size)
    }

    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: Color) {
        self.items.push(Item::Rect {
            x,
            y,
            width,
            height,
            fill,
        });
    }

    /// A straight line.
    pub(crate) fn line(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        stroke: Color,
        width: f64,
        dash: Option<[f64; 2]>,
    ) {
        self.polyline(vec![from, to], stroke, width, dash);
    }

    /// A line through all points.
    pub(crate) fn polyline(
        &mut self,
        points: Vec<(f64, f64)>,
        stroke: Color,
        width: f64,
        dash: Option<[f64; 2]>,
    ) {
        self.items.push(Item::Line {
            points,
            stroke,
            width,
            dash,
        });
    }

    /// A text whose base line is at `y`.
    pub(crate) fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        size: f64,
        fill: Color,
        text: impl Into<String>,
    ) {
        self.items.push(Item::Text {
            x,
            y,
            anchor,
            size,
            fill,
            text: text.into(),
        });
    }

    pub(crate) fn to_svg(&self) -> String {
        svg::render(self)
    }

    pub(crate) fn to_png(&self, scale: f64) -> Result<Vec<u8>, PlotError> {
        png::render(self, scale, PAPER)
    }
}
