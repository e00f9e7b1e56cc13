//! What a daemon is made of.

use std::sync::Arc;

use ccp_core::{
    Algorithm, BuildError, CongAlg, DuplicateKind, Params, Plan, Policy, Registry, Rule,
};

use crate::config::{Config, ConfigError, DatapathConfig, Problem, Problems};
use crate::daemon::Handle;
use crate::datapath::tcp;
use crate::error::StartError;

/// Puts a daemon together: a configuration, and kinds of algorithms besides those that come with it.
#[derive(Debug)]
pub struct Builder {
    config: Config,
    registry: Registry,
    twice: Option<DuplicateKind>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::new();
        let twice = algs::register(&mut registry).err();
        Self {
            config: Config::default(),
            registry,
            twice,
        }
    }

    /// Uses `config` instead of the default configuration.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
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

    /// Checks everything that can be checked without touching the system: that every algorithm is
    /// made and its programs compile.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn check(&self) -> Result<(), StartError> {
        self.plan().map(drop)
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
    pub async fn spawn(self) -> Result<Handle, StartError> {
        let plan = self.plan()?;
        Handle::start(&self.config, plan).await
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

    /// What flows are to run.
    fn plan(&self) -> Result<Arc<Plan>, StartError> {
        if let Some(twice) = &self.twice {
            return Err(twice.clone().into());
        }
        let mut problems = Vec::new();
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for params in &self.config.algorithms {
            match self.registry.build(params) {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(BuildError::Param(error)) => problems.push(Problem::from(&error)),
                Err(other) => problems.push(Problem::from(&params.refuse_all(other))),
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError::Wrong(Problems(problems)).into());
        }
        // A configuration that was read names only algorithms that it has; one that was put together
        // in a program may not.
        let named = |name: &str| {
            let found = algorithms.iter().find(|a| a.name() == name);
            found.cloned().ok_or_else(|| {
                let text = format!("the policy names the algorithm `{name}`, which is not there");
                StartError::from(ConfigError::from(Problem::nowhere(text)))
            })
        };
        let policy = &self.config.policy;
        let rules = policy
            .rules
            .iter()
            .map(|rule| {
                Ok(Rule {
                    matches: rule.matching.clone(),
                    algorithm: named(&rule.algorithm)?,
                })
            })
            .collect::<Result<_, StartError>>()?;
        Ok(Plan::new(Policy::new(rules, named(&policy.default)?)))
    }
}
