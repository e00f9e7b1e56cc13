//! Draws diagnostics: as text with the marked source, in one line each, as JSON.
//!
//! The text is `annotate-snippets`' drawing, which is that of rustc. What is given to it is cut to
//! the lines that a diagnostic is about, and its places are clamped to them, so that neither the
//! size of the source nor an odd place matters.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde::Serialize;

use crate::error::{Diagnostic, Severity};
use crate::span::Lines;

/// How wide text without colours is.
const WIDTH: usize = 120;

/// The longest line that is given to the drawing as it is, and how much of a longer one, before
/// the place and from there on; all in bytes. More than is ever shown.
const LONG_LINE: usize = 4096;
const AROUND: usize = 1024;

/// The longest place that is marked from its first to its last line; of a longer one only the
/// first line is shown.
const LONG_PLACE: usize = 16 << 10;

/// Text without colours.
pub(crate) fn plain(diagnostics: &[Diagnostic], source: &str, name: &str) -> String {
    text(
        &Renderer::plain().term_width(WIDTH),
        diagnostics,
        source,
        name,
    )
}

/// Text with the escape sequences of a terminal of this width.
pub(crate) fn coloured(
    diagnostics: &[Diagnostic],
    source: &str,
    name: &str,
    width: usize,
) -> String {
    // Narrower than this nothing can be read.
    let renderer = Renderer::styled().term_width(width.clamp(40, 1000));
    text(&renderer, diagnostics, source, name)
}

fn text(renderer: &Renderer, diagnostics: &[Diagnostic], source: &str, name: &str) -> String {
    let lines = Lines::new(source);
    let mut out = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let drawn = one(renderer, diagnostic, source, &lines, name);
        for line in drawn.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

fn one(
    renderer: &Renderer,
    diagnostic: &Diagnostic,
    source: &str,
    lines: &Lines<'_>,
    name: &str,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let position = diagnostic.position;
    let (shown, in_line, place) = excerpt(diagnostic, source, lines);
    let mut mark = AnnotationKind::Primary.span(place);
    if !diagnostic.label.is_empty() {
        mark = mark.label(one_line(&diagnostic.label));
    }
    let snippet = Snippet::source(shown)
        .line_start(position.line as usize)
        .annotation(mark);
    let title = level
        .primary_title(one_line(&diagnostic.message))
        .id(diagnostic.code);
    let mut group = Group::with_title(title);
    group = if in_line {
        // The drawing would count columns from where the excerpt begins.
        let origin = Origin::path(one_line(name))
            .line(position.line as usize)
            .char_column(position.column as usize);
        group.element(origin).element(snippet)
    } else {
        group.element(snippet.path(one_line(name)))
    };
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(one_line(hint)));
    }
    renderer.render(&[group])
}

/// The part of the source to show, whether it begins within a line, and the place within it; all
/// at the borders of characters.
fn excerpt<'s>(
    diagnostic: &Diagnostic,
    source: &'s str,
    lines: &Lines<'_>,
) -> (&'s str, bool, Range<usize>) {
    let start = floor(source, diagnostic.span.start as usize);
    let end = floor(source, diagnostic.span.end as usize).max(start);
    let first = lines.bounds(diagnostic.position.line);
    let first = first.start.min(start)..first.end.max(start);
    let last = lines.bounds(lines.position(u32::try_from(end).unwrap_or(u32::MAX)).line);

    let whole = end > first.end
        && end - start <= LONG_PLACE
        && first.len() <= LONG_LINE
        && last.len() <= LONG_LINE;
    let (from, to, end) = if whole {
        (first.start, last.end.max(end), end)
    } else if first.len() <= LONG_LINE {
        (first.start, first.end, end.min(first.end))
    } else {
        let from = floor(source, start.saturating_sub(AROUND)).max(first.start);
        let to = floor(source, start + AROUND).min(first.end);
        (from, to, end.min(floor(source, start + AROUND / 2)).min(to))
    };
    let shown = source.get(from..to).unwrap_or_default();
    (
        shown,
        from > first.start,
        start - from..end.max(start) - from,
    )
}

/// The last border of a character at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One line each: `file:line:column: error[code]: message: label`.
pub(crate) fn short(diagnostics: &[Diagnostic], name: &str) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let Diagnostic {
            severity,
            code,
            message,
            label,
            position,
            ..
        } = diagnostic;
        let (line, column) = (position.line, position.column);
        let (name, message) = (one_line(name), one_line(message));
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{name}:{line}:{column}: {severity}[{code}]: {message}");
        if !label.is_empty() {
            let _ = write!(out, ": {}", one_line(label));
        }
        out.push('\n');
    }
    out
}

/// The text without what a terminal would take for a command or for the end of the line.
fn one_line(text: &str) -> String {
    normalize_untrusted_str(text).replace(['\n', '\r'], " ")
}

/// What [`json`] says of one diagnostic. The schema is part of the interface: fields may be added,
/// none is renamed or removed.
#[derive(Serialize)]
struct Json<'d> {
    severity: &'d str,
    code: &'d str,
    message: &'d str,
    label: Option<&'d str>,
    hint: Option<&'d str>,
    file: &'d str,
    span: JsonSpan,
    line: u32,
    column: u32,
}

#[derive(Serialize)]
struct JsonSpan {
    start: u32,
    end: u32,
}

/// One JSON object per line.
pub(crate) fn json(diagnostics: &[Diagnostic], name: &str) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let json = Json {
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            code: diagnostic.code,
            message: &diagnostic.message,
            label: Some(diagnostic.label.as_str()).filter(|label| !label.is_empty()),
            hint: diagnostic.hint.as_deref(),
            file: name,
            span: JsonSpan {
                start: diagnostic.span.start,
                end: diagnostic.span.end,
            },
            line: diagnostic.position.line,
            column: diagnostic.position.column,
        };
        // Numbers, texts and nothing: this cannot fail.
        out.push_str(&serde_json::to_string(&json).unwrap_or_default());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
