//! Text → AST.
//!
//! The grammar (`grammar.pest`) gives nested lists of tokens; here they become declarations,
//! clauses and expressions. After a mistake reading goes on with the next item, so that one run
//! finds several.

use ccp_program::BinaryOp;
use pest::Parser as _;
use pest::iterators::{Pair, Pairs};

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

/// What operators are made of, but for words and `!if`.
const SIGNS: &[u8] = b"+-*/:=<>&|!%^~";

/// Words that cannot be names of variables.
const RESERVED: [&str; 3] = ["true", "false", "volatile"];

/// Reads the whole source. Its brackets must have been checked.
pub(crate) fn program<'s>(source: &'s str, errors: &mut Errors) -> Program<'s> {
    let mut reader = Reader {
        errors,
        program: Program::default(),
    };
    match Grammar::parse(Rule::source, source) {
        Ok(pairs) => reader.source(
            source,
            pairs.flat_map(Pair::into_inner).filter_map(Item::new),
        ),
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

/// A word or a list.
struct Item<'s> {
    span: Span,
    text: &'s str,
    /// What is in the brackets, if it is a list.
    list: Option<Pairs<'s, Rule>>,
}

impl<'s> Item<'s> {
    /// `None` for the end of the source.
    fn new(pair: Pair<'s, Rule>) -> Option<Self> {
        let span = pair.as_span();
        Some(Self {
            span: Span::new(span.start(), span.end()),
            text: pair.as_str(),
            list: match pair.as_rule() {
                Rule::list => Some(pair.into_inner()),
                Rule::word => None,
                _ => return None,
            },
        })
    }

    fn is_list(&self) -> bool {
        self.list.is_some()
    }

    fn name(&self) -> Name<'s> {
        Name {
            text: self.text,
            span: self.span,
        }
    }
}

/// What a word is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Number,
    Name,
    /// Digits that go on like a name.
    Malformed,
    /// Anything else.
    Other,
}

fn word(text: &str) -> Word {
    let mut bytes = text.bytes();
    if !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_') {
        Word::Other
    } else if !text.starts_with(|c: char| c.is_ascii_digit()) {
        Word::Name
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        Word::Number
    } else {
        Word::Malformed
    }
}

/// A list, cut into its first item and the others.
struct List<'s> {
    span: Span,
    head: Option<Item<'s>>,
    rest: Vec<Item<'s>>,
}

impl<'s> List<'s> {
    fn new(span: Span, items: Pairs<'s, Rule>) -> Self {
        let mut items = items.filter_map(Item::new);
        let head = items.next();
        // Most lists are an operator and two operands.
        let mut rest = Vec::with_capacity(2);
        rest.extend(items);
        Self { span, head, rest }
    }

    /// Cuts an operator from an operand that follows it without a space, as in `(+1 2)`.
    fn split_operator(&mut self) {
        let Some(head) = &mut self.head else { return };
        let signs = head.text.bytes().take_while(|b| SIGNS.contains(b)).count();
        if signs == 0 || signs == head.text.len() || head.is_list() || head.text == "!if" {
            return;
        }
        let (sign, operand) = head.text.split_at(signs);
        let middle = Span::new(head.span.start as usize + signs, head.span.end as usize);
        head.text = sign;
        head.span.end = middle.start;
        let operand = Item {
            span: middle,
            text: operand,
            list: None,
        };
        self.rest.insert(0, operand);
    }

    fn head_is(&self, word: &str) -> bool {
        self.head.as_ref().is_some_and(|h| h.text == word)
    }

    /// The bracket and the first item.
    fn opening(&self) -> Span {
        match &self.head {
            Some(head) => self.span.to(head.span),
            None => self.span,
        }
    }
}

impl<'s> Reader<'s, '_> {
    fn source(&mut self, source: &'s str, items: impl Iterator<Item = Item<'s>>) {
        let mut clauses = false;
        let mut first = None;
        for item in items {
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

    fn def(&mut self, list: List<'s>) {
        let mut plain = Vec::new();
        let mut block = false;
        for item in list.rest {
            let Some(inner) = item.list else {
                self.errors
                    .push(item.span, Problem::DeclShape { in_report: false });
                continue;
            };
            let inner = List::new(item.span, inner);
            // A control variable may be called `Report`: then a constant follows.
            let is_block = inner.head_is("Report")
                && !matches!(inner.rest.as_slice(), [only] if !only.is_list());
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
        let Name { text, span: place } = name.name();
        let problem = match word(text) {
            _ if name.is_list() => Problem::DeclShape { in_report },
            Word::Name if text.starts_with("__") || RESERVED.contains(&text) => {
                let name = short(text);
                Problem::ReservedName { name }
            }
            Word::Malformed => {
                let text = short(text);
                Problem::BadNumber { text }
            }
            Word::Number | Word::Other => Problem::DeclShape { in_report },
            Word::Name => {
                return self.default(default, text).map(|default| {
                    let (report, text) = match text.strip_prefix("Report.") {
                        Some(inner) if !in_report => (true, inner),
                        _ => (in_report, text),
                    };
                    Decl {
                        volatile,
                        name: Name { text, span: place },
                        report,
                        default,
                    }
                });
            }
        };
        self.errors.push(place, problem);
        None
    }

    /// The default of the variable `name`.
    fn default(&mut self, item: Item<'s>, name: &str) -> Option<Literal> {
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

    fn expr(&mut self, item: Item<'s>) -> Expr<'s> {
        let span = item.span;
        let kind = match item.list {
            Some(inner) => self.form(List::new(span, inner)),
            None => self.atom(item.text, span),
        };
        Expr {
            span,
            kind: kind.unwrap_or(Kind::Broken),
        }
    }

    fn atom(&mut self, text: &'s str, span: Span) -> Option<Kind<'s>> {
        let problem = match word(text) {
            Word::Name => match text {
                "true" => return Some(Kind::Literal(Literal::Bool(true))),
                "false" => return Some(Kind::Literal(Literal::Bool(false))),
                _ if text.starts_with("__") => Problem::ReservedName { name: short(text) },
                _ => return Some(Kind::Name(text)),
            },
            Word::Number => match text.parse() {
                Ok(number) => return Some(Kind::Literal(Literal::Number(number))),
                Err(_) => Problem::NumberTooLarge,
            },
            Word::Malformed => Problem::BadNumber { text: short(text) },
            Word::Other if text == "+infinity" => {
                return Some(Kind::Literal(Literal::Number(u64::MAX)));
            }
            Word::Other => Problem::Stray { text: short(text) },
        };
        self.errors.push(span, problem);
        None
    }

    /// `(operator operand…)`; `None` if it was reported as wrong.
    fn form(&mut self, mut list: List<'s>) -> Option<Kind<'s>> {
        list.split_operator();
        let Some(head) = &list.head else {
            self.errors.push(list.span, Problem::EmptyList);
            return None;
        };
        let (word, place) = (head.text, head.span);
        let kind = self::word(word);
        if head.is_list() || matches!(kind, Word::Number | Word::Malformed) {
            self.errors.push(place, Problem::HeadNotOperator);
            return None;
        }
        let Some((_, form)) = FORMS.iter().find(|(spelling, _)| *spelling == word) else {
            let near = match self.errors.many() {
                true => None,
                false => near::nearest(word, FORMS.iter().map(|(spelling, _)| *spelling)),
            };
            let alone = list.rest.is_empty() && kind == Word::Name && near.is_none();
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
            let target = first.name();
            let text = short(target.text);
            let problem = match word(target.text) {
                Word::Malformed => Some(Problem::BadNumber { text }),
                Word::Name if RESERVED.contains(&target.text) => Some(Problem::TargetNotName),
                Word::Name if target.text.starts_with("__") => {
                    Some(Problem::ReservedName { name: text })
                }
                Word::Name => None,
                Word::Number | Word::Other => Some(Problem::TargetNotName),
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
