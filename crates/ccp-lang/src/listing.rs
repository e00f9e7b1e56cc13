//! A program's IR as text, for people and for tests.

use std::fmt::{self, Write as _};

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, RegisterDef, Type, Variable};

/// `program` as text: declarations, then each clause with its instructions. Skips show the number
/// of the instruction that they lead to.
#[must_use]
pub fn listing(program: &Program) -> String {
    Listing(program).to_string()
}

struct Listing<'p>(&'p Program);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = self.0;
        for (kind, variables) in [("report", &p.reports), ("control", &p.controls)] {
            for variable in variables {
                declaration(f, kind, variable)?;
            }
        }
        for (index, clause) in p.clauses.iter().enumerate() {
            self.clause(f, index, clause)?;
        }
        Ok(())
    }
}

fn declaration(f: &mut fmt::Formatter<'_>, kind: &str, variable: &Variable) -> fmt::Result {
    let Variable {
        name,
        ty,
        volatile,
        default,
    } = variable;
    let volatile = if *volatile { "volatile " } else { "" };
    match (ty, *default) {
        (Type::Bool, value) => writeln!(f, "{volatile}{kind} {name} = {}", value != 0),
        (Type::Num, u64::MAX) => writeln!(f, "{volatile}{kind} {name} = +infinity"),
        (Type::Num, value) => writeln!(f, "{volatile}{kind} {name} = {value}"),
    }
}

impl Listing<'_> {
    fn clause(&self, f: &mut fmt::Formatter<'_>, index: usize, clause: &Clause) -> fmt::Result {
        writeln!(f, "clause {index}")?;
        self.block(f, 0, &clause.condition)?;
        match clause.test {
            None => writeln!(f, "       when true")?,
            Some(test) => writeln!(f, "       when {}", self.operand(test))?,
        }
        self.block(f, clause.condition.len(), &clause.body)
    }

    fn block(&self, f: &mut fmt::Formatter<'_>, first: usize, insts: &[Inst]) -> fmt::Result {
        for (at, inst) in (first..).zip(insts) {
            let target = |count: u16| at + 1 + usize::from(count);
            write!(f, "  {at:3}  ")?;
            match *inst {
                Inst::Binary { op, dst, a, b } => {
                    let (dst, a, b) = (self.reg(dst), self.operand(a), self.operand(b));
                    writeln!(f, "{dst} = {} {a} {b}", sign(op))?;
                }
                Inst::Ewma {
                    dst,
                    weight,
                    sample,
                } => {
                    let (weight, sample) = (self.operand(weight), self.operand(sample));
                    writeln!(f, "{} = ewma {weight} {sample}", self.reg(dst))?;
                }
                Inst::Move { dst, src } => {
                    writeln!(f, "{} = {}", self.reg(dst), self.operand(src))?;
                }
                Inst::Skip { count } => writeln!(f, "skip to {}", target(count))?,
                Inst::SkipIf { cond, count } => {
                    writeln!(f, "skip to {} if {}", target(count), self.operand(cond))?;
                }
                Inst::SkipUnless { cond, count } => {
                    writeln!(f, "skip to {} unless {}", target(count), self.operand(cond))?;
                }
                Inst::Report => writeln!(f, "report")?,
                Inst::Fallthrough => writeln!(f, "fallthrough")?,
            }
        }
        Ok(())
    }

    fn operand(&self, operand: Operand) -> String {
        match operand {
            Operand::Imm(u64::MAX) => "+infinity".into(),
            Operand::Imm(value) => value.to_string(),
            Operand::Primitive(i) => def_name(&self.0.primitives, i),
            Operand::Reg(reg) => self.reg(reg),
        }
    }

    fn reg(&self, reg: Reg) -> String {
        let mut out = String::new();
        let variable = |list: &[Variable], i: u16| {
            let named = list.get(usize::from(i));
            named.map_or_else(|| format!("?{i}"), |v| v.name.clone())
        };
        // Writing to a `String` cannot fail.
        let _ = match reg {
            Reg::Micros => write!(out, "Micros"),
            Reg::Writable(i) => write!(out, "{}", def_name(&self.0.writables, i)),
            Reg::Control(i) => write!(out, "{}", variable(&self.0.controls, i)),
            Reg::Report(i) => write!(out, "Report.{}", variable(&self.0.reports, i)),
            Reg::Local(i) => write!(out, "local{i}"),
            Reg::Temp(i) => write!(out, "t{i}"),
        };
        out
    }
}

fn def_name(defs: &[RegisterDef], index: u16) -> String {
    let def = defs.get(usize::from(index));
    def.map_or_else(|| format!("?{index}"), |d| d.name.to_string())
}

/// An operation as programs write it.
pub(crate) fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Min => "min",
        BinaryOp::Max => "max",
        BinaryOp::WrappedMax => "wrapped_max",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::Ge => ">=",
        BinaryOp::And => "&&",
        BinaryOp::Or => "||",
    }
}
