//! Writes updates into the memory that flows read on ACKs: each looks every sixteenth of a
//! round-trip time, but at least 25 µs and at most 1 ms apart; in recovery and under CUBIC on every
//! ACK.
//!
//! One slot per flow, one sequence number per slot and per field. A slot is written under an odd
//! sequence, so that the reader never applies half a write; a field is applied once, when its
//! sequence is newer than what the flow has seen, so that a later write does not lose an earlier
//! one that no ACK has picked up yet. What must not be applied (again) has a sequence far in the
//! past.
//!
//! All of a writer's state is in the slot itself, which is why there is one writing process per
//! datapath (a lock sees to that), and why a restarted one goes on where the last one was killed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::datapath::monotonic_ns;
use crate::error::MailboxError;
use crate::layout::{FIELD_CONTROL, FIELDS, MailboxSlot, PROGRAM_ELSEWHERE};
use crate::mapped::MappedArray;

/// So far back that no flow takes it for new, and that it stays so for another 2^30 steps.
const FAR: u32 = 1 << 30;
/// A sequence older than this is moved up to `FAR`, before it would wrap around to the future.
const AGED: u32 = FAR + (1 << 29);
const LOCKS: usize = 64;
/// The room for the name of an algorithm of the kernel, its closing zero included.
const NAME_LEN: usize = 16;
const R: Ordering = Ordering::Relaxed;

/// The program number that means: none, run natively.
pub const NATIVE: u32 = 0;

/// Programs by their number: handles as the glue knows them.
pub(crate) type Handles = Arc<RwLock<HashMap<u32, u32>>>;

/// The writing end of all mailbox slots; cheap to clone, to be used from any thread.
///
/// A write takes some ten nanoseconds, makes no system call and allocates nothing.
#[derive(Clone, Debug)]
pub struct Mailbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slots: MappedArray<MailboxSlot>,
    answers: MappedArray<u64>,
    handles: Handles,
    locks: [Mutex<()>; LOCKS],
}

/// A slot's words; the same memory as [`MailboxSlot`].
#[repr(C)]
struct Words {
    seq: AtomicU32,
    generation: AtomicU32,
    program: AtomicU32,
    program_seq: AtomicU32,
    value: [AtomicU64; FIELDS],
    field_seq: [AtomicU32; FIELDS],
}

const _: () = assert!(size_of::<Words>() == size_of::<MailboxSlot>());

impl Mailbox {
    pub(crate) fn new(
        slots: MappedArray<MailboxSlot>,
        answers: MappedArray<u64>,
        handles: Handles,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                slots,
                answers,
                handles,
                locks: [const { Mutex::new(()) }; LOCKS],
            }),
        }
    }

    /// Tells a flow to start the program `program` (if one is given; [`NATIVE`]: to run
    /// natively, whatever `fields` says), then to set `fields`:
    /// 0 is `Cwnd` in bytes, 1 is `Rate` in bytes/s, 2 + i is control variable i. A value written
    /// twice before the flow reads it counts as last written; what is not named stays as it is,
    /// also if an earlier write of it has not been applied yet.
    ///
    /// Starting a program voids control values written for the one before, and keeps `Cwnd` and
    /// `Rate`. `generation` is the one of the flow's latest CREATE: the flow ignores writes for
    /// an earlier one. A write without program and fields only says that the announcement was
    /// heard: such a flow stays native and is not announced again.
    ///
    /// # Errors
    /// Nothing is written if the program or a field does not exist.
    pub fn write(
        &self,
        sock_id: u32,
        generation: u32,
        program: Option<u32>,
        fields: &[(usize, u64)],
    ) -> Result<(), MailboxError> {
        if let Some(&(field, _)) = fields.iter().find(|(f, _)| *f >= FIELDS) {
            return Err(MailboxError::NoField { field });
        }
        let handle = program.map(|uid| self.handle(uid)).transpose()?;
        self.with_slot(sock_id, |words| {
            write_slot(words, generation, handle, fields);
        })
    }

    /// Tells a flow to go over to the kernel's algorithm `name`, from its present window, with its next
    /// ACK. It ends for us then. If the kernel has no such algorithm, it runs natively, and stays.
    ///
    /// # Errors
    /// Nothing is written if `name` is not one to fifteen bytes long, or there is no such slot.
    pub fn hand_over(&self, sock_id: u32, generation: u32, name: &str) -> Result<(), MailboxError> {
        let mut bytes = [0; NAME_LEN];
        let room = (1..NAME_LEN).contains(&name.len()) && !name.contains('\0');
        let Some(to) = bytes.get_mut(..name.len()).filter(|_| room) else {
            return Err(MailboxError::NoName { len: name.len() });
        };
        to.copy_from_slice(name.as_bytes());
        self.with_slot(sock_id, |words| write_name(words, generation, bytes))
    }

    fn with_slot(&self, sock_id: u32, write: impl FnOnce(&Words)) -> Result<(), MailboxError> {
        let index = sock_id & 0xffff;
        let Some(words) = self.words(index) else {
            return Err(MailboxError::NoSlot {
                sock_id,
                slots: self.shared.slots.len(),
            });
        };
        let lock = &self.shared.locks[index as usize % LOCKS];
        let _one = lock.lock().unwrap_or_else(PoisonError::into_inner);
        write(words);
        Ok(())
    }

    /// Says that the flow's reports until now have been handled, whether or not they were
    /// answered: where [`Options::unanswered_after`](crate::Options::unanswered_after) is set, a flow
    /// for which nobody says so goes on natively, and comes back (as *resumed*) once somebody does.
    pub fn handled(&self, sock_id: u32) {
        if let Some(at) = self.shared.answers.at(sock_id & 0xffff) {
            // SAFETY: an aligned word within the mapping, accessed atomically by this process.
            let at = unsafe { AtomicU64::from_ptr(at) };
            at.store(monotonic_ns() / 1000, Ordering::Relaxed);
        }
    }

    fn handle(&self, uid: u32) -> Result<u32, MailboxError> {
        if uid == NATIVE {
            return Ok(NATIVE);
        }
        let handles = self
            .shared
            .handles
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        handles
            .get(&uid)
            .copied()
            .ok_or(MailboxError::NoProgram { uid })
    }

    fn words(&self, index: u32) -> Option<&Words> {
        // SAFETY: same size and alignment as the element, lives as long as `self`; every access in
        // this process is atomic.
        self.shared
            .slots
            .at(index)
            .map(|p| unsafe { &*p.cast::<Words>() })
    }
}

fn write_slot(words: &Words, generation: u32, handle: Option<u32>, fields: &[(usize, u64)]) {
    under_odd_sequence(words, |seq| {
        let other_flow = words.generation.load(R) != generation;
        words.generation.store(generation, R);
        let old = seq.wrapping_sub(FAR);
        let aged = |s: &AtomicU32| seq.wrapping_sub(s.load(R)) > AGED;
        if let Some(handle) = handle {
            words.program.store(handle, R);
            words.program_seq.store(seq, R);
        } else if other_flow || aged(&words.program_seq) {
            words.program_seq.store(old, R);
        }
        for (i, field_seq) in words.field_seq.iter().enumerate() {
            let void = other_flow || (handle.is_some() && i >= FIELD_CONTROL);
            if void || aged(field_seq) {
                field_seq.store(old, R);
            }
        }
        for &(field, value) in fields {
            if let (Some(v), Some(s)) = (words.value.get(field), words.field_seq.get(field)) {
                v.store(value, R);
                s.store(seq, R);
            }
        }
    });
}

/// The name stands where window and rate do, which are void then: also for who may write after this.
fn write_name(words: &Words, generation: u32, name: [u8; NAME_LEN]) {
    under_odd_sequence(words, |seq| {
        words.generation.store(generation, R);
        words.program.store(PROGRAM_ELSEWHERE, R);
        words.program_seq.store(seq, R);
        for field_seq in &words.field_seq {
            field_seq.store(seq.wrapping_sub(FAR), R);
        }
        let (halves, _) = name.as_chunks();
        for (value, half) in words.value.iter().zip(halves) {
            value.store(u64::from_ne_bytes(*half), R);
        }
    });
}

/// Writes what the slot's next sequence is for, which `write` is told.
fn under_odd_sequence(words: &Words, write: impl FnOnce(u32)) {
    // A killed writer may have left it odd.
    let before = words.seq.load(R);
    let before = before.wrapping_add(before & 1);
    let seq = before.wrapping_add(2);
    words.seq.store(seq.wrapping_sub(1), R);
    fence(Ordering::Release);
    write(seq);
    words.seq.store(seq, Ordering::Release);
}

#[cfg(test)]
mod tests;
