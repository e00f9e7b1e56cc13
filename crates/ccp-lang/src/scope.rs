//! Which names a program may use, and what they stand for.

use std::collections::BTreeMap;

use ccp_program::{Limits, Operand, Reg, RegisterDef, RegisterTable, Type, Variable};

use crate::ast::{Clause, Decl, Expr, Kind, Literal, Name};
use crate::error::{Errors, Problem, short};
use crate::near;
use crate::span::Span;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    Reg(Reg, Type),
    /// A measurement, by its place in the table.
    Primitive(u16, Type),
}

impl Meaning {
    pub(crate) fn ty(self) -> Type {
        match self {
            Self::Reg(_, ty) | Self::Primitive(_, ty) => ty,
        }
    }
}

/// A local variable.
struct Local<'s> {
    name: Name<'s>,
    read: bool,
}

/// Every name of one program.
pub(crate) struct Scope<'s, 't> {
    table: &'t RegisterTable,
    variables: BTreeMap<&'s str, (Reg, Type)>,
    reports_by_name: BTreeMap<&'s str, (Reg, Type)>,
    pub(crate) controls: Vec<Variable>,
    pub(crate) reports: Vec<Variable>,
    locals: Vec<Local<'s>>,
    /// The primitives in use, in the order of their first use, by their place in the table.
    used: Vec<u16>,
    writables: Vec<u16>,
}

impl<'s, 't> Scope<'s, 't> {
    /// The names that `decls` declare, `table` offers and `clauses` create by assigning to them.
    pub(crate) fn new(
        decls: &[Decl<'s>],
        clauses: &[Clause<'s>],
        table: &'t RegisterTable,
        errors: &mut Errors,
    ) -> Self {
        let mut scope = Self {
            table,
            variables: BTreeMap::new(),
            reports_by_name: BTreeMap::new(),
            controls: Vec::new(),
            reports: Vec::new(),
            locals: Vec::new(),
            used: Vec::new(),
            // `Cwnd` and `Rate`, whether in use or not.
            writables: vec![0, 1],
        };
        for decl in decls {
            scope.declare(decl, errors);
        }
        scope.limit(
            "report variables",
            scope.reports.len(),
            Limits::MAX.reports,
            errors,
        );
        scope.limit(
            "control variables",
            scope.controls.len(),
            Limits::MAX.controls,
            errors,
        );
        scope.locals(clauses, errors);
        scope
    }

    fn limit(&self, what: &'static str, got: usize, limit: u16, errors: &mut Errors) {
        let limit = usize::from(limit);
        if got > limit {
            errors.push(Span::default(), Problem::TooMany { what, got, limit });
        }
    }

    fn declare(&mut self, decl: &Decl<'s>, errors: &mut Errors) {
        let Name { text, span } = decl.name;
        if !decl.report
            && let Some(by) = self.taken(text)
        {
            let name = short(text);
            errors.push(span, Problem::TakenName { name, by });
            return;
        }
        let (ty, default) = match decl.default {
            Literal::Number(n) => (Type::Num, n),
            Literal::Bool(b) => (Type::Bool, u64::from(b)),
        };
        let variable = Variable {
            name: text.to_owned(),
            ty,
            volatile: decl.volatile,
            default,
        };
        let (list, names) = if decl.report {
            (&mut self.reports, &mut self.reports_by_name)
        } else {
            (&mut self.controls, &mut self.variables)
        };
        if names.contains_key(text) {
            let name = if decl.report {
                format!("Report.{}", short(text))
            } else {
                short(text)
            };
            errors.push(span, Problem::DuplicateName { name });
            return;
        }
        let place = u16::try_from(list.len()).unwrap_or(u16::MAX);
        let reg = if decl.report {
            Reg::Report(place)
        } else {
            Reg::Control(place)
        };
        names.insert(text, (reg, ty));
        list.push(variable);
    }

    /// What a name that the program may not declare stands for already.
    fn taken(&self, name: &str) -> Option<&'static str> {
        if name == "Micros" {
            Some("the timer")
        } else if self.table.primitive(name).is_some() {
            Some("a measurement")
        } else if self.table.writable(name).is_some() {
            Some("a register of the datapath")
        } else if name.starts_with("Ack.") || name.starts_with("Flow.") {
            Some("in the space of the measurements, `Ack.…` and `Flow.…`,")
        } else {
            None
        }
    }

    /// Creates the local variables: every name that is assigned to and not known otherwise. The
    /// type of a local is that of the first thing assigned to it.
    fn locals(&mut self, clauses: &[Clause<'s>], errors: &mut Errors) {
        let mut first: Vec<(Name<'s>, &Expr<'s>)> = Vec::new();
        let mut seen: BTreeMap<&'s str, ()> = BTreeMap::new();
        let mut look = |expr: &'_ Expr<'s>| -> Option<Name<'s>> {
            let Kind::Assign { target, .. } = &expr.kind else {
                return None;
            };
            let text = target.text;
            let new = self.lookup(text).is_none()
                && !text.starts_with("Report.")
                && !text.starts_with("Ack.")
                && !text.starts_with("Flow.")
                && seen.insert(text, ()).is_none();
            new.then_some(*target)
        };
        for expr in clauses.iter().flat_map(|c| &c.body) {
            visit(expr, &mut |expr| {
                if let (Some(name), Kind::Assign { value, .. }) = (look(expr), &expr.kind) {
                    first.push((name, value));
                }
            });
        }
        let limit = usize::from(Limits::MAX.registers);
        if let Some((name, _)) = first.get(limit) {
            let problem = Problem::TooMany {
                what: "local variables",
                got: first.len(),
                limit,
            };
            errors.push(name.span, problem);
            first.truncate(limit);
        }
        for (place, (name, _)) in first.iter().enumerate() {
            self.locals.push(Local {
                name: *name,
                read: false,
            });
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            // A number until the loop below finds a boolean.
            self.variables
                .insert(name.text, (Reg::Local(place), Type::Num));
        }
        // One local may take its type from another that is assigned to later.
        let mut changed = true;
        while changed {
            changed = false;
            for (name, value) in &first {
                let ty = self.type_of(value);
                if let Some((_, known)) = self.variables.get_mut(name.text)
                    && *known != ty
                    && ty == Type::Bool
                {
                    *known = ty;
                    changed = true;
                }
            }
        }
    }

    /// The type that `expr` has if it is right.
    fn type_of(&self, expr: &Expr<'s>) -> Type {
        match &expr.kind {
            Kind::Literal(Literal::Bool(_)) => Type::Bool,
            Kind::Name(name) => self.lookup(name).map_or(Type::Num, Meaning::ty),
            Kind::Binary { op, .. } => result(*op),
            Kind::Assign { target, .. } => self.lookup(target.text).map_or(Type::Num, Meaning::ty),
            Kind::If { body, .. } => body.last().map_or(Type::Num, |value| self.type_of(value)),
            _ => Type::Num,
        }
    }

    /// What `name` stands for.
    pub(crate) fn lookup(&self, name: &str) -> Option<Meaning> {
        if name == "Micros" {
            return Some(Meaning::Reg(Reg::Micros, Type::Num));
        }
        if let Some(report) = name.strip_prefix("Report.") {
            let (reg, ty) = self.reports_by_name.get(report)?;
            return Some(Meaning::Reg(*reg, *ty));
        }
        if let Some((reg, ty)) = self.variables.get(name) {
            return Some(Meaning::Reg(*reg, *ty));
        }
        if let Some((place, def)) = self.table.primitive(name) {
            return Some(Meaning::Primitive(place, def.ty));
        }
        let (place, def) = self.table.writable(name)?;
        Some(Meaning::Reg(Reg::Writable(place), def.ty))
    }

    /// What to write into the program for `meaning`: places in its own lists.
    pub(crate) fn operand(&mut self, meaning: Meaning) -> Operand {
        match meaning {
            Meaning::Primitive(place, _) => Operand::Primitive(index_of(&mut self.used, place)),
            Meaning::Reg(reg, _) => {
                if let Reg::Local(place) = reg
                    && let Some(local) = self.locals.get_mut(usize::from(place))
                {
                    local.read = true;
                }
                Operand::Reg(self.reg(reg))
            }
        }
    }

    /// What to write into the program for a register that is assigned to.
    pub(crate) fn reg(&mut self, reg: Reg) -> Reg {
        match reg {
            Reg::Writable(place) => Reg::Writable(index_of(&mut self.writables, place)),
            other => other,
        }
    }

    /// The known name that `name` was probably meant to be.
    pub(crate) fn nearest(&self, name: &str, writable: bool) -> Option<String> {
        let reports: Vec<String> = self
            .reports
            .iter()
            .map(|r| format!("Report.{}", r.name))
            .collect();
        let variables = self.variables.keys().copied();
        let defs = |defs: &'t [RegisterDef]| defs.iter().map(|d| d.name.as_ref());
        let primitives = defs(self.table.primitives()).filter(|_| !writable);
        let candidates = reports
            .iter()
            .map(String::as_str)
            .chain(variables)
            .chain(primitives)
            .chain(defs(self.table.writables()))
            .chain(["Micros"])
            .filter(|candidate| *candidate != name);
        near::nearest(name, candidates)
    }

    /// The locals that are assigned to and never read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = Name<'s>> + '_ {
        self.locals.iter().filter(|l| !l.read).map(|l| l.name)
    }

    pub(crate) fn local_count(&self) -> u16 {
        u16::try_from(self.locals.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn primitives(&self) -> Vec<RegisterDef> {
        pick(&self.used, self.table.primitives())
    }

    pub(crate) fn writables(&self) -> Vec<RegisterDef> {
        pick(&self.writables, self.table.writables())
    }
}

/// The type of what an operation gives.
pub(crate) fn result(op: ccp_program::BinaryOp) -> Type {
    use ccp_program::BinaryOp::{Add, Div, Max, Min, Mul, Sub, WrappedMax};
    match op {
        Add | Sub | Mul | Div | Min | Max | WrappedMax => Type::Num,
        _ => Type::Bool,
    }
}

fn pick(places: &[u16], defs: &[RegisterDef]) -> Vec<RegisterDef> {
    let at = |place: &u16| defs.get(usize::from(*place)).cloned();
    places.iter().filter_map(at).collect()
}

/// The place of `wanted` in `places`, where it is put if it is missing.
fn index_of(places: &mut Vec<u16>, wanted: u16) -> u16 {
    let index = places.iter().position(|p| *p == wanted).unwrap_or_else(|| {
        places.push(wanted);
        places.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Calls `f` for `expr` and everything in it, in the order of the source.
fn visit<'e, 's>(expr: &'e Expr<'s>, f: &mut impl FnMut(&'e Expr<'s>)) {
    f(expr);
    match &expr.kind {
        Kind::Binary { a, b, .. } => {
            visit(a, f);
            visit(b, f);
        }
        Kind::Assign { value, .. } => visit(value, f),
        Kind::If {
            condition, body, ..
        } => {
            visit(condition, f);
            for expr in body {
                visit(expr, f);
            }
        }
        Kind::Ewma { weight, sample } => {
            visit(weight, f);
            visit(sample, f);
        }
        _ => {}
    }
}
