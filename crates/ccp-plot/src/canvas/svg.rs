//! A canvas as SVG text.

use std::fmt::Write;

use super::{Anchor, Canvas, Item};
use crate::palette::{Color, PAPER};

pub(super) fn render(canvas: &Canvas) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, canvas);
    out
}

fn write_all(out: &mut String, canvas: &Canvas) -> std::fmt::Result {
    let (width, height) = (canvas.width, canvas.height);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"DejaVu Sans, Verdana, Arial, sans-serif\">"
    )?;
    writeln!(out, "<title>{}</title>", escape(&canvas.title))?;
    writeln!(
        out,
        "<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>",
        hex(PAPER)
    )?;
    for item in &canvas.items {
        match item {
            Item::Rect {
                x,
                y,
                width,
                height,
                fill,
            } => writeln!(
                out,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
                number(*x),
                number(*y),
                number(*width),
                number(*height),
                hex(*fill)
            )?,
            Item::Line {
                points,
                stroke,
                width,
                dash,
            } => {
                out.push_str("<polyline points=\"");
                for (i, (x, y)) in points.iter().enumerate() {
                    let blank = if i == 0 { "" } else { " " };
                    write!(out, "{blank}{},{}", number(*x), number(*y))?;
                }
                write!(
                    out,
                    "\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"",
                    hex(*stroke),
                    number(*width)
                )?;
                if let Some([on, off]) = dash {
                    write!(
                        out,
                        " stroke-dasharray=\"{} {}\"",
                        number(*on),
                        number(*off)
                    )?;
                }
                out.push_str("/>\n");
            }
            Item::Text {
                x,
                y,
                anchor,
                size,
                fill,
                text,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                writeln!(
                    out,
                    "<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
                    number(*x),
                    number(*y),
                    number(*size),
                    hex(*fill),
                    escape(text)
                )?;
            }
        }
    }
    out.push_str("</svg>\n");
    Ok(())
}

fn hex(Color(red, green, blue): Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Hundredths of a pixel are enough.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Text as XML character data; characters that XML does not allow become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_numbers_are_short() {
        assert_eq!(
            escape("a<b> & \"c\"\n\u{1}"),
            "a&lt;b&gt; &amp; &quot;c&quot; \u{fffd}"
        );
        assert_eq!(number(1.0), "1");
        assert_eq!(number(-0.001), "0");
        assert_eq!(number(1.256), "1.26");
        assert_eq!(number(100.0), "100");
    }
}
