//! The glue's maps: found in the loaded object, or where an earlier daemon pinned them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::layout::{MAX_PROGRAMS, ProgramMeta};

/// A map held by this process.
#[derive(Debug)]
pub(crate) struct Held(MapHandle);

impl Held {
    pub(crate) fn pinned(path: &Path) -> io::Result<Self> {
        MapHandle::from_pinned_path(path).map(Self).map_err(other)
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.0.max_entries()
    }

    /// Its type, and the sizes of its keys and values in bytes.
    pub(crate) fn shape(&self) -> (MapType, u32, u32) {
        (self.0.map_type(), self.0.key_size(), self.0.value_size())
    }

    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    pub(crate) fn update(&self, index: u32, value: &[u8]) -> io::Result<()> {
        self.0
            .update(&index.to_ne_bytes(), value, MapFlags::ANY)
            .map_err(other)
    }

    /// Removes an element; none there is fine.
    pub(crate) fn delete(&self, index: u32) -> io::Result<()> {
        match self.0.delete(&index.to_ne_bytes()) {
            Err(e) if e.kind() != libbpf_rs::ErrorKind::NotFound => Err(other(e)),
            _ => Ok(()),
        }
    }

    pub(crate) fn lookup(&self, index: u32) -> io::Result<Option<Vec<u8>>> {
        self.0
            .lookup(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(other)
    }

    /// The sum over all processors of element `index` of a per-processor array of `u64`s.
    pub(crate) fn sum(&self, index: u32) -> io::Result<u64> {
        let values = self
            .0
            .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(other)?;
        let number = |bytes: &Vec<u8>| {
            let (words, _) = bytes.as_chunks();
            words.first().map_or(0, |w| u64::from_ne_bytes(*w))
        };
        Ok(values.iter().flatten().map(number).sum())
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The maps that the daemon works with.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) flows: Held,
    pub(crate) ring: Held,
    pub(crate) mailbox: Held,
    pub(crate) answers: Held,
    pub(crate) slots: Held,
    pub(crate) config: Held,
    pub(crate) stats: Held,
    pub(crate) programs: Held,
    pub(crate) program_meta: Held,
}

impl Maps {
    /// Gets each map by its name.
    pub(crate) fn by(mut get: impl FnMut(&str) -> io::Result<Held>) -> io::Result<Self> {
        Ok(Self {
            flows: get("flows")?,
            ring: get("ring")?,
            mailbox: get("mailbox")?,
            answers: get("answers")?,
            slots: get("slots")?,
            config: get("config")?,
            stats: get("stats")?,
            programs: get("programs")?,
            program_meta: get("program_meta")?,
        })
    }

    /// Voids all programs. Flows that still run one fall back on their next ACK.
    pub(crate) fn clear_programs(&self) -> io::Result<()> {
        for index in 1..MAX_PROGRAMS as u32 {
            if self.handle(index)? & 0xffff != 0 {
                self.set_meta(index, None)?;
            }
            self.programs.delete(index)?;
        }
        Ok(())
    }

    /// What a program's place was last used under.
    pub(crate) fn handle(&self, index: u32) -> io::Result<u32> {
        let bytes = self.program_meta.lookup(index)?.unwrap_or_default();
        let (words, _) = bytes.as_chunks();
        Ok(words.first().map_or(0, |w| u32::from_ne_bytes(*w)))
    }

    /// How many invocations of the program at `index` had no effect.
    pub(crate) fn faults(&self, index: u32) -> io::Result<u64> {
        let bytes = self.program_meta.lookup(index)?.unwrap_or_default();
        let at = std::mem::offset_of!(ProgramMeta, faults);
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
        Ok(word.map_or(0, |word| u64::from_ne_bytes(*word)))
    }

    /// Describes the program at `index`, or voids it. The serial stays, so that no handle comes back
    /// soon, not even under the next daemon: a flow that still carries one must not take another
    /// program for its own.
    pub(crate) fn set_meta(&self, index: u32, meta: Option<&ProgramMeta>) -> io::Result<()> {
        let size = size_of::<ProgramMeta>();
        match meta {
            None => {
                let serial = self.handle(index)? & 0xffff_0000;
                let mut bytes = vec![0; size];
                if let Some(word) = bytes.first_chunk_mut() {
                    *word = serial.to_ne_bytes();
                }
                self.program_meta.update(index, &bytes)
            }
            Some(meta) => {
                // SAFETY: integers without padding (4 × u32, u64s).
                let bytes =
                    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(meta).cast(), size) };
                self.program_meta.update(index, bytes)
            }
        }
    }

    pub(crate) fn set_program(&self, index: u32, program: BorrowedFd<'_>) -> io::Result<()> {
        self.programs
            .update(index, &program.as_raw_fd().to_ne_bytes())
    }
}

pub(crate) fn other(e: libbpf_rs::Error) -> io::Error {
    io::Error::new(kind(&e), e)
}

fn kind(e: &libbpf_rs::Error) -> io::ErrorKind {
    use libbpf_rs::ErrorKind as K;
    match e.kind() {
        K::NotFound => io::ErrorKind::NotFound,
        K::PermissionDenied => io::ErrorKind::PermissionDenied,
        K::AlreadyExists => io::ErrorKind::AlreadyExists,
        K::InvalidInput => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    }
}
