//! What is counted, as a process of its own: does one thing so many times, and nothing else.

use std::hint::black_box;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::BytesMut;
use ccp_program::RegisterTable;
use ccp_types::SockId;
use ccp_wire::{Encode, Field, FieldTarget, Install, MeasureBuf, Message, UpdateFields, frames};
use clap::Subcommand;
use portus::serialize::{self as theirs, Msg};

use crate::programs::PROGRAMS;

/// The number of clauses of each program.
pub(super) const CLAUSES: [usize; 3] = [2, 3, 4];
/// The numbers of fields of the reports that are read.
pub(super) const FIELDS: [usize; 3] = [2, 8, 16];

/// Whose code is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Whose {
    Ours,
    Portus,
}

/// What to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Probe {
    /// Read a MEASURE frame and sum its fields.
    Measure {
        whose: Whose,
        fields: usize,
        count: u64,
    },
    /// Write an UPDATE_FIELDS frame with window and rate.
    Update { whose: Whose, count: u64 },
    /// From source text to the bytes of an INSTALL.
    Compile {
        whose: Whose,
        clauses: usize,
        count: u64,
    },
}

impl Probe {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Measure {
                whose,
                fields,
                count,
            } => {
                let report = MeasureBuf {
                    sock_id: SockId(1),
                    program_uid: 1,
                    fields: (0..fields as u64).collect(),
                    trailer: None,
                    totals: None,
                };
                let frame = report.to_frame()?;
                let sum = match whose {
                    Whose::Ours => measure_ours,
                    Whose::Portus => measure_portus,
                };
                for _ in 0..count {
                    black_box(sum(black_box(&frame))?);
                }
            }
            Self::Update { whose, count } => match whose {
                Whose::Ours => update_ours(count)?,
                Whose::Portus => update_portus(count)?,
            },
            Self::Compile {
                whose,
                clauses,
                count,
            } => {
                let source = program(clauses)?;
                let compile = match whose {
                    Whose::Ours => compile_ours,
                    Whose::Portus => compile_portus,
                };
                for _ in 0..count {
                    black_box(compile(black_box(source))?);
                }
            }
        }
        Ok(())
    }
}

fn program(clauses: usize) -> Result<&'static str> {
    let index = CLAUSES.iter().position(|n| *n == clauses);
    let source = index.and_then(|i| PROGRAMS.get(i).copied());
    source.with_context(|| format!("no program of {clauses} clauses"))
}

fn measure_ours(frame: &[u8]) -> Result<u64> {
    let mut sum = 0u64;
    for frame in frames(frame) {
        let Message::Measure(measure) = frame?.message()? else {
            bail!("not a MEASURE");
        };
        sum = measure.fields().fold(sum, u64::wrapping_add);
    }
    Ok(sum)
}

fn measure_portus(frame: &[u8]) -> Result<u64> {
    let (Msg::Ms(measure), _) = Msg::from_buf(frame).map_err(|e| anyhow!("{e:?}"))? else {
        bail!("not a MEASURE");
    };
    Ok(measure.fields.iter().copied().fold(0, u64::wrapping_add))
}

fn update_ours(count: u64) -> Result<()> {
    let update = UpdateFields {
        sock_id: SockId(1),
        fields: [(FieldTarget::Cwnd, 14_480), (FieldTarget::Rate, 6_250_000)]
            .map(|(target, value)| Field { target, value })
            .to_vec(),
    };
    let mut frame = BytesMut::new();
    for _ in 0..count {
        frame.clear();
        black_box(&update).encode(&mut frame)?;
        black_box(&frame);
    }
    Ok(())
}

fn update_portus(count: u64) -> Result<()> {
    use portus::lang::{Reg, Type};
    let update = theirs::update_field::Msg {
        sid: 1,
        num_fields: 2,
        fields: vec![
            (Reg::Implicit(4, Type::Num(None)), 14_480),
            (Reg::Implicit(5, Type::Num(None)), 6_250_000),
        ],
    };
    for _ in 0..count {
        black_box(theirs::serialize(black_box(&update)).map_err(|e| anyhow!("{e:?}"))?);
    }
    Ok(())
}

fn compile_ours(source: &str) -> Result<Vec<u8>> {
    let compiled = ccp_lang::compile(source, &RegisterTable::well_known())?;
    let bytecode = ccp_lang::libccp::lower(&compiled.program)?;
    let install = Install {
        program_uid: 1,
        bytecode,
    };
    Ok(install.to_frame()?.to_vec())
}

fn compile_portus(source: &str) -> Result<Vec<u8>> {
    let compiled = portus::lang::compile(source.as_bytes(), &[]);
    let (bytecode, scope) = compiled.map_err(|e| anyhow!("{e:?}"))?;
    let install = theirs::install::Msg {
        sid: 0,
        program_uid: scope.program_uid,
        num_events: u32::try_from(bytecode.events.len())?,
        num_instrs: u32::try_from(bytecode.instrs.len())?,
        instrs: bytecode,
    };
    theirs::serialize(&install).map_err(|e| anyhow!("{e:?}"))
}

/// How many instructions of bytecode each compiler makes of a program.
pub(super) fn sizes(clauses: usize) -> Result<[usize; 2]> {
    let source = program(clauses)?;
    let length = |bytes: Vec<u8>| -> Result<usize> {
        match frames(&bytes).next().context("no frame")??.message()? {
            Message::Install(install) => Ok(install.bytecode.instructions.len()),
            other => bail!("not an INSTALL: {other:?}"),
        }
    };
    Ok([
        length(compile_ours(source)?)?,
        length(compile_portus(source)?)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::{CLAUSES, FIELDS, Probe, Whose, sizes};

    #[test]
    fn every_probe_runs() {
        for whose in [Whose::Ours, Whose::Portus] {
            for clauses in CLAUSES {
                let count = 1;
                let probe = Probe::Compile {
                    whose,
                    clauses,
                    count,
                };
                probe.run().expect("it compiles");
            }
            for fields in FIELDS {
                let count = 1;
                let probe = Probe::Measure {
                    whose,
                    fields,
                    count,
                };
                probe.run().expect("it is read");
            }
            Probe::Update { whose, count: 1 }.run().expect("written");
        }
        for clauses in CLAUSES {
            sizes(clauses).expect("both compile it");
        }
    }
}
