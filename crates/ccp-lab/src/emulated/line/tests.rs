use super::*;
use crate::emulated::packet::tests::{tcp_v4, udp_v4};

const MS: Nanos = 1_000_000;
/// 1,500 bytes at 12 Mbit/s take 1 ms.
const RATE: u64 = 12_000_000;

fn line(pipe: Pipe) -> Line {
    Line::new(pipe).expect("valid")
}

fn packet(size: usize) -> Vec<u8> {
    tcp_v4(size - 40)
}

/// Everything delivered by `until`, with its time, looking only when the line asks to.
fn deliveries(line: &mut Line, until: Nanos) -> Vec<Nanos> {
    let mut times = Vec::new();
    while let Some(at) = line.next_delivery().filter(|&at| at <= until) {
        while line.take_delivered(at).is_some() {
            times.push(at);
        }
    }
    times
}

#[test]
fn packets_leave_at_the_rate_and_arrive_after_the_delay() {
    let mut line = line(Pipe::new(RATE, Duration::from_millis(10)));
    for _ in 0..3 {
        assert_eq!(line.arrive(5 * MS, packet(1500)), None);
    }
    assert_eq!(line.next_delivery(), Some(16 * MS));
    assert_eq!(line.take_delivered(16 * MS - 1), None);
    assert_eq!(deliveries(&mut line, 100 * MS), [16 * MS, 17 * MS, 18 * MS]);
    // Idle meanwhile: the next one begins when it comes.
    line.arrive(50 * MS, packet(750));
    assert_eq!(deliveries(&mut line, 100 * MS), [60 * MS + MS / 2]);
}

#[test]
fn a_late_look_does_not_lower_the_rate() {
    let mut line = line(Pipe::new(RATE, Duration::ZERO).queue_bytes(u64::MAX));
    for _ in 0..100 {
        line.arrive(0, packet(1500));
    }
    // Nobody looked for 50 ms, in which 50 packets went.
    let mut n = 0;
    while line.take_delivered(50 * MS).is_some() {
        n += 1;
    }
    assert_eq!(n, 50);
    assert_eq!(line.next_delivery(), Some(51 * MS));
}

#[test]
fn the_queue_drops_what_does_not_fit() {
    let mut line = line(Pipe::new(RATE, Duration::ZERO).queue_bytes(3000));
    // One being sent, two waiting exactly to the limit.
    for _ in 0..3 {
        assert_eq!(line.arrive(0, packet(1500)), None);
    }
    assert!(line.arrive(0, packet(1500)).is_some());
    assert!(line.arrive(0, packet(41)).is_some());
    let counters = line.counters();
    assert_eq!(
        (counters.packets, counters.dropped_queue, counters.dropped()),
        (5, 2, 2)
    );
    assert_eq!(
        (counters.queue_bytes, counters.queue_high_bytes),
        (3000, 3000)
    );
    // One place is free again when the next transmission begins.
    assert!(line.arrive(MS - 1, packet(1500)).is_some());
    assert_eq!(line.arrive(MS, packet(1500)), None);
    assert_eq!(
        deliveries(&mut line, 100 * MS),
        [MS, 2 * MS, 3 * MS, 4 * MS]
    );
    assert_eq!(line.counters().queue_bytes, 0);
    assert_eq!(line.counters().delivered_bytes, 6000);
}

#[test]
fn no_queue_at_all_still_sends() {
    let mut line = line(Pipe::new(RATE, Duration::ZERO).queue_bytes(0));
    assert_eq!(line.arrive(0, packet(1500)), None);
    assert!(line.arrive(0, packet(1500)).is_some());
    assert_eq!(line.arrive(MS, packet(1500)), None);
}

#[test]
fn a_new_rate_holds_for_the_packet_under_way() {
    let mut line = line(Pipe::new(RATE, Duration::ZERO).queue_bytes(u64::MAX));
    line.arrive(0, packet(1500));
    line.arrive(0, packet(1500));
    // Half is sent; the other half at a tenth of the rate takes 5 ms.
    line.set_rate(MS / 2, Some(RATE / 10)).expect("valid");
    assert_eq!(line.next_delivery(), Some(MS / 2 + 5 * MS));
    assert_eq!(
        deliveries(&mut line, 100 * MS),
        [MS / 2 + 5 * MS, MS / 2 + 15 * MS]
    );

    for _ in 0..3 {
        line.arrive(200 * MS, packet(1500));
    }
    line.set_rate(201 * MS, None).expect("valid");
    assert_eq!(
        deliveries(&mut line, 201 * MS),
        [201 * MS; 3],
        "unlimited: all at once"
    );
    line.set_rate(202 * MS, Some(RATE)).expect("valid");
    line.arrive(202 * MS, packet(1500));
    assert_eq!(deliveries(&mut line, 300 * MS), [203 * MS]);
    assert!(line.set_rate(0, Some(0)).is_err());
}

#[test]
fn a_shorter_delay_does_not_reorder() {
    let mut line = line(Pipe::unlimited(Duration::from_millis(50)));
    line.arrive(0, packet(1500));
    line.set_delay(Duration::from_millis(1));
    line.arrive(10 * MS, packet(100));
    line.arrive(60 * MS, packet(100));
    assert_eq!(deliveries(&mut line, 100 * MS), [50 * MS, 50 * MS, 61 * MS]);
}

#[test]
fn scripted_drops_count_data_packets_only() {
    let mut line = line(Pipe::unlimited(Duration::ZERO).drop_data([2, 4]));
    let dropped: Vec<bool> = [
        tcp_v4(0),
        tcp_v4(1),
        udp_v4(),
        tcp_v4(9),
        tcp_v4(9),
        tcp_v4(9),
        tcp_v4(0),
    ]
    .into_iter()
    .map(|packet| line.arrive(0, packet).is_some())
    .collect();
    assert_eq!(dropped, [false, false, false, true, false, true, false]);
    let counters = line.counters();
    assert_eq!((counters.data_packets, counters.dropped_scripted), (4, 2));
}

#[test]
fn random_loss_has_its_probability_and_repeats_with_its_seed() {
    let losses = |seed| {
        let mut line = line(Pipe::unlimited(Duration::ZERO).loss(0.01, seed));
        (0..100_000)
            .map(|_| line.arrive(0, packet(100)).is_some())
            .collect::<Vec<_>>()
    };
    let first = losses(1);
    let lost = first.iter().filter(|&&lost| lost).count();
    assert!((900..1100).contains(&lost), "{lost} of 100,000 at 1 %");
    assert_eq!(first, losses(1));
    assert_ne!(first, losses(2));
    assert!(Line::new(Pipe::unlimited(Duration::ZERO).loss(1.5, 0)).is_err());
    assert!(Line::new(Pipe::unlimited(Duration::ZERO).loss(f64::NAN, 0)).is_err());
}

#[test]
fn marks_only_above_the_limit_and_only_what_is_capable() {
    let mut line = line(
        Pipe::new(RATE, Duration::ZERO)
            .queue_bytes(10_000)
            .mark_above(1500),
    );
    let capable = |size: usize| {
        let mut packet = packet(size);
        packet[1] |= 2;
        packet
    };
    line.arrive(0, capable(1500)); // being sent
    line.arrive(0, capable(1500)); // 0 waited
    line.arrive(0, capable(1500)); // 1,500 waited: not above
    line.arrive(0, capable(1500)); // marked
    line.arrive(0, packet(1500)); // not capable
    assert_eq!(line.counters().marked_ce, 1);
    let codepoints: Vec<u8> = std::iter::from_fn(|| line.take_delivered(10 * MS))
        .map(|packet| packet[1] & 3)
        .collect();
    assert_eq!(codepoints, [2, 2, 2, 3, 0]);
}

#[test]
fn the_default_queue_is_a_bandwidth_delay_product() {
    let pipe = Pipe::new(50_000_000, Duration::from_millis(10));
    assert_eq!(pipe.queue_bytes, 125_000);
    assert_eq!(
        Pipe::new(1_000_000, Duration::from_millis(1)).queue_bytes,
        15_000
    );
    assert_eq!(pipe.way_back().queue_bytes, 6_250_000);
}
