//! portus with the algorithm of [`super::answer`], until it is killed.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use portus::ipc::{BackendBuilder, Blocking, Ipc, unix::Socket};
use portus::lang::Scope;
use portus::{CongAlg, Datapath, DatapathInfo, DatapathTrait, Flow, Report, RunBuilder};

use super::answer::{PROGRAM, window};

/// Where portus puts the socket called `name`. It knows no other place.
pub(crate) fn socket_path(name: &str) -> PathBuf {
    PathBuf::from("/tmp/ccp").join(name)
}

pub(super) fn run(bind: &str) -> Result<()> {
    let socket = Socket::<Blocking>::new(bind).map_err(|e| anyhow!("{e:?}"))?;
    RunBuilder::new(BackendBuilder { sock: socket })
        .default_alg(Answer)
        .run()
        .map_err(|e| anyhow!("{e:?}"))
}

struct Answer;

struct Steered<I: Ipc> {
    control: Datapath<I>,
    scope: Scope,
}

impl<I: Ipc> CongAlg<I> for Answer {
    type Flow = Steered<I>;

    fn name() -> &'static str {
        "answer"
    }

    fn datapath_programs(&self) -> HashMap<&'static str, String> {
        HashMap::from([("answer", PROGRAM.to_owned())])
    }

    fn new_flow(&self, mut control: Datapath<I>, _: DatapathInfo) -> Steered<I> {
        let scope = control
            .set_program("answer", None)
            .expect("portus installs its program");
        Steered { control, scope }
    }
}

impl<I: Ipc> Flow for Steered<I> {
    fn on_report(&mut self, _: u32, report: Report) {
        let acked = report
            .get_field("Report.acked", &self.scope)
            .expect("the program reports it");
        let window = u32::try_from(window(acked)).expect("at most 16,527");
        self.control
            .update_field(&self.scope, &[("Cwnd", window)])
            .expect("the datapath takes it");
    }
}
