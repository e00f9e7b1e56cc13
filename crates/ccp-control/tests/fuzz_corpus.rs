//! What the fuzz targets keep in their corpora is checked by every ordinary test run.

#![allow(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::fs;
use std::path::{Path, PathBuf};

use ccp_control::recording::{Origin, RecordedAlgorithm, Writer};
use ccp_control::{
    AlgorithmStatus, Announced, AttributeValue, Attributes, Bucket, ClientHello, Event,
    Explanation, Fit, FlowDetail, FlowMode, FlowOrder, FlowOrigin, FlowStatus, KeyVerdict,
    LastReport, Metric, MetricKind, MetricSample, MetricValue, ProgramDetail, ProgramStatus,
    Refusal, Reloaded, Request, Response, RuleVerdict, Selection, ServerHello, Watch, What, Why,
};
use serde::Serialize;

#[path = "../../../fuzz/checks/control.rs"]
mod control;
#[path = "../../../fuzz/checks/recording.rs"]
mod recording;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

/// Checks every input of a target. There are at least those that are made here.
fn check(target: &str, seeds: &[(&str, Vec<u8>)], check: impl Fn(&[u8])) {
    let directory = directory(target);
    for (name, bytes) in seeds {
        let path = directory.join(name);
        if std::env::var_os("CCP_WRITE_SEEDS").is_some() {
            fs::write(&path, bytes).unwrap();
        }
        // Another format is another version: RECORDING_VERSION, PROTOCOL_VERSION.
        let kept = fs::read(&path).unwrap();
        assert!(kept == *bytes, "{name} of {target} is not up to date");
    }
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        seen += 1;
    }
    assert!(seen >= seeds.len());
}

#[test]
fn every_stream_of_the_corpus_is_read_or_refused() {
    check("control_frames", &streams(), control::frames);
}

#[test]
fn every_recording_of_the_corpus_is_read_or_refused() {
    check("recording", &recordings(), recording::read);
}

#[test]
fn neither_is_harmed_by_any_change_of_one_byte() {
    for (_, bytes) in streams().into_iter().chain(recordings()) {
        for place in 0..bytes.len() {
            for flip in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                control::frames(&changed);
                recording::read(&changed);
            }
        }
    }
}

fn frame(stream: &mut Vec<u8>, value: &impl Serialize) {
    let bytes = postcard::to_stdvec(value).unwrap();
    stream.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    stream.extend(bytes);
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn status() -> FlowStatus {
    FlowStatus {
        flow: 1,
        datapath: text("ccp"),
        sock_id: 7,
        algorithm: text("reno"),
        program: Some(text("reno")),
        src: "192.0.2.7:40000".parse().unwrap(),
        dst: "[2001:db8::1]:443".parse().unwrap(),
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 6_250_000,
        rtt_us: 20_000,
        mss_bytes: 1448,
        reports: 12,
        reports_missed: 0,
        updates: 3,
        state: FlowMode::Running,
        faults: 0,
        sent_bytes: Some(2_000_000),
        delivered_bytes: Some(1_980_000),
        lost_bytes: None,
        age_us: 1_000_000,
        attributes: Attributes(vec![
            (text("cgroup"), AttributeValue::Text(text("/system.slice"))),
            (text("uid"), AttributeValue::Number(33)),
        ]),
    }
}

fn explanation() -> Explanation {
    let key = KeyVerdict {
        key: text("dst_port"),
        wanted: text("443"),
        fit: Fit::Fits,
    };
    Explanation {
        rules: vec![RuleVerdict {
            rule: 1,
            algorithm: text("reno"),
            fits: true,
            keys: vec![key],
        }],
        rule: Some(1),
        algorithm: text("reno"),
    }
}

fn events() -> Vec<Event> {
    let announced = Announced {
        origin: FlowOrigin::New,
        generation: 1,
        faults: 0,
        mss_bytes: 1448,
        init_cwnd_bytes: 14_480,
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 0,
        rtt_us: 0,
        min_rtt_us: 0,
    };
    let report = |value| What::Report {
        algorithm: text("reno"),
        program: text("reno"),
        merged: 1,
        cwnd_bytes: value,
        rate_bytes_per_s: 0,
        fields: vec![(text("acked"), 1448), (text("cwnd"), value)],
    };
    let whats = vec![
        What::Announced(announced),
        What::Opened {
            status: Box::new(status()),
            origin: FlowOrigin::New,
            rule: Some(1),
        },
        What::Updated {
            program: Some(text("reno")),
            fields: vec![(text("Cwnd"), 14_480), (text("every"), 0)],
        },
        report(15_928),
        report(17_376),
        What::Woken,
        What::MssChanged { mss_bytes: 8_948 },
        What::ReportsMissed { count: 3 },
        What::ProgramFaults {
            program: None,
            count: 2,
        },
        What::FellBack { why: Why::Datapath },
        What::Returned { cwnd_bytes: 14_480 },
        What::UpdateRefused {
            algorithm: text("reno"),
            why: text("a window of 0 bytes"),
        },
        What::Panicked {
            algorithm: text("reno"),
            message: text("index out of bounds"),
        },
        What::AlgorithmChanged {
            from: text("reno"),
            to: text("native"),
            why: Why::Panicked,
        },
        What::Closed {
            status: Box::new(status()),
        },
    ];
    (0..)
        .zip(whats)
        .map(|(place, what)| Event {
            time_us: 1_700_000_000_000_000 + 1_000 * place,
            flow: 1,
            what,
        })
        .collect()
}

fn requests() -> Vec<Request> {
    vec![
        Request::Flows(Selection {
            words: vec![text("reno")],
            order: Some(FlowOrder::Cwnd),
            limit: Some(10),
        }),
        Request::Algorithms,
        Request::Explain {
            datapath: text("ccp"),
            src: status().src,
            dst: status().dst,
            requested: Some(text("ccp")),
            attributes: status().attributes,
        },
        Request::Reload,
        Request::Set {
            flow: 1,
            algorithm: text("reno"),
            parameters: vec![(text("report"), text("\"ack\""))],
        },
        Request::Show { flow: 1 },
        Request::Watch(Watch {
            flows: vec![1, 2],
            reports: true,
            steps: true,
        }),
        Request::Programs,
        Request::Program {
            program: text("reno"),
            datapath: None,
        },
        Request::LogFilter { filter: None },
        Request::Metrics,
    ]
}

fn responses() -> Vec<Response> {
    let program = ProgramStatus {
        datapath: text("ccp"),
        uid: 1,
        name: text("reno"),
        algorithms: vec![text("reno")],
        instructions: 99,
        flows: 1,
        faults: Some(0),
        peers: 1,
    };
    let algorithm = AlgorithmStatus {
        name: text("reno"),
        kind: text("reno"),
        programs: vec![text("reno"), text("reno_base")],
        parameters: vec![(text("report"), text("\"ack\""))],
        default: true,
        rules: vec![1],
        quarantined: false,
    };
    let detail = FlowDetail {
        status: status(),
        origin: FlowOrigin::Adopted,
        requested: None,
        assigned: text("reno"),
        by_hand: false,
        rules: explanation(),
        kind: Some(text("reno")),
        parameters: algorithm.parameters.clone(),
        program_uid: Some(1),
        program_instructions: Some(99),
        min_rtt_us: 10_000,
        init_cwnd_bytes: 14_480,
        generation: 1,
        reports_merged: 0,
        reports_stale: 0,
        updates_refused: 0,
        panics: 0,
        timeouts: Some(0),
        last_report: Some(LastReport {
            program: text("reno"),
            merged: 0,
            fields: vec![(text("acked"), 1448)],
        }),
    };
    vec![
        Response::Flows {
            flows: vec![status()],
            matching: 1,
            last: true,
        },
        Response::Algorithms(vec![algorithm]),
        Response::Explained(explanation()),
        Response::Reloaded(Reloaded {
            changed: vec![text("reno")],
            algorithms: 1,
            rules: 1,
        }),
        Response::Done,
        Response::Refused(Refusal::Failed(text("there is no such flow"))),
        Response::Flow(Box::new(detail)),
        Response::Events {
            lost: 1,
            events: events(),
            last: false,
        },
        Response::Programs(vec![program.clone()]),
        Response::Program(Box::new(ProgramDetail {
            status: program,
            reports: vec![text("acked")],
            controls: vec![text("every")],
            source: Some(text("(def)(when true (report))")),
        })),
        Response::LogFilter(text("info")),
        Response::Metrics {
            metrics: vec![metric()],
            last: true,
        },
    ]
}

fn metric() -> Metric {
    let sample = |value| MetricSample {
        label: Some((text("algorithm"), text("reno"))),
        value,
    };
    Metric {
        name: text("ccpd_report_latency_seconds"),
        kind: MetricKind::Histogram,
        unit: text("seconds"),
        help: text("How long."),
        samples: vec![
            sample(MetricValue::Whole(7)),
            sample(MetricValue::Number(0.5)),
            sample(MetricValue::Histogram {
                buckets: vec![Bucket { le: 0.1, count: 3 }],
                sum: 0.2,
                count: 4,
            }),
        ],
    }
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let mut client = vec![0];
    frame(&mut client, &ClientHello::new());
    requests().iter().for_each(|r| frame(&mut client, r));
    let mut daemon = vec![1];
    frame(&mut daemon, &ServerHello::new("0.1.0"));
    responses().iter().for_each(|r| frame(&mut daemon, r));
    let cut = daemon[..daemon.len() - 3].to_vec();
    let mut too_long = client.clone();
    too_long.extend([0xff; 8]);
    vec![
        ("seed-client", client),
        ("seed-daemon", daemon),
        ("seed-daemon-cut", cut),
        ("seed-client-too-long", too_long),
    ]
}

fn recordings() -> Vec<(&'static str, Vec<u8>)> {
    let origin = Origin {
        release: text("0.1.0"),
        time_us: 1_700_000_000_000_000,
    };
    let mut writer = Writer::new(Vec::new(), origin).unwrap();
    writer
        .algorithm(&RecordedAlgorithm {
            name: text("own"),
            kind: text("program"),
            parameters: vec![(text("file"), text("\"own.ccp\""))],
            sources: vec![(text("own.ccp"), text("(def)(when true (report))"))],
        })
        .unwrap();
    let events = events();
    let What::Announced(announced) = &events[0].what else {
        panic!("{:?}", events[0]);
    };
    let start = events[0].time_us;
    writer.alive(start, &status(), announced).unwrap();
    for event in &events {
        writer.event(event).unwrap();
    }
    writer.lost(3).unwrap();
    let (_, whole) = writer.end().unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let mut other_version = whole.clone();
    other_version[8] ^= 0xff;
    let mut endless = whole[..whole.len() - 2].to_vec();
    endless.extend([11, 4, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
    vec![
        ("seed-whole", whole),
        ("seed-cut", cut),
        ("seed-other-version", other_version),
        ("seed-endless-list", endless),
    ]
}
