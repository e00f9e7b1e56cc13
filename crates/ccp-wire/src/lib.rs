//! The messages between a datapath and the control plane, and their encodings.
//!
//! The format is libccp's, byte for byte, extended by trailing fields and by message types that
//! only a peer which announced them is sent. Everything is little endian. Every message is a
//! *frame*:
//!
//! ```text
//! | u16 type | u16 len | u32 sock_id | body |      len counts the header's 8 bytes too
//! ```
//!
//! | type | name | direction | type here |
//! |---|---|---|---|
//! | 0 | CREATE | datapath → agent | [`Create`] (trailing: [`CreateDetails`]) |
//! | 1 | MEASURE | datapath → agent | [`Measure`] (trailing: [`ReportTrailer`], [`Totals`]) |
//! | 2 | INSTALL | agent → datapath | [`Install`] |
//! | 3 | UPDATE_FIELDS | agent → datapath | [`UpdateFields`] |
//! | 4 | CHANGE_PROG | agent → datapath | [`ChangeProg`] |
//! | 5 | READY | datapath → agent | [`Ready`] (trailing: [`Capabilities`]) |
//! | 0x40 | HELLO | agent → datapath | [`Hello`] |
//! | 0x41 | INSTALL_EXT | agent → datapath | [`InstallExt`] |
//! | 0x42 | UPDATE_EXT | agent → datapath | [`UpdateExt`] |
//! | 0x43 | CHANGE_PROG_EXT | agent → datapath | [`ChangeProgExt`] |
//! | 0x44 | HEARTBEAT | agent → datapath | [`Heartbeat`] |
//!
//! The low byte of our own types is none of 0 to 5 and not 255, because portus looks at the low
//! byte only. 0 to 0x3f stay libccp's.
//!
//! # Who may send what
//!
//! A datapath may always send trailing fields: libccp's peers and portus pass over them. A
//! datapath that understands more than libccp's messages says so in its READY
//! ([`Capabilities`]). An agent answers such a READY with HELLO, naming the features that it will
//! use; before that, and to any other datapath, it sends types 2, 3 and 4 only.
//!
//! # What is defined about odd input
//!
//! * **Several frames in one datagram** are read one after the other ([`frames`]). libccp itself
//!   reads only the first frame of a datagram, so a sender puts one frame into each.
//! * **Trailing bytes inside a frame**, after the last field that this version knows, are passed
//!   over. Trailing fields are only ever appended to; an incomplete one counts as absent.
//! * **A truncated frame** is an error in a datagram and "not yet" in a stream ([`Codec`]).
//! * **Wrong lengths**: below 8 or above the limit, the frame is refused and with it the rest of
//!   the datagram or stream, since nobody knows where the next one starts. A body too short for
//!   its message is refused alone.
//! * **Unknown types** are passed over by their length; the caller sees [`Message::Unknown`] and
//!   may count it.
//! * **Counts** are held against their limit and against the bytes at hand before anything is
//!   allocated.
//!
//! Nothing here panics on bytes from outside, does IO or reads a clock. Decoding a MEASURE
//! allocates nothing.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod codec;
mod create;
mod error;
mod frame;
mod hello;
mod install;
mod install_ext;
mod measure;
mod message;
mod netlink;
mod read;
mod ready;
mod update;
mod update_ext;
mod write;

pub use codec::{Codec, CodecError, FrameBuf};
pub use create::{CONG_ALG_LEN, Create, CreateDetails, MOST_ATTRIBUTES, PortOrder};
pub use error::{DecodeError, EncodeError};
pub use frame::{Frame, Frames, HEADER_LEN, Header, Kind, MAX_FRAME, frames};
pub use hello::{Heartbeat, Hello};
pub use install::{Install, MAX_LIBCCP_EXPRESSIONS, MAX_LIBCCP_FRAME, MAX_LIBCCP_INSTRUCTIONS};
pub use install_ext::{InstallExt, ProgramError, VariableDef};
pub use measure::{MAX_REPORT_FIELDS, Measure, MeasureBuf, ReportFrame, ReportTrailer, Totals};
pub use message::{Encode, Message};
pub use netlink::{
    NETLINK_GROUP, NETLINK_HEADER_LEN, NetlinkError, NetlinkPayloads, netlink_message,
    netlink_payloads,
};
pub use ready::{
    Capabilities, Features, MAX_ANNOUNCED_REGISTERS, MAX_REGISTER_NAME, Ready, VERSION,
};
pub use update::{
    ChangeProg, Field, FieldTarget, MAX_CHANGE_FIELDS, MAX_UPDATE_FIELDS, UpdateFields,
};
pub use update_ext::{ChangeProgExt, FieldExt, TargetExt, UpdateExt};
