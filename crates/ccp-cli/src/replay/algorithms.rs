//! Which algorithm a flow gets when it is run again.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, bail};
use ccp_control::recording::RecordedAlgorithm;
use ccp_core::{Algorithm, Params, Registry, SourceText};

use super::hints::Hints;

/// What flows get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// What they had.
    AsRecorded,
    /// What they had, with other parameters.
    Changed,
    /// All of them the same: a recorded name, or a kind.
    Other(String),
}

/// Makes algorithms, each once.
#[derive(Debug)]
pub(super) struct Algorithms {
    registry: Registry,
    choice: Choice,
    overrides: Vec<(String, String)>,
    /// As they are at this point of the recording.
    recorded: HashMap<String, RecordedAlgorithm>,
    built: HashMap<String, Algorithm>,
    other: Option<Algorithm>,
}

impl Algorithms {
    /// # Errors
    /// If one algorithm is chosen for all and can't be made.
    pub(super) fn new(
        choice: Choice,
        overrides: &[(String, String)],
        hints: &Hints,
    ) -> anyhow::Result<Self> {
        let mut algorithms = Self {
            registry: algs::registry(),
            choice,
            overrides: overrides.to_vec(),
            recorded: HashMap::new(),
            built: HashMap::new(),
            other: None,
        };
        if let Choice::Other(name) = &algorithms.choice {
            let other = match hints.algorithms.get(name) {
                Some(recorded) => algorithms.make(recorded)?,
                None if algorithms.registry.kinds().any(|kind| kind == name) => {
                    algorithms.build(Params::empty(name))?
                }
                None => {
                    let mut known: Vec<&str> =
                        hints.algorithms.keys().map(String::as_str).collect();
                    known.extend(algorithms.registry.kinds());
                    known.sort_unstable();
                    known.dedup();
                    bail!(
                        "there is no algorithm `{name}`, neither in the recording nor as a kind; there are {}",
                        known.join(", ")
                    );
                }
            };
            algorithms.other = Some(other);
        }
        Ok(algorithms)
    }

    pub(super) fn is_as_recorded(&self) -> bool {
        self.choice == Choice::AsRecorded
    }

    /// Whether flows get another algorithm where they got one while they were recorded.
    pub(super) const fn follows_changes(&self) -> bool {
        self.other.is_none()
    }

    /// From here on the algorithm is like this.
    pub(super) fn learn(&mut self, algorithm: &RecordedAlgorithm) {
        self.built.remove(&algorithm.name);
        let name = algorithm.name.clone();
        self.recorded.insert(name, algorithm.clone());
    }

    /// What a flow gets that had the algorithm `name`.
    pub(super) fn instead_of(&mut self, name: &str) -> anyhow::Result<Algorithm> {
        if let Some(other) = &self.other {
            return Ok(other.clone());
        }
        if let Some(built) = self.built.get(name) {
            return Ok(built.clone());
        }
        let Some(recorded) = self.recorded.get(name) else {
            bail!(
                "the recording does not say what `{name}` was; --algorithm says what it gets instead"
            );
        };
        let built = self.make(recorded)?;
        self.built.insert(name.to_owned(), built.clone());
        Ok(built)
    }

    fn make(&self, recorded: &RecordedAlgorithm) -> anyhow::Result<Algorithm> {
        let RecordedAlgorithm {
            name,
            kind,
            parameters,
            sources,
        } = recorded;
        // A text in JSON is one in TOML.
        let mut text = format!("kind = {}\n", serde_json::to_string(kind)?);
        for (key, value) in parameters {
            text.push_str(&format!("{} = {value}\n", serde_json::to_string(key)?));
        }
        let mut params = Params::parse_toml(name, &text)?;
        // A program is called as the file that it was in.
        if let Some((program, source)) = sources.first() {
            params.attach("file", SourceText::new(program, source));
        }
        self.build(params)
    }

    fn build(&self, mut params: Params) -> anyhow::Result<Algorithm> {
        if !self.overrides.is_empty() {
            params = params.overridden(&self.overrides)?;
        }
        // Only a file that the command line names is read, none that a recording names.
        let named = self.overrides.iter().any(|(key, _)| key == "file");
        if let (Some(file), true) = (params.text("file"), named) {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("can't read the program {file}"))?;
            params.attach("file", SourceText::new(&file, &text));
        }
        let name = params.name().to_owned();
        let built = self.registry.build(&params);
        built.with_context(|| format!("can't make the algorithm `{name}`"))
    }
}
