//! A file becomes what happened.

use std::io::{ErrorKind, Read};
use std::sync::Arc;

use super::{
    Entry, MAX_RECORD, MOST_SHAPES, Origin, RECORDING_MAGIC, RECORDING_VERSION, Record,
    RecordedReport, RecordingError, Shape,
};
use crate::protocol::{Event, What};

/// Reads a recording, piece by piece: memory is needed for one record and the names of reports'
/// values, however long the recording is. Give it a buffered `R`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    origin: Origin,
    shapes: Vec<Arc<Shape>>,
    /// Of the record before.
    time_us: u64,
    /// Where the next record begins.
    offset: u64,
    record: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Within,
    Whole,
    /// The file ends in the midst of something.
    Cut,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// If `input` fails, is no recording, or one of another version.
    pub fn new(mut input: R) -> Result<Self, RecordingError> {
        let mut head = [0; RECORDING_MAGIC.len() + 2];
        let got = fill(&mut input, &mut head)
            .map_err(|source| RecordingError::Io { offset: 0, source })?;
        let (magic, version) = head.split_at(RECORDING_MAGIC.len());
        // A file that ends within the magic may be one that was cut, but nothing says so.
        if magic != RECORDING_MAGIC {
            return Err(RecordingError::NotARecording);
        }
        let offset = got as u64;
        if got < head.len() {
            return Err(RecordingError::TooShort { offset });
        }
        let theirs = version.try_into().map_or(0, u16::from_le_bytes);
        if theirs != RECORDING_VERSION {
            return Err(RecordingError::OtherVersion { theirs });
        }
        let mut reader = Self {
            input,
            origin: Origin {
                release: String::new(),
                time_us: 0,
            },
            shapes: Vec::new(),
            time_us: 0,
            offset,
            record: Vec::new(),
            state: State::Within,
        };
        match reader.record()? {
            Some((_, Record::Begin(origin))) => {
                reader.time_us = origin.time_us;
                reader.origin = origin;
                Ok(reader)
            }
            Some((offset, _)) => Err(impossible(offset, "the first record is another one")),
            None => Err(RecordingError::TooShort {
                offset: reader.offset,
            }),
        }
    }

    /// Where the recording is from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The next piece; `None` when there is none, whether the recording [is whole](Self::is_whole) or not.
    ///
    /// # Errors
    /// If the file fails, or holds what can't be. Nothing follows then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, RecordingError> {
        let next = self.read_entry();
        if next.is_err() {
            self.state = State::Cut;
        }
        next
    }

    /// Whether the end was reached, and is where the recording was ended. If not, the file was cut, or is
    /// being written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// How many bytes hold what was read so far.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, RecordingError> {
        while let Some((offset, record)) = self.record()? {
            let entry = match record {
                Record::Begin(_) => return Err(impossible(offset, "the recording begins again")),
                Record::Shape(shape) => {
                    if self.shapes.len() >= MOST_SHAPES {
                        return Err(impossible(offset, "there are too many kinds of reports"));
                    }
                    self.shapes.push(Arc::new(shape));
                    continue;
                }
                Record::End => {
                    self.state = State::Whole;
                    return Ok(None);
                }
                Record::Algorithm(algorithm) => Entry::Algorithm(algorithm),
                Record::Lost(events) => Entry::Lost(events),
                Record::Alive {
                    after_us,
                    status,
                    announced,
                } => Entry::Alive {
                    time_us: self.time(after_us),
                    status,
                    announced,
                },
                Record::Event {
                    what: What::Report { .. },
                    ..
                } => return Err(impossible(offset, "a report is not written as one")),
                Record::Event {
                    after_us,
                    flow,
                    what,
                } => Entry::Event(Event {
                    time_us: self.time(after_us),
                    flow,
                    what,
                }),
                Record::Report {
                    after_us,
                    flow,
                    shape,
                    merged,
                    cwnd_bytes,
                    rate_bytes_per_s,
                    values,
                } => {
                    let shape = usize::try_from(shape)
                        .ok()
                        .and_then(|shape| self.shapes.get(shape))
                        .cloned()
                        .ok_or_else(|| impossible(offset, "a report is of a kind never told"))?;
                    if shape.fields.len() != values.len() {
                        let what = "a report has more or fewer values than its kind";
                        return Err(impossible(offset, what));
                    }
                    Entry::Report {
                        time_us: self.time(after_us),
                        flow,
                        report: RecordedReport {
                            shape,
                            merged,
                            cwnd_bytes,
                            rate_bytes_per_s,
                            values,
                        },
                    }
                }
            };
            return Ok(Some(entry));
        }
        Ok(None)
    }

    /// The time of a record. Differences wrap, as the writer's do: no time is out of range.
    const fn time(&mut self, after_us: i64) -> u64 {
        self.time_us = self.time_us.wrapping_add_signed(after_us);
        self.time_us
    }

    /// The next record and where it begins; `None` if the file ends.
    fn record(&mut self) -> Result<Option<(u64, Record)>, RecordingError> {
        if self.state != State::Within {
            return Ok(None);
        }
        let offset = self.offset;
        let failed = |source| RecordingError::Io { offset, source };
        let Some((prefix, len)) = self.length()? else {
            self.state = State::Cut;
            return Ok(None);
        };
        if len > MAX_RECORD {
            return Err(RecordingError::TooLong { offset });
        }
        self.record.clear();
        let mut input = (&mut self.input).take(len as u64);
        input.read_to_end(&mut self.record).map_err(failed)?;
        if self.record.len() < len {
            self.state = State::Cut;
            return Ok(None);
        }
        let (record, rest) = postcard::take_from_bytes(&self.record).map_err(|source| {
            RecordingError::Malformed {
                offset,
                len,
                source,
            }
        })?;
        if !rest.is_empty() {
            return Err(impossible(offset, "a record is longer than what it holds"));
        }
        self.offset += prefix + len as u64;
        Ok(Some((offset, record)))
    }

    /// How many bytes the next length takes, and the length; `None` if the file ends before or within.
    fn length(&mut self) -> Result<Option<(u64, usize)>, RecordingError> {
        let offset = self.offset;
        let mut len = 0;
        for place in 0..5 {
            let mut byte = [0];
            let got = fill(&mut self.input, &mut byte)
                .map_err(|source| RecordingError::Io { offset, source })?;
            if got == 0 {
                return Ok(None);
            }
            let [byte] = byte;
            len |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                return Ok(Some((place + 1, len)));
            }
        }
        Err(RecordingError::TooLong { offset })
    }
}

/// Reads until `buffer` is full or the input ends. Returns how much it is.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

const fn impossible(offset: u64, what: &'static str) -> RecordingError {
    RecordingError::Impossible { offset, what }
}
