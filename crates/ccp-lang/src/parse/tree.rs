//! What pest found, as one flat list: a list's items follow it.

use pest::Token;
use pest::iterators::Pairs;

use super::grammar::Rule;
use crate::ast::Name;
use crate::span::Span;

/// All words and lists of a source.
pub(super) struct Tree<'s> {
    source: &'s str,
    nodes: Vec<Node>,
}

struct Node {
    span: Span,
    /// The node after this one and everything in it.
    next: usize,
    list: bool,
}

impl<'s> Tree<'s> {
    /// `pairs` come from a text that is `source` but for comments and spaces.
    pub(super) fn new(source: &'s str, pairs: Pairs<'_, Rule>) -> Self {
        let mut nodes: Vec<Node> = Vec::with_capacity(source.len() / 8);
        let mut open: Vec<usize> = Vec::new();
        for token in pairs.tokens() {
            match token {
                Token::Start { rule, pos } => {
                    if matches!(rule, Rule::list | Rule::word) {
                        open.push(nodes.len());
                        nodes.push(Node {
                            span: Span::new(pos.pos(), pos.pos()),
                            next: 0,
                            list: rule == Rule::list,
                        });
                    }
                }
                Token::End { rule, pos } => {
                    if matches!(rule, Rule::list | Rule::word) {
                        let next = nodes.len();
                        let node = open.pop().and_then(|node| nodes.get_mut(node));
                        if let Some(node) = node {
                            node.span = Span::new(node.span.start as usize, pos.pos());
                            node.next = next;
                        }
                    }
                }
            }
        }
        Self { source, nodes }
    }

    /// What stands outside of all brackets.
    pub(super) fn items(&self) -> Items<'_, 's> {
        Items {
            tree: self,
            at: 0,
            end: self.nodes.len(),
        }
    }
}

/// A word or a list.
#[derive(Clone, Copy)]
pub(super) struct Item<'t, 's> {
    pub(super) span: Span,
    pub(super) text: &'s str,
    /// What is in the brackets, if it is a list.
    pub(super) list: Option<Items<'t, 's>>,
}

impl<'s> Item<'_, 's> {
    pub(super) fn is_list(&self) -> bool {
        self.list.is_some()
    }

    pub(super) fn name(&self) -> Name<'s> {
        Name {
            text: self.text,
            span: self.span,
        }
    }
}

/// Words and lists that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Items<'t, 's> {
    tree: &'t Tree<'s>,
    at: usize,
    end: usize,
}

impl<'t, 's> Iterator for Items<'t, 's> {
    type Item = Item<'t, 's>;

    fn next(&mut self) -> Option<Item<'t, 's>> {
        if self.at >= self.end {
            return None;
        }
        let node = self.tree.nodes.get(self.at)?;
        let inside = Self {
            tree: self.tree,
            at: self.at + 1,
            end: node.next,
        };
        self.at = node.next;
        let range = node.span.start as usize..node.span.end as usize;
        Some(Item {
            span: node.span,
            text: self.tree.source.get(range).unwrap_or_default(),
            list: node.list.then_some(inside),
        })
    }
}

/// A list, cut into its first item and the others.
#[derive(Clone, Copy)]
pub(super) struct List<'t, 's> {
    pub(super) span: Span,
    pub(super) head: Option<Item<'t, 's>>,
    /// An operand that was cut from the head.
    operand: Option<Item<'t, 's>>,
    rest: Items<'t, 's>,
}

impl<'t, 's> List<'t, 's> {
    pub(super) fn new(span: Span, mut items: Items<'t, 's>) -> Self {
        let head = items.next();
        Self {
            span,
            head,
            operand: None,
            rest: items,
        }
    }

    /// What comes after the first item.
    pub(super) fn rest(&self) -> impl Iterator<Item = Item<'t, 's>> + use<'t, 's> {
        self.operand.into_iter().chain(self.rest)
    }

    /// Cuts an operator, a head of characters for which `sign` holds, from an operand that follows
    /// it without a space, as in `(+1 2)`.
    pub(super) fn split_operator(&mut self, sign: impl Fn(u8) -> bool) {
        let Some(head) = &mut self.head else { return };
        let signs = head.text.bytes().take_while(|b| sign(*b)).count();
        if signs == 0 || signs == head.text.len() || head.is_list() || head.text == "!if" {
            return;
        }
        let (text, operand) = head.text.split_at(signs);
        let middle = Span::new(head.span.start as usize + signs, head.span.end as usize);
        head.text = text;
        head.span.end = middle.start;
        self.operand = Some(Item {
            span: middle,
            text: operand,
            list: None,
        });
    }

    pub(super) fn head_is(&self, word: &str) -> bool {
        self.head.as_ref().is_some_and(|h| h.text == word)
    }

    /// The bracket and the first item.
    pub(super) fn opening(&self) -> Span {
        match &self.head {
            Some(head) => self.span.to(head.span),
            None => self.span,
        }
    }
}
