//! How often a flow reports.

use std::fmt;
use std::str::FromStr;

use ccp_core::{ControlField, Controls, Micros, Updates};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// How often a flow reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Interval {
    /// Once per round-trip time, but no more often than once per millisecond: `"rtt"`. Where round
    /// trips are shorter, reports cost more than all else that is done on acknowledgements, and
    /// nobody looks as often.
    #[default]
    Rtt,
    /// At every acknowledgement: `"ack"`.
    Ack,
    /// At the first acknowledgement after so much time: `"10ms"`; 1 ms to 10 s.
    Every(Micros),
}

/// Where a program keeps how often it reports: the control variables `rounds` (round-trip times) and
/// `every` (microseconds), of which the longer counts.
#[derive(Clone, Copy, Debug, Controls)]
pub(crate) struct Pace {
    rounds: ControlField<u64>,
    every: ControlField<Micros>,
}

impl Pace {
    /// `updates`, and that the program is to report at `interval`.
    pub(crate) fn set(self, updates: Updates, interval: Interval) -> Updates {
        let (rounds, every) = match interval {
            Interval::Rtt => (1, LEAST),
            Interval::Ack => (0, Micros::ZERO),
            Interval::Every(time) => (0, time),
        };
        updates.set(self.rounds, rounds).set(self.every, every)
    }
}

/// A text that says nothing about reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"rtt\", \"ack\" or a time from \"1ms\" to \"10000ms\"")]
pub struct NoInterval;

const MOST_MS: u64 = 10_000;
/// Between reports where there is to be one per round-trip time.
const LEAST: Micros = Micros(1_000);

impl FromStr for Interval {
    type Err = NoInterval;

    fn from_str(text: &str) -> Result<Self, NoInterval> {
        match text {
            "rtt" => Ok(Self::Rtt),
            "ack" => Ok(Self::Ack),
            _ => {
                let digits = text.strip_suffix("ms").ok_or(NoInterval)?.trim_end();
                let number = digits.bytes().all(|b| b.is_ascii_digit());
                match digits.parse() {
                    Ok(ms @ 1..=MOST_MS) if number => Ok(Self::Every(Micros::from_millis(ms))),
                    _ => Err(NoInterval),
                }
            }
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtt => f.write_str("rtt"),
            Self::Ack => f.write_str("ack"),
            Self::Every(time) => write!(f, "{}ms", time.0 / 1_000),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"rtt\", \"ack\" or a time from \"1ms\" to \"10000ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}
