//! Program text in its one usual shape.
//!
//! Works on brackets, words and comments: what they mean is none of its business, so a program that
//! does not compile can be put into shape too, as long as its brackets are balanced. Words and their
//! order stay as they are; only white space changes, and an empty line at most stays between two
//! things that are on lines of their own.

use crate::error::{Diagnostics, Errors, Problem};
use crate::scan::{self, MAX_SOURCE, is_space};
use crate::span::Span;

/// What fits on a line of this many characters stays on one.
const WIDTH: usize = 100;
const INDENT: usize = 4;
/// Deeper lists are not indented further: deep nesting must not multiply the size of a text.
const MAX_INDENT: usize = 60;

/// `source` in its usual shape: four spaces to a level, each clause and each statement on a line of
/// its own, short lists on one line, comments where they are. It means the same, and formatting it
/// again changes nothing.
///
/// # Errors
/// If brackets are not balanced or too deep, or the text is (or would become) longer than
/// [`MAX_SOURCE`]. Any other mistake stays as it is.
pub fn format(source: &str) -> Result<String, Diagnostics> {
    let mut errors = Errors::default();
    if !scan::check(source, &mut errors) {
        return Err(errors.finish(source));
    }
    let mut tokens = Tokens::new(source).peekable();
    let items = list(&mut tokens);
    let mut out = Out::default();
    for (index, item) in items.iter().enumerate() {
        let behind = item.is_comment() && item.breaks == 0 && !out.line_is_over();
        if index == 0 || !behind {
            out.new_line(item.breaks > 1 && index > 0);
        }
        out.item(item, 0, Role::Top);
    }
    let text = out.finish();
    if text.len() > MAX_SOURCE {
        errors.push(Span::default(), Problem::TooLong { len: text.len() });
        return Err(errors.finish(source));
    }
    Ok(text)
}

/// A word, a bracket or a comment, with the line breaks before it.
struct Token<'s> {
    text: &'s str,
    breaks: usize,
}

struct Tokens<'s> {
    rest: &'s str,
}

impl<'s> Tokens<'s> {
    fn new(source: &'s str) -> Self {
        Self {
            rest: scan::after_marks(source),
        }
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        let trimmed = self.rest.trim_start_matches(is_space);
        let (space, _) = self.rest.split_at(self.rest.len() - trimmed.len());
        let len = match trimmed.chars().next()? {
            '(' | ')' => 1,
            '#' => trimmed.find('\n').unwrap_or(trimmed.len()),
            _ => trimmed
                .find(|c| is_space(c) || matches!(c, '(' | ')' | '#'))
                .unwrap_or(trimmed.len()),
        };
        let (text, rest) = trimmed.split_at(len);
        self.rest = rest;
        Some(Token {
            // Only comments end in spaces; what else is white belongs to a word.
            text: text.trim_end_matches(is_space),
            breaks: space.matches('\n').count(),
        })
    }
}

/// What stands in a list.
struct Item<'s> {
    kind: Kind<'s>,
    /// How many line breaks were before it.
    breaks: usize,
    /// How long it is on one line; `None` if it cannot be, because of a comment.
    flat: Option<usize>,
}

enum Kind<'s> {
    Word(&'s str),
    Comment(&'s str),
    List(Vec<Item<'s>>),
}

/// The items up to the closing bracket, which is taken, or to the end. Depth was limited before.
fn list<'s>(tokens: &mut impl Iterator<Item = Token<'s>>) -> Vec<Item<'s>> {
    let mut items = Vec::new();
    while let Some(Token { text, breaks }) = tokens.next() {
        let kind = match text {
            ")" => break,
            "(" => Kind::List(list(tokens)),
            _ if text.starts_with('#') => Kind::Comment(text),
            _ => Kind::Word(text),
        };
        let flat = match &kind {
            Kind::Word(word) => Some(word.chars().count()),
            Kind::Comment(_) => None,
            Kind::List(items) => items
                .iter()
                .try_fold(2 + items.len().saturating_sub(1), |sum, item| {
                    Some(sum + item.flat?)
                }),
        };
        items.push(Item { kind, breaks, flat });
    }
    items
}

/// What an item is for, which says how it is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `def` or `when`.
    Top,
    /// Does something: it has a line of its own, and so has each statement in it.
    Statement,
    /// Anything else.
    Value,
}

impl<'s> Item<'s> {
    fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Comment(_))
    }

    fn head(&self) -> Option<&'s str> {
        match &self.kind {
            Kind::List(items) => match items.first()?.kind {
                Kind::Word(word) => Some(word),
                _ => None,
            },
            _ => None,
        }
    }
}

/// How a list is laid out that has several lines.
struct Layout {
    /// How many items stand on its first line.
    first: usize,
    /// What the others are for.
    role: Role,
    /// How many others may be beside them even if all would fit on one line.
    others: usize,
}

fn layout(head: Option<&str>, role: Role) -> Layout {
    let (first, role, others) = match (head, role) {
        (Some("when"), Role::Top) => (2, Role::Statement, 0),
        (Some("if" | "!if"), Role::Statement) => (2, Role::Statement, 1),
        (Some("else"), Role::Statement) => (1, Role::Statement, 1),
        (Some("def" | "Report" | "else") | None, _) => (1, Role::Value, usize::MAX),
        // Operators and assignments: the first operand beside the head.
        (Some(_), _) => (2, Role::Value, usize::MAX),
    };
    Layout {
        first,
        role,
        others,
    }
}

/// Whether it has several lines for what it holds, not for its length.
fn is_long(item: &Item<'_>, role: Role) -> bool {
    let Kind::List(items) = &item.kind else {
        return false;
    };
    let layout = layout(item.head(), role);
    let others = items.get(layout.first..).unwrap_or_default();
    others.len() > layout.others
        || layout.role == Role::Statement && others.iter().any(|other| is_long(other, layout.role))
}

/// A line: code with its indentation, and the comment behind it.
#[derive(Default)]
struct Line<'s> {
    code: String,
    comment: Option<&'s str>,
}

#[derive(Default)]
struct Out<'s> {
    lines: Vec<Line<'s>>,
}

impl<'s> Out<'s> {
    /// Begins a line, after an empty one if `apart`.
    fn new_line(&mut self, apart: bool) {
        if apart {
            self.lines.push(Line::default());
        }
        self.lines.push(Line::default());
    }

    /// Writes to the present line. There is always one.
    fn push(&mut self, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.code.push_str(text);
        }
    }

    fn indent(&mut self, columns: usize) {
        let columns = columns.min(MAX_INDENT);
        if let Some(line) = self.lines.last_mut()
            && line.code.is_empty()
        {
            line.code.extend(std::iter::repeat_n(' ', columns));
        }
    }

    /// Whether something must not be written to the present line any more.
    fn line_is_over(&self) -> bool {
        self.lines.last().is_some_and(|line| line.comment.is_some())
    }

    fn column(&self) -> usize {
        let line = self.lines.last();
        line.map_or(0, |line| line.code.chars().count())
    }

    /// One item on the present line, and on more if it needs them.
    fn item(&mut self, item: &Item<'s>, indent: usize, role: Role) {
        self.indent(indent);
        match &item.kind {
            Kind::Word(word) => self.push(word),
            Kind::Comment(text) => {
                if let Some(line) = self.lines.last_mut() {
                    line.comment = Some(text);
                }
            }
            Kind::List(items) => {
                let fits = item.flat.is_some_and(|len| self.column() + len <= WIDTH);
                if fits && !is_long(item, role) {
                    self.flat(items);
                } else {
                    self.broken(items, indent, &layout(item.head(), role));
                }
            }
        }
    }

    /// A list on one line. It holds no comment.
    fn flat(&mut self, items: &[Item<'s>]) {
        self.push("(");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(" ");
            }
            match &item.kind {
                Kind::Word(word) | Kind::Comment(word) => self.push(word),
                Kind::List(items) => self.flat(items),
            }
        }
        self.push(")");
    }

    /// A list on several lines.
    fn broken(&mut self, items: &[Item<'s>], indent: usize, layout: &Layout) {
        self.push("(");
        let within = indent + INDENT;
        // Items that still go on the first line; a comment behind one of them ends it.
        let mut beside = layout.first;
        for (index, item) in items.iter().enumerate() {
            let apart = item.breaks > 1 && index > 0;
            let over = self.line_is_over();
            if item.is_comment() {
                if over || item.breaks > 0 {
                    self.new_line(apart);
                }
                self.item(item, within, Role::Value);
                beside = 0;
            } else if beside > 0 {
                beside -= 1;
                if index > 0 {
                    self.push(" ");
                }
                self.item(item, within, Role::Value);
            } else {
                self.new_line(apart);
                self.item(item, within, layout.role);
            }
        }
        if self.line_is_over() {
            self.new_line(false);
            self.indent(indent);
        }
        self.push(")");
    }

    /// The text. Comments behind code on neighbouring lines begin in the same column.
    fn finish(self) -> String {
        let mut out = String::new();
        let behind = |line: &Line<'_>| line.comment.is_some() && !line.code.trim().is_empty();
        let mut lines = self.lines.as_slice();
        while let Some((line, rest)) = lines.split_first() {
            let run = lines.iter().take_while(|line| behind(line)).count();
            if run == 0 {
                out.push_str(&line.code);
                out.push_str(line.comment.unwrap_or_default());
                out.push('\n');
                lines = rest;
                continue;
            }
            let (run, rest) = lines.split_at(run);
            let width = |line: &Line<'_>| line.code.chars().count();
            // A line that is far too long does not push its neighbours' comments away.
            let widths = run.iter().map(width).filter(|width| *width <= WIDTH);
            let column = widths.max().unwrap_or(0);
            for line in run {
                let gap = column.saturating_sub(width(line)) + 1;
                out.push_str(&line.code);
                out.extend(std::iter::repeat_n(' ', gap));
                out.push_str(line.comment.unwrap_or_default());
                out.push('\n');
            }
            lines = rest;
        }
        out
    }
}

#[cfg(test)]
mod tests;
