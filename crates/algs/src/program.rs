//! An algorithm that is nothing but a program in the datapath language: no agent answers it.
//!
//! The program stands in a file or in the configuration itself. Its control variables are the
//! algorithm's parameters, under their own names. It runs alone: what it reports is there to be
//! looked at.

use std::collections::BTreeMap;

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Flow, FlowState, Micros, NewFlow,
    ParamError, Params, Rate, Report, ReportField, Resume, Timestamp, Updates,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Keys that are not control variables.
const OWN: [&str; 3] = ["file", "source", "own_recovery"];

/// A value in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    Other(IgnoredAny),
}

/// The algorithm with its program.
#[derive(Clone, Debug)]
pub struct Program {
    code: CompiledProgram,
    /// Every control variable that is not volatile.
    settings: Vec<Setting>,
    seen: Seen,
}

/// What a control variable is to be.
#[derive(Clone, Copy, Debug)]
struct Setting {
    place: Place,
    value: u64,
    default: u64,
}

/// A control variable of either type.
#[derive(Clone, Copy, Debug)]
enum Place {
    Number(ControlField<u64>),
    Bool(ControlField<bool>),
}

impl Setting {
    fn set(self, updates: Updates) -> Updates {
        match self.place {
            Place::Number(field) => updates.set(field, self.value),
            Place::Bool(field) => updates.set(field, self.value != 0),
        }
    }
}

/// The report variables that say how the flow is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    cwnd: Option<ReportField<Bytes>>,
    rate: Option<ReportField<Rate>>,
    rtt: Option<ReportField<Micros>>,
}

impl Program {
    /// The algorithm with the parameters `params`:
    ///
    /// | key | |
    /// |---|---|
    /// | `file` | the file with the program, which who reads the configuration has [attached](Params::attach) |
    /// | `source` | or the program itself |
    /// | `own_recovery` | the program answers losses itself: the datapath does not reduce the window. Default `false` |
    /// | any other | the value of the control variable of this name, instead of its default |
    ///
    /// # Errors
    /// If there is no program or two of them, it does not compile, or a key is no control variable
    /// of it or has a value of another type.
    pub fn from_params(params: &Params) -> Result<Self, BuildError> {
        let values: BTreeMap<String, Value> = params.parse()?;
        let own_recovery = match values.get("own_recovery") {
            None => false,
            Some(Value::Bool(own)) => *own,
            Some(_) => {
                return Err(params
                    .refuse("own_recovery", "must be true or false")
                    .into());
            }
        };
        let mut code = compile(params, &values)?;
        if own_recovery {
            code = code.with_own_recovery();
        }
        let mut settings = Vec::new();
        for variable in code.ir().controls.iter().filter(|v| !v.volatile) {
            let given = values
                .get(&variable.name)
                .filter(|_| !OWN.contains(&&*variable.name));
            settings.push(setting(params, &code, &variable.name, given)?);
        }
        for name in values.keys().filter(|name| !OWN.contains(&name.as_str())) {
            check_name(params, &code, name)?;
        }
        let seen = Seen {
            cwnd: code.report("cwnd").ok(),
            rate: code.report("rate").ok(),
            rtt: code.report("rtt").ok(),
        };
        Ok(Self {
            code,
            settings,
            seen,
        })
    }
}

/// The program, from the file or from the configuration.
fn compile(
    params: &Params,
    values: &BTreeMap<String, Value>,
) -> Result<CompiledProgram, BuildError> {
    let (key, name, text) = match (values.get("file"), values.get("source")) {
        (Some(_), Some(_)) => {
            let reason = "the program is in `file` already: give one of the two";
            return Err(params.refuse("source", reason).into());
        }
        (None, None) => {
            let reason = "needs `file`, the path of a program, or `source`, the program itself";
            return Err(params.refuse_all(reason).into());
        }
        (Some(Value::Text(_)), None) => match params.file("file") {
            Some(file) => ("file", file.name().to_owned(), file.text()),
            None => {
                let reason = "is read with a configuration file only: give `source`";
                return Err(params.refuse("file", reason).into());
            }
        },
        (Some(_), None) => return Err(params.refuse("file", "must be a path").into()),
        (None, Some(Value::Text(text))) => (
            "source",
            format!("algorithms.{}.source", params.name()),
            &**text,
        ),
        (None, Some(_)) => {
            return Err(params.refuse("source", "must be a program's text").into());
        }
    };
    CompiledProgram::compile(&name, text).map_err(|error| {
        // Its value may be the whole program: the message shows the line instead.
        BuildError::from(params.refuse_without_value(key, error))
    })
}

/// What the control variable `name` is to be.
fn setting(
    params: &Params,
    code: &CompiledProgram,
    name: &str,
    given: Option<&Value>,
) -> Result<Setting, BuildError> {
    let wrong = |expected: &str| -> BuildError {
        let reason = format!("must be {expected}, as the program's control variable is");
        params.refuse(name, reason).into()
    };
    let declared = code.ir().controls.iter().find(|v| v.name == name);
    let default = declared.map_or(0, |v| v.default);
    let (place, value) = if let Ok(field) = code.control(name) {
        let value = match given {
            None => default,
            Some(Value::Bool(value)) => u64::from(*value),
            Some(_) => return Err(wrong("true or false")),
        };
        (Place::Bool(field), value)
    } else {
        let value = match given {
            None => default,
            Some(Value::Number(value)) => *value,
            Some(Value::Text(text)) if text == "+infinity" => u64::MAX,
            Some(_) => return Err(wrong("a whole number from 0, or \"+infinity\"")),
        };
        (Place::Number(code.control(name)?), value)
    };
    Ok(Setting {
        place,
        value,
        default,
    })
}

/// Refuses a key that is no control variable which can be given.
fn check_name(params: &Params, code: &CompiledProgram, name: &str) -> Result<(), ParamError> {
    let controls = &code.ir().controls;
    match controls.iter().find(|v| v.name == name) {
        Some(variable) if variable.volatile => Err(params.refuse(
            name,
            "can't be given: it is volatile, and returns to its default with every report",
        )),
        Some(_) => Ok(()),
        None => {
            let known: Vec<&str> = controls.iter().map(|v| v.name.as_str()).collect();
            let known = match known.as_slice() {
                [] => "it has none".to_owned(),
                known => format!("it has {}", known.join(", ")),
            };
            Err(params.refuse(
                name,
                format!("no such key, and the program has no such control variable: {known}"),
            ))
        }
    }
}

impl CongAlg for Program {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.code.clone()]
    }

    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(ProgramFlow {
            program: self.clone(),
            state: flow.info.state,
        })
    }
}

/// One flow.
#[derive(Debug)]
struct ProgramFlow {
    program: Program,
    /// As last reported.
    state: FlowState,
}

impl Flow for ProgramFlow {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.state = resume.state;
        let given = self
            .program
            .settings
            .iter()
            .filter(|s| s.value != s.default);
        given.fold(Updates::run(&self.program.code), |updates, s| {
            s.set(updates)
        })
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let Seen { cwnd, rate, rtt } = self.program.seen;
        if let Some(cwnd) = cwnd {
            self.state.cwnd = report.get(cwnd);
        }
        if let Some(rate) = rate {
            self.state.rate = report.get(rate);
        }
        if let Some(rtt) = rtt {
            self.state.srtt = report.get(rtt);
        }
        Updates::none()
    }

    /// Another program begins anew; of the same one, variables take the values that were changed.
    fn reconfigure(&mut self, _now: Timestamp, alg: &dyn CongAlg) -> Option<Updates> {
        let alg: &dyn std::any::Any = alg;
        let alg = alg.downcast_ref::<Program>()?;
        if !alg.code.same(&self.program.code) {
            return None;
        }
        let both = alg.settings.iter().zip(&self.program.settings);
        let changed = both.filter(|(new, old)| new.value != old.value);
        let updates = changed.fold(Updates::none(), |updates, (new, _)| new.set(updates));
        self.program = alg.clone();
        Some(updates)
    }

    fn state(&self) -> Option<FlowState> {
        Some(self.state)
    }
}

#[cfg(test)]
mod tests;
