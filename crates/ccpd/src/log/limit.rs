//! Keeps a flood of one cause from filling the log.
//!
//! A cause is a place in the code that logs, of which there are only so many: nothing that comes from
//! outside makes this grow. Each may write [`BURST`] lines in [`WINDOW`]; what goes beyond is counted,
//! and told in one line when that time is over.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, debug, error, info, warn};
use tracing_subscriber::layer::{Context, Filter};

use super::OWN_TARGET;

/// So many lines of one cause
const BURST: u32 = 20;
/// (of weight `debug`, which somebody has asked for)
const DEBUG_BURST: u32 = 1_000;
/// within this time; all are written of weight `trace`.
const WINDOW: Duration = Duration::from_secs(10);
/// At most so much of the text of a cause is told again, in bytes.
const LONGEST: usize = 200;

/// Lets through what is not too much of one cause: a filter for what writes the log.
#[derive(Clone, Debug, Default)]
pub struct LogLimit(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    causes: Mutex<HashMap<Identifier, Cause>>,
    /// How many lines were not written.
    suppressed: AtomicU64,
    /// Who tells how many; there when there is something to tell.
    teller: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Cause {
    since: Instant,
    lines: u32,
    /// Not written since.
    suppressed: u64,
    level: Level,
    text: String,
}

/// What is to be told of a cause.
#[derive(Debug, PartialEq, Eq)]
struct More {
    level: Level,
    text: String,
    lines: u64,
}

impl LogLimit {
    /// How many lines were not written so far.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.0.suppressed.load(Ordering::Relaxed)
    }

    fn admits(&self, now: Instant, of: &Metadata<'_>, text: impl FnOnce() -> String) -> bool {
        let burst = match *of.level() {
            Level::TRACE => return true,
            Level::DEBUG => DEBUG_BURST,
            _ => BURST,
        };
        if of.target() == OWN_TARGET {
            return true;
        }
        let mut causes = self.causes();
        let cause = causes.entry(of.callsite()).or_insert_with(|| Cause {
            since: now,
            lines: 0,
            suppressed: 0,
            level: *of.level(),
            text: String::new(),
        });
        // What was suppressed is told before a new time begins.
        if cause.suppressed == 0 && now.saturating_duration_since(cause.since) >= WINDOW {
            cause.since = now;
            cause.lines = 0;
        }
        if cause.lines < burst {
            cause.lines += 1;
            return true;
        }
        cause.suppressed += 1;
        let first = cause.suppressed == 1;
        if first {
            cause.text = text();
        }
        drop(causes);
        self.0.suppressed.fetch_add(1, Ordering::Relaxed);
        if first {
            self.wake_teller();
        }
        false
    }

    /// What is to be told of causes whose time is over, and when to look again if others wait.
    fn due(&self, now: Instant) -> (Vec<More>, Option<Duration>) {
        let mut due = Vec::new();
        let mut next: Option<Duration> = None;
        for cause in self.causes().values_mut().filter(|c| c.suppressed > 0) {
            let left = WINDOW.saturating_sub(now.saturating_duration_since(cause.since));
            if left.is_zero() {
                due.push(More {
                    level: cause.level,
                    text: std::mem::take(&mut cause.text),
                    lines: std::mem::take(&mut cause.suppressed),
                });
                cause.since = now;
                cause.lines = 0;
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        (due, next)
    }

    fn wake_teller(&self) {
        let mut teller = self.0.teller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(teller) = &*teller {
            return teller.unpark();
        }
        let limit = self.clone();
        let thread = thread::Builder::new().name("ccpd-log".to_owned());
        // Without a thread the lines are counted, but not told.
        if let Ok(thread) = thread.spawn(move || limit.tell()) {
            *teller = Some(thread.thread().clone());
        }
    }

    /// Tells for as long as the process lives.
    fn tell(&self) {
        loop {
            let (due, next) = self.due(Instant::now());
            for more in due {
                tell(&more);
            }
            match next {
                Some(left) => thread::sleep(left),
                None => thread::park(),
            }
        }
    }

    fn causes(&self) -> MutexGuard<'_, HashMap<Identifier, Cause>> {
        self.0.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(more: &More) {
    let More { text, lines, .. } = more;
    let seconds = WINDOW.as_secs();
    match more.level {
        Level::ERROR => {
            error!(target: OWN_TARGET, "… {lines} more in the last {seconds} s: {text}")
        }
        Level::WARN => warn!(target: OWN_TARGET, "… {lines} more in the last {seconds} s: {text}"),
        Level::INFO => info!(target: OWN_TARGET, "… {lines} more in the last {seconds} s: {text}"),
        _ => debug!(target: OWN_TARGET, "… {lines} more in the last {seconds} s: {text}"),
    }
}

impl<S> Filter<S> for LogLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(Instant::now(), event.metadata(), || {
            let mut text = Text(String::new());
            event.record(&mut text);
            text.0
        })
    }
}

/// The message of an event, without its fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let text = format!("{value:?}");
            let end = text.floor_char_boundary_at(LONGEST);
            self.0 = text.get(..end).unwrap_or_default().to_owned();
        }
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    /// The last boundary of a character that is not beyond `at`.
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        let mut at = at.min(self.len());
        while !self.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use tracing_subscriber::Layer as _;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_flood_of_one_cause_becomes_a_few_lines_and_one_that_counts_the_rest() {
        let (limit, lines) = (LogLimit::default(), Lines::default());
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_ansi(false)
            .with_filter(limit.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for i in 0..1_000 {
                warn!(i, "a flood");
            }
            for _ in 0..3 {
                info!("something else");
            }
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |text: &str| written.lines().filter(|line| line.contains(text)).count();
        assert_eq!(count("a flood"), BURST as usize, "{written}");
        assert_eq!(count("something else"), 3);
        assert_eq!(limit.suppressed(), 1_000 - u64::from(BURST));
        // Nothing is due before the time is over.
        let now = Instant::now();
        let (due, next) = limit.due(now);
        assert_eq!(due, []);
        assert!(next.is_some_and(|left| left <= WINDOW));
        let (due, next) = limit.due(now + WINDOW);
        let expected = More {
            level: Level::WARN,
            text: "a flood".to_owned(),
            lines: 980,
        };
        assert_eq!((due, next), (vec![expected], None));
        // A new time has begun.
        assert_eq!(limit.due(now + 3 * WINDOW), (vec![], None));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ä".repeat(150);
        assert_eq!(text.floor_char_boundary_at(201), 200);
        assert_eq!("short".floor_char_boundary_at(200), 5);
    }
}
