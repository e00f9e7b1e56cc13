//! The IR's operations, built from those that the library has.

use ccp_program::libccp::{Class, Opcode};
use ccp_program::{BinaryOp, Reg};

use super::super::allocate::Place;
use super::{Guard, Lowerer, ONE, ZERO, constant, gives_flag};

impl Lowerer<'_> {
    /// `b`, or if the guard does not hold something with which `op` cannot fault.
    pub(super) fn harmless(&mut self, op: BinaryOp, guard: Guard, b: Place) -> Place {
        let neutral = match op {
            BinaryOp::Div => ONE,
            _ => ZERO,
        };
        if op == BinaryOp::Div
            && matches!(b, Place::Fixed(r) if r.class == Class::Immediate && r.index != 0)
        {
            return b;
        }
        let by_product = guard.not_zero && neutral == ZERO && self.is_flag(guard.place);
        if by_product && b == ONE {
            return guard.place;
        }
        let ret = self.result();
        if by_product {
            self.emit(Opcode::Mul, ret, guard.place, b);
        } else {
            self.bind(ret, neutral);
            self.bind_if(guard, ret, b);
        }
        ret
    }

    /// Faults, as the library itself does not, if the weight of an `ewma` is above 10.
    pub(super) fn check_weight(&mut self, weight: Place, guard: Option<Guard>) {
        if matches!(weight, Place::Fixed(r) if r.class == Class::Immediate && r.index <= 10) {
            return;
        }
        let weight = match guard {
            Some(guard) => self.harmless(BinaryOp::Sub, guard, weight),
            None => weight,
        };
        let ret = self.result();
        self.emit(Opcode::Sub, ret, constant(10), weight);
    }

    /// `ret = op(a, b)`. With `truth`, anything but zero will do for 1.
    pub(super) fn binary(&mut self, op: BinaryOp, ret: Place, a: Place, b: Place, truth: bool) {
        self.mark(ret, gives_flag(op) && !truth);
        let opcode = match op {
            BinaryOp::Add => Opcode::Add,
            BinaryOp::Sub => Opcode::Sub,
            BinaryOp::Mul => Opcode::Mul,
            BinaryOp::Div => Opcode::Div,
            BinaryOp::Min => Opcode::Min,
            BinaryOp::Max => Opcode::Max,
            BinaryOp::WrappedMax => Opcode::MaxWrap,
            BinaryOp::Eq => Opcode::Equiv,
            BinaryOp::Lt => Opcode::Lt,
            BinaryOp::Gt => Opcode::Gt,
            BinaryOp::Ne => return self.not(Opcode::Equiv, ret, a, b),
            BinaryOp::Le => return self.at_most(ret, a, b),
            BinaryOp::Ge => return self.at_most(ret, b, a),
            BinaryOp::And => return self.and(ret, a, b, truth),
            BinaryOp::Or => return self.or(ret, a, b, truth),
        };
        self.emit(opcode, ret, a, b);
    }

    /// `ret = not op(a, b)` for a comparison.
    fn not(&mut self, op: Opcode, ret: Place, a: Place, b: Place) {
        let value = self.result();
        self.emit(op, value, a, b);
        self.emit(Opcode::Equiv, ret, value, ZERO);
    }

    /// `ret = a <= b`.
    fn at_most(&mut self, ret: Place, a: Place, b: Place) {
        let constant_of = |place: Place| match place {
            Place::Fixed(r) if r.class == Class::Immediate => Some(r.index),
            _ => None,
        };
        // With a constant on one side: a < b + 1, or b > a - 1.
        if let Some(more) = constant_of(b).and_then(|n| n.checked_add(1)) {
            self.emit(Opcode::Lt, ret, a, constant(more));
        } else if let Some(less) = constant_of(a).and_then(|n| n.checked_sub(1)) {
            self.emit(Opcode::Gt, ret, b, constant(less));
        } else {
            self.not(Opcode::Gt, ret, a, b);
        }
    }

    fn and(&mut self, ret: Place, a: Place, b: Place, truth: bool) {
        if self.is_flag(a) && self.is_flag(b) {
            self.emit(Opcode::Mul, ret, a, b);
            return;
        }
        // b if a is not zero: a flag if b is one.
        let good = truth || self.is_flag(b);
        let value = if good && ret != a && ret != b {
            ret
        } else {
            self.result()
        };
        let guard = Guard {
            place: a,
            not_zero: true,
        };
        self.bind(value, ZERO);
        self.bind_if(guard, value, b);
        if value == ret {
            return;
        }
        if good {
            self.bind(ret, value);
        } else {
            self.emit(Opcode::Gt, ret, value, ZERO);
        }
    }

    fn or(&mut self, ret: Place, a: Place, b: Place, truth: bool) {
        if truth || self.is_flag(a) && self.is_flag(b) {
            self.emit(Opcode::Max, ret, a, b);
            return;
        }
        let value = self.result();
        self.emit(Opcode::Max, value, a, b);
        self.emit(Opcode::Gt, ret, value, ZERO);
    }

    pub(super) fn mark(&mut self, place: Place, flag: bool) {
        if let Place::Result(result) = place {
            self.flags.retain(|known| *known != result);
            if flag {
                self.flags.push(result);
            }
        }
    }

    /// Whether it holds nothing but 0 and 1.
    pub(super) fn is_flag(&self, place: Place) -> bool {
        let Place::Fixed(register) = place else {
            return matches!(place, Place::Result(r) if self.flags.contains(&r));
        };
        match register.class {
            Class::Immediate => register.index <= 1,
            // The last of the library's primitives.
            Class::Primitive => register.index == 14,
            _ => {
                let same = |reg: &Reg| self.home(*reg).is_ok_and(|home| home == register);
                self.context.flags.iter().any(same)
            }
        }
    }
}
