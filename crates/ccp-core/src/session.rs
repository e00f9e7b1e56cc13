//! The control plane's side of one datapath.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ccp_types::{Attributes, FlowInfo, Origin, SockId};
use ccp_wire::{Capabilities, Create, Features, Hello, Measure, Message, Totals, VERSION};
use foldhash::fast::RandomState;

use crate::alg::FlowId;
use crate::command::Command;
use crate::policy::{Given, Native};
use crate::registry::Algorithm;
use crate::table::{ProgramTable, RefusedProgram};

mod output;
mod plan;
mod stats;

pub use output::{Announced, AssignError, Assigned, Delivery, Opened, Output, SessionNotice};
pub use plan::{FlowIds, Plan, SessionOptions};
pub use stats::SessionStats;

/// The control plane's side of one datapath: which flows it has, what they get, what of its
/// messages can be believed.
///
/// Give it messages ([`on_message`](Self::on_message)), then call [`poll`](Self::poll) until there
/// is nothing more. It performs no IO and reads no clock; no message makes it fail. What cannot be
/// believed is dropped and counted ([`SessionStats`]).
#[derive(Debug)]
pub struct Session {
    datapath: Arc<str>,
    plan: Arc<Plan>,
    ids: FlowIds,
    options: SessionOptions,
    /// `None` until the datapath has been told anything.
    programs: Option<Arc<ProgramTable>>,
    flows: HashMap<SockId, Entry, RandomState>,
    outputs: VecDeque<Output>,
    stats: SessionStats,
    full: bool,
}

#[derive(Debug)]
struct Entry {
    id: FlowId,
    /// As it was first announced: what the rules look at.
    info: Arc<FlowInfo>,
    generation: u32,
    suspended: bool,
}

impl Session {
    /// A session with the datapath that the configuration calls `datapath`, from which nothing has
    /// been heard yet.
    #[must_use]
    pub fn new(datapath: &str, plan: Arc<Plan>, ids: FlowIds, options: SessionOptions) -> Self {
        Self {
            datapath: datapath.into(),
            plan,
            ids,
            options,
            programs: None,
            flows: HashMap::default(),
            outputs: VecDeque::new(),
            stats: SessionStats::default(),
            full: false,
        }
    }

    /// The datapath sent `message`. A report to be handed on is returned at once; everything else
    /// comes through [`poll`](Self::poll).
    pub fn on_message<'m>(&mut self, message: &Message<'m>) -> Option<Delivery<'m>> {
        match message {
            Message::Measure(measure) => return self.on_measure(*measure),
            Message::Create(create) => self.on_create(create),
            Message::Ready(ready) => self.on_ready(ready.capabilities.as_ref()),
            Message::Unknown(_) => self.stats.unknown_messages += 1,
            _ => self.stats.unexpected_messages += 1,
        }
        None
    }

    /// The datapath sent something that is no message.
    pub const fn on_garbage(&mut self) {
        self.stats.garbage += 1;
    }

    /// The datapath is there, with these capabilities (`None` is libccp's): what READY says.
    ///
    /// If it was there before, it has started again, and has none of the flows any more.
    pub fn on_ready(&mut self, capabilities: Option<&Capabilities>) {
        let lost_flows = self.flows.len();
        if self.programs.is_some() {
            self.stats.restarts += 1;
        }
        self.end_all();
        self.greet(capabilities);
        let programs = self.programs().installed().len();
        self.notice(SessionNotice::Ready {
            programs,
            lost_flows,
        });
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The control plane itself was away for so long that the datapath has taken over its flows:
    /// no flow is believed until it is announced again, which the new `epoch` asks for.
    ///
    /// A datapath without heartbeat does not take over and will not announce its flows again: with
    /// such a one nothing happens.
    pub fn suspend(&mut self, epoch: u32) {
        let watched = self
            .programs
            .as_ref()
            .is_some_and(|p| p.features().contains(Features::HEARTBEAT));
        if !watched {
            return;
        }
        self.options.epoch = epoch;
        let mut suspended: Vec<FlowId> = self
            .flows
            .values_mut()
            .filter_map(|entry| {
                let already = std::mem::replace(&mut entry.suspended, true);
                (!already).then_some(entry.id)
            })
            .collect();
        // The order of a hash table is nobody's business.
        suspended.sort_unstable();
        let outputs = suspended.into_iter();
        self.outputs
            .extend(outputs.map(|flow| Output::Suspended { flow }));
        self.hello();
    }

    /// The rules are others from now on: every flow is told what they give it now. Flows that were
    /// given an algorithm by hand get what the rules say.
    pub fn set_plan(&mut self, plan: Arc<Plan>) {
        self.plan = plan;
        let Some(programs) = self.programs.clone() else {
            return;
        };
        let plan = self.plan.clone();
        let programs = self.install_more(&programs, plan.algorithms());
        self.tell_of_refusals(&programs);
        let flows = self.flows.values();
        let mut flows: Vec<(FlowId, Arc<FlowInfo>)> =
            flows.map(|entry| (entry.id, entry.info.clone())).collect();
        // The order of a hash table is nobody's business.
        flows.sort_unstable_by_key(|(flow, _)| *flow);
        for (flow, info) in flows {
            let (algorithm, native, rule) = self.choose(&info, &programs);
            let assigned = Assigned {
                algorithm,
                native,
                default: plan.policy().default_algorithm().clone(),
                rule,
                programs: programs.clone(),
            };
            self.outputs.push_back(Output::Assigned {
                flow,
                assigned: Box::new(assigned),
            });
        }
    }

    /// Gives `flow` to an algorithm or leaves it to its datapath, whatever the rules say, until they
    /// change.
    ///
    /// # Errors
    /// If there is no such flow here, or its datapath does not run what the algorithm needs, or does not
    /// hand flows to others. Nothing has changed then.
    pub fn assign(&mut self, flow: FlowId, given: &Given) -> Result<(), AssignError> {
        let known = self.flows.values().any(|entry| entry.id == flow);
        let Some(mut programs) = self.programs.clone().filter(|_| known) else {
            return Err(AssignError::NoSuchFlow);
        };
        let native = match given {
            Given::Native(Native::Named(name)) if !self.options.natives => {
                let name = Arc::clone(name);
                return Err(AssignError::NoNatives { name });
            }
            Given::Native(native) => native.clone(),
            Given::Algorithm(_) => Native::Own,
        };
        if let Some(algorithm) = given.algorithm() {
            let wanted = std::slice::from_ref(algorithm);
            let extended = programs.extended(wanted);
            if !extended.fits(algorithm) {
                let why = |r: &RefusedProgram| format!("program `{}`: {}", r.program.name(), r.why);
                return Err(AssignError::Unfit {
                    algorithm: algorithm.name().to_owned(),
                    why: extended.refused().iter().map(why).collect(),
                });
            }
            programs = self.install_more(&programs, wanted);
        }
        let assigned = Assigned {
            algorithm: given.algorithm().cloned(),
            native,
            default: self.plan.policy().default_algorithm().clone(),
            rule: None,
            programs,
        };
        self.outputs.push_back(Output::Assigned {
            flow,
            assigned: Box::new(assigned),
        });
        Ok(())
    }

    /// Takes `flow` on anew, under another name, as what it was last announced as: its runner does not come
    /// back. Nothing happens if there is no such flow.
    pub fn restart(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.values_mut().find(|entry| entry.id == flow) else {
            return;
        };
        entry.id = self.ids.next();
        let mut info = FlowInfo::clone(&entry.info);
        info.origin = Origin::Adopted;
        let (new, generation, suspended) = (entry.id, entry.generation, entry.suspended);
        self.outputs
            .push_back(Output::Closed { flow, totals: None });
        let programs = self.programs();
        let (algorithm, native, rule) = self.choose(&info, &programs);
        self.outputs.push_back(Output::Opened(Box::new(Opened {
            flow: new,
            datapath: self.datapath.clone(),
            algorithm,
            native,
            rule,
            programs,
            announced: Announced {
                generation,
                faults: 0,
                info: info.into(),
            },
        })));
        if suspended {
            self.outputs.push_back(Output::Suspended { flow: new });
        }
    }

    /// The flow that [`Output::Opened`] told of is not taken after all: its transport has no room for it.
    pub fn refuse(&mut self, sock_id: SockId) {
        if let Some(entry) = self.flows.remove(&sock_id) {
            self.stats.flows_opened -= 1;
            self.turn_away(entry.id, &entry.info, entry.generation);
        }
    }

    /// For each flow, the command to go on natively: for a datapath that is not served any longer.
    pub fn farewell(&self) -> impl Iterator<Item = Command> {
        self.flows.iter().map(|(sock_id, entry)| Command::Native {
            flow: entry.id,
            sock_id: *sock_id,
            generation: entry.generation,
            mss: entry.info.mss,
            by: Native::default(),
        })
    }

    /// Ends the flows that are not there any more, for a datapath whose messages of their end may have
    /// been lost: `is_there` looks. Returns how many there were.
    ///
    /// Whatever the datapath has sent until now has to have been given before, or else an announcement
    /// that is still to come brings back a flow that is gone.
    pub fn end_missing(&mut self, is_there: impl Fn(SockId) -> bool) -> usize {
        let known = self.flows.keys().copied();
        let mut missing: Vec<SockId> = known.filter(|sock_id| !is_there(*sock_id)).collect();
        // The order of a hash table is nobody's business.
        missing.sort_unstable();
        for sock_id in &missing {
            self.stats.ends_unheard += 1;
            self.end(*sock_id, None);
        }
        missing.len()
    }

    /// The datapath has gone: all its flows end.
    pub fn disconnect(&mut self) {
        self.end_all();
        self.programs = None;
    }

    /// The programs that the datapath runs; none before it was heard of.
    #[must_use]
    pub fn programs(&self) -> Arc<ProgramTable> {
        self.programs
            .clone()
            .unwrap_or_else(|| Arc::new(ProgramTable::none()))
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &SessionStats {
        &self.stats
    }

    /// How many flows there are.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Says hello and installs every program, numbered from 1: libccp forgets all others then.
    fn greet(&mut self, capabilities: Option<&Capabilities>) {
        let table = ProgramTable::new(self.plan.algorithms(), capabilities);
        self.tell_of_refusals(&table);
        self.programs = Some(Arc::new(table));
        self.hello();
        for installed in self.programs().installed() {
            self.command(Command::Install(installed.clone()));
        }
    }

    /// The datapath runs `algorithms` as well from now on, as far as it can.
    fn install_more(
        &mut self,
        programs: &ProgramTable,
        algorithms: &[Algorithm],
    ) -> Arc<ProgramTable> {
        let table = Arc::new(programs.extended(algorithms));
        self.programs = Some(table.clone());
        for new in table.installed().iter().skip(programs.installed().len()) {
            self.command(Command::Install(new.clone()));
        }
        table
    }

    fn tell_of_refusals(&mut self, table: &ProgramTable) {
        for refused in table.refused() {
            self.stats.programs_refused += 1;
            // An algorithm may have several programs of which one is enough.
            let needed = |a: &&Algorithm| {
                !table.fits(a) && a.programs().iter().any(|p| p.same(&refused.program))
            };
            if self.plan.algorithms().iter().any(|a| needed(&a)) {
                self.outputs
                    .push_back(Output::Notice(SessionNotice::ProgramRefused(
                        refused.clone(),
                    )));
            }
        }
        for algorithm in self.plan.algorithms() {
            if !table.fits(algorithm) {
                self.stats.algorithms_unavailable += 1;
                self.outputs
                    .push_back(Output::Notice(SessionNotice::Unavailable {
                        algorithm: algorithm.name().to_owned(),
                    }));
            }
        }
    }

    fn hello(&mut self) {
        let features = self.programs().features();
        if !features.contains(Features::HELLO) {
            return;
        }
        self.command(Command::Hello(Hello {
            version: VERSION,
            features,
            epoch: self.options.epoch,
            heartbeat: self.options.heartbeat,
            fallback_after: self.options.fallback_after,
        }));
    }

    fn on_create(&mut self, create: &Create) {
        let Ok(mut info) = create.to_flow_info(self.options.port_order) else {
            self.stats.bad_creates += 1;
            return;
        };
        if !self.options.attributes {
            info.attributes = Attributes::default();
        }
        if self.programs.is_none() {
            // It did not say READY, or we were not there to hear it: it is taken for libccp's.
            self.greet(None);
        }
        let announced = Announced {
            generation: create.generation(),
            faults: create.faults(),
            info: info.into(),
        };
        match self.flows.get_mut(&announced.info.sock_id) {
            Some(entry)
                if (entry.info.src, entry.info.dst) == (announced.info.src, announced.info.dst) =>
            {
                entry.generation = announced.generation;
                entry.suspended = false;
                let flow = entry.id;
                self.stats.flows_resumed += 1;
                self.outputs.push_back(Output::Resumed {
                    flow,
                    announced: Box::new(announced),
                });
            }
            Some(_) => {
                // The slot has another flow by now; the end of the one before was lost.
                self.stats.flows_replaced += 1;
                self.end(announced.info.sock_id, None);
                self.open(announced);
            }
            None => self.open(announced),
        }
    }

    fn open(&mut self, announced: Announced) {
        let limit = self.options.max_flows;
        if self.flows.len() >= limit {
            if !std::mem::replace(&mut self.full, true) {
                self.notice(SessionNotice::TooManyFlows { limit });
            }
            let flow = self.ids.next();
            self.turn_away(flow, &announced.info, announced.generation);
            return;
        }
        let flow = self.ids.next();
        let info = &announced.info;
        self.flows.insert(
            info.sock_id,
            Entry {
                id: flow,
                info: info.clone(),
                generation: announced.generation,
                suspended: false,
            },
        );
        self.stats.flows_opened += 1;
        let programs = self.programs();
        let (algorithm, native, rule) = self.choose(info, &programs);
        let opened = Opened {
            flow,
            datapath: self.datapath.clone(),
            algorithm,
            native,
            rule,
            programs,
            announced,
        };
        self.outputs.push_back(Output::Opened(Box::new(opened)));
    }

    /// What the rules give a flow on a datapath that runs `programs`, how that steers it otherwise, and
    /// which of the rules it was.
    /// A flow is not taken. Nothing is kept of it; its datapath hears that it is to go on natively, which
    /// libccp's would otherwise not do.
    fn turn_away(&mut self, flow: FlowId, info: &FlowInfo, generation: u32) {
        self.stats.flows_refused += 1;
        self.command(Command::Native {
            flow,
            sock_id: info.sock_id,
            generation,
            mss: info.mss,
            by: Native::default(),
        });
    }

    /// What the rules give a flow on a datapath that runs `programs`, and which of them it was.
    fn choose(
        &mut self,
        info: &FlowInfo,
        programs: &ProgramTable,
    ) -> (Option<Algorithm>, Native, Option<usize>) {
        let choice = self.plan.policy().choose(info, &self.datapath);
        let chosen = match choice.given {
            Given::Algorithm(algorithm) => algorithm,
            Given::Native(native) if self.options.natives => {
                return (None, native.clone(), choice.rule);
            }
            Given::Native(_) => return (None, Native::Own, choice.rule),
        };
        let default = self.plan.policy().default_algorithm();
        let algorithm = [chosen, default]
            .into_iter()
            .find(|algorithm| !algorithm.is_quarantined() && programs.fits(algorithm));
        if !chosen.is_quarantined() && !algorithm.is_some_and(|algorithm| algorithm.same(chosen)) {
            self.stats.flows_without_their_algorithm += 1;
        }
        (algorithm.cloned(), Native::Own, choice.rule)
    }

    fn on_measure<'m>(&mut self, measure: Measure<'m>) -> Option<Delivery<'m>> {
        let stats = &mut self.stats;
        let Some(entry) = self.flows.get(&measure.sock_id) else {
            stats.reports_of_unknown_flows += 1;
            return None;
        };
        let of_this_announcement = measure
            .trailer
            .is_none_or(|trailer| trailer.generation == entry.generation);
        if measure.is_close() {
            // The flow is gone, whatever was last known of it.
            self.end(measure.sock_id, measure.totals);
            return None;
        }
        if entry.suspended {
            stats.reports_while_suspended += 1;
            return None;
        }
        if !of_this_announcement {
            stats.reports_of_earlier_announcements += 1;
            return None;
        }
        let program = self
            .programs
            .as_ref()
            .and_then(|programs| programs.get(measure.program_uid));
        let Some(program) = program else {
            stats.reports_of_unknown_programs += 1;
            return None;
        };
        if measure.len() != program.program.ir().reports.len() {
            stats.reports_of_wrong_length += 1;
            return None;
        }
        stats.reports += 1;
        let merged = measure
            .trailer
            .map_or(0, |trailer| u64::from(trailer.merged));
        stats.reports_merged += merged;
        Some(Delivery {
            flow: entry.id,
            generation: entry.generation,
            merged,
            measure,
        })
    }

    fn end(&mut self, sock_id: SockId, totals: Option<Totals>) {
        if let Some(entry) = self.flows.remove(&sock_id) {
            self.full = false;
            self.stats.flows_closed += 1;
            self.outputs.push_back(Output::Closed {
                flow: entry.id,
                totals,
            });
        }
    }

    fn end_all(&mut self) {
        let mut ended: Vec<FlowId> = self.flows.drain().map(|(_, entry)| entry.id).collect();
        // As above.
        ended.sort_unstable();
        self.full = false;
        self.stats.flows_lost += ended.len() as u64;
        self.outputs.extend(
            ended
                .into_iter()
                .map(|flow| Output::Closed { flow, totals: None }),
        );
    }

    fn command(&mut self, command: Command) {
        self.outputs.push_back(Output::Command(command));
    }

    fn notice(&mut self, notice: SessionNotice) {
        self.outputs.push_back(Output::Notice(notice));
    }
}

#[cfg(test)]
mod tests;
