//! Which kinds of algorithms there are, and how one is made from its parameters.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::alg::CongAlg;
use crate::fields::FieldErrors;
use crate::near::near;
use crate::params::{ParamError, Params};
use crate::program::{CompileError, CompiledProgram, NoSuchField};

/// An algorithm with a name and parameters, ready to take on flows. Cheap to clone.
#[derive(Clone)]
pub struct Algorithm(Arc<Inner>);

struct Inner {
    name: String,
    kind: String,
    alg: Arc<dyn CongAlg>,
    programs: Vec<CompiledProgram>,
    parameters: Vec<(String, String)>,
    quarantined: AtomicBool,
}

impl Algorithm {
    /// `alg`, of the kind `kind`, under the name `name`.
    #[must_use]
    pub fn new(name: &str, kind: &str, alg: Arc<dyn CongAlg>) -> Self {
        Self::with_parameters(name, kind, alg, Vec::new())
    }

    fn with_parameters(
        name: &str,
        kind: &str,
        alg: Arc<dyn CongAlg>,
        parameters: Vec<(String, String)>,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            kind: kind.to_owned(),
            programs: alg.programs(),
            quarantined: AtomicBool::new(false),
            alg,
            parameters,
        }))
    }

    /// Its name: that of its table in the configuration, in rules and in every output.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its kind: the code.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// What makes its flows.
    #[must_use]
    pub fn alg(&self) -> &dyn CongAlg {
        &*self.0.alg
    }

    /// The programs that its flows may run.
    #[must_use]
    pub fn programs(&self) -> &[CompiledProgram] {
        &self.0.programs
    }

    /// The parameters that it was made from, as they were written; the others have their defaults.
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        &self.0.parameters
    }

    /// From now on no flow gets it, and those that it has get another one at their next chance. Whoever
    /// sees that it does not come back from its work says so, from any thread. Returns whether this is new.
    #[must_use]
    pub fn quarantine(&self) -> bool {
        !self.0.quarantined.swap(true, Ordering::Relaxed)
    }

    /// Flows get it again. Returns whether this is new.
    pub fn release(&self) -> bool {
        self.0.quarantined.swap(false, Ordering::Relaxed)
    }

    /// Whether no flow gets it, because it did not come back from its work.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.0.quarantined.load(Ordering::Relaxed)
    }

    /// Whether `self` and `other` are one and the same: made together, not only alike.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Algorithm")
            .field("name", &self.0.name)
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}

/// An algorithm cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A parameter is wrong, or the kind does not exist.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A program does not compile.
    #[error(transparent)]
    Program(#[from] CompileError),
    /// The algorithm asks for a field that its program does not have.
    #[error(transparent)]
    Field(#[from] NoSuchField),
    /// A struct of the algorithm does not fit its program.
    #[error(transparent)]
    Fields(#[from] FieldErrors),
    /// The algorithm panicked while it was made.
    #[error("algorithm `{name}` of kind `{kind}` panicked while it was made: {message}")]
    Panicked {
        /// The algorithm's name.
        name: String,
        /// Its kind.
        kind: String,
        /// What the panic said.
        message: String,
    },
    /// Something else that the algorithm says.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A kind of this name is there already.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is an algorithm kind `{kind}` already")]
pub struct DuplicateKind {
    /// The name.
    pub kind: String,
}

type Make = Box<dyn Fn(&Params) -> Result<Arc<dyn CongAlg>, BuildError> + Send + Sync>;

/// The kinds of algorithms, by name.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<String, Make>,
}

impl Registry {
    /// A registry without any kind.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the kind `kind`; `make` makes an algorithm from its parameters.
    ///
    /// # Errors
    /// If the kind is there already: nothing is overwritten.
    pub fn register<A, E, F>(&mut self, kind: &str, make: F) -> Result<(), DuplicateKind>
    where
        A: CongAlg,
        E: Into<BuildError>,
        F: Fn(&Params) -> Result<A, E> + Send + Sync + 'static,
    {
        if self.kinds.contains_key(kind) {
            return Err(DuplicateKind {
                kind: kind.to_owned(),
            });
        }
        let make: Make = Box::new(move |params| match make(params) {
            Ok(alg) => Ok(Arc::new(alg)),
            Err(error) => Err(error.into()),
        });
        self.kinds.insert(kind.to_owned(), make);
        Ok(())
    }

    /// The names of all kinds, in alphabetical order.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// Makes the algorithm that `params` describes.
    ///
    /// # Errors
    /// If its kind does not exist, a parameter is wrong, a program does not compile, or the code
    /// panics.
    pub fn build(&self, params: &Params) -> Result<Algorithm, BuildError> {
        let kind = params.kind();
        let Some(make) = self.kinds.get(kind) else {
            let hint = near(kind, self.kinds())
                .map(|near| format!("did you mean `{near}`? "))
                .unwrap_or_default();
            let known: Vec<&str> = self.kinds().collect();
            let known = known.join(", ");
            return Err(params
                .refuse_kind(format_args!(
                    "there is no kind `{kind}`: {hint}There are: {known}"
                ))
                .into());
        };
        let made = catch_unwind(AssertUnwindSafe(|| {
            let parameters = params.entries().map(|(k, v)| (k.to_owned(), v.to_owned()));
            let parameters = parameters.collect();
            Ok(Algorithm::with_parameters(
                params.name(),
                kind,
                make(params)?,
                parameters,
            ))
        }));
        made.unwrap_or_else(|panic| {
            Err(BuildError::Panicked {
                name: params.name().to_owned(),
                kind: kind.to_owned(),
                message: panic_message(&*panic).to_owned(),
            })
        })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

/// What a panic said, if it said anything in words.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests;
