//! Writes the log on a thread of its own: who logs waits for nobody.
//!
//! Whoever reads standard error or the journal may stop reading, and a write then lasts until it goes on. What
//! is logged meanwhile waits in a queue; what the queue has no room for is lost, counted, and told at the
//! place where it is missing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use time::OffsetDateTime;
use tracing::{Event, Subscriber, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use super::OWN_TARGET;
use super::line::Line;
use crate::config::LogFormat;

/// So many lines may wait,
const LINES: usize = 8_192;
/// which may have so many bytes together.
const BYTES: usize = 4 << 20;
/// Another format has to be there within this time: the journal may not answer.
const FORMAT_WITHIN: Duration = Duration::from_secs(1);
/// How long to sleep between looks for room in a full queue.
const PAUSE: Duration = Duration::from_millis(5);

/// The log can't be written so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no journal, or it is away.
    #[error("no journal to log to (`log.format`)")]
    Journal(#[source] io::Error),
    /// What takes the log now does not take what it was given before.
    #[error("the log is not taken where it goes now: its format (`log.format`) can't be changed")]
    Stuck,
    /// The system gives no thread to write it.
    #[error("no thread to write the log")]
    Thread(#[source] io::Error),
}

/// Writes the log, without holding up who logs.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<Told>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// How much waits, in bytes.
    waiting: AtomicUsize,
    /// How many lines were lost so far,
    lost: AtomicU64,
    /// and how many of them since the last that found room.
    untold: AtomicU64,
}

/// What the thread that writes is told.
enum Told {
    /// To write a line, before which so many were lost.
    Line(Line, u64),
    /// To write a text as it is, to standard error.
    Text(String),
    /// To write lines so from now on.
    Format(LogFormat, SyncSender<Result<(), LogError>>),
    /// To say when it has come so far.
    Flush(SyncSender<()>),
}

thread_local! {
    /// When what is being written happened.
    static AT: Cell<SystemTime> = const { Cell::new(SystemTime::UNIX_EPOCH) };
    /// On the thread that writes: what it logs itself, which it writes at once.
    static OWN: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

impl LogWriter {
    /// Begins to write what [`layer`](Self::layer) takes, as `format` says.
    ///
    /// # Errors
    /// If there is no journal and it is to be written there, or no thread to write.
    pub fn start(format: LogFormat) -> Result<Self, LogError> {
        let counts = Arc::new(Counts::default());
        let sink = sink(format, &counts)?;
        let (queue, told) = sync_channel(LINES);
        let writing = Writing {
            told,
            sink,
            counts: Arc::clone(&counts),
        };
        thread::Builder::new()
            .name("ccpd-log-writer".to_owned())
            .spawn(move || writing.run())
            .map_err(LogError::Thread)?;
        Ok(Self(Arc::new(Inner { queue, counts })))
    }

    /// Takes events as lines of the log. What is not to be logged is for filters before it.
    #[must_use]
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Lines(self.clone())
    }

    /// How many lines were lost so far: what takes the log did not take them in time, or not at all.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.counts.lost.load(Ordering::Relaxed)
    }

    /// Writes as `format` says from the next line on.
    ///
    /// # Errors
    /// If there is no journal, or what takes the log now does not take it. Then nothing changes.
    pub fn set_format(&self, format: LogFormat) -> Result<(), LogError> {
        let (answer, answered) = sync_channel(1);
        let until = Instant::now() + FORMAT_WITHIN;
        if !self.push(Told::Format(format, answer), until) {
            return Err(LogError::Stuck);
        }
        let left = until.saturating_duration_since(Instant::now());
        answered.recv_timeout(left).unwrap_or(Err(LogError::Stuck))
    }

    /// Writes `text` and a line's end to standard error, after the lines that wait: the last word of a program
    /// that fails.
    pub fn say(&self, text: &str, within: Duration) {
        self.push(Told::Text(text.to_owned()), Instant::now() + within);
    }

    /// Waits until all that was logged before is written, but not longer than `within`: who reads the log may
    /// not read any more. Returns whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let (done, is_done) = sync_channel(1);
        let until = Instant::now() + within;
        self.push(Told::Flush(done), until)
            && is_done
                .recv_timeout(until.saturating_duration_since(Instant::now()))
                .is_ok()
    }

    /// Puts `told` into the queue as soon as there is room, if that is before `until`.
    fn push(&self, mut told: Told, until: Instant) -> bool {
        loop {
            match self.0.queue.try_send(told) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if Instant::now() >= until => return false,
                Err(TrySendError::Full(back)) => told = back,
            }
            thread::sleep(PAUSE);
        }
    }

    /// Puts a line into the queue, if there is room.
    fn log(&self, line: Line) {
        let Inner { queue, counts } = &*self.0;
        let bytes = line.bytes();
        let waiting = counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        let lost = counts.untold.swap(0, Ordering::Relaxed);
        if waiting.saturating_add(bytes) <= BYTES && queue.try_send(Told::Line(line, lost)).is_ok()
        {
            return;
        }
        counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
        counts.untold.fetch_add(lost + 1, Ordering::Relaxed);
        counts.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes events as lines.
struct Lines(LogWriter);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        let others = OWN.with_borrow_mut(|own| match own {
            Some(own) => {
                own.push(line);
                None
            }
            None => Some(line),
        });
        if let Some(line) = others {
            self.0.log(line);
        }
    }
}

/// The thread that writes.
struct Writing {
    told: Receiver<Told>,
    sink: Sink,
    counts: Arc<Counts>,
}

impl Writing {
    fn run(mut self) {
        OWN.set(Some(Vec::new()));
        loop {
            let told = self.told.try_recv().or_else(|_| {
                self.tell_untold();
                self.told.recv()
            });
            let Ok(told) = told else { return };
            // Whoever waits for an answer may have given up.
            match told {
                Told::Line(line, lost) => {
                    self.tell_lost(lost);
                    self.write(&line);
                    let bytes = line.bytes();
                    self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
                }
                Told::Text(text) => {
                    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
                }
                Told::Format(format, answer) => {
                    let sink = sink(format, &self.counts).map(|sink| self.sink = sink);
                    let _ = answer.try_send(sink);
                }
                Told::Flush(done) => {
                    self.tell_untold();
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn write(&self, line: &Line) {
        AT.set(line.at());
        line.event(|event| self.sink.event(event));
    }

    /// What was lost after the last that found room.
    fn tell_untold(&self) {
        self.tell_lost(self.counts.untold.swap(0, Ordering::Relaxed));
    }

    fn tell_lost(&self, lines: u64) {
        if lines == 0 {
            return;
        }
        // By the filter that holds for all others, and then here instead of into the queue.
        warn!(target: OWN_TARGET, "{lines} lines were lost here: nobody read the log");
        let own = OWN.with_borrow_mut(|own| own.as_mut().map(std::mem::take));
        for line in own.unwrap_or_default() {
            self.write(&line);
        }
    }
}

/// What lines are given to in the end, in one format.
type Sink = Box<dyn Subscriber + Send + Sync>;

fn sink(format: LogFormat, counts: &Arc<Counts>) -> Result<Sink, LogError> {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(StandardError(Arc::clone(counts)))
        .with_timer(WhenItHappened)
        // It would say so on standard error.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Human => {
            let lines = lines.with_ansi(io::stderr().is_terminal());
            Box::new(Registry::default().with(lines))
        }
        LogFormat::Json => Box::new(Registry::default().with(lines.json().flatten_event(true))),
        LogFormat::Journald => {
            let journal = tracing_journald::layer().map_err(LogError::Journal)?;
            let journal = journal.with_syslog_identifier("ccpd".to_owned());
            Box::new(Registry::default().with(journal))
        }
    })
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}

/// Standard error. A line that it does not take is lost.
#[derive(Clone, Debug)]
struct StandardError(Arc<Counts>);

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().write_all(bytes).inspect_err(|_| {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The time of a line: when it happened, not when it is written.
#[derive(Clone, Copy, Debug)]
struct WhenItHappened;

impl FormatTime for WhenItHappened {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let at = OffsetDateTime::from(AT.get());
        write!(
            w,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond()
        )
    }
}

#[cfg(test)]
mod tests;
