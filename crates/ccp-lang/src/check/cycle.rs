//! `(cycle base (rtt round_trip) (gain length)…)`: a value that goes round through phases.
//!
//! It becomes ordinary statements over local variables of its own, before what is `base` times the
//! gain of the present phase:
//!
//! ```text
//! (if (|| (>= (-| Ack.now since) length) (< Ack.now since))
//!     (:= since Ack.now)
//!     (:= phase (if (>= phase COUNT) 1 (+ phase 1)))
//!     (:= round_trips …) (:= micros …) (:= gain …))
//! (/ (* base gain) DENOMINATOR)
//! ```
//!
//! where `length` is `round_trips` of the round-trip time as it is now, or `micros`, or their sum:
//! one of them is zero. All of them are zero when the program is installed, so that the first
//! acknowledgement begins the first phase.
//!
//! A phase begins at the acknowledgement that ends the one before: after a gap, phases are not
//! made up for. A clock that goes back ends the phase.

use ccp_program::BinaryOp::{Add, Div, Eq, Ge, Lt, Min, Mul, Or};
use ccp_program::{Operand, Reg, Type};

use super::value::read;
use super::{Checker, Typed};
use crate::ast::{Expr, Length, Phase};
use crate::error::Problem;
use crate::hir::{Assign, Source, Stmt, StmtKind, Value, ValueKind};
use crate::parse::gcd;
use crate::span::Span;

/// Where the length of a round trip comes from if the program does not say.
pub(super) const ROUND_TRIP: &str = "Flow.rtt_sample_us";

/// Round trips are taken for no longer than this, in microseconds, so that multiples of them do
/// not overflow: before the first sample they are `+infinity`.
const LONGEST_ROUND_TRIP: u64 = 0xffff_ffff;

impl<'s> Checker<'s, '_, '_> {
    pub(super) fn cycle(
        &mut self,
        base: &Expr<'s>,
        round_trip: Option<&Expr<'s>>,
        phases: &[Phase],
        span: Span,
    ) -> Typed {
        let base = self.typed("cycle", base, Type::Num);
        let some_rtt = phases.iter().any(in_round_trips);
        let round_trip = match round_trip {
            Some(expr) => {
                if !some_rtt {
                    self.errors.push(expr.span, Problem::RoundTripUnused);
                }
                self.typed("rtt", expr, Type::Num)
            }
            None if some_rtt => Some(self.measured(ROUND_TRIP, span)?),
            None => Some(Value::number(0, span)),
        };
        self.turn(base?, round_trip?, phases, span)
    }

    /// The cycle of values that are computed already. Apart from that, so that deeply nested cycles
    /// need little stack.
    fn turn(&mut self, base: Value, round_trip: Value, phases: &[Phase], span: Span) -> Typed {
        let some_rtt = phases.iter().any(in_round_trips);
        let some_micros = !phases.iter().all(in_round_trips);
        let Some(denominator) = common_denominator(phases) else {
            self.errors.push(span, Problem::CycleGains);
            return None;
        };

        let now = self.measured("Ack.now", span)?;
        let Operand::Primitive(_) = operand_of(&now) else {
            return None;
        };
        let now = || read(operand_of(&now), span);
        let [since, phase, gain, round_trips, micros] = self.hidden(some_rtt, some_micros);
        let binary = |op, a, b| Value::operation(op, vec![a, b], span);
        let number = |n| Value::number(n, span);

        let mut length = None;
        let assigns = round_trip.assigns;
        if some_rtt {
            let one = binary(Min, round_trip, number(LONGEST_ROUND_TRIP));
            length = Some(binary(Mul, one, read(round_trips, span)));
        }
        if some_micros {
            let micros = read(micros, span);
            length = Some(match length {
                Some(length) => binary(Add, length, micros),
                None => micros,
            });
        }
        let elapsed = Value::saturating_sub(now(), read(since, span), span);
        let ended = binary(Ge, elapsed, length?);
        let ended = binary(Or, ended, binary(Lt, now(), read(since, span)));

        let assign = |target, source| Stmt {
            span,
            kind: StmtKind::Assign(Assign { target, source }),
        };
        let count = phases.len() as u64;
        let mut next = vec![assign(since, Source::Value(now()))];
        if count > 1 {
            let last = binary(Ge, read(phase, span), number(count));
            let one_more = binary(Add, read(phase, span), number(1));
            let following = Source::Value(Value::choice(last, number(1), one_more, span));
            next.push(assign(phase, following));
        }
        for (place, each) in (1..).zip(phases) {
            let (in_rtt, in_micros) = match each.length {
                Length::RoundTrips(n) => (n, 0),
                Length::Micros(n) => (0, n),
            };
            let scaled = each.numerator * (denominator / each.denominator);
            let mut sets = vec![assign(gain, Source::constant(scaled, span))];
            if some_rtt {
                sets.push(assign(round_trips, Source::constant(in_rtt, span)));
            }
            if some_micros {
                sets.push(assign(micros, Source::constant(in_micros, span)));
            }
            if place == 1 {
                next.extend(sets);
            } else {
                next.push(Stmt {
                    span,
                    kind: StmtKind::If {
                        condition: binary(Eq, read(phase, span), number(place)),
                        body: sets,
                        otherwise: Vec::new(),
                    },
                });
            }
        }
        let step = Stmt {
            span,
            kind: StmtKind::If {
                condition: ended,
                body: next,
                otherwise: Vec::new(),
            },
        };
        let gain = Value {
            span,
            kind: ValueKind::After(vec![step], Box::new(read(gain, span))),
            // The hidden variables change: it must be computed exactly where it stands.
            faults: true,
            assigns,
        };
        let product = binary(Mul, base, gain);
        let value = if denominator == 1 {
            product
        } else {
            binary(Div, product, number(denominator))
        };
        Some((value, Type::Num))
    }

    /// The measurement called `name`, which `cycle` needs.
    fn measured(&mut self, name: &'static str, span: Span) -> Option<Value> {
        let Some(meaning) = self.scope.lookup(name) else {
            self.errors.push(span, Problem::CycleNeeds { name });
            return None;
        };
        Some(read(self.scope.operand(meaning, span), span))
    }

    /// Local variables without a name: beginning, place and gain of the phase, its length in
    /// round trips and in microseconds.
    fn hidden(&mut self, some_rtt: bool, some_micros: bool) -> [Reg; 5] {
        let [since, phase, gain] = [(); 3].map(|()| self.scope.hidden_local());
        let [round_trips, micros] = [some_rtt, some_micros].map(|needed| {
            if needed {
                self.scope.hidden_local()
            } else {
                since
            }
        });
        [since, phase, gain, round_trips, micros]
    }
}

fn in_round_trips(phase: &Phase) -> bool {
    matches!(phase.length, Length::RoundTrips(_))
}

fn operand_of(value: &Value) -> Operand {
    match value.kind {
        ValueKind::Operand(operand) => operand,
        _ => Operand::Imm(0),
    }
}

/// The least common denominator of the gains; `None` if it, or a gain in terms of it, does not
/// fit 32 bits.
fn common_denominator(phases: &[Phase]) -> Option<u64> {
    let fits = |n: u64| (n <= u64::from(u32::MAX)).then_some(n);
    let common = phases.iter().try_fold(1_u64, |all, phase| {
        let more = phase.denominator / gcd(all, phase.denominator);
        fits(all.checked_mul(more)?)
    })?;
    for phase in phases {
        fits(phase.numerator.checked_mul(common / phase.denominator)?)?;
    }
    Some(common)
}
