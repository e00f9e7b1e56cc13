//! Asks the daemon on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::Context as _;
use ccp_control::{Client, ClientError, Selected, Selection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::daemon::runtime;

/// Asks when it is told to, and sees signals that end the program.
#[derive(Debug)]
pub(super) struct Asker {
    questions: mpsc::UnboundedSender<Selection>,
    answers: Receiver<Answer>,
    /// An answer is still to come.
    asked: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

/// What the daemon said, or why it did not.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Result<Selected, String>,
    pub(super) release: String,
    pub(super) at: Instant,
}

impl Asker {
    /// Connects to the daemon on `socket`; its answer to `first` comes first.
    ///
    /// # Errors
    /// If it can't be asked.
    pub(super) fn start(socket: &Path, first: Selection) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let client = runtime.block_on(Client::connect(socket))?;
        let within = runtime.enter();
        let mut terminate = signal(SignalKind::terminate()).context("can't wait for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("can't wait for signals")?;
        // Not Ctrl-C, which is a key here: somebody else's.
        let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for signals")?;
        drop(within);
        let (ask, questions) = mpsc::unbounded_channel();
        let (tell, answers) = channel();
        let (asked, ends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let asker = Self {
            questions: ask,
            answers,
            asked: Arc::clone(&asked),
            ends: Arc::clone(&ends),
        };
        asker.ask(first);
        let socket = socket.to_owned();
        let work = async move {
            tokio::select! {
                () = serve(socket, client, questions, tell, &asked) => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
            ends.store(true, Ordering::Relaxed);
        };
        thread::Builder::new()
            .name("ccp-asker".to_owned())
            .spawn(move || runtime.block_on(work))
            .context("can't start a thread")?;
        Ok(asker)
    }

    /// Asks; the answer comes later.
    pub(super) fn ask(&self, question: Selection) {
        self.asked.store(true, Ordering::Relaxed);
        // Whoever does not listen any more has ended.
        let _ = self.questions.send(question);
    }

    /// Whether an answer is still to come.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// An answer that has come.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Whether the program is to end.
    pub(super) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}

async fn serve(
    socket: PathBuf,
    client: Client,
    mut questions: mpsc::UnboundedReceiver<Selection>,
    tell: Sender<Answer>,
    asked: &AtomicBool,
) {
    let mut connected = Some(client);
    while let Some(question) = questions.recv().await {
        let answer = match answer(&socket, connected.take(), &question).await {
            Ok((client, selected)) => {
                let release = client.release().to_owned();
                connected = Some(client);
                (Ok(selected), release)
            }
            Err(error) => (Err(error.to_string()), String::new()),
        };
        let (result, release) = answer;
        let told = tell.send(Answer {
            result,
            release,
            at: Instant::now(),
        });
        asked.store(false, Ordering::Relaxed);
        if told.is_err() {
            return;
        }
    }
}

/// Asks by the connection that there is, or a new one: the daemon may have started again.
async fn answer(
    socket: &Path,
    connected: Option<Client>,
    question: &Selection,
) -> Result<(Client, Selected), ClientError> {
    let mut client = match connected {
        Some(client) => client,
        None => Client::connect(socket).await?,
    };
    let selected = client.select(question).await?;
    Ok((client, selected))
}
