//! What it costs to read a report, and to write one update.

use std::hint::black_box;

use bytes::BytesMut;
use ccp_types::SockId;
use ccp_wire::{
    Encode, Field, FieldTarget, MeasureBuf, Message, ReportTrailer, UpdateFields, frames,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn decode(c: &mut Criterion) {
    for n in [1u64, 6, 16, 110] {
        let frame = MeasureBuf {
            sock_id: SockId(1),
            program_uid: 1,
            fields: (0..n).collect(),
            trailer: Some(ReportTrailer::default()),
            totals: None,
        }
        .to_frame();
        let Ok(frame) = frame else { return };
        c.bench_function(&format!("decode MEASURE, {n} fields, sum them"), |b| {
            b.iter(|| {
                frames(black_box(&frame))
                    .filter_map(|frame| match frame.and_then(|f| f.message()) {
                        Ok(Message::Measure(m)) => Some(m.fields().fold(0, u64::wrapping_add)),
                        _ => None,
                    })
                    .fold(0, u64::wrapping_add)
            });
        });
    }
}

fn encode(c: &mut Criterion) {
    let update = UpdateFields {
        sock_id: SockId(1),
        fields: vec![
            Field {
                target: FieldTarget::Cwnd,
                value: 14_480,
            },
            Field {
                target: FieldTarget::Rate,
                value: 6_250_000,
            },
        ],
    };
    let mut dst = BytesMut::with_capacity(1024);
    c.bench_function("encode UPDATE_FIELDS, window and rate", |b| {
        b.iter(|| {
            dst.clear();
            let written = black_box(&update).encode(&mut dst);
            black_box((written.is_ok(), dst.len()))
        });
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
