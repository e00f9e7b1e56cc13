use std::sync::Mutex;

use tracing::{error, info};

use super::*;

/// What was written, as text and as JSON.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Memory {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A writer whose thread is the test's: nothing is written before `drain`.
fn still() -> (LogWriter, Writing, Memory) {
    let memory = Memory::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(memory.clone())
        .with_timer(WhenItHappened)
        .with_ansi(false);
    let counts = Arc::new(Counts::default());
    let (queue, told) = sync_channel(LINES);
    let writing = Writing {
        told,
        sink: Box::new(Registry::default().with(lines)),
        counts: Arc::clone(&counts),
    };
    (
        LogWriter(Arc::new(Inner { queue, counts })),
        writing,
        memory,
    )
}

/// Writes what waits, on a thread of its own.
fn drain(writer: &LogWriter, writing: Writing) {
    let subscriber = Registry::default().with(writer.layer());
    thread::spawn(move || {
        tracing::subscriber::with_default(subscriber, || writing.run());
    });
    assert!(writer.flush(Duration::from_secs(60)));
}

/// What is written of an event with values of every type, once it has waited; the same as at once.
fn waited<L>(format: impl Fn(Memory) -> L) -> String
where
    L: Layer<Registry> + Send + Sync + 'static,
{
    let (writer, writing, _) = still();
    let (direct, queued) = (Memory::default(), Memory::default());
    let subscriber = Registry::default()
        .with(format(direct.clone()))
        .with(writer.layer());
    tracing::subscriber::with_default(subscriber, || {
        let missing = io::Error::new(io::ErrorKind::NotFound, "no such thing");
        let failure = LogError::Journal(missing);
        let left_out: Option<u64> = None;
        error!(
            flow = 7_u64,
            offset = -3,
            share = 0.5,
            big = u128::MAX,
            known = true,
            name = "cubic",
            shown = %"as people read it",
            why = &failure as &dyn std::error::Error,
            left_out,
            "it {}",
            "happened"
        );
    });
    let writing = Writing {
        sink: Box::new(Registry::default().with(format(queued.clone()))),
        ..writing
    };
    drain(&writer, writing);
    assert_eq!(queued.text(), direct.text());
    queued.text()
}

#[test]
fn a_line_says_what_the_event_said() {
    let lines = |memory| {
        tracing_subscriber::fmt::layer()
            .with_writer(memory)
            .with_ansi(false)
            .without_time()
    };
    let text = waited(lines);
    for said in [
        "flow=7 offset=-3",
        "no journal",
        "no such thing",
        "it happened",
    ] {
        assert!(text.contains(said), "{text}");
    }
    let json = waited(|memory| lines(memory).json().flatten_event(true));
    assert!(
        json.contains("\"flow\":7,\"offset\":-3,\"share\":0.5"),
        "{json}"
    );
}

#[test]
fn what_finds_no_room_is_told_where_it_is_missing() {
    let (writer, writing, memory) = still();
    let subscriber = Registry::default().with(writer.layer());
    tracing::subscriber::with_default(subscriber, || {
        for i in 0..LINES + 5 {
            info!(i, "a line");
        }
    });
    assert_eq!(writer.lost(), 5);
    drain(&writer, writing);
    let text = memory.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), LINES + 1);
    for (i, line) in lines[..LINES].iter().enumerate() {
        assert!(line.ends_with(&format!("a line i={i}")), "{i}: {line}");
    }
    assert!(
        lines[LINES].contains("WARN ccpd::log: 5 lines were lost here"),
        "{}",
        lines[LINES]
    );
    // The time is that of the event, in the usual form.
    let time = lines[0].split(' ').next().unwrap();
    assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
    let now = OffsetDateTime::now_utc().year().to_string();
    assert!(time.starts_with(&now) || time.starts_with("20"), "{time}");
}

#[test]
fn long_lines_have_less_room() {
    let (writer, _writing, _memory) = still();
    let subscriber = Registry::default().with(writer.layer());
    let long = "x".repeat(BYTES / 4);
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..10 {
            info!(long, "a line");
        }
    });
    assert_eq!(writer.lost(), 7);
    assert!(writer.0.counts.waiting.load(Ordering::Relaxed) <= BYTES);
}

#[test]
fn nobody_waits_for_ever_for_a_writer_that_does_not_come_back() {
    let (writer, _writing, _memory) = still();
    let begun = Instant::now();
    assert!(!writer.flush(Duration::from_millis(50)));
    let refused = writer.set_format(LogFormat::Json);
    assert!(matches!(refused, Err(LogError::Stuck)), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
