//! What threads share, in many orders of its steps: the mail of a flow, the state of the way to the
//! daemon, the table of flows. The modules themselves are here, on locks and atomics whose every use is
//! a place where the scheduler may let another thread go on; orders are random, from fixed seeds.
//!
//! `CCP_THREADS_ROUNDS` sets how many orders are tried of each; 1,000 by default, a second in all.
//! Each step is seen by all threads at once here: what weaker memory orders allow besides is not tried.

use std::env;

#[allow(dead_code, unused_imports, reason = "its own tests are elsewhere")]
#[path = "../../src/link.rs"]
mod link;
#[allow(dead_code, unused_imports, reason = "its own tests are elsewhere")]
#[path = "../../src/mail.rs"]
mod mail;
#[allow(dead_code, unused_imports, reason = "its own tests are elsewhere")]
#[path = "../../src/table.rs"]
mod table;

/// In place of `src/sync.rs`.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
    use std::sync::PoisonError;

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use ccp_types::Timestamp;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

use link::Link;
use mail::MailBox;
use sync::{Arc, AtomicUsize, Ordering};
use table::Table;

const SEED: u64 = 1;

fn main() {
    let tests: [(&str, fn()); 6] = [
        ("nothing_that_is_said_is_lost", nothing_that_is_said_is_lost),
        (
            "mail_for_an_earlier_announcement_displaces_none",
            mail_for_an_earlier_announcement_displaces_none,
        ),
        (
            "announcements_of_all_threads_are_limited",
            announcements_of_all_threads_are_limited,
        ),
        (
            "each_return_of_a_daemon_counts",
            each_return_of_a_daemon_counts,
        ),
        (
            "places_are_one_flow_s_at_a_time",
            places_are_one_flow_s_at_a_time,
        ),
        ("a_place_is_given_back_once", a_place_is_given_back_once),
    ];
    // What a test runner asks of an executable with tests.
    let words: Vec<String> = env::args().skip(1).collect();
    let lists = words.iter().any(|word| word == "--list");
    let ignored = words.iter().any(|word| word == "--ignored");
    let mut values = words.iter().filter(|word| !word.starts_with('-'));
    let filter = values.next();
    let exact = words.iter().any(|word| word == "--exact");
    for (name, test) in tests {
        let wanted = filter.is_none_or(|f| {
            if exact {
                name == f
            } else {
                name.contains(&**f)
            }
        });
        if !wanted || ignored {
            continue;
        }
        if lists {
            println!("{name}: test");
            continue;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "how long to try is the caller's to say"
        )]
        let rounds = env::var("CCP_THREADS_ROUNDS");
        let rounds = rounds.map_or(1_000, |n| n.parse().expect("CCP_THREADS_ROUNDS: a number"));
        let mut config = Config::new();
        // They are about memory orders: see above.
        config.silence_warnings = true;
        let random = RandomScheduler::new_from_seed(SEED, rounds);
        Runner::new(random, config.clone()).run(test);
        // Few changes of the thread, at places that matter.
        let few = PctScheduler::new_from_seed(SEED, 3, rounds);
        Runner::new(few, config).run(test);
        println!("test {name} ... ok");
    }
}

/// A flow looks while it is spoken to: in the end it knows the program, and each register's last value.
fn nothing_that_is_said_is_lost() {
    let mail: Arc<MailBox<u32>> = Arc::new(MailBox::new(1));
    let mut seen = mail.seq();
    let to = Arc::clone(&mail);
    let daemon = thread::spawn(move || {
        assert!(to.post(1, |m| m.set_writable(0, 1)));
        assert!(to.post(1, |m| m.start(Some(Arc::new(7)), 7)));
        assert!(to.post(1, |m| m.set_writable(0, 2)));
        assert!(to.post(1, |m| m.set_control(7, 3, 9)));
    });
    let (mut program, mut window, mut control) = (None, 0, 0);
    let mut look = || {
        if mail.seq() == seen {
            return;
        }
        seen = mail.take(|m| {
            if let Some(change) = m.change.take() {
                program = change.map(|p| *p);
            }
            for (_, value) in &m.writables {
                assert!(*value > window, "an earlier value after a later one");
                window = *value;
            }
            for (place, value) in &m.controls {
                assert_eq!((*place, program), (3, Some(7)), "before its program");
                control = *value;
            }
        });
    };
    for _ in 0..4 {
        look();
    }
    daemon.join().unwrap();
    look();
    assert_eq!((program, window, control), (Some(7), 2, 9));
}

/// One thread still delivers what was for the flow's first announcement, while another one has the
/// answer to its second.
fn mail_for_an_earlier_announcement_displaces_none() {
    let mail: Arc<MailBox<u32>> = Arc::new(MailBox::new(1));
    let to = Arc::clone(&mail);
    let late = thread::spawn(move || {
        to.post(1, |m| m.set_writable(0, 1));
    });
    mail.set_generation(2);
    let to = Arc::clone(&mail);
    let prompt = thread::spawn(move || to.post(2, |m| m.set_writable(0, 2)));
    let mut got = Vec::new();
    let mut look = || {
        mail.take(|m| {
            if m.generation == 2 {
                got.extend_from_slice(&m.writables);
            }
        })
    };
    look();
    late.join().unwrap();
    assert!(prompt.join().unwrap(), "it is wanted");
    look();
    assert_eq!(got, [(0, 2)]);
}

fn announcements_of_all_threads_are_limited() {
    // Ten per second, a tenth of a second's worth saved up: one, and one more.
    let link = Arc::new(Link::new(10));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let link = Arc::clone(&link);
            thread::spawn(move || link.may_announce(Timestamp(5_000_000)))
        })
        .collect();
    let all = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(all.filter(|allowed| *allowed).count(), 2);
}

fn each_return_of_a_daemon_counts() {
    let link = Arc::new(Link::new(10));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let link = Arc::clone(&link);
            thread::spawn(move || link.announce_all())
        })
        .collect();
    let seen = link.epoch();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(link.epoch(), 2);
    assert!(seen <= 2);
}

/// Three threads open and close flows in a table of two.
fn places_are_one_flow_s_at_a_time() {
    let table = Arc::new(Table::new(2));
    let there = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..3_u32)
        .map(|me| {
            let (table, there) = (Arc::clone(&table), Arc::clone(&there));
            thread::spawn(move || {
                let mut had = Vec::new();
                for round in 0..2 {
                    let Some((id, flow)) = table.open(|_| (me, round)) else {
                        continue;
                    };
                    assert!(
                        there.fetch_add(1, Ordering::SeqCst) < 2,
                        "more than the limit"
                    );
                    assert_eq!(*flow, (me, round));
                    assert_eq!(table.get(id).as_deref(), Some(&(me, round)));
                    there.fetch_sub(1, Ordering::SeqCst);
                    table.close(id, 1);
                    assert!(table.get(id).is_none());
                    had.push(id);
                }
                had
            })
        })
        .collect();
    let mut had: Vec<_> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    assert!(had.len() >= 2, "no one found room");
    let all = had.len();
    had.sort_unstable();
    had.dedup();
    assert_eq!(had.len(), all, "a number was given twice");
    assert_eq!(table.len(), 0);
}

/// Closed by two at once, a flow frees one place.
fn a_place_is_given_back_once() {
    let table = Arc::new(Table::new(2));
    let (id, _) = table.open(|_| ()).unwrap();
    let _other = table.open(|_| ()).unwrap();
    let again = Arc::clone(&table);
    let thread = thread::spawn(move || again.close(id, 1));
    table.close(id, 1);
    thread.join().unwrap();
    assert_eq!(table.len(), 1);
    assert!(table.open(|_| ()).is_some());
    assert!(table.open(|_| ()).is_none());
}
