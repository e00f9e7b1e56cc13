//! From a verified program to operations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, Variable};

use super::file::File;
use super::op::{Of32, Of64, Op};

mod clause;

/// A program as it runs: shared by all flows that run it.
#[derive(Debug)]
pub(crate) struct Code {
    pub(super) ops: Ops,
    pub(super) undo: Undo,
    /// What registers are when the program starts: defaults and constants.
    template: File,
    /// Measurements that it reads: their index in the datapath's table, and their place.
    pub(crate) loads: Box<[(u16, u16)]>,
    /// Places of measurements that are about one acknowledgement, in invocations without one 0.
    pub(crate) of_ack: Box<[u16]>,
    /// The same of what is about one transmission.
    pub(crate) of_send: Box<[u16]>,
    /// Both.
    pub(crate) of_event: Box<[u16]>,
    pub(crate) now: Option<u16>,
    pub(crate) mss: Option<u16>,
    pub(crate) was_timeout: Option<u16>,
    pub(crate) micros: Option<u16>,
    pub(crate) writes_micros: bool,
    /// The places of the report variables.
    pub(crate) reports: Range<usize>,
    /// Places that return to a value after a report.
    pub(crate) volatile: Box<[(u16, u64)]>,
    /// The places of the control variables.
    pub(crate) controls: Box<[u16]>,
    /// How many of the first places are the datapath's writable registers.
    pub(crate) writables: usize,
    /// What `Micros` is compared with: a place, and whether it has to be exceeded.
    pub(crate) waits: Box<[(u16, bool)]>,
    pub(crate) own_recovery: bool,
}

#[derive(Debug)]
pub(super) enum Ops {
    Of32(Box<[Op<Of32>]>),
    Of64(Box<[Op<Of64>]>),
    Narrow(Box<[Op<u8>]>),
    Wide(Box<[Op<u16>]>),
}

/// What has to be kept for the case that the program faults after it has written something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    Nothing,
    First8,
    First16,
    First32,
    All,
}

impl Code {
    /// Decodes `program`, which is bound to the datapath's table and has passed the verifier. `None`
    /// if it has more registers, measurements and constants together than 65,535.
    pub(crate) fn new(program: &Program) -> Option<Self> {
        let places = Places::new(program)?;
        let mut ops = Vec::new();
        for clause in &program.clauses {
            clause::emit(program, &places, clause, &mut ops);
        }
        let end = u16::try_from(ops.len()).ok()?;
        debug_assert!(usize::from(end) == ops.len());

        let mut loads = Vec::new();
        let (mut of_ack, mut of_send) = (Vec::new(), Vec::new());
        let (mut now, mut was_timeout, mut mss) = (None, None, None);
        for (index, place) in (0..).zip(&places.primitives) {
            let (Some(place), Some(def)) = (*place, program.primitives.get(usize::from(index)))
            else {
                continue;
            };
            match &*def.name {
                "Ack.now" => now = Some(place),
                "Flow.was_timeout" => was_timeout = Some(place),
                "Flow.mss" => mss = Some(place),
                name => {
                    loads.push((index, place));
                    if name.starts_with("Ack.") {
                        of_ack.push(place);
                    } else if name.starts_with("Send.") {
                        of_send.push(place);
                    }
                }
            }
        }
        let volatile = |vars: &[Variable], places: &[u16]| -> Vec<(u16, u64)> {
            let both = vars.iter().zip(places);
            both.filter(|(v, _)| v.volatile)
                .map(|(v, place)| (*place, v.default))
                .collect()
        };
        let mut volatiles = volatile(&program.controls, &places.controls);
        volatiles.extend(volatile(&program.reports, &places.reports));
        let first = places.reports.first().map_or(0, |p| usize::from(*p));
        Some(Self {
            undo: undo(program, &places),
            template: File::new(&places.template),
            ops: match places.template.len() {
                0..=32 => Ops::Of32(ops.iter().map(|op| op.narrow()).collect()),
                33..=64 => Ops::Of64(ops.iter().map(|op| op.narrow()).collect()),
                65..=256 => Ops::Narrow(ops.iter().map(|op| op.narrow()).collect()),
                _ => Ops::Wide(ops.into()),
            },
            loads: loads.into(),
            of_event: of_ack.iter().chain(&of_send).copied().collect(),
            of_ack: of_ack.into(),
            of_send: of_send.into(),
            now,
            mss,
            was_timeout,
            micros: places.micros,
            writes_micros: insts(program).any(|i| written(&i) == Some(Reg::Micros)),
            reports: first..first + places.reports.len(),
            volatile: volatiles.into(),
            waits: waits(program, &places),
            controls: places.controls.into(),
            writables: program.writables.len(),
            own_recovery: program.own_recovery,
        })
    }

    /// The registers of a flow that starts the program, and has these writable registers.
    pub(crate) fn start(&self, writables: &[u64]) -> File {
        let mut file = self.template.clone();
        let places = file.all_mut().iter_mut().take(self.writables);
        for (place, value) in places.zip(writables) {
            *place = *value;
        }
        file
    }

    /// How many bytes the registers of a flow take.
    #[cfg(test)]
    pub(crate) fn file_bytes(&self) -> usize {
        size_of_val(self.template.all())
    }
}

/// Where each register, measurement and constant is. What lasts and is written stands first.
struct Places {
    template: Vec<u64>,
    /// How many of the first places may be written and last.
    written: usize,
    controls: Vec<u16>,
    reports: Vec<u16>,
    locals: Vec<u16>,
    temps: Vec<u16>,
    primitives: Vec<Option<u16>>,
    micros: Option<u16>,
    constants: BTreeMap<u64, u16>,
}

impl Places {
    fn new(program: &Program) -> Option<Self> {
        let mut template = Vec::new();
        let mut place = |value: u64| -> Option<u16> {
            let place = u16::try_from(template.len()).ok()?;
            template.push(value);
            // One more would have no number.
            (place < u16::MAX).then_some(place)
        };
        for _ in &program.writables {
            place(0)?;
        }
        let reports = program
            .reports
            .iter()
            .map(|v| place(v.default))
            .collect::<Option<Vec<_>>>()?;
        let is_written = |reg: Reg| insts(program).any(|i| written(&i) == Some(reg));
        let of_controls: Vec<bool> = (0..program.controls.len() as u16)
            .map(|i| is_written(Reg::Control(i)))
            .collect();
        let of_locals: Vec<bool> = (0..program.locals)
            .map(|i| is_written(Reg::Local(i)))
            .collect();
        let mut controls = vec![0; of_controls.len()];
        let mut locals = vec![0; of_locals.len()];
        let mut last = 0;
        for now in [true, false] {
            let all = program.controls.iter().zip(&of_controls).zip(&mut controls);
            for ((variable, _), at) in all.filter(|((_, written), _)| **written == now) {
                *at = place(variable.default)?;
            }
            for (_, at) in of_locals
                .iter()
                .zip(&mut locals)
                .filter(|(w, _)| **w == now)
            {
                *at = place(0)?;
            }
            if now {
                last = program.writables.len()
                    + reports.len()
                    + of_controls.iter().chain(&of_locals).filter(|w| **w).count();
            }
        }
        let mut micros = None;
        let mut primitives = vec![None; program.primitives.len()];
        let mut constants = BTreeMap::new();
        let mut seen = |operand: Operand| -> Option<()> {
            match operand {
                Operand::Imm(value) => {
                    if let Entry::Vacant(free) = constants.entry(value) {
                        free.insert(place(value)?);
                    }
                }
                Operand::Primitive(i) => {
                    let at = primitives.get_mut(usize::from(i))?;
                    if at.is_none() {
                        *at = Some(place(0)?);
                    }
                }
                Operand::Reg(Reg::Micros) => {
                    if micros.is_none() {
                        micros = Some(place(0)?);
                    }
                }
                Operand::Reg(_) => {}
            }
            Some(())
        };
        for inst in insts(program) {
            for operand in read(&inst).into_iter().flatten() {
                seen(operand)?;
            }
            if let Some(reg) = written(&inst) {
                seen(reg.into())?;
            }
        }
        for test in program.clauses.iter().filter_map(|c| c.test) {
            seen(test)?;
        }
        let temps = (0..program.temps)
            .map(|_| place(0))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            template,
            written: last,
            controls,
            reports,
            locals,
            temps,
            primitives,
            micros,
            constants,
        })
    }

    /// The place of `operand`. The verifier has seen to it that there is one.
    fn of(&self, operand: Operand) -> u16 {
        let at = |places: &[u16], i: u16| places.get(usize::from(i)).copied();
        let place = match operand {
            Operand::Imm(value) => self.constants.get(&value).copied(),
            Operand::Primitive(i) => self.primitives.get(usize::from(i)).copied().flatten(),
            Operand::Reg(Reg::Writable(i)) => Some(i),
            Operand::Reg(Reg::Micros) => self.micros,
            Operand::Reg(Reg::Control(i)) => at(&self.controls, i),
            Operand::Reg(Reg::Report(i)) => at(&self.reports, i),
            Operand::Reg(Reg::Local(i)) => at(&self.locals, i),
            Operand::Reg(Reg::Temp(i)) => at(&self.temps, i),
        };
        place.unwrap_or_default()
    }

    fn reg(&self, reg: Reg) -> u16 {
        self.of(reg.into())
    }
}

fn insts(program: &Program) -> impl Iterator<Item = Inst> {
    let clauses = program.clauses.iter();
    clauses.flat_map(|c: &Clause| c.condition.iter().chain(&c.body).copied())
}

/// What an instruction writes.
fn written(inst: &Inst) -> Option<Reg> {
    match *inst {
        Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } | Inst::Move { dst, .. } => Some(dst),
        _ => None,
    }
}

/// What an instruction reads, except what it writes as well.
fn read(inst: &Inst) -> [Option<Operand>; 2] {
    match *inst {
        Inst::Binary { a, b, .. } => [Some(a), Some(b)],
        Inst::Ewma { weight, sample, .. } => [Some(weight), Some(sample)],
        Inst::Move { src, .. } => [Some(src), None],
        Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => [Some(cond), None],
        Inst::Skip { .. } | Inst::Report | Inst::Fallthrough => [None, None],
    }
}

/// What has to be put back if the program faults: nothing if no fault comes after a write.
fn undo(program: &Program, places: &Places) -> Undo {
    let lasting = |reg: Reg| !matches!(reg, Reg::Temp(_) | Reg::Micros);
    let mut written_before = false;
    let mut faults_after = false;
    for inst in insts(program) {
        let can_fault = match inst {
            Inst::Binary { op, b, .. } => match (op, b) {
                (BinaryOp::Div, Operand::Imm(divisor)) => divisor == 0,
                _ => op.can_fault(),
            },
            Inst::Ewma { weight, .. } => !matches!(weight, Operand::Imm(0..=10)),
            _ => false,
        };
        faults_after |= can_fault && written_before;
        written_before |= written(&inst).is_some_and(lasting);
    }
    match places.written {
        _ if !faults_after => Undo::Nothing,
        0..=8 => Undo::First8,
        9..=16 => Undo::First16,
        17..=32 => Undo::First32,
        _ => Undo::All,
    }
}

fn waits(program: &Program, places: &Places) -> Box<[(u16, bool)]> {
    let micros = Operand::Reg(Reg::Micros);
    let mut waits: Vec<(u16, bool)> = insts(program)
        .filter_map(|inst| match inst {
            Inst::Binary { op, a, b, .. } => {
                let (other, op) = match (a == micros, b == micros) {
                    (true, false) => (b, op),
                    (false, true) => (a, mirrored(op)?),
                    _ => return None,
                };
                match op {
                    BinaryOp::Gt => Some((places.of(other), true)),
                    BinaryOp::Ge => Some((places.of(other), false)),
                    _ => None,
                }
            }
            _ => None,
        })
        .collect();
    waits.sort_unstable();
    waits.dedup();
    waits.into()
}

/// The comparison with its sides exchanged.
fn mirrored(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Lt => BinaryOp::Gt,
        BinaryOp::Le => BinaryOp::Ge,
        BinaryOp::Gt => BinaryOp::Lt,
        BinaryOp::Ge => BinaryOp::Le,
        _ => return None,
    })
}

/// The operation of an instruction that computes.
fn compute(places: &Places, inst: &Inst) -> Option<Op<u16>> {
    Some(match *inst {
        Inst::Binary { op, dst, a, b } => {
            let (dst, a, b) = (places.reg(dst), places.of(a), places.of(b));
            match op {
                BinaryOp::Add => Op::Add { dst, a, b },
                BinaryOp::Sub => Op::Sub { dst, a, b },
                BinaryOp::Mul => Op::Mul { dst, a, b },
                BinaryOp::Div => Op::Div { dst, a, b },
                BinaryOp::Min => Op::Min { dst, a, b },
                BinaryOp::Max => Op::Max { dst, a, b },
                BinaryOp::WrappedMax => Op::WrappedMax { dst, a, b },
                BinaryOp::Eq => Op::Eq { dst, a, b },
                BinaryOp::Ne => Op::Ne { dst, a, b },
                BinaryOp::Lt => Op::Lt { dst, a, b },
                BinaryOp::Le => Op::Le { dst, a, b },
                BinaryOp::Gt => Op::Lt { dst, a: b, b: a },
                BinaryOp::Ge => Op::Le { dst, a: b, b: a },
                BinaryOp::And => Op::And { dst, a, b },
                BinaryOp::Or => Op::Or { dst, a, b },
            }
        }
        Inst::Ewma {
            dst,
            weight,
            sample,
        } => Op::Ewma {
            dst: places.reg(dst),
            weight: places.of(weight),
            sample: places.of(sample),
        },
        Inst::Move { dst, src } => Op::Move {
            dst: places.reg(dst),
            src: places.of(src),
        },
        _ => return None,
    })
}
