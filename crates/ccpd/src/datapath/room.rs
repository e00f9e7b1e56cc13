//! How many flows there may be, counted where they take memory: from when they are taken until the last
//! thing that knows them has let go. A flow that has ended, but whose algorithm is still at work, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One limit.
#[derive(Debug)]
pub(super) struct Level {
    used: AtomicU32,
    most: u32,
    /// The key of the configuration that sets it.
    key: &'static str,
}

/// The limits that hold for the flows of one datapath.
#[derive(Debug)]
pub(super) struct Room(Vec<Arc<Level>>);

/// A flow's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

/// There is no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) key: &'static str,
    pub(super) most: u32,
}

impl Level {
    pub(super) fn new(key: &'static str, most: u32) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU32::new(0),
            most,
            key,
        })
    }

    fn take(&self) -> bool {
        let more = |used| (used < self.most).then_some(used + 1);
        let (took, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.used.fetch_update(took, read, more).is_ok()
    }
}

impl Room {
    pub(super) fn new(levels: Vec<Arc<Level>>) -> Arc<Self> {
        Arc::new(Self(levels))
    }

    /// Takes a place on every level, or none.
    pub(super) fn take(self: &Arc<Self>) -> Result<Place, Full> {
        for (i, level) in self.0.iter().enumerate() {
            if !level.take() {
                give_back(self.0.iter().take(i));
                let (key, most) = (level.key, level.most);
                return Err(Full { key, most });
            }
        }
        Ok(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        give_back(self.0.0.iter());
    }
}

fn give_back<'l>(levels: impl Iterator<Item = &'l Arc<Level>>) {
    for level in levels {
        level.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{Full, Level, Room};

    #[test]
    fn a_place_is_taken_on_every_level_or_on_none() {
        let all = Level::new("max_flows_total", 3);
        let room = |most| Room::new(vec![Level::new("max_flows", most), all.clone()]);
        let (one, two) = (room(2), room(2));
        let mut taken = vec![one.take().unwrap(), one.take().unwrap()];
        let (key, most) = ("max_flows", 2);
        assert_eq!(one.take().unwrap_err(), Full { key, most });
        taken.push(two.take().unwrap());
        let (key, most) = ("max_flows_total", 3);
        assert_eq!(two.take().unwrap_err(), Full { key, most });
        assert_eq!(two.0[0].used.load(Ordering::Relaxed), 1);
        taken.clear();
        assert_eq!(all.used.load(Ordering::Relaxed), 0);
        assert!(two.take().is_ok());
    }
}
