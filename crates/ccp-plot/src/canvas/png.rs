//! A canvas as PNG bytes.

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::{Anchor, Canvas, Item, PlotError};
use crate::palette::Color;

/// No picture needs more pixels than this (256 MB in memory).
const MOST_PIXELS: f64 = 64e6;

pub(super) fn render(canvas: &Canvas, scale: f64, paper: Color) -> Result<Vec<u8>, PlotError> {
    let (width, height) = (
        (canvas.width * scale).ceil(),
        (canvas.height * scale).ceil(),
    );
    let size = PlotError::Size {
        width: width as u32,
        height: height as u32,
    };
    let pixels = width * height;
    if pixels.is_nan() || pixels > MOST_PIXELS {
        return Err(size);
    }
    let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or(size)?;
    pixmap.fill(tiny_skia::Color::from_rgba8(paper.0, paper.1, paper.2, 255));
    for item in &canvas.items {
        draw(&mut pixmap, canvas, item, scale);
    }
    pixmap
        .encode_png()
        .map_err(|e| PlotError::Encode(e.to_string()))
}

fn draw(pixmap: &mut Pixmap, canvas: &Canvas, item: &Item, scale: f64) {
    let to_pixels = Transform::from_scale(scale as f32, scale as f32);
    match item {
        Item::Rect {
            x,
            y,
            width,
            height,
            fill,
        } => {
            let rect = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32);
            if let Some(rect) = rect {
                pixmap.fill_rect(rect, &paint(*fill), to_pixels, None);
            }
        }
        Item::Line {
            points,
            stroke,
            width,
            dash,
        } => {
            let mut path = PathBuilder::new();
            for (i, &(x, y)) in points.iter().enumerate() {
                let (x, y) = (x as f32, y as f32);
                if i == 0 {
                    path.move_to(x, y)
                } else {
                    path.line_to(x, y)
                }
            }
            let dash = dash.and_then(|[on, off]| StrokeDash::new(vec![on as f32, off as f32], 0.0));
            let shape = Stroke {
                width: *width as f32,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                dash,
                ..Stroke::default()
            };
            if let Some(path) = path.finish() {
                pixmap.stroke_path(&path, &paint(*stroke), &shape, to_pixels, None);
            }
        }
        Item::Text {
            x,
            y,
            anchor,
            size,
            fill,
            text,
        } => {
            let before = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => canvas.measure(text, *size) / 2.0,
                Anchor::End => canvas.measure(text, *size),
            };
            let unit = canvas.font.scale(*size);
            let outline = |at| Outline {
                path: PathBuilder::new(),
                x: x - before + at,
                y: *y,
                unit,
            };
            canvas.font.letters(text, *size, outline, |letter| {
                if let Some(path) = letter.path.finish() {
                    pixmap.fill_path(&path, &paint(*fill), FillRule::Winding, to_pixels, None);
                }
            });
        }
    }
}

fn paint(Color(red, green, blue): Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint.anti_alias = true;
    paint
}

/// A letter's outline, moved from font units to its place.
struct Outline {
    path: PathBuilder,
    x: f64,
    y: f64,
    unit: f64,
}

impl Outline {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (f64::from(x) * self.unit, f64::from(y) * self.unit);
        ((self.x + x) as f32, (self.y - y) as f32)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) =
            (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
