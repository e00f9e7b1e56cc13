//! Operations on places of the register file.

/// The place of an operand: narrow in all but the largest programs.
pub(super) trait Place: Copy {
    fn at(self) -> usize;
}

impl Place for u8 {
    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
}

impl Place for u16 {
    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
}

/// One operation. Jumps go forward only, to a place in the list of operations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<P> {
    Add {
        dst: P,
        a: P,
        b: P,
    },
    Sub {
        dst: P,
        a: P,
        b: P,
    },
    Mul {
        dst: P,
        a: P,
        b: P,
    },
    Div {
        dst: P,
        a: P,
        b: P,
    },
    Min {
        dst: P,
        a: P,
        b: P,
    },
    Max {
        dst: P,
        a: P,
        b: P,
    },
    WrappedMax {
        dst: P,
        a: P,
        b: P,
    },
    Eq {
        dst: P,
        a: P,
        b: P,
    },
    Ne {
        dst: P,
        a: P,
        b: P,
    },
    Lt {
        dst: P,
        a: P,
        b: P,
    },
    Le {
        dst: P,
        a: P,
        b: P,
    },
    And {
        dst: P,
        a: P,
        b: P,
    },
    Or {
        dst: P,
        a: P,
        b: P,
    },
    Ewma {
        dst: P,
        weight: P,
        sample: P,
    },
    Move {
        dst: P,
        src: P,
    },
    Jump {
        to: u16,
    },
    JumpIf {
        cond: P,
        to: u16,
    },
    JumpUnless {
        cond: P,
        to: u16,
    },
    UnlessLt {
        a: P,
        b: P,
        to: u16,
    },
    UnlessLe {
        a: P,
        b: P,
        to: u16,
    },
    UnlessEq {
        a: P,
        b: P,
        to: u16,
    },
    UnlessNe {
        a: P,
        b: P,
        to: u16,
    },
    Report,
    /// The clause that begins here has not said that the next one is to be looked at.
    Begin,
    GoOn,
    /// The end of a true clause: of the invocation too, unless it went on.
    EndUnlessGoOn,
    End,
}

impl Op<u16> {
    pub(super) fn narrow(self) -> Op<u8> {
        self.map(|p| p as u8)
    }

    /// Jumps of the operation go to `to`.
    pub(super) fn aim(&mut self, target: u16) {
        if let Self::Jump { to }
        | Self::JumpIf { to, .. }
        | Self::JumpUnless { to, .. }
        | Self::UnlessLt { to, .. }
        | Self::UnlessLe { to, .. }
        | Self::UnlessEq { to, .. }
        | Self::UnlessNe { to, .. } = self
        {
            *to = target;
        }
    }

    fn map<P: Place>(self, p: impl Fn(u16) -> P) -> Op<P> {
        macro_rules! three {
            ($($name:ident),*; $dst:ident, $a:ident, $b:ident) => {
                match self {
                    $(Self::$name { dst, a, b } => Op::$name { dst: p(dst), a: p(a), b: p(b) },)*
                    Self::Ewma { dst, weight, sample } => Op::Ewma {
                        dst: p(dst),
                        weight: p(weight),
                        sample: p(sample),
                    },
                    Self::Move { dst, src } => Op::Move { dst: p(dst), src: p(src) },
                    Self::Jump { to } => Op::Jump { to },
                    Self::JumpIf { cond, to } => Op::JumpIf { cond: p(cond), to },
                    Self::JumpUnless { cond, to } => Op::JumpUnless { cond: p(cond), to },
                    Self::UnlessLt { a, b, to } => Op::UnlessLt { a: p(a), b: p(b), to },
                    Self::UnlessLe { a, b, to } => Op::UnlessLe { a: p(a), b: p(b), to },
                    Self::UnlessEq { a, b, to } => Op::UnlessEq { a: p(a), b: p(b), to },
                    Self::UnlessNe { a, b, to } => Op::UnlessNe { a: p(a), b: p(b), to },
                    Self::Report => Op::Report,
                    Self::Begin => Op::Begin,
                    Self::GoOn => Op::GoOn,
                    Self::EndUnlessGoOn => Op::EndUnlessGoOn,
                    Self::End => Op::End,
                }
            };
        }
        three!(Add, Sub, Mul, Div, Min, Max, WrappedMax, Eq, Ne, Lt, Le, And, Or; dst, a, b)
    }
}
