//! Where values are kept: written without a lock and without allocating, by any thread.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ccp_control::{Bucket, MetricValue};

/// At most so many threads have memory of their own to count in.
const MOST_SHARDS: usize = 16;

/// Counters that several threads write at the same time, each in memory of its own.
#[derive(Debug)]
pub(super) struct Sharded<const N: usize> {
    shards: Box<[Shard<N>]>,
}

/// So aligned, no two are in one line of a cache, nor in two that are fetched together.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(MOST_SHARDS);
        let shard = |_| Shard([const { AtomicU64::new(0) }; N]);
        Self {
            shards: (0..shards).map(shard).collect(),
        }
    }

    /// Adds `count` to the value at `place`. Wraps around: a gauge goes down by adding what is missing.
    pub(super) fn add(&self, place: usize, count: u64) {
        let shard = self.shards.get(this_thread() & (self.shards.len() - 1));
        if let Some(value) = shard.and_then(|shard| shard.0.get(place)) {
            value.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn value(&self, place: usize) -> u64 {
        let values = self.shards.iter().filter_map(|shard| shard.0.get(place));
        values.fold(0, |sum, value| {
            sum.wrapping_add(value.load(Ordering::Relaxed))
        })
    }
}

/// A number of this thread: successive for threads that come one after the other.
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
        }
        number.get()
    })
}

/// The values of one datapath, or of one algorithm: `T` says which.
#[derive(Debug)]
pub(crate) struct Values<T> {
    values: Box<[AtomicU64]>,
    of: PhantomData<fn(T)>,
}

impl<T> Values<T> {
    pub(super) fn new(count: usize) -> Self {
        Self {
            values: (0..count).map(|_| AtomicU64::new(0)).collect(),
            of: PhantomData,
        }
    }

    pub(super) fn value(&self, place: usize) -> u64 {
        let value = self.values.get(place);
        value.map_or(0, |value| value.load(Ordering::Relaxed))
    }

    pub(super) fn set_at(&self, place: usize, to: u64) {
        if let Some(value) = self.values.get(place) {
            value.store(to, Ordering::Relaxed);
        }
    }

    pub(super) fn add_at(&self, place: usize, count: u64) {
        if let Some(value) = self.values.get(place) {
            value.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The upper bounds of a latency's buckets, in microseconds.
const BOUNDS: [u64; 16] = [
    5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000,
    2_000_000,
];

/// A distribution of times.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// One more than there are bounds: the last is for what is beyond all of them.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Latencies {
    pub(super) fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// As Prometheus has it: each bucket counts also what is in those before.
    pub(super) fn value(&self) -> MetricValue {
        let mut count = 0;
        let mut cumulative = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let counts: Vec<u64> = self.buckets.iter().map(&mut cumulative).collect();
        MetricValue::Histogram {
            buckets: BOUNDS
                .iter()
                .zip(&counts)
                .map(|(bound, count)| Bucket {
                    le: *bound as f64 / 1e6,
                    count: *count,
                })
                .collect(),
            sum: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9,
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_adds_up() {
        let counts = Sharded::<3>::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        counts.add(1, 2);
                    }
                });
            }
        });
        assert_eq!([0, 1, 2].map(|i| counts.value(i)), [0, 16_000, 0]);
    }

    #[test]
    fn a_gauge_goes_down() {
        let counts = Sharded::<1>::new();
        std::thread::scope(|scope| {
            scope.spawn(|| counts.add(0, 5));
        });
        counts.add(0, 2_u64.wrapping_neg());
        assert_eq!(counts.value(0), 3);
    }

    #[test]
    fn a_time_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let latencies = Latencies::default();
        for us in [0, 5, 6, 10, 2_000_000, 2_000_001] {
            latencies.observe(Duration::from_micros(us));
        }
        latencies.observe(Duration::from_nanos(5_001));
        let MetricValue::Histogram {
            buckets,
            sum,
            count,
        } = latencies.value()
        else {
            panic!("a histogram");
        };
        assert_eq!(count, 7);
        assert!((sum - 4.000_027_001).abs() < 1e-9, "{sum}");
        let at = |le: f64| buckets.iter().find(|b| b.le == le).unwrap().count;
        assert_eq!([at(5e-6), at(1e-5), at(0.5), at(2.0)], [2, 5, 5, 6]);
    }
}
