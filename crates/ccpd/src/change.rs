//! What changes while the daemon runs: the rules, and which algorithm a flow has.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use ccp_core::{
    Algorithm, AssignError, Attributes, BuildError, FlowId, FlowInfo, FlowRunner, Given, Native,
    NotNative, ParamError, ParamProblem, Params, Plan, Policy, Rule, Verdict,
};
use ccp_ebpf::TakeError;
use thiserror::Error;
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::config::{Config, ConfigError, DatapathConfig, LogFormat, Problem, Problems};
use crate::error::in_full;
use crate::log::{LogError, LogWriter};
use crate::making::Maker;
use crate::metrics::{Count, MetricsError, MetricsServer};
use crate::orders::{NoAnswer, Takes, Untaken};
use crate::shared::Shared;

/// What a flow is given by hand to leave it to its datapath.
pub(crate) const NATIVE: &str = "native";
/// And what hands it to an algorithm of the kernel, as it is told to people.
const NATIVE_OF: &str = "native:NAME";

/// A configuration, with the algorithms that were made from it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    config: Config,
    algorithms: Vec<Algorithm>,
}

impl Made {
    /// Makes what `config` says. Algorithms of which it says the same as `before` stay as they are, so
    /// that their flows do not notice. Blocks, for each algorithm as long as the configuration lets it work.
    pub(crate) fn new(
        maker: &Maker,
        config: Config,
        before: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut algorithms = Vec::with_capacity(config.algorithms.len());
        for params in &config.algorithms {
            if let Some(as_before) = before.and_then(|before| before.made_from(params)) {
                algorithms.push(as_before.clone());
                continue;
            }
            match maker.make(params, config.algorithm_timeout) {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(BuildError::Param(error)) => problems.push(Problem::from(&error)),
                Err(other) => problems.push(Problem::from(&params.refuse_all(other))),
            }
        }
        if problems.is_empty() {
            Ok(Self { config, algorithms })
        } else {
            Err(ConfigError::Wrong(Problems(problems)))
        }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    fn made_from(&self, params: &Params) -> Option<&Algorithm> {
        let place = self
            .config
            .algorithms
            .iter()
            .position(|known| known.name() == params.name() && known.says_the_same(params))?;
        self.algorithms.get(place)
    }

    fn algorithm(&self, name: &str) -> Option<&Algorithm> {
        self.algorithms.iter().find(|a| a.name() == name)
    }

    /// What flows are to run.
    pub(crate) fn plan(&self) -> Result<Arc<Plan>, ConfigError> {
        // A configuration that was read names only algorithms that it has; one that was put together
        // in a program may not.
        let named = |name: &str| {
            self.algorithm(name).cloned().ok_or_else(|| {
                let text = format!("the policy names the algorithm `{name}`, which is not there");
                ConfigError::from(Problem::nowhere(text))
            })
        };
        let policy = &self.config.policy;
        let given = |name: &str| match name.parse() {
            Ok(native) => Ok(Given::Native(native)),
            Err(NotNative) => named(name).map(Given::Algorithm),
        };
        let rules = policy
            .rules
            .iter()
            .map(|rule| {
                Ok(Rule {
                    matches: rule.matching.clone(),
                    given: given(&rule.algorithm)?,
                })
            })
            .collect::<Result<_, ConfigError>>()?;
        Ok(Plan::new(Policy::new(rules, named(&policy.default)?)))
    }
}

/// Does what may take its time where it holds up nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Which flows datapaths take without their having asked.
fn takes(config: &Config) -> Takes {
    let takes = config.datapaths.iter().filter_map(|d| match d {
        DatapathConfig::Tcp(tcp) => Some((tcp.name.clone(), tcp.take.as_deref().cloned())),
        DatapathConfig::Unix(_) | DatapathConfig::Netlink(_) => None,
    });
    takes.collect()
}

/// What `name`, which is meant to be one, says; `config` has the names that are ours.
fn native(name: &str, config: &Config) -> Result<Native, SetError> {
    let native: Native = name
        .parse()
        .map_err(|why: NotNative| SetError::NoNative(format!("`{name}`: {why}")))?;
    config
        .check_native(&native)
        .map_err(|why| SetError::NoNative(format!("`{name}`: {why}")))?;
    Ok(native)
}

/// Changes what a running daemon does.
#[derive(Clone, Debug)]
pub struct Changer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    maker: Maker,
    /// The file that the configuration came from.
    file: Option<PathBuf>,
    /// Held while something is changed: one change after the other.
    made: Mutex<Made>,
    /// The Prometheus endpoint, if there is one.
    metrics: std::sync::Mutex<Option<MetricsServer>>,
    /// What writes the log, if it is this program's own.
    log: Option<LogWriter>,
    shared: Arc<Shared>,
}

/// What a new configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The algorithms that are new or have other parameters.
    pub changed: Vec<String>,
    /// How many algorithms there are now.
    pub algorithms: usize,
    /// How many rules there are now.
    pub rules: usize,
}

/// A new configuration is not used: nothing has changed, except for
/// [`NoAnswer`](ReloadError::NoAnswer).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It can't be read, or something in it is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon's configuration did not come from a file.
    #[error("ccpd was started without a configuration file: there is nothing to read again")]
    NoFile,
    /// Metrics can't be served where it says.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The log can't be written as it says.
    #[error("{0}. Nothing was changed")]
    Log(#[source] LogError),
    /// It changes what stays as it is while the daemon runs.
    #[error(
        "{} cannot change while ccpd runs: restart it, or put that back. Nothing was changed",
        keys.join(", ")
    )]
    NeedsRestart {
        /// The keys that say something else than at the start.
        keys: Vec<String>,
    },
    /// The flows that are chosen cannot be taken.
    #[error("`take` of the datapath {datapath}: {source}. Nothing was changed")]
    Take {
        /// The datapath.
        datapath: String,
        /// Why not.
        source: TakeError,
    },
    /// A datapath's task does not obey, because the machine is held up.
    #[error("a datapath has not taken the new rules yet; its flows may run by the old ones")]
    NoAnswer,
}

/// A flow can't be given an algorithm. Nothing has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no such algorithm.
    #[error("there is no algorithm `{name}`; there are: {known}")]
    NoSuchAlgorithm {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// It did not come back from its work: no flow gets it.
    #[error(
        "the algorithm `{name}` is quarantined, as it did not come back from its work; a reload ends that"
    )]
    Quarantined {
        /// What was asked for.
        name: String,
    },
    /// The kernel has no such algorithm to hand the flow to.
    #[error("{0}")]
    NoNative(String),
    /// Flows are left to their datapath without parameters.
    #[error("`{name}` takes no parameters")]
    NoParameters {
        /// What was asked for.
        name: String,
    },
    /// A parameter is wrong.
    #[error("the algorithm `{name}`: {}", parameter(.problem))]
    Param {
        /// What was asked for.
        name: String,
        /// What is wrong.
        problem: ParamError,
    },
    /// The algorithm can't be made.
    #[error(transparent)]
    Build(BuildError),
    /// The flow or its datapath is in the way.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// The datapath's task does not obey, because the machine is held up.
    #[error("the flow's datapath does not answer")]
    NoAnswer,
}

/// What is wrong with a parameter that was given by hand. No line says where, and the table that the key would stand
/// in, `algorithms.cubic(beta=7)`, was never written by anybody.
fn parameter(problem: &ParamProblem) -> String {
    let key = problem.key.rsplit_once(").").map(|(_, key)| key);
    match (key, &problem.value) {
        (Some(key), Some(value)) => format!("{key} = {value}: {}", problem.reason),
        (Some(key), None) => format!("{key}: {}", problem.reason),
        (None, _) => problem.reason.clone(),
    }
}

impl From<NoAnswer> for ReloadError {
    fn from(_: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

impl From<NoAnswer> for SetError {
    fn from(_: NoAnswer) -> Self {
        Self::NoAnswer
    }
}

/// One algorithm of a running daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlgorithmInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its programs' names.
    pub programs: Vec<String>,
    /// The parameters that the configuration gives it, as they are written there.
    pub parameters: Vec<(String, String)>,
    /// Whether flows get it that no rule matches.
    pub default: bool,
    /// The rules that name it, from 0.
    pub rules: Vec<usize>,
    /// Whether no flow gets it, because it did not come back from its work.
    pub quarantined: bool,
}

/// What the rules give a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The rules up to the one that fits, in order.
    pub rules: Vec<RuleVerdict>,
    /// The rule that fits, from 0; `None`: none does, it gets the default.
    pub rule: Option<usize>,
    /// What it gets, if its datapath runs that.
    pub algorithm: String,
}

/// What one rule says to a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleVerdict {
    /// What it gives to flows that fit.
    pub algorithm: String,
    /// What each of its keys says.
    pub keys: Vec<Verdict>,
}

impl Changer {
    pub(crate) fn new(
        maker: Maker,
        file: Option<PathBuf>,
        made: Made,
        log: Option<LogWriter>,
        shared: Arc<Shared>,
    ) -> Self {
        maker.count(&shared.metrics);
        Self(Arc::new(Inner {
            maker,
            file,
            made: Mutex::new(made),
            metrics: std::sync::Mutex::default(),
            log,
            shared,
        }))
    }

    /// Whether the configuration came from a file, which can be read again.
    #[must_use]
    pub fn can_reload(&self) -> bool {
        self.0.file.is_some()
    }

    /// Reads the configuration file again and does what it says now. It is checked as a whole first;
    /// if anything is wrong, nothing changes. Flows get what the rules say now: those whose algorithm
    /// has other parameters go on under way where the algorithm can, the others from their present
    /// window; flows whose algorithm has not changed do not notice.
    ///
    /// # Errors
    /// If the file is wrong, or changes the control socket or the datapaths (but for `take`), or the kernel
    /// does not take the flows that are chosen.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let reloaded = self.read_again().await;
        let result = match &reloaded {
            Ok(_) => Count::ReloadsDone,
            Err(_) => Count::ReloadsRefused,
        };
        self.0.shared.metrics.count(result, 1);
        reloaded
    }

    async fn read_again(&self) -> Result<Reloaded, ReloadError> {
        let file = self.0.file.clone().ok_or(ReloadError::NoFile)?;
        let config = aside(move || Config::load(&file)).await?;
        self.change_to(config).await
    }

    /// The same with a configuration from elsewhere.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn change_to(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let mut current = self.0.made.lock().await;
        let mut keys = current.config.needs_restart(&config);
        if self.0.log.is_none() && current.config.log_format != config.log_format {
            keys.push("log.format".to_owned());
        }
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart { keys });
        }
        let made = self.make(&current, config).await?;
        let plan = made.plan()?;
        let is_new = |algorithm: &&Algorithm| !current.algorithms.iter().any(|a| a.same(algorithm));
        let changed = made.algorithms.iter().filter(is_new);
        let reloaded = Reloaded {
            changed: changed.map(|a| a.name().to_owned()).collect(),
            algorithms: made.algorithms.len(),
            rules: plan.policy().rules().len(),
        };
        // What may fail for a reason that does not stand in the file.
        if let Err(error) = self.change_outside(&current.config, &made.config).await {
            if let Err(error) = self.serve_metrics(current.config.metrics) {
                error!("metrics are not served as before: {}", in_full(&error));
            }
            if let Err(error) = self
                .write_log(&made.config, current.config.log_format)
                .await
            {
                error!("the log is not written as before: {}", in_full(&error));
            }
            return Err(error);
        }
        // Whoever reads the configuration again knows what they do.
        for algorithm in &made.algorithms {
            self.0.shared.watchdog.release(algorithm);
        }
        self.0
            .shared
            .watchdog
            .set_timeout(made.config.algorithm_timeout);
        *current = made;
        self.0.shared.set_plan(Arc::clone(&plan));
        self.0.shared.orders.plan(&plan).await?;
        info!(
            changed = ?reloaded.changed,
            algorithms = reloaded.algorithms,
            rules = reloaded.rules,
            "the configuration was read again"
        );
        Ok(reloaded)
    }

    /// Makes what `config` says.
    async fn make(&self, current: &Made, config: Config) -> Result<Made, ConfigError> {
        let (maker, current) = (self.0.maker.clone(), current.clone());
        aside(move || Made::new(&maker, config, Some(&current))).await
    }

    /// What is to change outside of this program. If something of it fails, what came before it stays changed.
    async fn change_outside(&self, current: &Config, new: &Config) -> Result<(), ReloadError> {
        self.serve_metrics(new.metrics)?;
        self.write_log(current, new.log_format).await?;
        let (before, now) = (takes(current), takes(new));
        if before != now {
            self.take(before, now).await?;
        }
        Ok(())
    }

    /// Has the log written as `format` says, unless it is by what `current` says.
    async fn write_log(&self, current: &Config, format: LogFormat) -> Result<(), ReloadError> {
        let Some(log) = self.0.log.clone() else {
            return Ok(());
        };
        if current.log_format == format {
            return Ok(());
        }
        // What takes the log may not take it at the moment.
        let changed = aside(move || log.set_format(format)).await;
        changed.map_err(ReloadError::Log)
    }

    /// Has kernel TCP take other flows: all that is chosen `now`, or what was chosen `before`.
    async fn take(&self, before: Takes, now: Takes) -> Result<(), ReloadError> {
        let orders = &self.0.shared.orders;
        let Err(untaken) = orders.take(&Arc::new(now)).await? else {
            return Ok(());
        };
        // Those that had it changed already.
        if let Err(Untaken { datapath, why }) = orders.take(&Arc::new(before)).await? {
            error!(%datapath, error = %why, "the choice of before cannot be had back");
        }
        Err(ReloadError::Take {
            datapath: untaken.datapath,
            source: untaken.why,
        })
    }

    /// Serves metrics on `listen` from now on, and nowhere else.
    pub(crate) fn serve_metrics(&self, listen: Option<SocketAddr>) -> Result<(), MetricsError> {
        let shared = &self.0.shared;
        let start = |address| MetricsServer::start(address, &shared.metrics, &shared.stop);
        let mut server = self
            .0
            .metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = server.as_ref().map(MetricsServer::address);
        if before == listen {
            return Ok(());
        }
        // The addresses of one port may stand in each other's way.
        let in_the_way = before.filter(|b| listen.is_some_and(|l| l.port() == b.port()));
        if in_the_way.is_some() {
            *server = None;
        }
        match listen.map(start).transpose() {
            Ok(new) => *server = new,
            Err(error) => {
                if let Some(before) = in_the_way {
                    // Somebody else may have taken it in between.
                    let again = start(before).inspect_err(|error| {
                        error!("metrics are not served as before: {}", in_full(error));
                    });
                    *server = again.ok();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Gives `flow` to the algorithm called `name`, with `overrides` (key, value as in TOML; a value
    /// that is none is taken for a text) instead of what the configuration says of it. `native` leaves
    /// the flow to its datapath; it stays so until the rules change. `native:NAME` hands it to that
    /// algorithm of the kernel, and it ends for us.
    ///
    /// # Errors
    /// If there is no such flow or algorithm, a parameter is wrong, or the datapath does not run what
    /// the algorithm needs.
    pub async fn set(
        &self,
        flow: FlowId,
        name: &str,
        overrides: &[(String, String)],
    ) -> Result<(), SetError> {
        let current = self.0.made.lock().await;
        let given = if Native::is_meant(name) {
            if !overrides.is_empty() {
                let name = name.to_owned();
                return Err(SetError::NoParameters { name });
            }
            Given::Native(native(name, &current.config)?)
        } else {
            self.algorithm(&current, name, overrides).await?.into()
        };
        self.0.shared.orders.assign(flow, &given).await??;
        info!(
            flow = flow.0,
            algorithm = &*given.name(),
            "a flow was given an algorithm by hand"
        );
        Ok(())
    }

    async fn algorithm(
        &self,
        current: &Made,
        name: &str,
        overrides: &[(String, String)],
    ) -> Result<Algorithm, SetError> {
        let configured = current.algorithm(name);
        let params = current.config.algorithms.iter().find(|p| p.name() == name);
        let (Some(configured), Some(params)) = (configured, params) else {
            let known = current.algorithms.iter().map(Algorithm::name);
            return Err(SetError::NoSuchAlgorithm {
                name: name.to_owned(),
                known: known
                    .chain([NATIVE, NATIVE_OF])
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        };
        if configured.is_quarantined() {
            let name = name.to_owned();
            return Err(SetError::Quarantined { name });
        }
        if overrides.is_empty() {
            return Ok(configured.clone());
        }
        let wrong = |problem| {
            let name = name.to_owned();
            SetError::Param { name, problem }
        };
        let params = params.overridden(overrides).map_err(wrong)?;
        let (maker, within) = (self.0.maker.clone(), current.config.algorithm_timeout);
        let made = aside(move || maker.make(&params, within)).await;
        made.map_err(|error| match error {
            BuildError::Param(problem) => wrong(problem),
            error => SetError::Build(error),
        })
    }

    /// The algorithms that there are, in the order of the configuration.
    pub async fn algorithms(&self) -> Vec<AlgorithmInfo> {
        let current = self.0.made.lock().await;
        let plan = self.0.shared.plan();
        let policy = plan.policy();
        let info = |algorithm: &Algorithm| AlgorithmInfo {
            name: algorithm.name().to_owned(),
            kind: algorithm.kind().to_owned(),
            programs: algorithm
                .programs()
                .iter()
                .map(|program| program.name().to_owned())
                .collect(),
            parameters: algorithm.parameters().to_vec(),
            default: policy.default_algorithm().same(algorithm),
            rules: (0..)
                .zip(policy.rules())
                .filter_map(|(place, rule)| {
                    rule.given.algorithm()?.same(algorithm).then_some(place)
                })
                .collect(),
            quarantined: algorithm.is_quarantined(),
        };
        current.algorithms.iter().map(info).collect()
    }

    /// The algorithms themselves.
    pub(crate) async fn made(&self) -> Vec<Algorithm> {
        self.0.made.lock().await.algorithms.clone()
    }

    /// Forgets of a flow that somebody made up what the datapath called `datapath` would not tell of it:
    /// every attribute unless it is kernel TCP, or none of the configuration.
    pub(crate) async fn as_told(&self, flow: &mut FlowInfo, datapath: &str) {
        let datapaths = &self.0.made.lock().await.config.datapaths;
        let is_silent =
            |d: &DatapathConfig| !matches!(d, DatapathConfig::Tcp(_)) && d.has_name(datapath);
        if datapaths.iter().any(is_silent) {
            flow.attributes = Attributes::default();
        }
    }

    /// What the rules give the flow `flow` of the datapath called `datapath`, and why.
    #[must_use]
    pub fn explain(&self, flow: &FlowInfo, datapath: &str) -> Explanation {
        let plan = self.0.shared.plan();
        let policy = plan.policy();
        let choice = policy.choose(flow, datapath);
        let looked_at = choice
            .rule
            .map_or_else(|| policy.rules().len(), |rule| rule + 1);
        let rules = policy.rules().iter().take(looked_at);
        Explanation {
            rules: rules
                .map(|rule| RuleVerdict {
                    algorithm: rule.given.name().into_owned(),
                    keys: rule.matches.verdicts(flow, datapath),
                })
                .collect(),
            rule: choice.rule,
            algorithm: choice.given.name().into_owned(),
        }
    }

    /// What the rules give the flow of `runner`, and why; and whether what it has was given by hand.
    pub(crate) fn judge(&self, runner: &FlowRunner) -> (Explanation, bool) {
        let (info, status) = (runner.info(), runner.status());
        let explanation = self.explain(info, &status.datapath);
        let plan = self.0.shared.plan();
        let policy = plan.policy();
        let chosen = policy.choose(info, &status.datapath).given.algorithm();
        let expected = chosen.and_then(|chosen| {
            [chosen, policy.default_algorithm()]
                .into_iter()
                .find(|algorithm| runner.programs().fits(algorithm))
        });
        let as_expected = match (expected, runner.assigned()) {
            (Some(expected), Some(assigned)) => expected.same(assigned),
            (None, None) => true,
            _ => false,
        };
        (explanation, !as_expected)
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }
}
