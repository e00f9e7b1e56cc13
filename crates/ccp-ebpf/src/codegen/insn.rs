//! eBPF instructions: encoding and listing.
//!
//! Only what generated programs need: 64-bit arithmetic, the 32-bit moves and subtractions of
//! `wrapped_max`, loads, stores, conditional jumps and helper calls, all of the instruction set's
//! first version (RFC 9669), so that every kernel with `struct_ops` takes them.

use std::fmt;

/// A machine register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum R {
    /// Result of a call.
    R0 = 0,
    /// First argument of a call; scratch otherwise.
    R1 = 1,
    /// Second argument; scratch.
    R2 = 2,
    /// Third argument; scratch.
    R3 = 3,
    /// Fourth argument; scratch.
    R4 = 4,
    /// Fifth argument; scratch.
    R5 = 5,
    /// Kept over calls.
    R6 = 6,
    /// Kept over calls; here scratch.
    R7 = 7,
    /// Kept over calls.
    R8 = 8,
    /// Kept over calls.
    R9 = 9,
    /// Top of the stack frame, read-only.
    R10 = 10,
}

/// How many bytes a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Size {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Size {
    const fn code(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Byte => 0x10,
            Self::Double => 0x18,
        }
    }
}

/// An arithmetic operation, `dst = dst op src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Alu {
    /// Sum, wrapping.
    Add = 0x00,
    /// Difference, wrapping.
    Sub = 0x10,
    /// Product, wrapping.
    Mul = 0x20,
    /// Unsigned quotient; 0 if the divisor is 0.
    Div = 0x30,
    /// Bitwise or.
    Or = 0x40,
    /// Bitwise and.
    And = 0x50,
    /// Shift left.
    Shl = 0x60,
    /// Logical shift right.
    Shr = 0x70,
    /// Two's complement (`src` is not looked at).
    Neg = 0x80,
    /// Unsigned remainder.
    Mod = 0x90,
    /// Bitwise exclusive or.
    Xor = 0xa0,
    /// Assignment.
    Mov = 0xb0,
    /// Arithmetic shift right.
    Sar = 0xc0,
}

/// A condition of a jump, `dst cmp src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Cmp {
    /// Equal.
    Eq = 0x10,
    /// Greater, unsigned.
    Gt = 0x20,
    /// Greater or equal, unsigned.
    Ge = 0x30,
    /// Not equal.
    Ne = 0x50,
    /// Greater, signed.
    SGt = 0x60,
    /// Greater or equal, signed.
    SGe = 0x70,
    /// Less, signed.
    SLt = 0xc0,
    /// Less or equal, signed.
    SLe = 0xd0,
    /// Less, unsigned.
    Lt = 0xa0,
    /// Less or equal, unsigned.
    Le = 0xb0,
}

/// The right operand of an operation or comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Src {
    /// A register.
    Reg(R),
    /// A constant, sign-extended to 64 bits.
    Imm(i32),
}

impl From<R> for Src {
    fn from(r: R) -> Self {
        Self::Reg(r)
    }
}

impl From<i32> for Src {
    fn from(imm: i32) -> Self {
        Self::Imm(imm)
    }
}

/// A kernel function that programs may call, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(super) enum Helper {
    /// `bpf_map_lookup_elem(map, key)`.
    MapLookupElem = 1,
    /// `bpf_tail_call(ctx, map, index)`.
    TailCall = 12,
    /// `bpf_sk_storage_get(map, sk, value, flags)`.
    SkStorageGet = 107,
    /// `bpf_ringbuf_reserve(map, size, flags)`.
    RingbufReserve = 131,
    /// `bpf_ringbuf_submit(sample, flags)`.
    RingbufSubmit = 132,
}

/// What a 64-bit constant stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Wide {
    /// A number.
    Number = 0,
    /// A map, by file descriptor.
    Map = 1,
    /// An address within the only value of an array map, by file descriptor and offset.
    MapValue = 2,
}

const LDX: u8 = 0x61; // BPF_LDX | BPF_MEM
const ST: u8 = 0x62; // BPF_ST | BPF_MEM
const STX: u8 = 0x63; // BPF_STX | BPF_MEM
const ATOMIC: u8 = 0xc3; // BPF_STX | BPF_ATOMIC
const ALU64: u8 = 0x07;
const ALU32: u8 = 0x04;
const JMP: u8 = 0x05;
const BY_REG: u8 = 0x08;
const LD_IMM64: u8 = 0x18;
const JA: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// One instruction slot of eight bytes. A 64-bit constant takes two.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

impl Insn {
    const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self {
            code,
            dst,
            src,
            off,
            imm,
        }
    }

    fn with_src(code: u8, dst: R, src: Src, off: i16) -> Self {
        match src {
            Src::Reg(r) => Self::new(code | BY_REG, dst as u8, r as u8, off, 0),
            Src::Imm(imm) => Self::new(code, dst as u8, 0, off, imm),
        }
    }

    /// `dst = dst op src`, 64 bits.
    pub(super) fn alu(op: Alu, dst: R, src: impl Into<Src>) -> Self {
        Self::with_src(ALU64 | op as u8, dst, src.into(), 0)
    }

    /// `dst = dst op src` on the low 32 bits; the high ones become 0.
    pub(super) fn alu32(op: Alu, dst: R, src: impl Into<Src>) -> Self {
        Self::with_src(ALU32 | op as u8, dst, src.into(), 0)
    }

    /// `dst = *(base + off)`, zero-extended.
    pub(super) const fn load(size: Size, dst: R, base: R, off: i16) -> Self {
        Self::new(LDX | size.code(), dst as u8, base as u8, off, 0)
    }

    /// `*(base + off) = src`.
    pub(super) fn store(size: Size, base: R, off: i16, src: impl Into<Src>) -> Self {
        match src.into() {
            Src::Reg(r) => Self::new(STX | size.code(), base as u8, r as u8, off, 0),
            Src::Imm(imm) => Self::new(ST | size.code(), base as u8, 0, off, imm),
        }
    }

    /// `*(base + off) += src`, atomically and as a full barrier; words and doubles.
    pub(super) const fn atomic_add(size: Size, base: R, off: i16, src: R) -> Self {
        // The operation BPF_ADD is 0.
        Self::new(ATOMIC | size.code(), base as u8, src as u8, off, 0)
    }

    /// A jump whose distance is filled in later.
    pub(super) const fn jump() -> Self {
        Self::new(JA, 0, 0, 0, 0)
    }

    /// A jump if `dst cmp src`, whose distance is filled in later.
    pub(super) fn jump_if(cmp: Cmp, dst: R, src: impl Into<Src>) -> Self {
        Self::with_src(JMP | cmp as u8, dst, src.into(), 0)
    }

    /// Both halves of a 64-bit constant.
    pub(super) const fn wide(dst: R, what: Wide, low: u32, high: u32) -> [Self; 2] {
        [
            Self::new(LD_IMM64, dst as u8, what as u8, 0, low.cast_signed()),
            Self::new(0, 0, 0, 0, high.cast_signed()),
        ]
    }

    /// A call of a kernel function.
    pub(super) const fn call(helper: Helper) -> Self {
        Self::new(CALL, 0, 0, 0, helper as i32)
    }

    /// Ends the program.
    pub(super) const fn exit() -> Self {
        Self::new(EXIT, 0, 0, 0, 0)
    }

    /// The same jump, over `off` instruction slots.
    pub(super) const fn over(self, off: i16) -> Self {
        Self { off, ..self }
    }

    /// Whether the next slot is the second half of this one.
    pub(super) const fn is_wide(self) -> bool {
        self.code == LD_IMM64
    }

    /// The slot as the kernel reads it: on a little-endian machine the bytes of this number are
    /// those of `struct bpf_insn`.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.code as u64
            | (self.dst as u64) << 8
            | (self.src as u64) << 12
            | (self.off.cast_unsigned() as u64) << 16
            | (self.imm.cast_unsigned() as u64) << 32
    }

    /// Writes the instruction as it is listed; `next` is the slot after it.
    pub(super) fn list(self, f: &mut fmt::Formatter<'_>, next: Option<Self>) -> fmt::Result {
        let Self {
            code,
            dst,
            src,
            off,
            imm,
        } = self;
        let size = match code & 0x18 {
            0x00 => "u32",
            0x08 => "u16",
            0x10 => "u8",
            _ => "u64",
        };
        match code {
            LD_IMM64 => {
                let high = next.map_or(0, |n| n.imm.cast_unsigned());
                let low = imm.cast_unsigned();
                match src {
                    1 => write!(f, "r{dst} = map[fd {low}]"),
                    2 => write!(f, "r{dst} = map[fd {low}][0] + {high}"),
                    _ => write!(f, "r{dst} = {:#x}", u64::from(high) << 32 | u64::from(low)),
                }
            }
            JA => write!(f, "goto {off:+}"),
            CALL => match imm {
                1 => f.write_str("call bpf_map_lookup_elem"),
                12 => f.write_str("call bpf_tail_call"),
                107 => f.write_str("call bpf_sk_storage_get"),
                131 => f.write_str("call bpf_ringbuf_reserve"),
                132 => f.write_str("call bpf_ringbuf_submit"),
                _ => write!(f, "call {imm}"),
            },
            EXIT => f.write_str("exit"),
            _ => match code & 0x07 {
                0x01 => write!(f, "r{dst} = *({size} *)(r{src} {off:+})"),
                0x02 => write!(f, "*({size} *)(r{dst} {off:+}) = {imm}"),
                0x03 if code & 0xe0 == 0xc0 => {
                    write!(f, "lock *({size} *)(r{dst} {off:+}) += r{src}")
                }
                0x03 => write!(f, "*({size} *)(r{dst} {off:+}) = r{src}"),
                0x05 => {
                    let cmp = match code & 0xf0 {
                        0x10 => "==",
                        0x20 => ">",
                        0x30 => ">=",
                        0x50 => "!=",
                        0x60 => "s>",
                        0x70 => "s>=",
                        0xc0 => "s<",
                        0xd0 => "s<=",
                        0xa0 => "<",
                        0xb0 => "<=",
                        _ => "?",
                    };
                    write!(f, "if r{dst} {cmp} ")?;
                    if code & BY_REG != 0 {
                        write!(f, "r{src}")?;
                    } else {
                        write!(f, "{imm}")?;
                    }
                    write!(f, " goto {off:+}")
                }
                class => {
                    let r = if class == ALU32 { 'w' } else { 'r' };
                    let op = match code & 0xf0 {
                        0x00 => "+=",
                        0x10 => "-=",
                        0x20 => "*=",
                        0x30 => "/=",
                        0x40 => "|=",
                        0x50 => "&=",
                        0x60 => "<<=",
                        0x70 => ">>=",
                        0x80 => return write!(f, "{r}{dst} = -{r}{dst}"),
                        0x90 => "%=",
                        0xa0 => "^=",
                        0xb0 => "=",
                        0xc0 => "s>>=",
                        _ => "?=",
                    };
                    if code & BY_REG != 0 {
                        write!(f, "{r}{dst} {op} {r}{src}")
                    } else {
                        write!(f, "{r}{dst} {op} {imm}")
                    }
                }
            },
        }
    }
}

impl fmt::Debug for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list(f, None)
    }
}
