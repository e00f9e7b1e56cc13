//! What fuzzing found worth keeping, and more: `fuzz/README.md`.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its inputs from files"
)]

#[path = "../../../fuzz/checks/datapath.rs"]
mod datapath;

use std::path::Path;

use bytes::BytesMut;
use ccp_program::testing::{self, Rng, Shape};
use ccp_types::{Micros, SockId};
use ccp_wire::{
    ChangeProgExt, Encode, Features, FieldExt, Hello, InstallExt, TargetExt, UpdateExt,
};

fn replay(directory: &str) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = std::fs::read_dir(corpus.join(directory)).unwrap();
    let inputs = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    inputs.map(|input| datapath::messages(&input)).count()
}

#[test]
fn the_corpus_does_no_harm() {
    assert!(replay("datapath_messages") > 0);
    assert!(replay("wire_frames") > 10);
}

/// A whole conversation, with a bit wrong here and there.
#[test]
fn almost_right_conversations_do_no_harm() {
    let mut rng = Rng::new(1);
    for _ in 0..60 {
        let mut good = conversation(&mut rng);
        datapath::messages(&good);
        for _ in 0..3 {
            let at = rng.below(good.len());
            good[at] ^= 1 << rng.below(8);
        }
        datapath::messages(&good);
        good.truncate(rng.below(good.len()));
        datapath::messages(&good);
    }
}

/// As the fuzzer would have to find it: hello, a program, and what makes the first flow run it.
fn conversation(rng: &mut Rng) -> BytesMut {
    let mut bytes = BytesMut::new();
    let hello = Hello {
        version: 1,
        features: Features::ALL,
        epoch: 1,
        heartbeat: Micros(0),
        fallback_after: Micros(0),
    };
    hello.encode(&mut bytes).unwrap();
    let shape = Shape {
        table: ccp_program::RegisterTable::libccp(),
        instructions: 30,
        ..Shape::default()
    };
    let program = testing::program(rng, &shape);
    InstallExt::new(1, &program)
        .unwrap()
        .encode(&mut bytes)
        .unwrap();
    let (sock_id, generation, program_uid) = (SockId(1 << 22), 1, 1);
    let fields = vec![FieldExt {
        target: TargetExt::Control(0),
        value: testing::value(rng),
    }];
    ChangeProgExt {
        sock_id,
        generation,
        program_uid,
        fields: fields.clone(),
    }
    .encode(&mut bytes)
    .unwrap();
    let update = UpdateExt {
        sock_id,
        generation,
        program_uid,
        fields,
    };
    update.encode(&mut bytes).unwrap();
    bytes
}

/// Writes the seed that stands in the corpus: `cargo test -p ccp-datapath -- --ignored seed`.
#[test]
#[ignore = "writes a file"]
fn seed() {
    let file = "../../fuzz/corpus/datapath_messages/seed-conversation";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, conversation(&mut Rng::new(42))).unwrap();
}
