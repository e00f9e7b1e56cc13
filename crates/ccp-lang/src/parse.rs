//! Text → AST.
//!
//! The grammar (`grammar.pest`) gives nested lists of tokens; here they become declarations,
//! clauses and expressions. After a mistake reading goes on with the next item, so that one run
//! finds several.

use ccp_program::BinaryOp;
use pest::Parser as _;
use pest::iterators::Pair;

use crate::ast::{Clause, Command, Decl, Expr, Kind, Literal, Name, Program};
use crate::error::{Errors, Problem, short};
use crate::near;
use crate::span::Span;

mod grammar {
    #[derive(pest_derive::Parser)]
    #[grammar = "grammar.pest"]
    pub(super) struct Grammar;
}
use grammar::{Grammar, Rule};

/// What the first word of a list says.
#[derive(Clone, Copy)]
enum Form {
    Binary(BinaryOp),
    Assign,
    If { negated: bool },
    Ewma,
    Command(Command),
}

/// Every operator and command, as it may be written.
const FORMS: [(&str, Form); 32] = [
    ("+", Form::Binary(BinaryOp::Add)),
    ("add", Form::Binary(BinaryOp::Add)),
    ("-", Form::Binary(BinaryOp::Sub)),
    ("sub", Form::Binary(BinaryOp::Sub)),
    ("*", Form::Binary(BinaryOp::Mul)),
    ("mul", Form::Binary(BinaryOp::Mul)),
    ("/", Form::Binary(BinaryOp::Div)),
    ("div", Form::Binary(BinaryOp::Div)),
    ("min", Form::Binary(BinaryOp::Min)),
    ("max", Form::Binary(BinaryOp::Max)),
    ("wrapped_max", Form::Binary(BinaryOp::WrappedMax)),
    ("==", Form::Binary(BinaryOp::Eq)),
    ("eq", Form::Binary(BinaryOp::Eq)),
    ("!=", Form::Binary(BinaryOp::Ne)),
    ("<", Form::Binary(BinaryOp::Lt)),
    ("lt", Form::Binary(BinaryOp::Lt)),
    ("<=", Form::Binary(BinaryOp::Le)),
    (">", Form::Binary(BinaryOp::Gt)),
    ("gt", Form::Binary(BinaryOp::Gt)),
    (">=", Form::Binary(BinaryOp::Ge)),
    ("&&", Form::Binary(BinaryOp::And)),
    ("and", Form::Binary(BinaryOp::And)),
    ("||", Form::Binary(BinaryOp::Or)),
    ("or", Form::Binary(BinaryOp::Or)),
    (":=", Form::Assign),
    ("bind", Form::Assign),
    ("if", Form::If { negated: false }),
    ("!if", Form::If { negated: true }),
    ("ewma", Form::Ewma),
    ("report", Form::Command(Command::Report)),
    ("fallthrough", Form::Command(Command::Fallthrough)),
    ("reset", Form::Command(Command::Reset)),
];

/// Words that cannot be names of variables.
const RESERVED: [&str; 3] = ["true", "false", "volatile"];

/// Reads the whole source. Its brackets must have been checked.
pub(crate) fn program<'s>(source: &'s str, errors: &mut Errors) -> Program<'s> {
    let mut reader = Reader {
        errors,
        program: Program::default(),
    };
    match Grammar::parse(Rule::source, source) {
        Ok(pairs) => reader.source(source, pairs.flat_map(Pair::into_inner)),
        // The grammar takes every text with balanced brackets.
        Err(error) => {
            let at = match error.location {
                pest::error::InputLocation::Pos(at) | pest::error::InputLocation::Span((at, _)) => {
                    at
                }
            };
            reader.errors.push(
                Span::new(at, at + 1),
                Problem::Stray {
                    text: "this text".into(),
                },
            );
        }
    }
    reader.program
}

type Node<'s> = Pair<'s, Rule>;

struct Reader<'s, 'e> {
    errors: &'e mut Errors,
    program: Program<'s>,
}

/// A list, cut into its first item and the others.
struct List<'s> {
    span: Span,
    head: Option<Node<'s>>,
    rest: Vec<Node<'s>>,
}

impl<'s> List<'s> {
    fn new(pair: Node<'s>) -> Self {
        let span = span(&pair);
        let mut items = pair.into_inner();
        Self {
            span,
            head: items.next(),
            rest: items.collect(),
        }
    }

    fn head_is(&self, word: &str) -> bool {
        self.head.as_ref().is_some_and(|h| h.as_str() == word)
    }

    /// The bracket and the first item.
    fn opening(&self) -> Span {
        match &self.head {
            Some(head) => self.span.to(span(head)),
            None => self.span,
        }
    }
}

impl<'s> Reader<'s, '_> {
    fn source(&mut self, source: &'s str, items: impl Iterator<Item = Node<'s>>) {
        let mut clauses = false;
        let mut first = None;
        for item in items {
            if item.as_rule() == Rule::EOI {
                break;
            }
            let place = span(&item);
            if item.as_rule() != Rule::list {
                first.get_or_insert(place);
                let word = format!("`{}`", short(item.as_str()));
                let near = None;
                self.errors.push(place, Problem::NotAClause { word, near });
                continue;
            }
            let list = List::new(item);
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
                    Some(head) if head.as_rule() != Rule::list => Problem::NotAClause {
                        word: format!("`({} …)`", short(head.as_str())),
                        near: near::nearest(head.as_str(), ["when", "def"].into_iter()),
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

    fn def(&mut self, list: List<'s>) {
        let mut plain = Vec::new();
        let mut block = false;
        for item in list.rest {
            let place = span(&item);
            if item.as_rule() != Rule::list {
                self.errors
                    .push(place, Problem::DeclShape { in_report: false });
                continue;
            }
            let inner = List::new(item);
            // A control variable may be called `Report`: then a constant follows.
            let is_block = inner.head_is("Report")
                && !matches!(inner.rest.as_slice(), [only] if only.as_rule() != Rule::list);
            if !is_block {
                plain.extend(self.decl(inner, false));
                continue;
            }
            if block {
                self.errors.push(inner.opening(), Problem::SecondReport);
            }
            block = true;
            if inner.rest.is_empty() {
                self.errors.push(inner.span, Problem::ReportShape);
            }
            for item in inner.rest {
                if item.as_rule() == Rule::list {
                    let decl = self.decl(List::new(item), true);
                    self.program.decls.extend(decl);
                } else {
                    let place = span(&item);
                    self.errors
                        .push(place, Problem::DeclShape { in_report: true });
                }
            }
        }
        self.program.decls.append(&mut plain);
    }

    /// `([volatile] name default)`; `None` if it was reported as wrong.
    fn decl(&mut self, list: List<'s>, in_report: bool) -> Option<Decl<'s>> {
        let volatile = list.head_is("volatile");
        let mut items = list.head.into_iter().chain(list.rest);
        if volatile {
            items.next();
        }
        let (Some(name), Some(default), None) = (items.next(), items.next(), items.next()) else {
            self.errors
                .push(list.span, Problem::DeclShape { in_report });
            return None;
        };
        let place = span(&name);
        let text = name.as_str();
        match name.as_rule() {
            Rule::name if text.starts_with("__") || RESERVED.contains(&text) => {
                let name = short(text);
                self.errors.push(place, Problem::ReservedName { name });
                return None;
            }
            Rule::name => {}
            Rule::malformed => {
                let text = short(text);
                self.errors.push(place, Problem::BadNumber { text });
                return None;
            }
            _ => {
                self.errors.push(place, Problem::DeclShape { in_report });
                return None;
            }
        }
        let default_place = span(&default);
        let Kind::Literal(default) = self.atom(default)? else {
            let name = short(text);
            self.errors
                .push(default_place, Problem::DefaultNotLiteral { name });
            return None;
        };
        let (report, text) = match text.strip_prefix("Report.") {
            Some(inner) if !in_report => (true, inner),
            _ => (in_report, text),
        };
        Some(Decl {
            volatile,
            name: Name { text, span: place },
            report,
            default,
        })
    }

    fn clause(&mut self, list: List<'s>) {
        let opening = list.opening();
        let mut items = list.rest.into_iter();
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

    fn expr(&mut self, pair: Node<'s>) -> Expr<'s> {
        let span = span(&pair);
        let kind = if pair.as_rule() == Rule::list {
            self.form(List::new(pair))
        } else {
            self.atom(pair)
        };
        Expr {
            span,
            kind: kind.unwrap_or(Kind::Broken),
        }
    }

    fn atom(&mut self, pair: Node<'s>) -> Option<Kind<'s>> {
        let text = pair.as_str();
        let problem = match pair.as_rule() {
            Rule::infinity => return Some(Kind::Literal(Literal::Number(u64::MAX))),
            Rule::number => match text.parse() {
                Ok(number) => return Some(Kind::Literal(Literal::Number(number))),
                Err(_) => Problem::NumberTooLarge,
            },
            Rule::name => match text {
                "true" => return Some(Kind::Literal(Literal::Bool(true))),
                "false" => return Some(Kind::Literal(Literal::Bool(false))),
                _ if text.starts_with("__") => Problem::ReservedName { name: short(text) },
                _ => return Some(Kind::Name(text)),
            },
            Rule::malformed => Problem::BadNumber { text: short(text) },
            // A list where only an atom can be: a default.
            Rule::list => return Some(Kind::Broken),
            _ => Problem::Stray {
                text: format!("`{}`", short(text)),
            },
        };
        self.errors.push(span(&pair), problem);
        None
    }

    /// `(operator operand…)`; `None` if it was reported as wrong.
    fn form(&mut self, list: List<'s>) -> Option<Kind<'s>> {
        let Some(head) = &list.head else {
            self.errors.push(list.span, Problem::EmptyList);
            return None;
        };
        let (word, place) = (head.as_str(), span(head));
        if !matches!(head.as_rule(), Rule::name | Rule::operator) {
            self.errors.push(place, Problem::HeadNotOperator);
            return None;
        }
        let Some((_, form)) = FORMS.iter().find(|(spelling, _)| *spelling == word) else {
            let near = match self.errors.many() {
                true => None,
                false => near::nearest(word, FORMS.iter().map(|(spelling, _)| *spelling)),
            };
            let alone = list.rest.is_empty() && head.as_rule() == Rule::name && near.is_none();
            let problem = match word {
                "def" | "when" => Problem::Misplaced { word: word.into() },
                _ => Problem::UnknownOperator {
                    word: short(word),
                    near,
                    alone,
                },
            };
            self.errors.push(place, problem);
            return None;
        };
        let form = *form;
        let sign = Name {
            text: word,
            span: place,
        };
        self.operands(form, sign, list)
    }

    fn operands(&mut self, form: Form, sign: Name<'s>, list: List<'s>) -> Option<Kind<'s>> {
        let got = list.rest.len();
        let mut items = list.rest.into_iter();
        let wanted = match form {
            Form::Command(_) => (0, 0, "no operand"),
            Form::If { .. } => (2, usize::MAX, "a condition and what to do"),
            _ => (2, 2, "two operands"),
        };
        if got < wanted.0 || got > wanted.1 {
            let problem = Problem::Operands {
                sign: sign.text.to_owned(),
                wanted: wanted.2,
                got,
            };
            self.errors.push(list.span, problem);
            return None;
        }
        if let Form::Command(command) = form {
            return Some(Kind::Command(command));
        }
        // The count was checked: both are there.
        let first = items.next()?;
        if let Form::Assign = form {
            let target = Name {
                text: first.as_str(),
                span: span(&first),
            };
            let is_name = first.as_rule() == Rule::name && !RESERVED.contains(&target.text);
            let problem = if first.as_rule() == Rule::malformed {
                let text = short(target.text);
                Some(Problem::BadNumber { text })
            } else if !is_name {
                Some(Problem::TargetNotName)
            } else if target.text.starts_with("__") {
                let name = short(target.text);
                Some(Problem::ReservedName { name })
            } else {
                None
            };
            let value = Box::new(self.expr(items.next()?));
            if let Some(problem) = problem {
                self.errors.push(target.span, problem);
                return None;
            }
            return Some(Kind::Assign { target, value });
        }
        let first = Box::new(self.expr(first));
        Some(match form {
            Form::Binary(op) => Kind::Binary {
                op,
                sign,
                a: first,
                b: Box::new(self.expr(items.next()?)),
            },
            Form::Ewma => Kind::Ewma {
                weight: first,
                sample: Box::new(self.expr(items.next()?)),
            },
            Form::If { negated } => Kind::If {
                negated,
                condition: first,
                body: items.map(|item| self.expr(item)).collect(),
            },
            Form::Assign | Form::Command(_) => return None,
        })
    }
}

fn span(pair: &Node<'_>) -> Span {
    let span = pair.as_span();
    Span::new(span.start(), span.end())
}
