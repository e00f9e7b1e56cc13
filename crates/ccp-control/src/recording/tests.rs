use proptest::prelude::*;

use super::{
    Entry, MAX_RECORD, Origin, RECORDING_MAGIC, RECORDING_VERSION, Reader, RecordedAlgorithm,
    RecordingError, Writer,
};
use crate::protocol::{Announced, Event, FlowMode, FlowOrigin, FlowStatus, What, Why};
use crate::{AttributeValue, Attributes};

fn origin() -> Origin {
    Origin {
        release: "0.1.0".to_owned(),
        time_us: 1_700_000_000_000_000,
    }
}

fn status(flow: u64) -> FlowStatus {
    FlowStatus {
        flow,
        datapath: "ccp".to_owned(),
        sock_id: 7,
        algorithm: "reno".to_owned(),
        program: None,
        src: "192.0.2.7:1".parse().unwrap(),
        dst: "[2001:db8::1]:443".parse().unwrap(),
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 0,
        rtt_us: 0,
        mss_bytes: 1448,
        reports: 0,
        reports_missed: 0,
        updates: 0,
        state: FlowMode::Running,
        faults: 0,
        sent_bytes: None,
        delivered_bytes: Some(1),
        lost_bytes: None,
        age_us: 0,
        attributes: Attributes(vec![(
            "cgroup".to_owned(),
            AttributeValue::Text("/a".to_owned()),
        )]),
    }
}

fn announced() -> Announced {
    Announced {
        origin: FlowOrigin::New,
        generation: 1,
        faults: 2,
        mss_bytes: 1448,
        init_cwnd_bytes: 14_480,
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 3,
        rtt_us: 4,
        min_rtt_us: 5,
    }
}

/// What is written, and has to come back.
#[derive(Clone, Debug)]
enum Piece {
    Algorithm(RecordedAlgorithm),
    Alive(u64, Box<FlowStatus>, Announced),
    Event(Event),
    Lost(u64),
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "reno", "Cwnd", "é", ""]).prop_map(str::to_owned)
}

fn what() -> impl Strategy<Value = What> {
    let fields = || prop::collection::vec((name(), any::<u64>()), 0..5);
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    prop_oneof![
        4 => (name(), name(), numbers, fields()).prop_map(
            |(algorithm, program, (merged, cwnd_bytes, rate_bytes_per_s), fields)| What::Report {
                algorithm,
                program,
                merged,
                cwnd_bytes,
                rate_bytes_per_s,
                fields,
            }
        ),
        2 => (prop::option::of(name()), fields())
            .prop_map(|(program, fields)| What::Updated { program, fields }),
        1 => any::<u64>().prop_map(|flow| What::Closed {
            status: Box::new(status(flow)),
        }),
        1 => (name(), name()).prop_map(|(from, to)| What::AlgorithmChanged {
            from,
            to,
            why: Why::Assigned,
        }),
        1 => Just(What::Announced(announced())),
        1 => Just(What::Woken),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let algorithm = (name(), name(), name(), name()).prop_map(|(name, kind, key, text)| {
        Piece::Algorithm(RecordedAlgorithm {
            name,
            kind,
            parameters: vec![(key.clone(), text.clone())],
            sources: vec![(key, text)],
        })
    });
    prop_oneof![
        1 => algorithm,
        1 => any::<u64>().prop_map(|time| Piece::Alive(time, Box::new(status(time)), announced())),
        6 => (any::<u64>(), any::<u64>(), what()).prop_map(|(time_us, flow, what)| {
            Piece::Event(Event { time_us, flow, what })
        }),
        1 => any::<u64>().prop_map(|lost| Piece::Lost(lost / 1_000)),
    ]
}

fn write(pieces: &[Piece]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), origin()).unwrap();
    for piece in pieces {
        match piece {
            Piece::Algorithm(algorithm) => writer.algorithm(algorithm),
            Piece::Alive(time, status, announced) => writer.alive(*time, status, announced),
            Piece::Event(event) => writer.event(event),
            Piece::Lost(lost) => writer.lost(*lost),
        }
        .unwrap();
    }
    let (written, bytes) = writer.end().unwrap();
    assert_eq!(written.bytes, bytes.len() as u64);
    bytes
}

/// What is read, and whether it is whole.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, bool), RecordingError> {
    let mut reader = Reader::new(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    assert!(reader.next_entry()?.is_none());
    Ok((entries, reader.is_whole()))
}

/// The piece that an entry is of.
fn as_written(entry: Entry) -> Piece {
    match entry {
        Entry::Algorithm(algorithm) => Piece::Algorithm(algorithm),
        Entry::Alive {
            time_us,
            status,
            announced,
        } => Piece::Alive(time_us, status, announced),
        Entry::Event(event) => Piece::Event(event),
        Entry::Lost(lost) => Piece::Lost(lost),
        Entry::Report {
            time_us,
            flow,
            report,
        } => {
            let names = report.shape.fields.iter().cloned();
            Piece::Event(Event {
                time_us,
                flow,
                what: What::Report {
                    algorithm: report.shape.algorithm.clone(),
                    program: report.shape.program.clone(),
                    merged: report.merged,
                    cwnd_bytes: report.cwnd_bytes,
                    rate_bytes_per_s: report.rate_bytes_per_s,
                    fields: names.zip(report.values).collect(),
                },
            })
        }
    }
}

fn shown(pieces: impl IntoIterator<Item = Piece>) -> Vec<String> {
    pieces.into_iter().map(|p| format!("{p:?}")).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(pieces in prop::collection::vec(piece(), 0..40)) {
        let (entries, whole) = read(&write(&pieces)).unwrap();
        prop_assert!(whole);
        prop_assert_eq!(shown(entries.into_iter().map(as_written)), shown(pieces));
    }

    #[test]
    fn no_change_of_a_byte_does_harm(
        pieces in prop::collection::vec(piece(), 0..10),
        place in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = write(&pieces);
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Err(error) = read(&bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

fn pieces() -> Vec<Piece> {
    let report = |time_us, cwnd_bytes| {
        let field = |name: &str, value| (name.to_owned(), value);
        let what = What::Report {
            algorithm: "reno".to_owned(),
            program: "reno".to_owned(),
            merged: 0,
            cwnd_bytes,
            rate_bytes_per_s: 0,
            fields: vec![field("acked", 1448), field("rtt", 20_000)],
        };
        Piece::Event(Event {
            time_us,
            flow: 1,
            what,
        })
    };
    let start = origin().time_us;
    vec![
        Piece::Alive(start, Box::new(status(1)), announced()),
        report(start + 10, 14_480),
        // Of another thread, and told a little late.
        report(start + 5, 15_928),
        Piece::Lost(3),
        report(start + 1_000, 17_376),
    ]
}

#[test]
fn a_file_that_was_cut_has_everything_before_the_cut() {
    let bytes = write(&pieces());
    let (all, whole) = read(&bytes).unwrap();
    assert!(whole);
    let mut most = 0;
    for cut in 0..bytes.len() {
        match read(&bytes[..cut]) {
            Ok((entries, whole)) => {
                assert!(!whole, "{cut}");
                assert!(entries.len() >= most, "{cut}");
                assert_eq!(entries, all[..entries.len()], "{cut}");
                most = entries.len();
            }
            // Before it says where it is from there is nothing to be had.
            Err(RecordingError::NotARecording) => assert!(cut < RECORDING_MAGIC.len()),
            Err(RecordingError::TooShort { offset }) => {
                assert!(most == 0 && offset <= cut as u64, "{cut}: {offset}");
            }
            Err(error) => panic!("{cut}: {error}"),
        }
    }
    assert_eq!(most, all.len());
}

#[test]
fn a_report_takes_few_bytes() {
    let before = write(&[]).len();
    let pieces: Vec<Piece> = pieces().into_iter().skip(1).collect();
    let one = write(&pieces[..1]).len();
    let two = write(&pieces[..2]).len();
    assert!(one - before < 60, "{}", one - before);
    assert!(two - one < 20, "{}", two - one);
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn what_can_not_be_is_refused_and_says_where() {
    assert_eq!(
        error(b"#!/bin/sh\n"),
        "at byte 0: this is no recording of ccp"
    );
    assert_eq!(error(b""), "at byte 0: this is no recording of ccp");
    let mut other = write(&[]);
    other[8] = 9;
    assert_eq!(
        error(&other),
        format!(
            "this recording has version 9 of the format, this command reads version {RECORDING_VERSION}: \
             use the `ccp` that recorded it"
        )
    );
    let whole = write(&[]);
    let end = whole.len() - 2;
    let then = |record: &[u8]| {
        let mut bytes = whole[..end].to_vec();
        bytes.extend(record);
        error(&bytes)
    };
    let too_long =
        format!("at byte {end}: a record is longer than the {MAX_RECORD} bytes that are allowed");
    // 4 GiB, and a length that never ends.
    assert_eq!(then(&[0xff, 0xff, 0xff, 0xff, 0x0f]), too_long);
    assert_eq!(then(&[0xff; 9]), too_long);
    let unreadable = |len: usize| format!("at byte {end}: a record of {len} bytes can't be read");
    assert_eq!(then(&[0]), unreadable(0));
    assert_eq!(then(&[1, 99]), unreadable(1));
    // A list of 2^28 values in a record of a few bytes.
    let endless = [11, 4, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(then(&endless), unreadable(11));
    assert_eq!(
        then(&[8, 4, 0, 1, 0, 0, 0, 0, 0]),
        format!("at byte {end}: a report is of a kind never told")
    );
    assert_eq!(
        then(&[2, 7, 7]),
        format!("at byte {end}: a record is longer than what it holds")
    );
    let again = whole[10..end].to_vec();
    assert_eq!(
        then(&again),
        format!("at byte {end}: the recording begins again")
    );
}
