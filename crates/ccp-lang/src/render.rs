//! Draws diagnostics as plain text.

use std::fmt::Write as _;

use crate::error::Diagnostic;
use crate::span::{Lines, Position};

/// How much of a long line is shown, in characters.
const WIDTH: usize = 120;

pub(crate) fn render(diagnostics: &[Diagnostic], source: &str, name: &str) -> String {
    let lines = Lines::new(source);
    let mut out = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        one(&mut out, diagnostic, &lines, name);
    }
    out
}

// Writing to a `String` cannot fail.
fn one(out: &mut String, diagnostic: &Diagnostic, lines: &Lines<'_>, name: &str) {
    let Position { line, column } = diagnostic.position;
    let _ = writeln!(out, "{}: {}", diagnostic.severity, diagnostic.message);
    let _ = writeln!(out, "  --> {name}:{line}:{column}");

    let end = lines.position(diagnostic.span.end);
    let text: Vec<char> = lines.text(line).chars().collect();
    let first = (column as usize - 1).min(text.len());
    let last = if end.line == line {
        (end.column as usize - 1).clamp(first, text.len())
    } else {
        text.len()
    };
    // A long line is cut to a window around the place.
    let from = if text.len() > WIDTH {
        first.saturating_sub(WIDTH / 3)
    } else {
        0
    };
    let to = text.len().min(from + WIDTH);
    let shown: String = text
        .get(from..to)
        .unwrap_or_default()
        .iter()
        .map(|c| if c.is_control() { ' ' } else { *c })
        .collect();
    let marks = "^".repeat(last.min(to).saturating_sub(first).max(1));
    let gutter = " ".repeat(line.to_string().len());
    let indent = " ".repeat(first - from);
    let (before, after) = (
        if from > 0 { "…" } else { "" },
        if to < text.len() { "…" } else { "" },
    );
    let indent_before = " ".repeat(before.chars().count());
    let _ = writeln!(out, "{line} | {before}{shown}{after}");
    let label = &diagnostic.label;
    let marked = format!("{gutter} | {indent_before}{indent}{marks} {label}");
    let _ = writeln!(out, "{}", marked.trim_end());
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{gutter} = {hint}");
    }
}
