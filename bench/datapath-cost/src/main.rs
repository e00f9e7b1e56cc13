//! What one acknowledgement, one flow and one byte of memory cost in a datapath: ours, and the C
//! library. Started by `ccp-bench`, which counts its instructions and reads the nanoseconds that it prints.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

mod libccp;
mod ours;
#[path = "../../src/programs.rs"]
mod programs;

use programs::PROGRAMS;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    Ours,
    Libccp,
}

/// Does one thing so often, and prints how many nanoseconds each took (`memory`: how many bytes).
#[derive(Debug, Parser)]
enum What {
    /// Acknowledgements of a flow that runs the program of `clauses` clauses, which reports every
    /// tenth time or never.
    Invoke {
        whose: Whose,
        clauses: usize,
        #[arg(long)]
        reports: bool,
        count: u64,
    },
    /// Flows that are closed and opened while there are `flows` of them.
    Open {
        whose: Whose,
        flows: usize,
        count: u64,
    },
    /// Resident memory per flow that runs the program of `clauses` clauses.
    Memory {
        whose: Whose,
        clauses: usize,
        flows: usize,
    },
}

/// A measured flow.
trait Flow {
    fn ack(&mut self, now_us: u64);
}

const MSS: u32 = 1448;

/// The round-trip time with which the program of so many clauses waits for 42 ms.
const fn rtt_us(clauses: usize) -> u64 {
    match clauses {
        3 => 21_000,
        _ => 42_000,
    }
}

/// So long after one another, every tenth acknowledgement comes after more than 42 ms.
const APART_US: u64 = 4_300;

fn main() -> Result<()> {
    match What::parse() {
        What::Invoke {
            whose,
            clauses,
            reports,
            count,
        } => {
            let source = source(clauses)?;
            let mut flow: Box<dyn Flow> = match whose {
                Whose::Ours => Box::new(ours::One::new(source, rtt_us(clauses))?),
                Whose::Libccp => Box::new(libccp::One::new(source, rtt_us(clauses))?),
            };
            let apart = if reports { APART_US } else { 0 };
            let begun = Instant::now();
            for n in 0..count {
                black_box(&mut flow).ack(1_000 + n * apart);
            }
            each(begun.elapsed(), count);
        }
        What::Open {
            whose,
            flows,
            count,
        } => match whose {
            Whose::Ours => each(ours::open_and_close(flows, count)?, count),
            Whose::Libccp => each(libccp::open_and_close(flows, count)?, count),
        },
        What::Memory {
            whose,
            clauses,
            flows,
        } => {
            let source = source(clauses)?;
            let bytes = match whose {
                Whose::Ours => ours::memory(source, flows)?,
                Whose::Libccp => libccp::memory(source, flows)?,
            };
            println!("{}", bytes as f64 / flows as f64);
        }
    }
    Ok(())
}

fn each(time: Duration, count: u64) {
    println!("{}", time.as_nanos() as f64 / count.max(1) as f64);
}

fn source(clauses: usize) -> Result<&'static str> {
    let index = clauses.checked_sub(2);
    let source = index.and_then(|i| PROGRAMS.get(i).copied());
    source.with_context(|| format!("no program of {clauses} clauses"))
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .context("statm has no second field")?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}
