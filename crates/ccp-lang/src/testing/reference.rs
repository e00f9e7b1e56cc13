//! What a program means, written down once: over the syntax tree, by name, with nothing compiled.
//!
//! Written to be read. It shares only the parser with the compiler, and nothing with the IR or its
//! interpreter, so that its mistakes are its own.

use std::collections::BTreeMap;

use ccp_program::{BinaryOp, Fault, RegisterTable};

use crate::ast::{Command, Decl, Expr, Kind, Length, Literal, Operator, Phase, Program};
use crate::error::{Diagnostics, Errors};
use crate::{parse, scan};

/// One flow under one program.
#[derive(Debug)]
pub struct Reference<'s> {
    program: Program<'s>,
    table: RegisterTable,
    state: State,
}

/// What lasts from one invocation to the next.
#[derive(Clone, Debug)]
struct State {
    /// Everything that can be assigned to, by name, but for `Micros`; `true` is 1. A name that is
    /// not here is a local variable that was never assigned to: zero.
    values: BTreeMap<String, u64>,
    /// When `Micros` was zero.
    micros_zero: u64,
    /// By where they stand in the text.
    cycles: BTreeMap<u32, Cycle>,
}

/// How far a cycle has come; zeroes before the first time.
#[derive(Clone, Copy, Debug, Default)]
struct Cycle {
    since: u64,
    /// Counted from 1.
    phase: usize,
}

impl<'s> Reference<'s> {
    /// A flow on which `source` was installed at `now_us`, on a datapath with the registers of
    /// `table`. Names and types are not looked at: it must be a program that compiles.
    ///
    /// # Errors
    /// If the text has not the shape of a program.
    pub fn new(source: &'s str, table: &RegisterTable, now_us: u64) -> Result<Self, Diagnostics> {
        let mut errors = Errors::default();
        let program = if scan::check(source, &mut errors) {
            parse::program(source, &mut errors)
        } else {
            Program::default()
        };
        if errors.any() {
            return Err(errors.finish(source));
        }
        let values = program.decls.iter().map(|d| (full_name(d), default(d)));
        Ok(Self {
            state: State {
                values: values.collect(),
                micros_zero: now_us,
                cycles: BTreeMap::new(),
            },
            table: table.clone(),
            program,
        })
    }

    /// The value of a variable, by its name in the text, or of `Cwnd` or `Rate`.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.state.values.get(name).copied().unwrap_or(0)
    }

    /// The agent, or the datapath, sets a variable, `Cwnd` or `Rate`.
    pub fn set(&mut self, name: &str, value: u64) {
        self.state.values.insert(name.to_owned(), value);
    }

    /// The values of the report variables, in the order of a report.
    #[must_use]
    pub fn report(&self) -> Vec<u64> {
        self.declared(true)
    }

    /// The values of the control variables, in the order of their declaration.
    #[must_use]
    pub fn controls(&self) -> Vec<u64> {
        self.declared(false)
    }

    fn declared(&self, report: bool) -> Vec<u64> {
        let decls = self.program.decls.iter().filter(|d| d.report == report);
        decls.map(|d| self.get(&full_name(d))).collect()
    }

    /// One acknowledgement at `now_us`: whether it asks for a report. `measured` gives measurements
    /// by their names.
    ///
    /// # Errors
    /// The fault, with everything as it was before.
    pub fn invoke(&mut self, measured: &dyn Fn(&str) -> u64, now_us: u64) -> Result<bool, Fault> {
        let before = self.state.clone();
        let mut run = Run {
            state: &mut self.state,
            table: &self.table,
            measured,
            now: now_us,
            report: false,
            go_on: false,
        };
        let done = run.program(&self.program).map(|()| run.report);
        if done.is_err() {
            self.state = before;
        }
        done
    }

    /// The report was taken: volatile variables return to their defaults.
    pub fn reported(&mut self) {
        for decl in self.program.decls.iter().filter(|d| d.volatile) {
            self.state.values.insert(full_name(decl), default(decl));
        }
    }
}

fn full_name(decl: &Decl<'_>) -> String {
    let prefix = if decl.report { "Report." } else { "" };
    format!("{prefix}{}", decl.name.text)
}

fn default(decl: &Decl<'_>) -> u64 {
    match decl.default {
        Literal::Number(number) => number,
        Literal::Bool(truth) => u64::from(truth),
    }
}

/// One invocation.
struct Run<'r> {
    state: &'r mut State,
    table: &'r RegisterTable,
    measured: &'r dyn Fn(&str) -> u64,
    now: u64,
    report: bool,
    go_on: bool,
}

impl Run<'_> {
    fn program(&mut self, program: &Program<'_>) -> Result<(), Fault> {
        for clause in &program.clauses {
            if self.value(&clause.condition)? == 0 {
                continue;
            }
            // What an earlier clause said does not count for this one.
            self.go_on = false;
            self.block(&clause.body)?;
            if !self.go_on {
                break;
            }
        }
        Ok(())
    }

    fn block(&mut self, body: &[Expr<'_>]) -> Result<(), Fault> {
        body.iter().try_for_each(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Expr<'_>) -> Result<(), Fault> {
        match &stmt.kind {
            Kind::If {
                negated,
                condition,
                body,
                otherwise,
            } => {
                if (self.value(condition)? != 0) != *negated {
                    self.block(body)
                } else {
                    otherwise.iter().try_for_each(|e| self.block(&e.body))
                }
            }
            Kind::Command(Command::Report) => {
                self.report = true;
                Ok(())
            }
            Kind::Command(Command::Fallthrough) => {
                self.go_on = true;
                Ok(())
            }
            Kind::Command(Command::Reset) => {
                self.write("Micros", 0);
                Ok(())
            }
            _ => self.value(stmt).map(|_| ()),
        }
    }

    /// The value of an expression.
    fn value(&mut self, expr: &Expr<'_>) -> Result<u64, Fault> {
        match &expr.kind {
            Kind::Literal(Literal::Number(number)) => Ok(*number),
            Kind::Literal(Literal::Bool(truth)) => Ok(u64::from(*truth)),
            Kind::Name(name) => Ok(self.read(name)),
            Kind::Operation { op, operands, .. } => self.operation(*op, operands),
            Kind::Assign { target, value } => {
                if let Some(value) = self.right_side(target.text, value)? {
                    self.write(target.text, value);
                }
                Ok(self.read(target.text))
            }
            Kind::If {
                negated,
                condition,
                body,
                ..
            } => match (body.as_slice(), (self.value(condition)? != 0) != *negated) {
                ([then, _], true) => self.value(then),
                ([_, other], false) => self.value(other),
                _ => no_program(expr),
            },
            Kind::Cycle {
                base,
                round_trip,
                phases,
            } => {
                let base = self.value(base)?;
                let gain = self.gain(expr.span.start, round_trip.as_deref(), phases)?;
                // The product must fit, with the gains over one denominator.
                let common = common_denominator(phases);
                let product = times(base, gain.numerator * (common / gain.denominator))?;
                Ok(product / common)
            }
            Kind::Broken | Kind::Ewma { .. } | Kind::Command(_) => no_program(expr),
        }
    }

    /// What is to be assigned to `target`; `None` if it is to keep what it has.
    fn right_side(&mut self, target: &str, expr: &Expr<'_>) -> Result<Option<u64>, Fault> {
        match &expr.kind {
            Kind::If {
                negated,
                condition,
                body,
                ..
            } => match (body.as_slice(), (self.value(condition)? != 0) != *negated) {
                ([then] | [then, _], true) => self.right_side(target, then),
                ([_], false) => Ok(None),
                ([_, other], false) => self.right_side(target, other),
                _ => no_program(expr),
            },
            Kind::Ewma { weight, sample } => {
                let (weight, sample) = (self.value(weight)?, self.value(sample)?);
                let old = self.read(target);
                if weight > 10 {
                    return Err(Fault::Weight);
                }
                let weighted = |value: u64, tenths: u64| u128::from(value) * u128::from(tenths);
                let average = (weighted(old, weight) + weighted(sample, 10 - weight)) / 10;
                // An average of two numbers of 64 bits.
                Ok(Some(if old == 0 { sample } else { average as u64 }))
            }
            _ => self.value(expr).map(Some),
        }
    }

    fn operation(&mut self, op: Operator, operands: &[Expr<'_>]) -> Result<u64, Fault> {
        let Some((first, others)) = operands.split_first() else {
            return Ok(0);
        };
        let mut value = self.value(first)?;
        if op == Operator::Not {
            return Ok(u64::from(value == 0));
        }
        for operand in others {
            match op {
                Operator::Binary(BinaryOp::And) if value == 0 => return Ok(0),
                Operator::Binary(BinaryOp::Or) if value != 0 => return Ok(1),
                _ => {}
            }
            let next = self.value(operand)?;
            value = two(op, value, next)?;
        }
        Ok(value)
    }

    /// The gain of the present phase; a phase that is over is left.
    fn gain(
        &mut self,
        cycle: u32,
        round_trip: Option<&Expr<'_>>,
        phases: &[Phase],
    ) -> Result<Phase, Fault> {
        let in_round_trips = |p: &Phase| matches!(p.length, Length::RoundTrips(_));
        let round_trip = match round_trip {
            _ if !phases.iter().any(in_round_trips) => 0,
            Some(expr) => self.value(expr)?,
            None => (self.measured)("Flow.rtt_sample_us"),
        };
        let Cycle { since, phase } = self.state.cycles.get(&cycle).copied().unwrap_or_default();
        let length = match phase.checked_sub(1).and_then(|p| phases.get(p)) {
            // It has not begun.
            None => 0,
            Some(phase) => match phase.length {
                Length::Micros(micros) => micros,
                Length::RoundTrips(count) => times(round_trip.min(0xffff_ffff), count)?,
            },
        };
        let now = (self.measured)("Ack.now");
        let mut present = phase;
        if now < since || now - since >= length {
            present = if phase >= phases.len() { 1 } else { phase + 1 };
            let begun = Cycle {
                since: now,
                phase: present,
            };
            self.state.cycles.insert(cycle, begun);
        }
        Ok(*phases
            .get(present - 1)
            .unwrap_or_else(|| unreachable!("phases are counted from 1 to their number")))
    }

    fn read(&self, name: &str) -> u64 {
        if name == "Micros" {
            self.now.wrapping_sub(self.state.micros_zero)
        } else if self.table.primitive(name).is_some() {
            (self.measured)(name)
        } else {
            self.state.values.get(name).copied().unwrap_or(0)
        }
    }

    fn write(&mut self, name: &str, value: u64) {
        if name == "Micros" {
            self.state.micros_zero = self.now.wrapping_sub(value);
        } else {
            self.state.values.insert(name.to_owned(), value);
        }
    }
}

/// An operation of two values.
fn two(op: Operator, a: u64, b: u64) -> Result<u64, Fault> {
    let Operator::Binary(op) = op else {
        return Ok(a.saturating_sub(b));
    };
    let truth = |truth: bool| Ok(u64::from(truth));
    match op {
        BinaryOp::Add => fits(u128::from(a) + u128::from(b)),
        BinaryOp::Sub if b > a => Err(Fault::Underflow),
        BinaryOp::Sub => Ok(a - b),
        BinaryOp::Mul => times(a, b),
        BinaryOp::Div if b == 0 => Err(Fault::DivisionByZero),
        BinaryOp::Div => Ok(a / b),
        BinaryOp::Min => Ok(if b < a { b } else { a }),
        BinaryOp::Max => Ok(if b > a { b } else { a }),
        BinaryOp::WrappedMax if a == 0 => Ok(b),
        BinaryOp::WrappedMax if b == 0 => Ok(a),
        BinaryOp::WrappedMax => {
            // On a circle of 2^32 numbers: `a` is later if the way up from `b` to it is shorter.
            let (a, b) = (a % (1 << 32), b % (1 << 32));
            let way_to_a = (a + (1 << 32) - b) % (1 << 32);
            let way_to_b = (b + (1 << 32) - a) % (1 << 32);
            Ok(if way_to_a < way_to_b { a } else { b })
        }
        BinaryOp::Eq => truth(a == b),
        BinaryOp::Ne => truth(a != b),
        BinaryOp::Lt => truth(a < b),
        BinaryOp::Le => truth(a <= b),
        BinaryOp::Gt => truth(a > b),
        BinaryOp::Ge => truth(a >= b),
        BinaryOp::And => truth(a != 0 && b != 0),
        BinaryOp::Or => truth(a != 0 || b != 0),
    }
}

fn times(a: u64, b: u64) -> Result<u64, Fault> {
    fits(u128::from(a) * u128::from(b))
}

fn fits(value: u128) -> Result<u64, Fault> {
    u64::try_from(value).map_err(|_| Fault::Overflow)
}

/// The least number that is a multiple of all denominators.
fn common_denominator(phases: &[Phase]) -> u64 {
    phases.iter().fold(1, |common, phase| {
        let (mut a, mut b) = (common, phase.denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        common / a * phase.denominator
    })
}

fn no_program<T>(expr: &Expr<'_>) -> T {
    panic!("a program that does not compile: {expr:?}")
}
