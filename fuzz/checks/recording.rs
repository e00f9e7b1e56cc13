//! What must hold of any file that is taken for a recording. Used by the fuzz target `recording` and by
//! ordinary tests.

use ccp_control::recording::{Entry, MAX_RECORD, Origin, Reader, Writer};
use ccp_control::{Event, What};

/// Reads `bytes` as a recording. There is what it says, or an error; nothing panics. What was read can be
/// written, and is read the same.
pub(crate) fn read(bytes: &[u8]) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let origin = reader.origin().clone();
    let (entries, good) = entries(&mut reader);
    assert!(reader.offset() <= bytes.len() as u64);
    assert!(good || !reader.is_whole());
    assert!(matches!(reader.next_entry(), Ok(None)), "it has ended");
    let written = write(origin, &entries);
    let mut again = Reader::new(&*written).expect("what was written can be read");
    let (same, good) = self::entries(&mut again);
    assert!(good && again.is_whole());
    assert!(same == entries);
}

fn entries(reader: &mut Reader<&[u8]>) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, true),
            Err(error) => {
                assert!(error.to_string().starts_with("at byte "), "{error}");
                return (entries, false);
            }
        }
    }
}

fn write(origin: Origin, entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), origin).expect("memory takes everything");
    for entry in entries {
        let written = match entry {
            Entry::Algorithm(algorithm) => writer.algorithm(algorithm),
            Entry::Alive {
                time_us,
                status,
                announced,
            } => writer.alive(*time_us, status, announced),
            Entry::Lost(lost) => writer.lost(*lost),
            Entry::Event(event) => writer.event(event),
            Entry::Report {
                time_us,
                flow,
                report,
            } => {
                let names = report.shape.fields.iter().cloned();
                writer.event(&Event {
                    time_us: *time_us,
                    flow: *flow,
                    what: What::Report {
                        algorithm: report.shape.algorithm.clone(),
                        program: report.shape.program.clone(),
                        merged: report.merged,
                        cwnd_bytes: report.cwnd_bytes,
                        rate_bytes_per_s: report.rate_bytes_per_s,
                        fields: names.zip(report.values.iter().copied()).collect(),
                    },
                })
            }
        };
        written.unwrap_or_else(|error| panic!("{MAX_RECORD} bytes were enough before: {error}"));
    }
    writer.end().expect("memory takes everything").1
}
