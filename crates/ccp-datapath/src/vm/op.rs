//! Operations on places of the register file.

/// The place of an operand. The narrower, the more operations fit a cache line; and of a type that has
/// as many values as the file has places, the compiler knows that they are within.
pub(super) trait Place: Copy {
    fn at(self) -> usize;
    /// `place`, which is within the file.
    fn new(place: u16) -> Self;
}

impl Place for u8 {
    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
    fn new(place: u16) -> Self {
        place as Self
    }
}

impl Place for u16 {
    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
    fn new(place: u16) -> Self {
        place
    }
}

macro_rules! places {
    ($(#[$doc:meta])* $name:ident: $first:ident $($more:ident)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(u8)]
        pub(super) enum $name { $first, $($more),* }

        impl Place for $name {
            #[inline(always)]
            fn at(self) -> usize {
                self as usize
            }
            fn new(place: u16) -> Self {
                const ALL: &[$name] = &[$name::$first, $($name::$more),*];
                debug_assert!(usize::from(place) < ALL.len());
                ALL.get(usize::from(place)).copied().unwrap_or($name::$first)
            }
        }
    };
}

places! {
    /// A place of a file of 32 registers.
    Of32:
    P0 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15 P16 P17 P18 P19 P20 P21 P22 P23 P24 P25
    P26 P27 P28 P29 P30 P31
}

places! {
    /// A place of a file of 64 registers.
    Of64:
    P0 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15 P16 P17 P18 P19 P20 P21 P22 P23 P24 P25
    P26 P27 P28 P29 P30 P31 P32 P33 P34 P35 P36 P37 P38 P39 P40 P41 P42 P43 P44 P45 P46 P47 P48
    P49 P50 P51 P52 P53 P54 P55 P56 P57 P58 P59 P60 P61 P62 P63
}

/// One operation. Jumps go forward only, to a place in the list of operations.
///
/// Of eight bytes each, so that the next one, or the one that is jumped to, takes no multiplication.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
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
    /// With places of another type. All of them have to be places of it.
    pub(super) fn narrow<P: Place>(self) -> Op<P> {
        self.map(P::new)
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
