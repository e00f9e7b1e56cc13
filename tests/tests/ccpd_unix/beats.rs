//! What a datapath is told that understands more than libccp's messages: HELLO, and that the daemon is alive.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use ccp_program::{Limits, RegisterTable};
use ccp_types::Micros;
use ccp_wire::{Capabilities, Encode as _, Features, Heartbeat, Message, Ready, frames};

use crate::fake::Fake;
use crate::{Daemon, PATIENCE};

/// As the documentation has it: so often, and for so long without.
const EVERY: Micros = Micros(250_000);
const WITHOUT: Micros = Micros(1_000_000);
/// So many signs of life are waited for.
const BEATS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_it_is_greeted_and_gets_signs_of_life() {
    let daemon = Daemon::start().await;
    let mut plain = Fake::ready(&daemon.datapath(), "plain");
    let socket = UnixDatagram::bind(daemon.path("capable")).unwrap();
    let table = RegisterTable::well_known();
    let ready = Ready {
        id: 0,
        capabilities: Some(Capabilities::new(table, Limits::MAX)),
    };
    let begin = Instant::now();
    socket
        .send_to(&ready.to_frame().unwrap(), daemon.datapath())
        .unwrap();

    let (mut hello, mut beats) = (None, Vec::<Heartbeat>::new());
    while beats.len() < BEATS as usize {
        let left = PATIENCE.checked_sub(begin.elapsed());
        socket
            .set_read_timeout(Some(left.expect("signs of life come")))
            .unwrap();
        let mut buffer = vec![0; 1 << 16];
        let len = socket.recv(&mut buffer).unwrap();
        for frame in frames(&buffer[..len]) {
            match frame.unwrap().message().unwrap() {
                Message::Hello(greeting) => {
                    assert!(hello.is_none(), "greeted once");
                    assert_eq!(beats, [], "greeted first");
                    hello = Some(greeting);
                }
                Message::Heartbeat(beat) => beats.push(beat),
                _ => {}
            }
        }
    }
    let hello = hello.expect("it is greeted");
    assert!(hello.features.contains(Features::HEARTBEAT), "{hello:?}");
    assert_eq!((hello.heartbeat, hello.fallback_after), (EVERY, WITHOUT));
    assert_ne!(hello.epoch, 0);
    assert!(beats.iter().all(|beat| beat.epoch == hello.epoch));
    let counted = beats.windows(2).all(|two| two[1].beat == two[0].beat + 1);
    assert!(counted, "{beats:?}");
    // A busy machine makes them late; nothing makes them come all at once.
    let least = Duration::from_micros(EVERY.0) * (BEATS - 2);
    let took = begin.elapsed();
    assert!(took >= least, "{BEATS} within {took:?}");

    // One of libccp's would not know them: `Fake` panics at what it does not know.
    assert!(plain.told_within(Duration::from_millis(600)).is_none());
    daemon.stop().await;
}
