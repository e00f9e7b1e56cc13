//! What a daemon is made of.

use std::path::{Path, PathBuf};

use ccp_core::{BuildError, CongAlg, DuplicateKind, Params, Registry};

use crate::change::Made;
use crate::config::{Config, ConfigError, DatapathConfig, LogFormat};
use crate::daemon::{Handle, Logs};
use crate::datapath::tcp;
use crate::error::StartError;
use crate::log::{LogFilter, LogLimit, LogWriter};
use crate::making::Maker;
use crate::socket_file::PassedSocket;

/// Puts a daemon together: a configuration, and kinds of algorithms besides those that come with it.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    /// Where the configuration came from.
    file: Option<PathBuf>,
    registry: Registry,
    twice: Option<DuplicateKind>,
    log: Option<LogFilter>,
    limit: Option<LogLimit>,
    writer: Option<LogWriter>,
    sockets: Vec<PassedSocket>,
    spare_threads: usize,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::new();
        let twice = algs::register(&mut registry).err();
        Self {
            config: Config::default(),
            file: None,
            registry,
            twice,
            log: None,
            limit: None,
            writer: None,
            sockets: Vec::new(),
            spare_threads: 0,
        }
    }

    /// Uses `config` instead of the default configuration.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.file = None;
        self
    }

    /// Uses the configuration in the file `path`, which the running daemon can read again.
    ///
    /// # Errors
    /// If it can't be read, or something in it is wrong: then with all that is.
    pub fn config_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        self.config = Config::load(path)?;
        // Where it is then is where it is read from again.
        self.file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(self)
    }

    /// Uses sockets that this process was passed, each for what the configuration has at the path that it is
    /// bound at, instead of making them.
    #[must_use]
    pub fn sockets(mut self, sockets: Vec<PassedSocket>) -> Self {
        self.sockets = sockets;
        self
    }

    /// Adds a kind of algorithm: in the configuration, `kind = "…"`. `make` makes an algorithm from
    /// the other keys of its table. A name that is taken is an error when the daemon starts.
    #[must_use]
    pub fn kind<A, E, F>(mut self, kind: &str, make: F) -> Self
    where
        A: CongAlg,
        E: Into<BuildError>,
        F: Fn(&Params) -> Result<A, E> + Send + Sync + 'static,
    {
        if let Err(twice) = self.registry.register(kind, make) {
            self.twice.get_or_insert(twice);
        }
        self
    }

    /// Counts among the metrics what `limit` leaves out of the log.
    #[must_use]
    pub fn log_limit(mut self, limit: LogLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lets a new configuration change the format of the log, which `writer` writes as
    /// [`log_format`](Self::log_format) says, and counts among the metrics what it loses.
    #[must_use]
    pub fn log_writer(mut self, writer: LogWriter) -> Self {
        self.writer = Some(writer);
        self
    }

    /// How the configuration has the log written, for who sets it up.
    #[must_use]
    pub const fn log_format(&self) -> LogFormat {
        self.config.log_format
    }

    /// Lets who may change the daemon change what it logs, with `filter`.
    #[must_use]
    pub fn log_filter(mut self, filter: LogFilter) -> Self {
        self.log = Some(filter);
        self
    }

    /// Checks everything that can be checked without touching the system: that every algorithm is
    /// made and its programs compile. Gives what is not wrong in these, but probably not meant, as a person
    /// reads it.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn check(self) -> Result<Vec<String>, StartError> {
        let (_, made) = self.make()?;
        let programs = made.algorithms().iter().flat_map(|a| a.programs());
        let warnings = programs.filter_map(|program| program.warnings().map(str::to_owned));
        Ok(warnings.collect())
    }

    /// Keeps so many of the runtime's threads in reserve, each to take the place of one that an algorithm holds
    /// up. The runtime has to have more of them: `worker_threads` is to be so much higher: two work
    /// in any case. By default none.
    #[must_use]
    pub const fn spare_threads(mut self, count: usize) -> Self {
        self.spare_threads = count;
        self
    }

    /// Starts the daemon on the present Tokio runtime. When this returns, its sockets are there and
    /// its datapaths are under way.
    ///
    /// # Errors
    /// If the configuration is wrong, a socket can't be made, or a datapath is not possible here.
    /// Then nothing is left behind.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn spawn(mut self) -> Result<Handle, StartError> {
        let file = self.file.take();
        let logs = Logs {
            filter: self.log.take(),
            limit: self.limit.take(),
            writer: self.writer.take(),
        };
        let (sockets, spare_threads) = (std::mem::take(&mut self.sockets), self.spare_threads);
        let (maker, made) = self.make()?;
        Handle::start(maker, file, made, logs, sockets, spare_threads).await
    }

    /// Removes what a killed daemon left in the kernel for this configuration: its flows go to the
    /// system's own algorithm, its names are free again. Returns the names that were there. Not needed
    /// before a start, which takes over what was left.
    ///
    /// # Errors
    /// If a living daemon uses the name, or rights are missing.
    pub fn clean_up(&self) -> Result<Vec<String>, StartError> {
        let mut cleaned = Vec::new();
        for datapath in &self.config.datapaths {
            if let DatapathConfig::Tcp(config) = datapath
                && tcp::clean_up(config)?
            {
                cleaned.push(config.name.clone());
            }
        }
        Ok(cleaned)
    }

    /// Makes the algorithms that the configuration describes.
    fn make(self) -> Result<(Maker, Made), StartError> {
        if let Some(twice) = self.twice {
            return Err(twice.into());
        }
        let maker = Maker::new(self.registry);
        let made = Made::new(&maker, self.config, None)?;
        made.plan()?;
        Ok((maker, made))
    }
}
