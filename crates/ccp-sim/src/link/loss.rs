//! Packets that do not arrive although no queue dropped them.

use crate::packet::Packet;
use crate::random::{Chance, Random};
use crate::scenario::{BurstSpec, LossSpec};
use crate::time::Nanos;

use super::is_data;

/// What is lost on a line: data at random, in bursts, or where a script says.
#[derive(Debug)]
pub(super) struct Loss {
    random: Chance,
    burst: Option<(BurstSpec, bool)>,
    /// Moments from which on the next packet of data is lost; the last comes first.
    script: Vec<Nanos>,
    /// Every so-manieth packet of data, and how many there are until then.
    every: Option<(u64, u64)>,
}

impl Loss {
    pub(super) fn new(spec: &LossSpec) -> Self {
        let mut script = spec.at.clone();
        script.sort_unstable();
        script.reverse();
        Self {
            random: spec.random,
            burst: spec.burst.map(|burst| (burst, false)),
            script,
            every: spec.every.map(|every| (every, every)),
        }
    }

    /// Whether `packet`, which leaves at `now`, is lost.
    pub(super) fn takes(&mut self, now: Nanos, packet: &Packet, random: &mut Random) -> bool {
        let mut lost = random.happens(self.random);
        if let Some((burst, bad)) = &mut self.burst {
            // Gilbert and Elliott: first the state changes, then it decides.
            let change = if *bad { burst.recover } else { burst.begin };
            *bad ^= random.happens(change);
            lost |= random.happens(if *bad { burst.bad } else { burst.good });
        }
        if is_data(packet)
            && let Some((every, left)) = &mut self.every
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                *left = *every;
                lost = true;
            }
        }
        if is_data(packet) && self.script.last().is_some_and(|time| *time <= now) {
            self.script.pop();
            lost = true;
        }
        lost
    }
}
