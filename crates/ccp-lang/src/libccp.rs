//! The back end for datapaths that run the C library libccp: IR → its bytecode.
//!
//! What the library lacks is built from what it has (`!=`, `<=`, `>=`, logic on numbers, skips,
//! constants of more than 32 bits), and its accidents are avoided:
//!
//! - It never takes `(fallthrough)` back within one invocation; clauses after one that may have
//!   fallen through do so themselves.
//! - Its local registers keep their values when another program is installed; local variables
//!   become control registers of their own, which start at zero.
//! - What a false `if` passes over is computed nevertheless, with operands that cannot fault.
//! - A program of 256 instructions never ends; 255 is the limit.
//!
//! What remains different there: `+infinity` is 4294967295 (and that number is `+infinity`), some
//! products that overflow and all overflows within `ewma` go unnoticed, and a fault leaves the
//! registers as they were at that moment. Source: libccp 1.2.0, `machine.c`, `ccp.c`.

use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_program::{Limits, Program, RegisterTable, Variable, VerifyError, verify};
use thiserror::Error;

use crate::error::{Diagnostics, Errors, Problem};
use crate::span::Span;
use crate::{Compiled, SourceMap};

mod allocate;
mod clause;
mod listing;
mod paths;

pub use listing::listing;

/// Instructions, declarations included.
pub const MAX_INSTRUCTIONS: usize = 255;
/// Clauses.
pub const MAX_CLAUSES: usize = 256;
/// Report variables.
pub const MAX_REPORTS: usize = 110;
/// Control variables and local variables together.
pub const MAX_CONTROLS: usize = 110;
/// Intermediate results at one time: the library's 8 temporary and 8 local registers.
pub const MAX_TEMPS: usize = 16;
/// The largest constant; as a default, 0x3fffffff is out too.
pub const MAX_CONSTANT: u64 = 0xffff_ffff;

/// What the library takes for `+infinity` in a declaration, and turns into 0xffffffff.
const INFINITY_DEFAULT: u64 = 0x3fff_ffff;

/// Why a program cannot run on libccp.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// It is not a program that any datapath would take.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
    /// Too many instructions.
    #[error(
        "the program needs {got} instructions, libccp runs {MAX_INSTRUCTIONS}: clause {clause} is the first that does not fit"
    )]
    Instructions {
        /// How many it needs, declarations included.
        got: usize,
        /// The first clause, counted from 0, that ends beyond the limit.
        clause: usize,
    },
    /// Too many clauses.
    #[error("the program has {got} clauses, libccp has room for {MAX_CLAUSES}")]
    Clauses {
        /// How many it has.
        got: usize,
    },
    /// Too many report variables.
    #[error("the program has {got} report variables, libccp has room for {MAX_REPORTS}")]
    Reports {
        /// How many it has.
        got: usize,
    },
    /// Too many control and local variables.
    #[error(
        "the program has {controls} control variables and {locals} local variables, libccp has room for {MAX_CONTROLS} of both together"
    )]
    Controls {
        /// Its control variables.
        controls: usize,
        /// Its local variables.
        locals: usize,
    },
    /// Too many intermediate results at one time.
    #[error(
        "clause {clause}: instruction {inst} needs {needed} intermediate results at one time, libccp has room for {MAX_TEMPS}"
    )]
    Temporaries {
        /// The clause, counted from 0.
        clause: usize,
        /// The instruction of the clause, counted from 0.
        inst: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A default that a declaration cannot carry.
    #[error(
        "the default of `{name}`, {value}, cannot be declared on libccp: defaults are at most {MAX_CONSTANT}, and {INFINITY_DEFAULT} means `+infinity` there"
    )]
    Default {
        /// The variable, report variables with `Report.`.
        name: String,
        /// Its default.
        value: u64,
    },
    /// A measurement that the library does not have.
    #[error("clause {clause}: instruction {inst} reads `{name}`, which libccp does not measure")]
    Primitive {
        /// The clause, counted from 0.
        clause: usize,
        /// The instruction of the clause, counted from 0.
        inst: usize,
        /// The measurement.
        name: String,
    },
    /// A writable register that the library does not have.
    #[error("clause {clause}: instruction {inst} uses `{name}`, which libccp does not have")]
    Writable {
        /// The clause, counted from 0.
        clause: usize,
        /// The instruction of the clause, counted from 0.
        inst: usize,
        /// The register.
        name: String,
    },
    /// Skips that cross each other, or are nested very deep. The compiler makes none that cross.
    #[error("clause {clause}: instruction {inst} is reached in too many ways for libccp")]
    ControlFlow {
        /// The clause, counted from 0.
        clause: usize,
        /// The instruction of the clause, counted from 0.
        inst: usize,
    },
}

impl LimitError {
    /// The place in the source, for a program compiled from one.
    #[must_use]
    pub fn span(&self, map: &SourceMap) -> Option<Span> {
        match self {
            Self::Invalid(_) | Self::Clauses { .. } => None,
            Self::Reports { .. } => map.nth(true, MAX_REPORTS),
            Self::Controls { .. } => map.nth(false, MAX_CONTROLS),
            Self::Instructions { clause, .. } => map.clause(*clause),
            Self::Temporaries { clause, inst, .. }
            | Self::Primitive { clause, inst, .. }
            | Self::Writable { clause, inst, .. }
            | Self::ControlFlow { clause, inst } => map.inst(*clause, *inst),
            Self::Default { name, .. } => map.variable(name),
        }
    }
}

/// The bytecode of `program`, which may be bound to a datapath's table or not.
///
/// Control and report variables keep their places: an update of control variable `n` is one of
/// libccp's control register `n`.
///
/// # Errors
/// What of it the library cannot do.
pub fn lower(program: &Program) -> Result<Bytecode, LimitError> {
    verify(program, &Limits::MAX)?;
    let (controls, locals) = (program.controls.len(), usize::from(program.locals));
    if program.reports.len() > MAX_REPORTS {
        let got = program.reports.len();
        return Err(LimitError::Reports { got });
    }
    if controls + locals > MAX_CONTROLS {
        return Err(LimitError::Controls { controls, locals });
    }
    if program.clauses.len() > MAX_CLAUSES {
        let got = program.clauses.len();
        return Err(LimitError::Clauses { got });
    }
    let mut instructions = declarations(program)?;
    let mut expressions = Vec::new();
    let mut too_long = None;
    let context = clause::Context::new(program);
    for (index, clause) in program.clauses.iter().enumerate() {
        let condition_start = instructions.len();
        let code = clause::lower(&context, index, clause)?;
        let body_start = condition_start + code.condition_len;
        instructions.extend(code.instructions);
        if instructions.len() > MAX_INSTRUCTIONS && too_long.is_none() {
            too_long = Some(index);
        }
        expressions.push(Expression {
            condition_start: narrow(condition_start),
            condition_len: narrow(code.condition_len),
            body_start: narrow(body_start),
            body_len: narrow(instructions.len() - body_start),
        });
    }
    match too_long {
        None => Ok(Bytecode {
            expressions,
            instructions,
        }),
        Some(clause) => Err(LimitError::Instructions {
            got: instructions.len(),
            clause,
        }),
    }
}

/// The bytecode of a compiled program, with errors that show their place in its `source`.
///
/// # Errors
/// As [`lower`], but for each name and each default that the library does not take.
pub fn lower_compiled(compiled: &Compiled, source: &str) -> Result<Bytecode, Diagnostics> {
    let mut errors = Errors::default();
    compiled.lacking(&RegisterTable::libccp(), "libccp", &mut errors);
    let program = &compiled.program;
    let reports = program.reports.iter().map(|v| default_of(v, "Report."));
    let controls = program.controls.iter().map(|v| default_of(v, ""));
    let mut refused: Vec<LimitError> = reports.chain(controls).filter_map(Result::err).collect();
    if !errors.any() && refused.is_empty() {
        match lower(program) {
            Ok(code) => return Ok(code),
            Err(error) => refused.push(error),
        }
    }
    for error in refused {
        let span = error.span(&compiled.map).unwrap_or_default();
        let message = match &error {
            // The place is shown: clause and instruction need no numbers.
            LimitError::Instructions { got, .. } => format!(
                "libccp runs {MAX_INSTRUCTIONS} instructions, this program needs {got}; this clause is the first that does not fit"
            ),
            LimitError::Temporaries { needed, .. } => format!(
                "this needs {needed} intermediate results at one time, libccp has room for {MAX_TEMPS}"
            ),
            other => other.to_string(),
        };
        errors.push(span, Problem::Target { message });
    }
    Err(errors.finish(source))
}

/// The declarations of all variables, which the library wants first.
fn declarations(program: &Program) -> Result<Vec<Instruction>, LimitError> {
    let mut out = Vec::new();
    let mut declare = |register: Register, default: u64| {
        out.push(Instruction {
            op: Opcode::Def,
            ret: register,
            left: register,
            right: immediate(default),
        });
    };
    for (index, variable) in program.reports.iter().enumerate() {
        let default = default_of(variable, "Report.")?;
        declare(report(variable, index), default);
    }
    for (index, variable) in program.controls.iter().enumerate() {
        let default = default_of(variable, "")?;
        declare(control(variable, index), default);
    }
    for index in 0..usize::from(program.locals) {
        declare(local(program, index), 0);
    }
    Ok(out)
}

fn default_of(variable: &Variable, prefix: &str) -> Result<u64, LimitError> {
    match variable.default {
        u64::MAX => Ok(MAX_CONSTANT),
        value if value > MAX_CONSTANT || value == INFINITY_DEFAULT => Err(LimitError::Default {
            name: format!("{prefix}{}", variable.name),
            value,
        }),
        value => Ok(value),
    }
}

fn report(variable: &Variable, index: usize) -> Register {
    let class = if variable.volatile {
        Class::VolatileReport
    } else {
        Class::Report
    };
    register(class, index)
}

fn control(variable: &Variable, index: usize) -> Register {
    let class = if variable.volatile {
        Class::VolatileControl
    } else {
        Class::Control
    };
    register(class, index)
}

/// Where a local variable lives: behind the control variables.
fn local(program: &Program, index: usize) -> Register {
    register(Class::Control, program.controls.len() + index)
}

fn register(class: Class, index: usize) -> Register {
    Register {
        class,
        index: narrow(index),
    }
}

fn immediate(value: u64) -> Register {
    Register {
        class: Class::Immediate,
        index: u32::try_from(value).unwrap_or(u32::MAX),
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
