//! What flows got of a link that all of them share: whether it was chance which of them got little.
//!
//! Of flows that are all alike, half of which are called ours, one in twenty of ours is below what nineteen of
//! twenty others get, in some two seconds more of them, and a few are below the least of the others. How many
//! chance explains is asked of the flows themselves: they are called ours and native again and again, at
//! random, each with all that it did over the whole time, and it is counted each time what is counted of the
//! real ones. That assumes nothing of how shares are spread, nor of how one stretch depends on the next.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Over so long it is looked how far each flow has come.
pub(crate) const STRETCH: Duration = Duration::from_secs(2);
/// So often flows are called ours and native at random; what is in none of them is no chance.
const DRAWS: usize = 5000;

/// What the kernel told of a flow at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Acknowledged by the other end.
    pub(crate) bytes: u64,
    pub(crate) window: u32,
    /// Acknowledgements that came.
    pub(crate) acks: u32,
    /// Packets that arrived.
    pub(crate) delivered: u32,
    pub(crate) retransmits: u32,
    /// Nothing is lost, nothing repaired.
    pub(crate) open: bool,
}

/// All flows at a moment.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) flows: Vec<Seen>,
}

/// Below it flows count as behind: a part of what a percentile of the natives is.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) what: &'static str,
    pub(crate) percentile: f64,
    pub(crate) part: f64,
}

/// On this link CUBIC under a daemon takes a tenth less than the kernel's, and its slowest flows a quarter less, also
/// when nothing happens: that is the algorithm's affair, and allowed for.
pub(crate) const FIFTH: Limit = Limit {
    what: "half of CUBIC's 5th percentile",
    percentile: 5.0,
    part: 0.5,
};
/// So much of what is usual for the natives is usual for ours.
pub(crate) const USUAL_PART: f64 = 2.0 / 3.0;
pub(crate) const LEAST: Limit = Limit {
    what: "the least of CUBIC's",
    percentile: 0.0,
    part: 1.0,
};

/// How far each flow came in each stretch of a time, in bytes; ours are the first flows.
#[derive(Debug)]
pub(crate) struct Moved {
    stretches: Vec<Vec<u64>>,
    /// The flows of each stretch, the one that came least far first.
    orders: Vec<Vec<usize>>,
    ours: usize,
    natives: usize,
}

impl Moved {
    /// Every stretch that begins with one of the samples and ends with another. Of the flows, `left` are left
    /// out, then come ours, and then the natives.
    pub(crate) fn new(samples: &[Sample], left: usize, ours: usize) -> Self {
        let stretches = samples.iter().enumerate().filter_map(|(i, first)| {
            let last = samples[i..].iter().find(|s| s.at >= first.at + STRETCH)?;
            let flows = first.flows.iter().zip(&last.flows).skip(left);
            Some(flows.map(|(a, b)| b.bytes - a.bytes).collect())
        });
        let stretches: Vec<Vec<u64>> = stretches.collect();
        let ordered = |moved: &Vec<u64>| {
            let mut order: Vec<usize> = (0..moved.len()).collect();
            order.sort_unstable_by_key(|flow| moved[*flow]);
            order
        };
        let orders = stretches.iter().map(ordered).collect();
        let flows = stretches.first().map_or(0, Vec::len);
        Self {
            stretches,
            orders,
            ours,
            natives: flows - ours.min(flows),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// How many of ours, in the stretch where they are most, are below a limit; and that stretch.
    fn most_below(
        &self,
        limit: (usize, f64),
        mut is_ours: impl FnMut(usize) -> bool,
    ) -> (usize, usize) {
        let each = self.stretches.iter().zip(&self.orders).enumerate();
        each.map(|(i, (moved, order))| (below(moved, order, limit, &mut is_ours), i))
            .max_by_key(|(below, i)| (*below, usize::MAX - i))
            .unwrap_or_default()
    }

    /// How many of ours came less far than this limit, and how many chance puts there.
    pub(crate) fn judge(&self, limit: &Limit) -> Verdict {
        let rank = (self.natives as f64 * limit.percentile / 100.0) as usize;
        let rank = (rank, limit.part);
        let (ours, stretch) = self.most_below(rank, |flow| flow < self.ours);
        let mut lots = Lots::new(self.ours, self.natives);
        let mut chance: Vec<usize> = (0..DRAWS)
            .map(|_| {
                lots.again();
                self.most_below(rank, |flow| lots.is_ours(flow)).0
            })
            .collect();
        chance.sort_unstable();
        Verdict {
            what: limit.what,
            ours,
            usual: chance[DRAWS / 2],
            most: chance[DRAWS - 1],
            stretch: self.stretch(stretch),
        }
    }

    fn stretch(&self, stretch: usize) -> String {
        let Some(moved) = self.stretches.get(stretch) else {
            return String::new();
        };
        let (ours, natives) = moved.split_at(self.ours);
        format!("ours {}; native {}", Spread::of(ours), Spread::of(natives))
    }

    /// The least that the median of ours is of that of the natives, in any stretch.
    pub(crate) fn least_usual_part(&self) -> f64 {
        let part = |moved: &Vec<u64>| {
            let (ours, natives) = moved.split_at(self.ours);
            Spread::of(ours).median as f64 / Spread::of(natives).median.max(1) as f64
        };
        self.stretches.iter().map(part).fold(1.0, f64::min)
    }

    /// The least that the fifth percentile of the natives is in any stretch.
    pub(crate) fn least_fifth_percentile(&self) -> u64 {
        let natives = self.stretches.iter().map(|moved| &moved[self.ours..]);
        natives.map(|n| Spread::of(n).fifth).min().unwrap_or(0)
    }
}

/// How many of those that are ours moved less than `part` of what all others but `rank` moved at least.
fn below(
    moved: &[u64],
    order: &[usize],
    (rank, part): (usize, f64),
    mut is_ours: impl FnMut(usize) -> bool,
) -> usize {
    let mut natives = order.iter().filter(|flow| !is_ours(**flow));
    let limit = natives
        .nth(rank)
        .map_or(0.0, |flow| moved[*flow] as f64 * part);
    let less = order
        .iter()
        .take_while(|flow| (moved[**flow] as f64) < limit);
    less.filter(|flow| is_ours(**flow)).count()
}

/// Calls so many flows ours and so many native, at random, each as soon as it is asked for.
struct Lots {
    ours: usize,
    natives: usize,
    random: Random,
    left: (usize, usize),
    turn: usize,
    /// What each is called, and in which turn that was.
    called: Vec<(usize, bool)>,
}

impl Lots {
    fn new(ours: usize, natives: usize) -> Self {
        Self {
            ours,
            natives,
            random: Random(0x5eed),
            left: (ours, natives),
            turn: 0,
            called: vec![(0, false); ours + natives],
        }
    }

    fn again(&mut self) {
        self.turn += 1;
        self.left = (self.ours, self.natives);
    }

    fn is_ours(&mut self, flow: usize) -> bool {
        let (turn, called) = self.called[flow];
        if turn == self.turn {
            return called;
        }
        let (ours, natives) = self.left;
        let is_ours = self.random.below(ours + natives) < ours;
        if is_ours {
            self.left.0 -= 1;
        } else {
            self.left.1 -= 1;
        }
        self.called[flow] = (self.turn, is_ours);
        is_ours
    }
}

/// How many of ours came less far than a native flow, beside what chance does.
#[derive(Debug)]
pub(crate) struct Verdict {
    what: &'static str,
    ours: usize,
    usual: usize,
    most: usize,
    stretch: String,
}

impl Verdict {
    /// Whether there are more than chance explains.
    pub(crate) fn is_behind(&self) -> bool {
        self.ours > self.most
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            ours,
            usual,
            most,
            stretch,
        } = self;
        write!(
            f,
            "{ours} below {what} (by chance {usual}, never more than {most}): bytes of {stretch}"
        )
    }
}

/// Some of many numbers.
struct Spread {
    least: u64,
    fifth: u64,
    median: u64,
    nothing: usize,
}

impl Spread {
    fn of(moved: &[u64]) -> Self {
        let mut moved = moved.to_vec();
        moved.sort_unstable();
        let at = |place: usize| moved.get(place).copied().unwrap_or(0);
        Self {
            least: at(0),
            fifth: at(moved.len() / 20),
            median: at(moved.len() / 2),
            nothing: moved.partition_point(|moved| *moved == 0),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            least,
            fifth,
            median,
            nothing,
        } = self;
        write!(
            f,
            "least {least}, 5th percentile {fifth}, median {median}, {nothing} nothing"
        )
    }
}

/// Whether it is no chance that so many of ours are among those that are `marked`, of which ours are the first.
pub(crate) fn is_no_chance(marked: &[bool], ours: usize) -> bool {
    let real = marked[..ours].iter().filter(|marked| **marked).count();
    let mut lots = Lots::new(ours, marked.len() - ours);
    (0..DRAWS).all(|_| {
        lots.again();
        let marked = marked.iter().enumerate().filter(|(_, marked)| **marked);
        marked.filter(|(flow, _)| lots.is_ours(*flow)).count() < real
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers in each run.
struct Random(u64);

impl Random {
    /// One of the numbers below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % end.max(1)
    }
}

mod tests {
    use super::*;

    /// A run of 1,000 flows in which each moves between 50 and 150, and what is done to it.
    fn run(change: impl Fn(usize, &mut u64)) -> Moved {
        let mut random = Random(7);
        let start = Instant::now();
        let mut flows = vec![0; 1000];
        let samples: Vec<Sample> = (0..20)
            .map(|i| {
                for (flow, bytes) in flows.iter_mut().enumerate() {
                    let mut more = 50 + random.below(100) as u64;
                    change(flow, &mut more);
                    *bytes += more;
                }
                let seen = |bytes: &u64| Seen {
                    bytes: *bytes,
                    window: 1,
                    acks: 0,
                    delivered: 0,
                    retransmits: 0,
                    open: true,
                };
                Sample {
                    at: start + STRETCH / 4 * i,
                    flows: flows.iter().map(seen).collect(),
                }
            })
            .collect();
        Moved::new(&samples, 0, 500)
    }

    fn is_behind(change: impl Fn(usize, &mut u64)) -> [bool; 2] {
        let moved = run(change);
        [&FIFTH, &LEAST].map(|limit| moved.judge(limit).is_behind())
    }

    #[test]
    fn flows_that_are_alike_are_not_behind() {
        assert_eq!(is_behind(|_, _| {}), [false, false]);
        // Nor if some do far worse of both.
        assert_eq!(
            is_behind(|flow, m| *m *= (flow % 9).min(1) as u64),
            [false, false]
        );
    }

    #[test]
    fn a_few_that_stand_still_and_many_that_are_slower_are_behind() {
        assert!(is_behind(|flow, moved| *moved *= u64::from(flow > 20))[1]);
        assert!(
            is_behind(|flow, moved| if flow < 500 {
                *moved = *moved * 2 / 5
            })[0]
        );
        // A tenth of ours at half of what they should have.
        assert_eq!(
            is_behind(|flow, m| if flow < 50 {
                *m /= 2
            }),
            [true, true]
        );
    }

    #[test]
    fn marks_are_counted_against_chance() {
        let marked: Vec<bool> = (0..1000).map(|flow| flow % 10 == 0).collect();
        assert!(!is_no_chance(&marked, 500));
        let marked: Vec<bool> = (0..1000).map(|flow| flow < 20).collect();
        assert!(is_no_chance(&marked, 500));
    }
}
