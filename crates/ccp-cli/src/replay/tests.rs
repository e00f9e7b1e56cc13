use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ccp_control::recording::{Origin, RecordedAlgorithm, Writer};
use ccp_control::{Announced, Attributes, Event, FlowMode, FlowOrigin, FlowStatus, What, Why};
use ccp_core::{
    Bytes, Command, FlowId, FlowInfo, FlowRunner, Opened, Params, ProgramTable, RawReport,
    RunnerOutput, SockId, Timestamp,
};
use ccp_program::{Limits, RegisterTable};
use ccp_wire::Capabilities;

use super::{Args, replay};

const START: u64 = 1_700_000_000_000_000;

fn ends() -> (SocketAddr, SocketAddr) {
    (
        "192.0.2.7:40000".parse().unwrap(),
        "192.0.2.1:443".parse().unwrap(),
    )
}

fn status() -> FlowStatus {
    let (src, dst) = ends();
    FlowStatus {
        flow: 1,
        datapath: "ccp".to_owned(),
        sock_id: 1,
        algorithm: "reno".to_owned(),
        program: None,
        src,
        dst,
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
        delivered_bytes: None,
        lost_bytes: None,
        age_us: 0,
        attributes: Attributes::default(),
    }
}

fn announced() -> Announced {
    Announced {
        origin: FlowOrigin::New,
        generation: 1,
        faults: 0,
        mss_bytes: 1448,
        init_cwnd_bytes: 14_480,
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 0,
        rtt_us: 0,
        min_rtt_us: 0,
    }
}

fn reno() -> RecordedAlgorithm {
    RecordedAlgorithm {
        name: "reno".to_owned(),
        kind: "reno".to_owned(),
        parameters: vec![("report".to_owned(), "\"10ms\"".to_owned())],
        sources: Vec::new(),
    }
}

/// What a daemon tells of a flow of `reno` that loses something every now and then.
fn events() -> Vec<Event> {
    let params = Params::parse_toml("reno", "report = '10ms'").unwrap();
    let algorithm = algs::registry().build(&params).unwrap();
    let capabilities = Capabilities::new(RegisterTable::well_known(), Limits::MAX);
    let table = ProgramTable::new(std::slice::from_ref(&algorithm), Some(&capabilities));
    let (src, dst) = ends();
    let info = FlowInfo::new(SockId(1), src, dst, 1448, Bytes(14_480));
    let opened = Opened::new(
        FlowId(1),
        "ccp",
        ccp_core::Announced {
            info: info.into(),
            generation: 1,
            faults: 0,
        },
        Some(algorithm),
        Arc::new(table),
    );
    let mut runner = FlowRunner::new(Timestamp(5_000), opened, None);
    let mut events = Vec::new();
    let mut tell = |after: u64, what| {
        events.push(Event {
            time_us: START + after,
            flow: 1,
            what,
        });
    };
    let updates = |runner: &mut FlowRunner| -> Vec<What> {
        let mut told = Vec::new();
        while let Some(output) = runner.poll() {
            if let RunnerOutput::Command(Command::Update(update)) = output {
                let programs = runner.programs();
                told.push(What::Updated {
                    program: programs.started_by(&update).map(str::to_owned),
                    fields: programs.named(&update),
                });
            }
        }
        told
    };
    tell(0, What::Announced(announced()));
    tell(
        0,
        What::Opened {
            status: Box::new(status()),
            origin: FlowOrigin::New,
            rule: None,
        },
    );
    updates(&mut runner).into_iter().for_each(|u| tell(20, u));
    let (program_uid, program) = runner.program().unwrap();
    let program = program.clone();
    let (mut event, mut cwnd) = (0, 14_480);
    for round in 1..=100 {
        cwnd += 1448;
        event += u64::from(round % 20 == 0);
        let value = |name: &str| match name {
            "event" => event,
            "flight" | "cwnd" => cwnd,
            "rtt" => 20_000 + 100 * round,
            "mss" => 1448,
            "acked" => 14_480,
            _ => 0,
        };
        let names = program.ir().reports.iter().map(|v| v.name.clone());
        let fields: Vec<(String, u64)> = names.map(|n| (n.clone(), value(&n))).collect();
        let values: Vec<u64> = fields.iter().map(|(_, value)| *value).collect();
        let report = RawReport {
            program_uid,
            generation: 1,
            merged: 0,
            fields: &values,
        };
        runner.on_report(Timestamp(5_000 + 10_000 * round), &report);
        tell(
            10_000 * round,
            What::Report {
                algorithm: "reno".to_owned(),
                program: program.name().to_owned(),
                merged: 0,
                cwnd_bytes: cwnd,
                rate_bytes_per_s: 0,
                fields,
            },
        );
        let told = updates(&mut runner);
        if !told.is_empty() {
            cwnd /= 2;
        }
        told.into_iter().for_each(|u| tell(10_000 * round + 7, u));
    }
    events
}

fn write(path: &Path, write: impl FnOnce(&mut Writer<Vec<u8>>)) {
    let origin = Origin {
        release: "0.1.0".to_owned(),
        time_us: START,
    };
    let mut writer = Writer::new(Vec::new(), origin).unwrap();
    writer.algorithm(&reno()).unwrap();
    write(&mut writer);
    let (_, bytes) = writer.end().unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// What the command prints of a recording, and whether it calls that good.
fn shown(
    record: impl FnOnce(&mut Writer<Vec<u8>>),
    algorithm: Option<&str>,
    parameters: &[(&str, &str)],
) -> (String, bool) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recording");
    write(&file, record);
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let args = Args {
        file: file.clone(),
        parameters: parameters.iter().map(pair).collect(),
        flow: None,
        algorithm: algorithm.map(str::to_owned),
        json: false,
        plot: None,
    };
    let outcome = replay(&args).unwrap();
    let text = outcome.table();
    assert_eq!(
        replay(&args).unwrap().table(),
        text,
        "it is always the same"
    );
    let name = file.display().to_string();
    (text.replace(&name, "FILE"), outcome.is_good())
}

fn all(writer: &mut Writer<Vec<u8>>) {
    for event in events() {
        writer.event(&event).unwrap();
    }
}

#[test]
fn the_same_algorithm_decides_the_same() {
    let (text, good) = shown(all, None, &[]);
    assert!(good);
    insta::assert_snapshot!("identical", text);
}

#[test]
fn another_algorithm_decides_otherwise() {
    let (text, good) = shown(all, Some("constant"), &[("cwnd_packets", "20")]);
    assert!(good);
    insta::assert_snapshot!("otherwise", text);
}

#[test]
fn the_first_difference_is_told() {
    let changed = |writer: &mut Writer<Vec<u8>>| {
        let mut updates = 0;
        for mut event in events() {
            if let What::Updated { fields, .. } = &mut event.what {
                updates += 1;
                if updates == 3 {
                    fields[0].1 += 1;
                }
            }
            writer.event(&event).unwrap();
        }
    };
    let (text, good) = shown(changed, None, &[]);
    assert!(!good);
    let line = text.lines().find(|line| line.contains("differs")).unwrap();
    assert!(
        line.starts_with(
            "flow 1: differs in 1 of 6 updates, first in update 3 after 0.400007 s: recorded "
        ),
        "{line}"
    );
}

#[test]
fn what_can_not_be_compared_says_why() {
    let there_before = |writer: &mut Writer<Vec<u8>>| {
        writer.alive(START, &status(), &announced()).unwrap();
        for event in events().into_iter().skip(2) {
            writer.event(&event).unwrap();
        }
    };
    let (text, good) = shown(there_before, None, &[]);
    assert!(good && !text.contains("identical"), "{text}");
    assert!(
        text.contains("flow 1: it was there before the recording began"),
        "{text}"
    );

    let with_a_gap = |writer: &mut Writer<Vec<u8>>| {
        for (place, event) in events().iter().enumerate() {
            if place == 60 {
                writer.lost(7).unwrap();
            }
            writer.event(event).unwrap();
        }
    };
    let (text, good) = shown(with_a_gap, None, &[]);
    assert!(good, "{text}");
    assert!(text.contains("7 events are missing in it\n"), "{text}");
    assert!(
        text.contains("flow 1: identical: all 3 updates that were compared"),
        "{text}"
    );
    assert!(
        text.contains("flow 1: 7 events of this or other flows are missing"),
        "{text}"
    );

    let changes_hands = |writer: &mut Writer<Vec<u8>>| {
        for (place, event) in events().into_iter().enumerate() {
            if place == 60 {
                let what = What::AlgorithmChanged {
                    from: "reno".to_owned(),
                    to: "native".to_owned(),
                    why: Why::Assigned,
                };
                writer
                    .event(&Event {
                        what,
                        ..event.clone()
                    })
                    .unwrap();
            }
            writer.event(&event).unwrap();
        }
    };
    let (text, _) = shown(changes_hands, None, &[]);
    assert!(
        text.contains("its algorithm was changed to native"),
        "{text}"
    );
}

#[test]
fn a_flow_that_can_not_be_run_again_says_why() {
    let (text, good) = shown(all, Some("cubic"), &[]);
    assert!(!good);
    let line = text.lines().find(|line| line.contains("can't")).unwrap();
    assert!(
        line.starts_with("flow 1: can't be run again: its program `cubic` needs "),
        "{line}"
    );
    assert!(
        line.contains("which `reno` did not report (acked, "),
        "{line}"
    );

    let stranger = |writer: &mut Writer<Vec<u8>>| {
        let other = RecordedAlgorithm {
            kind: "somebody_elses".to_owned(),
            ..reno()
        };
        writer.algorithm(&other).unwrap();
        all(writer);
    };
    let (text, good) = shown(stranger, None, &[]);
    assert!(
        !good && text.contains("can't make the algorithm `reno`"),
        "{text}"
    );
    assert!(text.contains("somebody_elses"), "{text}");
}

/// A recording may say that years pass, and that everything is as large as can be.
#[test]
fn a_strange_recording_does_no_harm() {
    let strange = |writer: &mut Writer<Vec<u8>>| {
        for (place, mut event) in events().into_iter().enumerate() {
            match &mut event.what {
                What::Report { fields, .. } if place % 3 == 0 => {
                    fields.iter_mut().for_each(|(_, value)| *value = u64::MAX);
                }
                What::Announced(announced) => {
                    announced.mss_bytes = 0;
                    announced.cwnd_bytes = u64::MAX;
                }
                _ => {}
            }
            if place > 50 {
                event.time_us = event.time_us.wrapping_mul(place as u64);
            }
            writer.event(&event).unwrap();
        }
        let closed = What::Closed {
            status: Box::new(status()),
        };
        for flow in [1, 2, u64::MAX] {
            let event = Event {
                time_us: u64::MAX,
                flow,
                what: closed.clone(),
            };
            writer.event(&event).unwrap();
        }
    };
    for algorithm in [None, Some("constant"), Some("reno")] {
        let parameters: &[_] = match algorithm {
            Some("constant") => &[("cwnd_packets", "20")],
            _ => &[],
        };
        let (text, _) = shown(strange, algorithm, parameters);
        assert!(text.contains("2 more flows have no reports"), "{text}");
    }
}
