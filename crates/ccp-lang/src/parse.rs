//! Text → AST.
//!
//! The grammar (`grammar.pest`) gives nested lists of tokens; here they become declarations,
//! clauses and expressions. After a mistake reading goes on with the next item, so that one run
//! finds several.

use pest::Parser as _;

use crate::ast::{Clause, Decl, Expr, Kind, Literal, Name, Program};
use crate::error::{Errors, Problem, short};
use crate::near;
use crate::scan;
use crate::span::Span;

mod forms;
mod tree;
mod words;

#[cfg(test)]
pub(crate) use forms::SPELLINGS;
pub(crate) use forms::{MAX_FRACTION, MAX_PHASE_US};
pub(crate) use words::gcd;

use tree::{Item, List, Tree};
use words::{RESERVED, Word, word};

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "grammar.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};

/// Reads the whole source. Its brackets must have been checked.
pub(crate) fn program<'s>(source: &'s str, errors: &mut Errors) -> Program<'s> {
    let mut reader = Reader {
        errors,
        program: Program::default(),
    };
    scan::invisible(source, reader.errors);
    let text = scan::without_comments(source);
    match Grammar::parse(Rule::source, &text) {
        Ok(pairs) => reader.source(source, &Tree::new(source, pairs)),
        // The grammar takes every text with balanced brackets.
        Err(error) => {
            let at = match error.location {
                pest::error::InputLocation::Pos(at) | pest::error::InputLocation::Span((at, _)) => {
                    at
                }
            };
            reader
                .errors
                .push(Span::new(at, at + 1), Problem::Stray { text: "…".into() });
        }
    }
    reader.program
}

struct Reader<'s, 'e> {
    errors: &'e mut Errors,
    program: Program<'s>,
}

impl<'s> Reader<'s, '_> {
    fn source(&mut self, source: &'s str, tree: &Tree<'s>) {
        let mut clauses = false;
        let mut first = None;
        for item in tree.items() {
            let Some(inner) = item.list else {
                first.get_or_insert(item.span);
                let word = format!("`{}`", short(item.text));
                let near = None;
                self.errors
                    .push(item.span, Problem::NotAClause { word, near });
                continue;
            };
            let list = List::new(item.span, inner);
            let opening = list.opening();
            if list.head_is("def") {
                if self.program.has_def {
                    self.errors.push(opening, Problem::SecondDef);
                    continue;
                }
                if first.is_some() {
                    self.errors.push(opening, Problem::LateDef);
                }
                self.program.has_def = true;
                self.def(list);
            } else if list.head_is("when") {
                clauses = true;
                self.clause(list);
            } else {
                let problem = match &list.head {
                    Some(head) if !head.is_list() => Problem::NotAClause {
                        word: format!("`({} …)`", short(head.text)),
                        near: near::nearest(head.text, ["when", "def"].into_iter()),
                    },
                    _ => Problem::NotAClause {
                        word: "this".into(),
                        near: None,
                    },
                };
                self.errors.push(opening, problem);
            }
            first.get_or_insert(opening);
        }
        let end = source.trim_end().len();
        let end = Span::new(end, end);
        if !self.program.has_def {
            self.errors.push(first.unwrap_or(end), Problem::MissingDef);
        } else if !clauses && !self.errors.any() {
            self.errors.push(end, Problem::NoClause);
        }
    }

    fn def(&mut self, list: List<'_, 's>) {
        let mut plain = Vec::new();
        let mut block = false;
        for item in list.rest() {
            let Some(inner) = item.list else {
                self.errors
                    .push(item.span, Problem::DeclShape { in_report: false });
                continue;
            };
            let inner = List::new(item.span, inner);
            // A control variable may be called `Report`: then a constant follows.
            let mut items = inner.rest();
            let only = items.next().filter(|_| items.next().is_none());
            let is_block = inner.head_is("Report") && only.is_none_or(|only| only.is_list());
            if !is_block {
                plain.extend(self.decl(inner, false));
                continue;
            }
            if block {
                self.errors.push(inner.opening(), Problem::SecondReport);
            }
            block = true;
            if inner.rest().next().is_none() {
                self.errors.push(inner.span, Problem::ReportShape);
            }
            for item in inner.rest() {
                if let Some(inner) = item.list {
                    let decl = self.decl(List::new(item.span, inner), true);
                    self.program.decls.extend(decl);
                } else {
                    self.errors
                        .push(item.span, Problem::DeclShape { in_report: true });
                }
            }
        }
        self.program.decls.append(&mut plain);
    }

    /// `([volatile] name default)`; `None` if it was reported as wrong.
    fn decl(&mut self, list: List<'_, 's>, in_report: bool) -> Option<Decl<'s>> {
        let volatile = list.head_is("volatile");
        let mut items = list.head.into_iter().chain(list.rest());
        if volatile {
            items.next();
        }
        let first = items.next();
        let (Some(name), Some(default), None) = (first, items.next(), items.next()) else {
            self.errors
                .push(list.span, Problem::DeclShape { in_report });
            let name = first.map_or("", |name| name.text);
            self.program.broken.insert(whose(name, in_report));
            return None;
        };
        let Name { text, span: place } = name.name();
        let problem = match word(text) {
            _ if name.is_list() => Problem::DeclShape { in_report },
            Word::Name if text.starts_with("__") || RESERVED.contains(&text) => {
                let name = short(text);
                Problem::ReservedName { name }
            }
            Word::Mixed => {
                let text = short(text);
                Problem::BadNumber { text }
            }
            Word::Number | Word::Other => Problem::DeclShape { in_report },
            Word::Name => {
                let default = self.default(default, text);
                let (text, report) = whose(text, in_report);
                if default.is_none() {
                    self.program.broken.insert((text, report));
                }
                return default.map(|default| Decl {
                    volatile,
                    name: Name { text, span: place },
                    report,
                    default,
                });
            }
        };
        self.errors.push(place, problem);
        None
    }

    /// The default of the variable `name`.
    fn default(&mut self, item: Item<'_, 's>, name: &str) -> Option<Literal> {
        if !item.is_list()
            && let Kind::Literal(literal) = self.atom(item.text, item.span)?
        {
            return Some(literal);
        }
        let name = short(name);
        self.errors
            .push(item.span, Problem::DefaultNotLiteral { name });
        None
    }

    fn clause(&mut self, list: List<'_, 's>) {
        let opening = list.opening();
        let mut items = list.rest();
        let Some(condition) = items.next() else {
            self.errors.push(list.span, Problem::NoCondition);
            return;
        };
        let condition = self.expr(condition);
        let body: Vec<Expr<'s>> = items.map(|item| self.expr(item)).collect();
        if body.is_empty() {
            self.errors.push(list.span, Problem::EmptyBody);
        }
        self.program.clauses.push(Clause {
            span: opening,
            condition,
            body,
        });
    }
}

/// A declared name without `Report.`, and whether it is a report variable's.
fn whose(name: &str, in_report: bool) -> (&str, bool) {
    match name.strip_prefix("Report.") {
        Some(inner) if !in_report => (inner, true),
        _ => (name, in_report),
    }
}
