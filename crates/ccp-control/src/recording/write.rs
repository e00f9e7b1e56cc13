//! What happens becomes a file.

use std::collections::HashMap;
use std::io::Write;

use super::{
    MAX_RECORD, MOST_SHAPES, Origin, RECORDING_MAGIC, RECORDING_VERSION, Record, RecordedAlgorithm,
    RecordingError, Shape,
};
use crate::protocol::{Announced, Event, FlowStatus, What};

/// Writes a recording. Give it a buffered `W`: each record is a write.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    shapes: HashMap<Shape, u32>,
    /// Of the record before.
    time_us: u64,
    written: Written,
}

/// What a recording holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its size.
    pub bytes: u64,
    /// Reports.
    pub reports: u64,
    /// Events besides.
    pub events: u64,
    /// Events that are missing, because they came faster than they were taken.
    pub lost: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn new(out: W, origin: Origin) -> Result<Self, RecordingError> {
        let mut writer = Self {
            out,
            shapes: HashMap::new(),
            time_us: origin.time_us,
            written: Written::default(),
        };
        writer.put(&RECORDING_MAGIC)?;
        writer.put(&RECORDING_VERSION.to_le_bytes())?;
        writer.record(&Record::Begin(origin))?;
        Ok(writer)
    }

    /// From here on flows have the algorithm like this.
    ///
    /// # Errors
    /// If the file fails, or this does not fit a record ([`MAX_RECORD`]).
    pub fn algorithm(&mut self, algorithm: &RecordedAlgorithm) -> Result<(), RecordingError> {
        self.record(&Record::Algorithm(algorithm.clone()))
    }

    /// A flow was there before, at the time `time_us`.
    ///
    /// # Errors
    /// As [`algorithm`](Self::algorithm).
    pub fn alive(
        &mut self,
        time_us: u64,
        status: &FlowStatus,
        announced: &Announced,
    ) -> Result<(), RecordingError> {
        let record = Record::Alive {
            after_us: self.after(time_us),
            status: Box::new(status.clone()),
            announced: *announced,
        };
        self.record(&record)
    }

    /// This happened.
    ///
    /// # Errors
    /// As [`algorithm`](Self::algorithm), or if there are too many kinds of reports ([`MOST_SHAPES`]).
    pub fn event(&mut self, event: &Event) -> Result<(), RecordingError> {
        let Event {
            time_us,
            flow,
            what,
        } = event;
        let record = match what {
            What::Report {
                algorithm,
                program,
                merged,
                cwnd_bytes,
                rate_bytes_per_s,
                fields,
            } => {
                let shape = Shape {
                    algorithm: algorithm.clone(),
                    program: program.clone(),
                    fields: fields.iter().map(|(name, _)| name.clone()).collect(),
                };
                self.written.reports += 1;
                Record::Report {
                    shape: self.shape(shape)?,
                    after_us: self.after(*time_us),
                    flow: *flow,
                    merged: *merged,
                    cwnd_bytes: *cwnd_bytes,
                    rate_bytes_per_s: *rate_bytes_per_s,
                    values: fields.iter().map(|(_, value)| *value).collect(),
                }
            }
            other => {
                self.written.events += 1;
                Record::Event {
                    after_us: self.after(*time_us),
                    flow: *flow,
                    what: other.clone(),
                }
            }
        };
        self.record(&record)
    }

    /// So many events are missing here.
    ///
    /// # Errors
    /// As [`algorithm`](Self::algorithm).
    pub fn lost(&mut self, events: u64) -> Result<(), RecordingError> {
        self.written.lost = self.written.lost.saturating_add(events);
        self.record(&Record::Lost(events))
    }

    /// Everything so far is in the file when this returns.
    ///
    /// # Errors
    /// If the file fails.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.out.flush().map_err(|source| RecordingError::Io {
            offset: self.written.bytes,
            source,
        })
    }

    /// The recording is whole. Gives what it was written to.
    ///
    /// # Errors
    /// If the file fails.
    pub fn end(mut self) -> Result<(Written, W), RecordingError> {
        self.record(&Record::End)?;
        self.flush()?;
        Ok((self.written, self.out))
    }

    /// What was written so far.
    #[must_use]
    pub const fn written(&self) -> Written {
        self.written
    }

    /// The number of `shape`.
    fn shape(&mut self, shape: Shape) -> Result<u32, RecordingError> {
        if let Some(number) = self.shapes.get(&shape) {
            return Ok(*number);
        }
        let number = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        if self.shapes.len() >= MOST_SHAPES {
            return Err(RecordingError::Impossible {
                offset: self.written.bytes,
                what: "there are more kinds of reports than one recording holds",
            });
        }
        self.record(&Record::Shape(shape.clone()))?;
        self.shapes.insert(shape, number);
        Ok(number)
    }

    /// The time since the record before; that of two flows may go back a little.
    fn after(&mut self, time_us: u64) -> i64 {
        let before = std::mem::replace(&mut self.time_us, time_us);
        time_us.wrapping_sub(before).cast_signed()
    }

    fn record(&mut self, record: &Record) -> Result<(), RecordingError> {
        let offset = self.written.bytes;
        let failed = |source| RecordingError::Malformed {
            offset,
            len: 0,
            source,
        };
        let bytes = postcard::to_stdvec(record).map_err(failed)?;
        if bytes.len() > MAX_RECORD {
            return Err(RecordingError::TooLong { offset });
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let len = postcard::to_stdvec(&len).map_err(failed)?;
        self.put(&len)?;
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        let offset = self.written.bytes;
        let written = self.out.write_all(bytes);
        written.map_err(|source| RecordingError::Io { offset, source })?;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }
}
