//! What an algorithm is.

use std::any::Any;

use ccp_types::{FlowInfo, FlowState, Origin, SockId, Timestamp};

use crate::program::CompiledProgram;
use crate::report::Report;
use crate::table::ProgramTable;
use crate::update::Updates;

/// Names a flow within the control plane: unique as long as the control plane lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// A congestion-control algorithm with its configuration: the factory of its flows.
///
/// It compiles its programs when it is made and resolves the names of their fields once; one value
/// then serves any number of flows. It performs no IO and reads no clock.
pub trait CongAlg: Any + Send + Sync {
    /// The programs that its flows may run. A datapath is given all of them before the first flow.
    fn programs(&self) -> Vec<CompiledProgram>;

    /// Whether it can steer flows of a datapath that runs the programs which `runs` says it does.
    ///
    /// By default it needs all of them. An algorithm with one program for datapaths that measure
    /// much and another for the rest needs one of the two, and asks [`NewFlow::runs`] which.
    fn fits(&self, runs: &dyn Fn(&CompiledProgram) -> bool) -> bool {
        self.programs().iter().all(runs)
    }

    /// Takes on a flow. Nothing happens to the flow yet: [`Flow::on_resume`] is called next.
    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow>;
}

/// A flow that an algorithm is to take on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct NewFlow<'a> {
    /// Its name, with which updates are addressed to it.
    pub id: FlowId,
    /// The name of its datapath in the configuration.
    pub datapath: &'a str,
    /// What its datapath told of it.
    pub info: &'a FlowInfo,
    programs: Option<&'a ProgramTable>,
}

impl<'a> NewFlow<'a> {
    /// The flow `id` of the datapath `datapath`, which runs any program.
    #[must_use]
    pub const fn new(id: FlowId, datapath: &'a str, info: &'a FlowInfo) -> Self {
        Self {
            id,
            datapath,
            info,
            programs: None,
        }
    }

    /// The same, on a datapath that runs the programs of `programs`.
    #[must_use]
    pub const fn on(self, programs: &'a ProgramTable) -> Self {
        Self {
            programs: Some(programs),
            ..self
        }
    }

    /// Whether its datapath runs `program`: it has everything that the program names, and room for
    /// it.
    #[must_use]
    pub fn runs(&self, program: &CompiledProgram) -> bool {
        self.programs.is_none_or(|programs| programs.runs(program))
    }
}

/// One flow under an algorithm.
///
/// Every method gets the time, which never goes back, and returns what is to be done. A panic costs
/// this flow a switch to the default algorithm and touches no other.
pub trait Flow: Send {
    /// The flow is yours from now on: because it is new, because it was alive before the control
    /// plane was, because the datapath gives it back after having had to take over, or because it
    /// was another algorithm's until now (then it counts as adopted). Always the first call, and
    /// the place to choose the program: none runs, whatever ran before. Until a program runs, the
    /// datapath steers the flow by itself. May come again at any time, also for a new flow whose
    /// datapath got no answer.
    fn on_resume(&mut self, now: Timestamp, resume: &Resume) -> Updates;

    /// The program reported. Reports of a program that this flow no longer runs are not delivered.
    fn on_report(&mut self, now: Timestamp, report: &Report<'_>) -> Updates;

    /// The time asked for with [`Updates::wake_at`] has come.
    fn on_timer(&mut self, _now: Timestamp) -> Updates {
        Updates::none()
    }

    /// The parameters have changed: `alg` is what the configuration now says, of the same kind.
    /// `None` means that this flow cannot change under way; it is then made anew from its present
    /// window.
    fn reconfigure(&mut self, _now: Timestamp, _alg: &dyn CongAlg) -> Option<Updates> {
        None
    }

    /// Something else happened. New events may be added: pass over what you do not know.
    fn on_event(&mut self, _now: Timestamp, _event: &Event) -> Updates {
        Updates::none()
    }

    /// Window, rate and round-trip time as the flow knows them from its reports, for listings.
    /// Asked only where the datapath does not tell; `None` if they are what was last set.
    fn state(&self) -> Option<FlowState> {
        None
    }
}

/// The state in which an algorithm gets a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// Why it gets it.
    pub origin: Origin,
    /// Window, rate and round-trip time at this moment.
    pub state: FlowState,
    /// Largest segment the flow sends at this moment, in bytes.
    pub mss: u32,
}

impl Resume {
    /// A flow that comes for the reason `origin`, in the state `state`.
    #[must_use]
    pub const fn new(origin: Origin, state: FlowState, mss: u32) -> Self {
        Self { origin, state, mss }
    }
}

/// What may happen to a flow besides reports and timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The largest segment has another size now, in bytes.
    MssChanged {
        /// The new size.
        mss: u32,
    },
    /// Reports were produced faster than they could be delivered.
    ReportsMissed {
        /// How many never reached the algorithm.
        count: u64,
    },
    /// Invocations of the program had no effect because it faulted, usually so many in a row that
    /// the datapath took over. Told when the datapath gives the flow back, just before
    /// [`Flow::on_resume`], the place to choose another program; an answer to this event is void.
    ProgramFault {
        /// How many invocations had no effect since the announcement before.
        count: u64,
    },
    /// The flow ended. The last call.
    Closed(Totals),
}

/// What was counted over the life of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Reports delivered to the algorithm.
    pub reports: u64,
    /// Updates sent to the datapath.
    pub updates: u64,
}

impl Totals {
    /// Totals of so many reports and updates.
    #[must_use]
    pub const fn new(reports: u64, updates: u64) -> Self {
        Self { reports, updates }
    }
}

/// The flow's name within its datapath, for logs.
impl From<&NewFlow<'_>> for SockId {
    fn from(flow: &NewFlow<'_>) -> Self {
        flow.info.sock_id
    }
}
