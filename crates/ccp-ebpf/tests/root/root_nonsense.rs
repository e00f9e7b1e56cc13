//! A daemon that writes anything anywhere slows flows down; it stops none.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use ccp_ebpf::layout::{CONFIG_STOPPING, LAYOUT_VERSION, MAX_PROGRAMS};
use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use ccp_program::testing::Rng;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::common::{Attached, bound, compile, skipped, still};

/// How long nonsense is written; `CCP_NONSENSE_SECONDS` says for longer.
fn duration() -> Duration {
    let seconds = std::env::var("CCP_NONSENSE_SECONDS");
    Duration::from_secs(seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(6))
}

/// Longer than that only to be heard.
const LONGEST: Duration = Duration::from_secs(60);
/// A flow that gets nothing through for so long does not go on: a packet per second is the least that it may be held to.
const STOPPED: Duration = Duration::from_secs(15);

/// A pinned map, and values of it that may be anything.
struct Target {
    map: MapHandle,
    entries: u32,
}

impl Target {
    fn open(dir: &Path, name: &str) -> Self {
        let map = MapHandle::from_pinned_path(dir.join(name)).unwrap();
        Self {
            entries: map.max_entries(),
            map,
        }
    }

    fn get(&self, index: u32) -> Vec<u8> {
        let key = index.to_ne_bytes();
        self.map.lookup(&key, MapFlags::ANY).unwrap().unwrap()
    }

    fn set(&self, index: u32, value: &[u8]) {
        self.map
            .update(&index.to_ne_bytes(), value, MapFlags::ANY)
            .unwrap();
    }
}

/// Extremes, small numbers, anything.
fn word(rng: &mut Rng) -> u32 {
    let any = rng.below(1 << 16) as u32 | (rng.below(1 << 16) as u32) << 16;
    let small = rng.below(64) as u32;
    rng.pick(&[
        0,
        1,
        2,
        u32::MAX,
        1 << 31,
        (1 << 31) - 1,
        0xffff,
        small,
        any,
        any,
    ])
}

/// Some of the words of `value` become something else.
fn scramble(rng: &mut Rng, value: &mut [u8], percent: usize) {
    for four in value.chunks_exact_mut(4) {
        if rng.below(100) < percent {
            four.copy_from_slice(&word(rng).to_ne_bytes());
        }
    }
}

fn put(value: &mut [u8], at: usize, number: u32) {
    value[at..at + 4].copy_from_slice(&number.to_ne_bytes());
}

fn number(value: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(value[at..at + 4].try_into().unwrap())
}

/// One round of nonsense. `live`: places of the slots in use, as (slot, generation).
fn write_nonsense(rng: &mut Rng, maps: &[Target; 4], live: &[(u32, u32)], handles: &[u32]) {
    let [mailbox, config, meta, answers] = maps;
    // Half of the updates look right, but for what they say.
    for &(slot, generation) in live {
        let mut value = mailbox.get(slot);
        let seq = number(&value, 0).wrapping_add(2) & !1;
        scramble(rng, &mut value, 60);
        if rng.percent(70) {
            put(&mut value, 0, seq);
            put(&mut value, 4, generation);
            for field in 0..20 {
                if rng.percent(50) {
                    put(&mut value, 16 + 160 + 4 * field, seq);
                }
            }
        }
        if rng.percent(60) {
            put(&mut value, 8, rng.pick(handles));
            put(&mut value, 12, seq);
        }
        mailbox.set(slot, &value);
        answers.set(
            slot,
            &[word(rng).to_ne_bytes(), word(rng).to_ne_bytes()].concat(),
        );
    }
    if rng.percent(30) {
        let mut value = config.get(0);
        scramble(rng, &mut value, 30);
        // To stop is to hand every flow over for good: there would be nothing left to test.
        let flags = number(&value, 24) & !CONFIG_STOPPING;
        put(&mut value, 24, flags);
        if rng.percent(80) {
            // The heartbeat is in the future, and long: programs run.
            value[..8].copy_from_slice(&(i64::MAX as u64).to_ne_bytes());
        }
        config.set(0, &value);
    }
    if rng.percent(10) {
        let index = rng.below(MAX_PROGRAMS.min(4)) as u32;
        let mut value = meta.get(index);
        scramble(rng, &mut value, 20);
        if rng.percent(80) {
            put(&mut value, 0, rng.pick(handles));
        }
        meta.set(index, &value);
    }
    // Any slot may be written to, also those that nobody uses.
    let slot = rng.below(mailbox.entries as usize) as u32;
    let mut value = mailbox.get(slot);
    scramble(rng, &mut value, 50);
    mailbox.set(slot, &value);
}

#[test]
fn root_nonsense_in_the_maps_stops_no_flow() {
    if skipped() {
        return;
    }
    let attached = Attached::new();
    for (uid, program) in [
        (1, still()),
        (
            2,
            compile(
                "(def (Report (volatile acked 0)) (a 1) (b 2) (c 3))
                 (when true
                     (:= Report.acked (+ Report.acked Ack.bytes_acked))
                     (:= Cwnd (/ (* Cwnd a) b))
                     (:= Rate (* Rate c))
                     (:= Ssthresh (* a b))
                     (:= Micros c)
                     (report))",
            ),
        ),
    ] {
        attached.install(uid, &bound(&program)).unwrap();
    }
    let dir = attached.options().pin_root.join(attached.name());
    let dir = dir.join(format!("v{LAYOUT_VERSION}"));
    let maps = ["mailbox", "config", "program_meta", "answers"].map(|n| Target::open(&dir, n));
    let slots = Target::open(&dir, "slots");
    let handles: Vec<u32> = (1..4).map(|i| number(&maps[2].get(i), 0)).collect();

    let ns = Namespace::new("nonsense").unwrap();
    let flows: Vec<RunningFlow> = (0..4)
        .map(|_| {
            Bulk::new(Until::Stopped)
                .congestion(attached.name())
                .start(&ns, &ns, Ipv4Addr::LOCALHOST)
                .unwrap()
        })
        .collect();
    let seed = std::env::var("CCP_NONSENSE_SEED");
    let seed = seed.ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    let mut rng = Rng::new(seed);
    let (start, mut rounds) = (Instant::now(), 0_u64);
    let mut seen: Vec<(u64, Instant)> = flows
        .iter()
        .map(|f| (f.bytes_received(), Instant::now()))
        .collect();
    let mut longest = Duration::ZERO;
    // It was heard, and it was refused. How often is the machine's affair: flows are made slow, and each looks when it
    // hears of its receiver.
    let heard = || {
        let c = attached.counters().unwrap();
        c.updates > 20
            && c.refused_generation > 0
            && c.refused_program > 0
            && c.faults + c.reports > 0
    };
    while start.elapsed() < duration() || start.elapsed() < LONGEST && !heard() {
        let live: Vec<(u32, u32)> = (0..16)
            .map(|slot| (slot, slots.get(slot)))
            .filter(|(_, value)| number(value, 12) == 1)
            .map(|(slot, value)| (slot, number(&value, 4)))
            .collect();
        for _ in 0..20 {
            write_nonsense(&mut rng, &maps, &live, &handles);
            rounds += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
        for (flow, (bytes, at)) in flows.iter().zip(&mut seen) {
            let now = flow.bytes_received();
            if now > *bytes {
                longest = longest.max(at.elapsed());
                (*bytes, *at) = (now, Instant::now());
            }
            assert!(
                at.elapsed() < STOPPED,
                "seed {seed}, round {rounds}: stopped at {bytes} bytes; {:?}; {:?}",
                flow.info(),
                attached.counters()
            );
        }
    }
    let counters = attached.counters().unwrap();
    eprintln!("{rounds} rounds, longest pause {longest:?}; {counters:?}");
    assert!(heard(), "{counters:?}");

    // Without the daemon all of it is over: flows go on natively.
    let mut value = maps[1].get(0);
    value[..16].fill(0);
    maps[1].set(0, &value);
    let before: Vec<u64> = flows.iter().map(RunningFlow::bytes_received).collect();
    for (flow, before) in flows.iter().zip(before) {
        crate::common::wait("50 MB", || flow.bytes_received() > before + 50_000_000);
    }
    for flow in flows {
        flow.stop();
        flow.wait().unwrap();
    }
}
