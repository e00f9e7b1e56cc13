//! Recordings: what happened to flows, in a file, complete enough to run their algorithms again.
//!
//! # The file
//!
//! [`RECORDING_MAGIC`], then [`RECORDING_VERSION`] in two bytes, little-endian. Then records, each a
//! length (a [varint] of at most five bytes, at most [`MAX_RECORD`]) and as many bytes: one value in the
//! [postcard] encoding. The first says where the recording is from. Reports name their variables once, by
//! the number of a shape that came before; times are differences to the record before. The last record
//! says that the recording is whole: without it the file was cut.
//!
//! [`Writer`] writes, [`Reader`] reads. Nothing in a file is trusted: lengths and counts are bounded, and
//! what can't be is an error that says at which byte.
//!
//! [varint]: https://postcard.jamesmunns.com/wire-format#varint-encoded-integers
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::protocol::{Announced, FlowStatus, What};

mod read;
mod write;

pub use read::Reader;
pub use write::{Writer, Written};

/// The first bytes of every recording.
pub const RECORDING_MAGIC: [u8; 8] = *b"ccp-rec\n";

/// The version of the format in this crate. It changes whenever a record or what it holds changes.
pub const RECORDING_VERSION: u16 = 1;

/// A record takes at most so many bytes, without its length.
pub const MAX_RECORD: usize = 256 * 1024;

/// At most so many different shapes of reports are in one recording.
pub const MOST_SHAPES: usize = 4096;

/// An algorithm as it was while it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAlgorithm {
    /// Its name: that of its table in the configuration.
    pub name: String,
    /// Its kind: the code.
    pub kind: String,
    /// Its parameters: keys, and values as in TOML; the others have their defaults.
    pub parameters: Vec<(String, String)>,
    /// Its programs that stand in files: names and source texts. Only of kinds that are nothing but a
    /// program; other kinds bring theirs.
    pub sources: Vec<(String, String)>,
}

/// What reports have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// The algorithm that got them.
    pub algorithm: String,
    /// The program that reported.
    pub program: String,
    /// The names of the report variables, in the order of the program.
    pub fields: Vec<String>,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedReport {
    /// Algorithm, program and the names of the values.
    pub shape: Arc<Shape>,
    /// How many earlier reports are contained in it.
    pub merged: u64,
    /// The window that followed from it, in bytes, as far as the daemon knew it.
    pub cwnd_bytes: u64,
    /// The rate that followed from it, in bytes per second; 0 if none was known.
    pub rate_bytes_per_s: u64,
    /// As many as the shape has names.
    pub values: Vec<u64>,
}

/// Where a recording is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The release of the daemon.
    pub release: String,
    /// When it began, in microseconds since 1970 (UTC).
    pub time_us: u64,
}

/// What a recording holds, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An algorithm, as flows have it from here on.
    Algorithm(RecordedAlgorithm),
    /// A flow was there before the recording began.
    Alive {
        /// When that was seen, in microseconds since 1970 (UTC).
        time_us: u64,
        /// How it was.
        status: Box<FlowStatus>,
        /// The same, as a datapath would announce it.
        announced: Announced,
    },
    /// A flow's algorithm got a report.
    Report {
        /// When, in microseconds since 1970 (UTC).
        time_us: u64,
        /// Which flow.
        flow: u64,
        /// The report.
        report: RecordedReport,
    },
    /// Anything else that happened.
    Event(
        /// Never a [`What::Report`].
        crate::Event,
    ),
    /// So many events are missing here, because they came faster than they were taken.
    Lost(u64),
}

/// A record as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    Begin(Origin),
    Algorithm(RecordedAlgorithm),
    /// Gets the next number, from 0.
    Shape(Shape),
    Alive {
        after_us: i64,
        status: Box<FlowStatus>,
        announced: Announced,
    },
    Report {
        after_us: i64,
        flow: u64,
        shape: u32,
        merged: u64,
        cwnd_bytes: u64,
        rate_bytes_per_s: u64,
        values: Vec<u64>,
    },
    Event {
        after_us: i64,
        flow: u64,
        what: What,
    },
    Lost(u64),
    End,
}

/// A recording can't be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file could not be read or written.
    #[error("at byte {offset}: the file failed")]
    Io {
        /// Where.
        offset: u64,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("at byte 0: this is no recording of ccp")]
    NotARecording,
    /// Another version has written it.
    #[error(
        "this recording has version {theirs} of the format, this command reads version {RECORDING_VERSION}: \
         use the `ccp` that recorded it"
    )]
    OtherVersion {
        /// The version of the file.
        theirs: u16,
    },
    /// The file ends before it says where it is from.
    #[error("at byte {offset}: the file ends before the recording begins")]
    TooShort {
        /// Where.
        offset: u64,
    },
    /// A record says that it is longer than one may be, or is.
    #[error("at byte {offset}: a record is longer than the {MAX_RECORD} bytes that are allowed")]
    TooLong {
        /// Where it begins.
        offset: u64,
    },
    /// A record is none.
    #[error("at byte {offset}: a record of {len} bytes can't be read")]
    Malformed {
        /// Where it begins.
        offset: u64,
        /// Its length.
        len: usize,
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
    /// A record can be read, but not be.
    #[error("at byte {offset}: {what}")]
    Impossible {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
