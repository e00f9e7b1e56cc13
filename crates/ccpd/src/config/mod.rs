//! The configuration: a TOML file, checked as a whole. Unknown keys, values out of range and names of
//! things that do not exist are refused with key, value, what is allowed, and line; nothing is
//! clamped. `config/ccpd.toml` describes every key.

mod datapath;
mod fixed;
mod host;
mod limits;
mod policy;
mod problem;
mod programs;
mod service;
mod take;
mod valid;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ccp_core::keys::{Section, Source};
use ccp_core::{Native, Params, SourceText};

pub use ccp_core::keys::{Problem, Problems};
pub use datapath::{DatapathConfig, Namespaces, NetlinkConfig, TcpConfig, TcpName, UnixConfig};
pub use limits::SocketLimits;
pub use policy::{PolicyConfig, RuleConfig};
pub use problem::ConfigError;
pub use service::LogFormat;
pub use take::{EndsConfig, TakeConfig};

/// Everything that a configuration file says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// `ccpd.control`: the control socket, made with mode `control_mode`. Default `/run/ccpd/control.sock`.
    pub control: PathBuf,
    /// `ccpd.control_mode`: who may ask on it, as the file's mode. Changes are for root and the user
    /// that the daemon runs as, whatever the mode says. Default 0600.
    pub control_mode: u32,
    /// `ccpd.algorithm_timeout_ms`: how long an algorithm may take for one report before no flow gets it any
    /// more: 100 ms to 60 s; `None` for ever. Default 2 s.
    pub algorithm_timeout: Option<Duration>,
    /// `metrics.listen`: where metrics are served for Prometheus. Default: nowhere.
    pub metrics: Option<SocketAddr>,
    /// `log.format`: how the log is written. Default: for people.
    pub log_format: LogFormat,
    /// `[[datapath]]`: where flows come from. Default: kernel TCP under the name `ccp`.
    pub datapaths: Vec<DatapathConfig>,
    /// `[algorithms.NAME]`: what flows may run, with the parameters, which the algorithm's code
    /// checks. Default: `reno`.
    pub algorithms: Vec<Params>,
    /// `[policy]`: which flow runs what. Default: all run `reno`.
    pub policy: PolicyConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            control: PathBuf::from(ccp_control::DEFAULT_SOCKET),
            control_mode: 0o600,
            algorithm_timeout: Some(Duration::from_secs(2)),
            metrics: None,
            log_format: LogFormat::default(),
            datapaths: vec![DatapathConfig::Tcp(TcpConfig::default())],
            algorithms: vec![Params::empty("reno")],
            policy: PolicyConfig::default(),
        }
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    /// Reads a configuration that is not in a file.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::parse(text, "configuration")
    }
}

impl Config {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// If it can't be read, or something in it is wrong: then with all that is.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let beside = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse_beside(&text, &path.display().to_string(), beside)
    }

    /// Reads `text`, which lies in the directory `beside` or as if it did: the files that algorithms
    /// take are read too, relative paths from there. `file` names the text in messages.
    ///
    /// # Errors
    /// If something in it is wrong, or a file can't be read: with all that is.
    pub fn parse_beside(text: &str, file: &str, beside: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::parse(text, file)?;
        let wrong = programs::attach(&mut config.algorithms, beside);
        if wrong.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Wrong(Problems(wrong)))
        }
    }

    /// Reads `text` alone, no file that it names; `file` names it in messages. What the text leaves
    /// out has its default.
    ///
    /// # Errors
    /// If something in it is wrong: with all that is.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let text = SourceText::new(file, text);
        let config = ccp_core::keys::read(&text, |root, source| Some(Self::read(root, source)));
        config.map_err(ConfigError::Wrong)
    }

    /// Whether flows can be handed to what `native` names.
    pub(crate) fn check_native(&self, native: &Native) -> Result<(), host::NoNative> {
        policy::check_native(native, &self.datapaths)
    }

    /// Whether `other` says the same. Algorithms are compared by name and kind: what their parameters
    /// mean is known to their code only.
    #[cfg(test)]
    fn means_the_same(&self, other: &Self) -> bool {
        let names = |config: &Self| -> Vec<_> {
            let name = |a: &Params| (a.name().to_owned(), a.kind().to_owned());
            config.algorithms.iter().map(name).collect()
        };
        self.control == other.control
            && self.control_mode == other.control_mode
            && self.algorithm_timeout == other.algorithm_timeout
            && self.metrics == other.metrics
            && self.log_format == other.log_format
            && self.datapaths == other.datapaths
            && self.policy == other.policy
            && names(self) == names(other)
    }

    fn read(root: Section<'_>, source: &Source) -> Self {
        let default = Self::default();
        let (control, control_mode, timeout) = match root.section("ccpd") {
            None => (None, None, None),
            Some(ccpd) => {
                let control = valid::socket_path(&ccpd, "control");
                let mode = valid::mode(&ccpd, "control_mode");
                let timeout = service::algorithm_timeout(&ccpd);
                ccpd.finish();
                (control, mode, timeout)
            }
        };
        let control = control.unwrap_or(default.control);
        let control_mode = control_mode.unwrap_or(default.control_mode);
        let metrics = service::metrics(&root);
        let log_format = service::log_format(&root).unwrap_or_default();
        let datapaths = match root.sections("datapath") {
            None => default.datapaths,
            Some(sections) => datapaths(sections, &control, source),
        };
        let (algorithms, names) = match root.section("algorithms") {
            None => (default.algorithms, vec!["reno"]),
            // Also those that are wrong in themselves: rules may name them all the same.
            Some(section) => (algorithms(&section, source), section.names()),
        };
        let policy = match root.section("policy") {
            Some(section) => PolicyConfig::read(section, &names, &datapaths),
            None => {
                let default = PolicyConfig::default();
                if !names.contains(&default.default.as_str()) {
                    root.missing("policy.default", policy::NO_DEFAULT);
                }
                default
            }
        };
        root.finish();
        Self {
            control,
            control_mode,
            algorithm_timeout: timeout.unwrap_or(default.algorithm_timeout),
            metrics,
            log_format,
            datapaths,
            algorithms,
            policy,
        }
    }
}

fn algorithms(section: &Section<'_>, source: &Source) -> Vec<Params> {
    let mut algorithms = Vec::new();
    for name in section.names() {
        match Params::new(source.text(), name) {
            Ok(params) => algorithms.push(params),
            Err(error) => source.note(Problem::from(&error)),
        }
    }
    algorithms
}

fn datapaths(sections: Vec<Section<'_>>, control: &Path, source: &Source) -> Vec<DatapathConfig> {
    let mut datapaths: Vec<DatapathConfig> = Vec::new();
    for section in sections {
        let Some(datapath) = DatapathConfig::read(&section) else {
            continue;
        };
        check_names(&section, &datapath, &datapaths, source);
        let name = datapath.name();
        let twice = match &datapath {
            DatapathConfig::Unix(unix) if unix.path == control => {
                Some("is the control socket's path already (`ccpd.control`)")
            }
            _ if datapaths.iter().any(|d| d.has_name(&name)) => {
                Some("is another datapath's already: each needs its own")
            }
            _ => None,
        };
        if let Some(why) = twice {
            let key = match datapath {
                DatapathConfig::Tcp(_) => "name",
                DatapathConfig::Unix(_) => "path",
                DatapathConfig::Netlink(_) => "kind",
            };
            let text = format!("{}.{key} = \"{name}\" {why}", section.path());
            source.problem(&section.span_of(key), text);
        }
        section.finish();
        datapaths.push(datapath);
    }
    datapaths
}

/// Further names of a datapath must be names of no other, and each once.
fn check_names(
    section: &Section<'_>,
    datapath: &DatapathConfig,
    before: &[DatapathConfig],
    source: &Source,
) {
    let DatapathConfig::Tcp(tcp) = datapath else {
        return;
    };
    let (path, span) = (section.path(), section.span_of("names"));
    let (count, most) = (tcp.names.len(), datapath::MOST_MORE_NAMES);
    if count > most {
        let text = format!("{path}.names: {count} names are more than {most}, besides the first");
        source.problem(&span, text);
    }
    for (i, name) in tcp.names.iter().map(|n| &n.name).enumerate() {
        let twice = *name == tcp.name
            || tcp.names.iter().take(i).any(|n| n.name == *name)
            || before.iter().any(|d| d.has_name(name));
        if twice {
            let text = format!("{path}.names[{i}].name = \"{name}\" is another name already");
            source.problem(&span, text);
        }
    }
}

#[cfg(test)]
mod tests;
