//! The flows of a datapath, by the numbers that the daemon knows them by.
//!
//! A number holds the place of the flow and, above it, how often the place has been taken: a message
//! for a flow that has gone does not reach the one that has its place by now. Places that were given
//! back are taken again in order, and not before many others were.

use std::collections::VecDeque;

use ccp_types::SockId;

use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock};

/// So many bits of a number are the place.
const PLACE_BITS: u32 = 22;
/// The most flows that a table can have.
pub(crate) const MOST_FLOWS: usize = 1 << PLACE_BITS;
const TURNS: u32 = 1 << (32 - PLACE_BITS);
/// Threads that open and close flows at once seldom meet in one of so many parts.
const PARTS: usize = 16;
/// In each part, so many places rest before one is taken again.
const RESTING: usize = 64;

/// A table of what is shared of each flow.
#[derive(Debug)]
pub(crate) struct Table<T> {
    parts: Box<[Mutex<Part<T>>]>,
    next: AtomicUsize,
    live: AtomicUsize,
    limit: usize,
}

#[derive(Debug)]
struct Part<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// How often it has been taken, modulo [`TURNS`]; never 0, so that no flow is number 0.
    turn: u32,
    /// The generation that the next flow here begins with.
    generation: u32,
    flow: Option<Arc<T>>,
}

impl<T> Table<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let part = || {
            Mutex::new(Part {
                slots: Vec::new(),
                free: VecDeque::new(),
            })
        };
        Self {
            parts: (0..PARTS).map(|_| part()).collect(),
            next: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            limit: limit.clamp(1, MOST_FLOWS),
        }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Takes a place. `make` gets the generation that the flow begins with. `None` if all are taken.
    pub(crate) fn open(&self, make: impl FnOnce(u32) -> T) -> Option<(SockId, Arc<T>)> {
        if self.live.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.live.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let part_index = self.next.fetch_add(1, Ordering::Relaxed) % PARTS;
        // A part may be full while others are not: those that are closed need not be those that were
        // opened first.
        let mut make = Some(make);
        let parts = (part_index..part_index + PARTS).map(|i| i % PARTS);
        for index in parts {
            let Some(part) = self.parts.get(index) else {
                continue;
            };
            let mut part = lock(part);
            let room = part.slots.len() < MOST_FLOWS / PARTS;
            let resting = if room { RESTING } else { 0 };
            let at = if part.free.len() > resting {
                part.free.pop_front()
            } else if room {
                part.slots.push(Slot {
                    turn: 0,
                    generation: 0,
                    flow: None,
                });
                u32::try_from(part.slots.len() - 1).ok()
            } else {
                None
            };
            let slot = at.and_then(|at| part.slots.get_mut(usize::try_from(at).ok()?));
            let (Some(at), Some(slot), Some(make)) = (at, slot, make.take()) else {
                continue;
            };
            slot.turn = (slot.turn + 1) % TURNS;
            slot.turn = slot.turn.max(1);
            let flow = Arc::new(make(slot.generation));
            slot.flow = Some(Arc::clone(&flow));
            let place = at * PARTS as u32 + index as u32;
            return Some((SockId(place | slot.turn << PLACE_BITS), flow));
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// What is shared of the flow, if it is still there.
    pub(crate) fn get(&self, sock_id: SockId) -> Option<Arc<T>> {
        self.slot(sock_id, |slot| slot.flow.clone()).flatten()
    }

    /// Gives the place back. The next flow there begins with `generation`.
    pub(crate) fn close(&self, sock_id: SockId, generation: u32) {
        let there = self.slot(sock_id, |slot| {
            slot.generation = generation;
            slot.flow.take()
        });
        if there.flatten().is_none() {
            return;
        }
        let (part, at) = place(sock_id);
        if let (Some(part), Ok(at)) = (self.parts.get(part), u32::try_from(at)) {
            lock(part).free.push_back(at);
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    fn slot<R>(&self, sock_id: SockId, look: impl FnOnce(&mut Slot<T>) -> R) -> Option<R> {
        let (part, at) = place(sock_id);
        let mut part = lock(self.parts.get(part)?);
        let slot = part.slots.get_mut(at)?;
        (slot.turn == sock_id.0 >> PLACE_BITS).then(|| look(slot))
    }
}

/// The part, and the place in it.
const fn place(sock_id: SockId) -> (usize, usize) {
    let place = (sock_id.0 & ((1 << PLACE_BITS) - 1)) as usize;
    (place % PARTS, place / PARTS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{PARTS, RESTING, SockId, Table};

    #[test]
    fn numbers_are_not_given_twice_in_sight_of_each_other() {
        let table = Table::new(10);
        let mut seen = HashSet::new();
        for _ in 0..100_000 {
            let (id, _) = table.open(|_| ()).unwrap();
            assert!(seen.insert(id), "{id} again after {}", seen.len());
            assert_ne!(id, SockId(0));
            table.close(id, 0);
            assert!(table.get(id).is_none());
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn memory_is_taken_for_those_that_are_there() {
        let table = Table::new(10);
        for _ in 0..100_000 {
            let (id, _) = table.open(|_| ()).unwrap();
            table.close(id, 0);
        }
        let slots: usize = table
            .parts
            .iter()
            .map(|p| p.lock().unwrap().slots.len())
            .sum();
        assert!(slots <= PARTS * (RESTING + 2), "{slots}");
    }

    #[test]
    fn the_limit_holds_and_a_place_that_is_given_back_counts_again() {
        let table = Table::new(3);
        let ids: Vec<_> = (0..3).map(|_| table.open(|_| ()).unwrap().0).collect();
        assert!(table.open(|_| ()).is_none());
        table.close(ids[1], 7);
        table.close(ids[1], 7);
        assert_eq!(table.len(), 2);
        assert!(table.open(|_| ()).is_some());
        assert!(table.open(|_| ()).is_none());
    }

    #[test]
    fn a_place_passes_its_generation_on() {
        let table = Table::new(1);
        let mut generation = 0;
        for round in 0..10_000_u32 {
            let (id, _) = table.open(|g| generation = g).unwrap();
            table.close(id, generation + 1);
            if round > 2 * (RESTING * PARTS) as u32 {
                assert!(generation > 0);
            }
        }
    }
}
