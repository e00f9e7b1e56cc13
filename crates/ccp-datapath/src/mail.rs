//! What the daemon says to one flow, on its way from the thread that reads it to the thread that owns
//! the connection.

use std::mem::take;

use crate::sync::{Arc, AtomicU32, Mutex, Ordering};

/// Instead of a program's number: the one that runs. (libccp's messages do not say. A daemon cannot have
/// given so many programs.)
pub(crate) const WHATEVER_RUNS: u32 = u32::MAX;

/// The shared part of one flow. The connection looks at `seq` at each acknowledgement, and takes the
/// lock only if there is something.
#[derive(Debug)]
pub(crate) struct MailBox<P> {
    seq: AtomicU32,
    /// The announcement that counts now: what has none of its own is for this one.
    generation: AtomicU32,
    mail: Mutex<Mail<P>>,
}

/// Everything that was said since the connection last looked, as one.
#[derive(Debug)]
pub(crate) struct Mail<P> {
    pub(crate) generation: u32,
    /// Another program, or (`None` inside) none at all: native.
    pub(crate) change: Option<Option<Arc<P>>>,
    /// The program whose control variables are meant, if no other one is started.
    pub(crate) program_uid: u32,
    /// Writable registers and control variables, by their place in table and program.
    pub(crate) writables: Vec<(u16, u64)>,
    pub(crate) controls: Vec<(u16, u64)>,
}

impl<P> Default for Mail<P> {
    fn default() -> Self {
        Self {
            generation: 0,
            change: None,
            program_uid: 0,
            writables: Vec::new(),
            controls: Vec::new(),
        }
    }
}

impl<P> MailBox<P> {
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            seq: AtomicU32::new(0),
            generation: AtomicU32::new(generation),
            mail: Mutex::new(Mail::default()),
        }
    }

    /// Goes up when there is something new.
    #[inline]
    pub(crate) fn seq(&self) -> u32 {
        self.seq.load(Ordering::Acquire)
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn set_generation(&self, generation: u32) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Adds to the mail of `generation`. What is there for an earlier one is void.
    /// Returns whether it is still wanted.
    pub(crate) fn post(&self, generation: u32, write: impl FnOnce(&mut Mail<P>)) -> bool {
        {
            let mut mail = self.lock();
            // Under the lock: two threads may have messages for one flow, and what is late for an earlier
            // announcement must not take the place of what is there for this one.
            if generation != self.generation() {
                return false;
            }
            if mail.generation != generation {
                *mail = Mail {
                    generation,
                    ..Mail::default()
                };
            }
            write(&mut mail);
        }
        self.seq.fetch_add(1, Ordering::Release);
        true
    }

    /// Takes everything, with the sequence number that it stands for. The lists keep their memory:
    /// `read` empties them.
    pub(crate) fn take(&self, read: impl FnOnce(&mut Mail<P>)) -> u32 {
        // Before the lock: what comes in between is seen as new, and found empty.
        let seq = self.seq();
        let mut mail = self.lock();
        read(&mut mail);
        mail.change = None;
        mail.writables.clear();
        mail.controls.clear();
        seq
    }

    fn lock(&self) -> crate::sync::MutexGuard<'_, Mail<P>> {
        crate::sync::lock(&self.mail)
    }
}

impl<P> Mail<P> {
    /// Another program starts: fields of the one before mean nothing any more.
    pub(crate) fn start(&mut self, program: Option<Arc<P>>, uid: u32) {
        self.change = Some(program);
        self.program_uid = uid;
        self.controls.clear();
    }

    pub(crate) fn set_writable(&mut self, place: u16, value: u64) {
        set(&mut self.writables, place, value);
    }

    /// A control variable of the program `uid`.
    pub(crate) fn set_control(&mut self, uid: u32, place: u16, value: u64) {
        if self.program_uid != uid {
            if self.change.is_some() {
                // Another program starts before it would take effect.
                return;
            }
            self.program_uid = uid;
            take(&mut self.controls);
        }
        set(&mut self.controls, place, value);
    }
}

fn set(fields: &mut Vec<(u16, u64)>, place: u16, value: u64) {
    match fields.iter_mut().find(|(p, _)| *p == place) {
        Some((_, old)) => *old = value,
        None => fields.push((place, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mail, MailBox};

    /// It used to take the place of what was there for the new announcement.
    #[test]
    fn what_is_late_for_an_earlier_announcement_harms_nothing() {
        let mailbox = MailBox::<()>::new(1);
        std::thread::scope(|scope| {
            let mut mail = mailbox.lock();
            let late = scope.spawn(|| mailbox.post(1, |mail| mail.set_writable(0, 1)));
            // It looks, and waits for the lock.
            (0..10_000).for_each(|_| std::thread::yield_now());
            mailbox.set_generation(2);
            *mail = Mail {
                generation: 2,
                writables: vec![(0, 2)],
                ..Mail::default()
            };
            drop(mail);
            assert!(!late.join().unwrap());
        });
        mailbox.take(|mail| {
            assert_eq!(
                (mail.generation, mail.writables.as_slice()),
                (2, &[(0, 2)][..])
            )
        });
    }
}
