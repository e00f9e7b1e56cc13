//! Which names a program may use, and what they stand for.

use std::collections::{BTreeMap, BTreeSet};

use ccp_program::{Limits, Operand, Reg, RegisterDef, RegisterTable, Type, Variable};

use crate::ast::{Clause, Decl, Expr, Kind, Literal, Name, Operator, Program};
use crate::error::{Errors, Problem, short};
use crate::near;
use crate::span::Span;

/// How often the types of locals are looked for: each time those become known that are assigned
/// from one found before.
const MAX_PASSES: usize = 64;

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

/// A measurement or register of the datapath that the program uses.
struct Used {
    /// Its place in the table.
    place: u16,
    /// Where it stands first; nowhere for `Cwnd` and `Rate` if they are not in use.
    at: Option<Span>,
}

/// Every name of one program.
pub(crate) struct Scope<'s, 't> {
    table: &'t RegisterTable,
    /// [`Program::broken`].
    broken: BTreeSet<(&'s str, bool)>,
    variables: BTreeMap<&'s str, (Reg, Type)>,
    reports_by_name: BTreeMap<&'s str, (Reg, Type)>,
    pub(crate) controls: Vec<Variable>,
    pub(crate) reports: Vec<Variable>,
    pub(crate) places: Vec<(String, Span)>,
    /// Whether each control variable is read and each report variable is assigned to.
    controls_read: Vec<bool>,
    reports_assigned: Vec<bool>,
    locals: Vec<Local<'s>>,
    /// Local variables without a name, after those.
    hidden: u16,
    /// The primitives in use, in the order of their first use.
    used: Vec<Used>,
    writables: Vec<Used>,
}

impl<'s, 't> Scope<'s, 't> {
    /// The names that `program` declares, `table` offers and clauses create by assigning to them.
    pub(crate) fn new(
        program: &Program<'s>,
        table: &'t RegisterTable,
        errors: &mut Errors,
    ) -> Self {
        let mut scope = Self {
            table,
            broken: program.broken.clone(),
            variables: BTreeMap::new(),
            reports_by_name: BTreeMap::new(),
            controls: Vec::new(),
            reports: Vec::new(),
            places: Vec::new(),
            controls_read: Vec::new(),
            reports_assigned: Vec::new(),
            locals: Vec::new(),
            hidden: 0,
            used: Vec::new(),
            // `Cwnd` and `Rate`, whether in use or not.
            writables: [0, 1].map(|place| Used { place, at: None }).into(),
        };
        for decl in &program.decls {
            scope.declare(decl, errors);
        }
        let limits = [
            (
                "report variables",
                true,
                scope.reports.len(),
                Limits::MAX.reports,
            ),
            (
                "control variables",
                false,
                scope.controls.len(),
                Limits::MAX.controls,
            ),
        ];
        for (what, report, got, limit) in limits {
            let limit = usize::from(limit);
            let same_kind = |(name, _): &&(String, Span)| name.starts_with("Report.") == report;
            // The first that is one too many.
            if let Some((_, span)) = scope.places.iter().filter(same_kind).nth(limit) {
                errors.push(*span, Problem::TooMany { what, got, limit });
            }
        }
        scope.locals(&program.clauses, errors);
        scope
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
        let (list, names, used) = if decl.report {
            let used = &mut self.reports_assigned;
            (&mut self.reports, &mut self.reports_by_name, used)
        } else {
            let used = &mut self.controls_read;
            (&mut self.controls, &mut self.variables, used)
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
        used.push(false);
        let prefix = if decl.report { "Report." } else { "" };
        self.places.push(([prefix, text].concat(), span));
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
            Some("")
        } else {
            None
        }
    }

    /// Creates the local variables: every name that is assigned to and not known otherwise. A
    /// local has the type of the first thing assigned to it whose type is known without it.
    fn locals(&mut self, clauses: &[Clause<'s>], errors: &mut Errors) {
        let mut places: BTreeMap<&'s str, usize> = BTreeMap::new();
        let mut assignments: Vec<(usize, &Expr<'s>)> = Vec::new();
        let limit = usize::from(Limits::MAX.registers);
        let mut too_many = None;
        for expr in clauses.iter().flat_map(|c| &c.body) {
            visit(expr, &mut |expr| {
                let Kind::Assign { target, value } = &expr.kind else {
                    return;
                };
                let text = target.text;
                let spaces = ["Report.", "Ack.", "Flow."];
                let taken = spaces.iter().any(|space| text.starts_with(space));
                if taken || self.lookup(text).is_some() || self.is_broken(text) {
                    return;
                }
                let next = places.len();
                let place = match places.get(text) {
                    Some(place) => *place,
                    None if known_elsewhere(text) => return,
                    None => next,
                };
                places.insert(text, place);
                if place == self.locals.len() {
                    if place == limit {
                        too_many = too_many.or(Some(target.span));
                        return;
                    }
                    self.locals.push(Local {
                        name: *target,
                        read: false,
                    });
                }
                assignments.push((place, value));
            });
        }
        if let Some(span) = too_many {
            let problem = Problem::TooMany {
                what: "local variables",
                got: places.len(),
                limit,
            };
            errors.push(span, problem);
        }
        let mut types: Vec<Option<Type>> = vec![None; self.locals.len()];
        let mut passes = 0;
        let mut changed = true;
        while changed && passes < MAX_PASSES {
            passes += 1;
            changed = false;
            for (place, value) in &assignments {
                if types.get(*place) == Some(&None)
                    && let Some(ty) = self.type_of(value, &places, &types)
                    && let Some(known) = types.get_mut(*place)
                {
                    *known = Some(ty);
                    changed = true;
                }
            }
        }
        for (place, (local, ty)) in (0..).zip(self.locals.iter().zip(types)) {
            let meaning = (Reg::Local(place), ty.unwrap_or(Type::Num));
            self.variables.insert(local.name.text, meaning);
        }
    }

    /// The type that `expr` has if it is right; `None` if it depends on a local whose type is not
    /// known yet.
    fn type_of(
        &self,
        expr: &Expr<'s>,
        places: &BTreeMap<&'s str, usize>,
        types: &[Option<Type>],
    ) -> Option<Type> {
        let of_name = |name: &str| match places.get(name) {
            Some(place) => types.get(*place).copied().flatten(),
            None => Some(self.lookup(name).map_or(Type::Num, Meaning::ty)),
        };
        match &expr.kind {
            Kind::Literal(Literal::Bool(_)) => Some(Type::Bool),
            Kind::Name(name) => of_name(name),
            Kind::Operation { op, .. } => Some(match op {
                Operator::Binary(op) => result(*op),
                Operator::SaturatingSub => Type::Num,
                Operator::Not => Type::Bool,
            }),
            Kind::Assign { target, .. } => of_name(target.text),
            Kind::If { body, .. } => {
                let mut types = body.iter().map(|value| self.type_of(value, places, types));
                types.find_map(|ty| ty)
            }
            _ => Some(Type::Num),
        }
    }

    /// Whether `name` is declared in a way that was reported as wrong.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        let (name, report) = match name.strip_prefix("Report.") {
            Some(name) => (name, true),
            None => (name, false),
        };
        self.broken.contains(&(name, report))
    }

    /// Whether a report variable is declared, be it wrongly.
    pub(crate) fn reports_something(&self) -> bool {
        !self.reports.is_empty() || self.broken.iter().any(|(_, report)| *report)
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

    /// What to write into the program for `meaning`, which stands at `at`: places in its own lists.
    pub(crate) fn operand(&mut self, meaning: Meaning, at: Span) -> Operand {
        match meaning {
            Meaning::Primitive(place, _) => Operand::Primitive(index_of(&mut self.used, place, at)),
            Meaning::Reg(reg, _) => {
                let read = match reg {
                    Reg::Local(i) => self.locals.get_mut(usize::from(i)).map(|l| &mut l.read),
                    Reg::Control(i) => self.controls_read.get_mut(usize::from(i)),
                    _ => None,
                };
                if let Some(read) = read {
                    *read = true;
                }
                Operand::Reg(self.place(reg, at))
            }
        }
    }

    /// What to write into the program for a register that is assigned to at `at`.
    pub(crate) fn target(&mut self, reg: Reg, at: Span) -> Reg {
        if let Reg::Report(i) = reg
            && let Some(assigned) = self.reports_assigned.get_mut(usize::from(i))
        {
            *assigned = true;
        }
        self.place(reg, at)
    }

    fn place(&mut self, reg: Reg, at: Span) -> Reg {
        match reg {
            Reg::Writable(place) => Reg::Writable(index_of(&mut self.writables, place, at)),
            other => other,
        }
    }

    /// The known name that `name` was probably meant to be: of all, or for a name that is assigned
    /// to of those that need not be made by that.
    pub(crate) fn nearest(&self, name: &str, assigned: bool) -> Option<String> {
        let reports: Vec<String> = self
            .reports
            .iter()
            .map(|r| format!("Report.{}", r.name))
            .collect();
        let variables = self.variables.iter();
        let variables = variables
            .filter(|(_, (reg, _))| !(assigned && matches!(reg, Reg::Local(_))))
            .map(|(name, _)| *name);
        let defs = |defs: &'t [RegisterDef]| defs.iter().map(|d| d.name.as_ref());
        let primitives = defs(self.table.primitives()).filter(|_| !assigned);
        let constants: &[&str] = if assigned { &[] } else { &["true", "false"] };
        let candidates = reports
            .iter()
            .map(String::as_str)
            .chain(variables)
            .chain(primitives)
            .chain(defs(self.table.writables()))
            .chain(["Micros"])
            .chain(constants.iter().copied())
            .filter(|candidate| *candidate != name);
        near::nearest(name, candidates)
    }

    /// The local variables, and whether they are read.
    pub(crate) fn locals_read(&self) -> impl Iterator<Item = (Name<'s>, bool)> + '_ {
        self.locals.iter().map(|l| (l.name, l.read))
    }

    /// Appends to `places` where each local variable is assigned to first.
    pub(crate) fn place_locals(&mut self) {
        let locals = self
            .locals
            .iter()
            .map(|l| (l.name.text.to_owned(), l.name.span));
        self.places.extend(locals);
    }

    /// The register of the datapath that a local variable differs from by one letter.
    pub(crate) fn almost_register(&self, name: &str) -> Option<String> {
        let registers = self.table.writables().iter().map(|d| d.name.as_ref());
        near::one_letter_off(name, registers.chain(["Micros"]))
    }

    /// The names and places of report variables that are never assigned to (`report`) or control
    /// variables that are never read.
    pub(crate) fn unused(&self, report: bool) -> impl Iterator<Item = (&str, Span)> {
        let used = if report {
            &self.reports_assigned
        } else {
            &self.controls_read
        };
        let places = self.places.iter();
        let declared = places.filter(move |(name, _)| name.starts_with("Report.") == report);
        let both = declared.zip(used).filter(|(_, used)| !**used);
        both.map(|((name, span), _)| (name.as_str(), *span))
    }

    /// A local variable that no program can name.
    pub(crate) fn hidden_local(&mut self) -> Reg {
        let place = self.local_count();
        self.hidden = self.hidden.saturating_add(1);
        Reg::Local(place)
    }

    pub(crate) fn local_count(&self) -> u16 {
        let named = u16::try_from(self.locals.len()).unwrap_or(u16::MAX);
        named.saturating_add(self.hidden)
    }

    pub(crate) fn primitives(&self) -> Vec<RegisterDef> {
        pick(&self.used, self.table.primitives()).cloned().collect()
    }

    pub(crate) fn writables(&self) -> Vec<RegisterDef> {
        pick(&self.writables, self.table.writables())
            .cloned()
            .collect()
    }

    /// The names of the measurements and registers in use, and where each stands first.
    pub(crate) fn uses(&self) -> Vec<(String, Span)> {
        let named = |list: &'_ [Used], defs: &[RegisterDef]| {
            let names = pick(list, defs).map(|def| def.name.to_string());
            let used = names
                .zip(list)
                .filter_map(|(name, used)| Some((name, used.at?)));
            used.collect::<Vec<_>>()
        };
        let mut uses = named(&self.used, self.table.primitives());
        uses.extend(named(&self.writables, self.table.writables()));
        uses
    }
}

/// Whether `name` is a register or measurement that other datapaths have.
pub(crate) fn known_elsewhere(name: &str) -> bool {
    // Making the table takes longer than looking at the first letter.
    name.starts_with(|c: char| c.is_ascii_uppercase()) && {
        let all = RegisterTable::well_known();
        all.writable(name).is_some() || all.primitive(name).is_some()
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

/// The definitions in `defs`, a part of the table, of what is in use.
fn pick<'d>(used: &[Used], defs: &'d [RegisterDef]) -> impl Iterator<Item = &'d RegisterDef> {
    let def = |used: &Used| defs.get(usize::from(used.place));
    used.iter().filter_map(def)
}

/// The index in `list` of what has the place `wanted` in the table and stands at `at`; it is put
/// there if it is missing.
fn index_of(list: &mut Vec<Used>, wanted: u16, at: Span) -> u16 {
    let known = list.iter().position(|used| used.place == wanted);
    let index = known.unwrap_or_else(|| {
        let (place, at) = (wanted, None);
        list.push(Used { place, at });
        list.len() - 1
    });
    if let Some(used) = list.get_mut(index) {
        used.at.get_or_insert(at);
    }
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Calls `f` for `expr` and everything in it, in the order of the source.
fn visit<'e, 's>(expr: &'e Expr<'s>, f: &mut impl FnMut(&'e Expr<'s>)) {
    f(expr);
    match &expr.kind {
        Kind::Operation { operands, .. } => {
            for expr in operands {
                visit(expr, f);
            }
        }
        Kind::Assign { value, .. } => visit(value, f),
        Kind::If {
            condition,
            body,
            otherwise,
            ..
        } => {
            visit(condition, f);
            let otherwise = otherwise.iter().flat_map(|otherwise| &otherwise.body);
            for expr in body.iter().chain(otherwise) {
                visit(expr, f);
            }
        }
        Kind::Cycle {
            base, round_trip, ..
        } => {
            visit(base, f);
            if let Some(round_trip) = round_trip {
                visit(round_trip, f);
            }
        }
        Kind::Ewma { weight, sample } => {
            visit(weight, f);
            visit(sample, f);
        }
        _ => {}
    }
}
