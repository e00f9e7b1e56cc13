//! The table of installed programs.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;

use crate::error::InstallError;
use crate::layout::{MAX_PROGRAMS, MAX_REGISTERS, PROGRAM_OWN_RECOVERY, ProgramMeta, REG_CONTROL};
use crate::mailbox::Handles;
use crate::maps::Maps;

/// The places from 1 to this one are reached by direct jumps (`call_program` in `bpf/ccp.bpf.c`).
const DIRECT_PROGRAMS: usize = 16;

/// Which places are taken, and how often each was used.
#[derive(Debug)]
pub(crate) struct Programs {
    /// By index: the uid of the program there.
    places: [Option<u32>; MAX_PROGRAMS],
    /// By index: distinguishes programs that had the same place.
    serials: [u16; MAX_PROGRAMS],
    handles: Handles,
}

/// What the glue must know to start a program.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) uid: u32,
    pub(crate) defaults: &'a [u64],
    pub(crate) prim_mask: u64,
    pub(crate) own_recovery: bool,
}

impl Programs {
    /// All places are free; the serials go on from those of the daemon before.
    pub(crate) fn new(maps: &Maps, handles: Handles) -> io::Result<Self> {
        let mut serials = [0; MAX_PROGRAMS];
        for (index, serial) in (0..).zip(&mut serials) {
            *serial = (maps.handle(index)? >> 16) as u16;
        }
        Ok(Self {
            places: [None; MAX_PROGRAMS],
            serials,
            handles,
        })
    }

    /// The handle that a program under the number `uid` gets from [`insert`](Self::insert) if nothing
    /// is installed or removed in between.
    pub(crate) fn next(&self, uid: u32) -> Result<u32, InstallError> {
        // One that the glue reaches by a direct jump, if there is one left; of these that which was
        // used least often: the later a handle comes back, the better. Where all are taken, that of
        // the program which is replaced.
        let place = (1..MAX_PROGRAMS)
            .filter(|i| self.places[*i].is_none())
            .min_by_key(|i| (*i > DIRECT_PROGRAMS, self.serials[*i]))
            .or_else(|| self.places.iter().position(|p| *p == Some(uid)));
        let Some(place) = place else {
            return Err(InstallError::Full {
                installed: MAX_PROGRAMS - 1,
            });
        };
        Ok(place as u32 | u32::from(self.serials[place].wrapping_add(1)) << 16)
    }

    /// Puts a loaded program into the place of `handle`, which [`next`](Self::next) gave. A program
    /// of the same number goes.
    pub(crate) fn insert(
        &mut self,
        maps: &Maps,
        handle: u32,
        program: BorrowedFd<'_>,
        start: &Start<'_>,
    ) -> Result<(), InstallError> {
        let system = |action| move |source| InstallError::System { action, source };
        self.remove(maps, start.uid)?;
        let (index, serial) = (handle & (MAX_PROGRAMS as u32 - 1), (handle >> 16) as u16);
        let place = index as usize;
        let mut meta = ProgramMeta {
            handle,
            uid: start.uid,
            flags: if start.own_recovery {
                PROGRAM_OWN_RECOVERY
            } else {
                0
            },
            count: start.defaults.len().min(MAX_REGISTERS - REG_CONTROL) as u32,
            prim_mask: start.prim_mask,
            faults: 0,
            defaults: [0; MAX_REGISTERS - REG_CONTROL],
        };
        for (to, from) in meta.defaults.iter_mut().zip(start.defaults) {
            *to = *from;
        }
        maps.set_program(index, program)
            .map_err(system("put the program into the program array"))?;
        maps.set_meta(index, Some(&meta))
            .map_err(system("describe the program"))?;
        self.places[place] = Some(start.uid);
        self.serials[place] = serial;
        self.handles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(start.uid, meta.handle);
        Ok(())
    }

    /// How many invocations of each program had no effect since it was installed.
    pub(crate) fn faults(&self, maps: &Maps) -> io::Result<Vec<(u32, u64)>> {
        let placed = (0..).zip(&self.places);
        placed
            .filter_map(|(index, uid)| Some((index, (*uid)?)))
            .map(|(index, uid)| Ok((uid, maps.faults(index)?)))
            .collect()
    }

    /// Takes a program out; whether it was there.
    pub(crate) fn remove(&mut self, maps: &Maps, uid: u32) -> Result<bool, InstallError> {
        let system = |action| move |source| InstallError::System { action, source };
        let Some(place) = self.places.iter().position(|p| *p == Some(uid)) else {
            return Ok(false);
        };
        self.handles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&uid);
        let index = place as u32;
        maps.set_meta(index, None)
            .map_err(system("void the program's description"))?;
        maps.programs
            .delete(index)
            .map_err(system("take the program out of the program array"))?;
        self.places[place] = None;
        Ok(true)
    }
}
