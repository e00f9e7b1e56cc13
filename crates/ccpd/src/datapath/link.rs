//! A session with one datapath and the tasks of its flows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ccp_core::{
    Algorithm, AssignError, Assigned, Command, Delivery, FlowId, Given, Opened, Origin, Output,
    Plan, Session, SessionNotice, SessionOptions, SessionStats,
};
use ccp_wire::{Features, Message, frames};
use foldhash::fast::RandomState;
use tracing::{debug, info, warn};

use super::room::Room;
use crate::flow_task::FlowCell;
#[cfg(test)]
use crate::inbox::Head;
use crate::inbox::Turn;
use crate::metrics::{Count, DatapathMetrics, Sampler};
use crate::orders::{Order, Runs};
#[cfg(test)]
use crate::outlet::Haste;
use crate::outlet::{Outlet, Sent};
use crate::shared::Shared;

/// A datapath that lets so many commands lie, and still asks for more, does not read.
const MOST_UNSENT: usize = 1024;

/// One datapath: what comes from it goes in here.
#[derive(Debug)]
pub(super) struct Link {
    session: Session,
    flows: HashMap<FlowId, Arc<FlowCell>, RandomState>,
    outlet: Arc<dyn Outlet>,
    /// How many flows there may be, where it is not the datapath that says so.
    room: Option<Arc<Room>>,
    /// Frames that were no message, since somebody asked.
    malformed: u32,
    /// Commands of the session (not of flows) that the datapath has not taken yet.
    unsent: VecDeque<Command>,
    /// What waits until that is done: the programs that are needed for it are among it.
    waiting: Vec<Waiting>,
    shared: Arc<Shared>,
    /// What the configuration calls it.
    datapath: String,
    /// For logs: which datapath this is.
    name: String,
    metrics: Arc<DatapathMetrics>,
    /// What of the session's counts is among the metrics already.
    counted: SessionStats,
    sampler: Sampler,
}

/// Does for `links`, all those of one task, what that task is ordered to do.
pub(super) fn obey<'l>(order: Order, links: impl IntoIterator<Item = &'l mut Link>) {
    // Who gave the order and did not wait for the answer does not get one.
    match order {
        Order::Ping(done) => {
            let _ = done.send(());
        }
        // Only kernel TCP has flows that it could take.
        Order::Take(_, done) => {
            let _ = done.send(Ok(()));
        }
        Order::Programs(done) => {
            let _ = done.send(links.into_iter().map(|link| link.runs()).collect());
        }
        Order::Restart(flow, done) => {
            for link in links {
                link.restart(flow);
            }
            let _ = done.send(());
        }
        Order::Plan(plan, done) => {
            for link in links {
                link.set_plan(&plan);
            }
            let _ = done.send(());
        }
        Order::Assign { flow, given, done } => {
            let mut assigned = links.into_iter().map(|link| link.assign(flow, &given));
            let assigned = assigned.find(|a| *a != Err(AssignError::NoSuchFlow));
            let _ = done.send(assigned.unwrap_or(Err(AssignError::NoSuchFlow)));
        }
    }
}

/// There is something to do for a flow: whoever has this does it, or leaves it to the flow's task.
#[derive(Debug)]
pub(super) struct Handed<'m> {
    pub(super) flow: Arc<FlowCell>,
    /// A report that has come for it. If there is none, something is in its inbox.
    pub(super) report: Option<Delivery<'m>>,
}

impl Handed<'_> {
    /// Does it here and now. As [`FlowCell::serve`].
    #[cfg(test)]
    pub(super) fn serve(self, haste: Haste) {
        let fields: Vec<u64> = self
            .report
            .iter()
            .flat_map(|r| r.measure.fields())
            .collect();
        let report = self.report.as_ref().map(|r| (Head::of(r), &fields[..]));
        self.flow.serve(report, haste);
    }

    /// Leaves it to the flow's task.
    pub(super) fn leave(mut self) {
        self.put_in();
        self.flow.wake();
    }

    /// The report goes into the inbox: something else is about to come.
    fn put_in(&mut self) {
        if let Some(report) = self.report.take() {
            self.flow.inbox.report(&report);
        }
    }
}

/// There is something to do for `flow`: that is for whoever takes the `last` one, and for its task if it is not
/// the last.
fn hand(flow: Arc<FlowCell>, last: &mut Option<Arc<FlowCell>>) {
    let before = last.replace(flow);
    if let Some(before) = before.filter(|b| last.as_ref().is_some_and(|l| !Arc::ptr_eq(l, b))) {
        before.wake();
    }
}

/// Something that needs programs to be there.
#[derive(Debug)]
enum Waiting {
    /// A flow is to begin.
    Begin(Arc<FlowCell>, Box<Opened>),
    /// A flow is to run something else.
    Assigned(Arc<FlowCell>, Box<Assigned>),
}

impl Link {
    /// A link to the datapath of the configuration called `datapath`; `name` is what logs call it.
    pub(super) fn new(
        datapath: &str,
        name: String,
        outlet: Arc<dyn Outlet>,
        options: SessionOptions,
        shared: &Arc<Shared>,
    ) -> Self {
        let (plan, ids) = (shared.plan(), shared.ids.clone());
        shared.metrics.count(Count::Datapaths, 1);
        Self {
            session: Session::new(datapath, plan, ids, options),
            flows: HashMap::default(),
            outlet,
            room: None,
            malformed: 0,
            unsent: VecDeque::new(),
            waiting: Vec::new(),
            shared: Arc::clone(shared),
            datapath: datapath.to_owned(),
            name,
            metrics: shared.metrics.datapath(datapath),
            counted: SessionStats::default(),
            sampler: Sampler::default(),
        }
    }

    /// Flows are taken as long as there is `room`.
    pub(super) fn limit(&mut self, room: Arc<Room>) {
        self.room = Some(room);
    }

    /// How many frames were no message since the last time.
    pub(super) const fn take_malformed(&mut self) -> u32 {
        std::mem::replace(&mut self.malformed, 0)
    }

    /// The datapath sent `bytes`: one or more frames. What is no frame is counted and passed over, and
    /// so is a second READY among them.
    ///
    /// Returns the flow that the last of it is for, for which the caller does what there is to do, or wakes
    /// its task; other flows' tasks are woken.
    #[must_use]
    pub(super) fn on_bytes<'m>(&mut self, bytes: &'m [u8]) -> Option<Handed<'m>> {
        let mut greeted = false;
        let mut last: Option<Handed<'m>> = None;
        for frame in frames(bytes) {
            if let Some(last) = &mut last {
                last.put_in();
            }
            match frame.and_then(|frame| frame.message()) {
                // Each has all programs made and sent anew: a datagram full of them would hold up
                // everybody else.
                Ok(Message::Ready(_)) if std::mem::replace(&mut greeted, true) => {
                    self.session.on_garbage();
                    self.malformed += 1;
                    self.shared.metrics.count(Count::MessagesRepeated, 1);
                }
                Ok(message) => {
                    let Some(handed) = self.on_message(&message) else {
                        continue;
                    };
                    if let Some(before) = last.take_if(|l| !Arc::ptr_eq(&l.flow, &handed.flow)) {
                        before.leave();
                    }
                    last = Some(handed);
                }
                Err(error) => {
                    self.session.on_garbage();
                    self.malformed += 1;
                    self.shared.metrics.malformed(&error);
                    debug!(datapath = %self.name, %error, "not a message");
                }
            }
        }
        last
    }

    /// The datapath sent `message`. Returns the flow that it is for, as [`on_bytes`](Self::on_bytes) does.
    #[must_use]
    pub(super) fn on_message<'m>(&mut self, message: &Message<'m>) -> Option<Handed<'m>> {
        let Some(delivery) = self.session.on_message(message) else {
            let report = None;
            return self.pass_on().map(|flow| Handed { flow, report });
        };
        let flow = self.flows.get(&delivery.flow)?;
        if self.sampler.next() {
            flow.measure(self.shared.clock.nanos());
        }
        Some(Handed {
            flow: Arc::clone(flow),
            report: Some(delivery),
        })
    }

    /// The rules are others from now on.
    fn set_plan(&mut self, plan: &Arc<Plan>) {
        self.session.set_plan(Arc::clone(plan));
        self.drain();
    }

    /// A flow is to run what `given` says.
    fn assign(&mut self, flow: FlowId, given: &Given) -> Result<(), AssignError> {
        let assigned = self.session.assign(flow, given);
        self.drain();
        assigned
    }

    /// The runner of `flow` does not come back: its task writes nothing more, and another one begins, from
    /// what the datapath shows of the flow.
    fn restart(&mut self, flow: FlowId) {
        let Some(cell) = self.flows.remove(&flow) else {
            return;
        };
        cell.inbox.stop();
        cell.wake();
        self.shared.board.remove(flow);
        self.session.restart(flow);
        self.drain();
    }

    /// Which programs run there.
    fn runs(&self) -> Runs {
        Runs {
            datapath: self.datapath.clone(),
            programs: self.session.programs(),
            faults: self.outlet.faults(),
        }
    }

    /// The session, for what its transport knows by itself. Call [`Self::drain`] afterwards.
    pub(super) const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Does what the session wants done.
    pub(super) fn drain(&mut self) {
        if let Some(flow) = self.pass_on() {
            flow.wake();
        }
    }

    /// The same. Returns the flow that the last of it is for, as [`on_bytes`](Self::on_bytes) does.
    fn pass_on(&mut self) -> Option<Arc<FlowCell>> {
        let mut last = None;
        while let Some(output) = self.session.poll() {
            match output {
                Output::Command(command) => self.unsent.push_back(command),
                Output::Opened(opened) => self.open(opened),
                Output::Resumed { flow, announced } => {
                    self.turn(flow, Turn::Resumed(announced), &mut last);
                }
                Output::Assigned { flow, assigned } => {
                    if let Some(cell) = self.flows.get(&flow) {
                        let waiting = Waiting::Assigned(Arc::clone(cell), assigned);
                        self.waiting.push(waiting);
                    }
                }
                Output::Suspended { flow } => self.turn(flow, Turn::Suspended, &mut last),
                Output::Closed { flow, totals } => {
                    if let Some(cell) = self.flows.remove(&flow) {
                        cell.inbox.close(totals);
                        hand(cell, &mut last);
                    }
                }
                Output::Notice(notice) => self.note(&notice),
                // What a later version of the core may want is not known here.
                _ => {}
            }
        }
        self.send_unsent(&mut last);
        last
    }

    /// Sends what the datapath has not taken yet; returns whether it takes anything.
    pub(super) fn flush(&mut self) -> bool {
        let mut last = None;
        let took = self.send_unsent(&mut last);
        if let Some(flow) = last {
            flow.wake();
        }
        took
    }

    fn send_unsent(&mut self, last: &mut Option<Arc<FlowCell>>) -> bool {
        if !self.unsent.is_empty() {
            let programs = self.session.programs();
            while let Some(command) = self.unsent.front() {
                if self.outlet.send(&programs, command) == Sent::Full {
                    return false;
                }
                self.unsent.pop_front();
            }
        }
        for waiting in self.waiting.drain(..) {
            let cell = match waiting {
                Waiting::Begin(cell, opened) => {
                    cell.begin(opened);
                    cell
                }
                Waiting::Assigned(cell, assigned) => {
                    cell.inbox.assign(assigned);
                    cell
                }
            };
            hand(cell, last);
        }
        true
    }

    /// What logs call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether commands of the session wait for the datapath to take them.
    pub(super) fn is_backed_up(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether the datapath asks for more and more without reading any of it.
    pub(super) fn is_flooding(&self) -> bool {
        self.unsent.len() > MOST_UNSENT
    }

    /// What the session has counted becomes part of the metrics.
    pub(super) fn publish(&mut self) {
        let now = *self.session.stats();
        if now != self.counted {
            let metrics = &self.shared.metrics;
            metrics.session(&self.metrics, &self.counted, &now);
            self.counted = now;
        }
    }

    /// The metrics of its datapath.
    pub(super) fn metrics(&self) -> &DatapathMetrics {
        &self.metrics
    }

    /// The daemon stops: the flows' tasks end, and write nothing more.
    pub(super) fn stop(&mut self) {
        self.forget_waiting();
        for cell in self.flows.values() {
            cell.inbox.stop();
            cell.wake();
        }
    }

    /// The datapath is not served any longer, but may be there: as far as it takes that now, it hears that its
    /// flows are to go on natively. One that knows of signs of life does so by itself.
    pub(super) fn farewell(&mut self) {
        self.stop();
        let programs = self.session.programs();
        if programs.features().contains(Features::HEARTBEAT) {
            return;
        }
        for command in self.session.farewell() {
            if self.outlet.send(&programs, &command) == Sent::Full {
                break;
            }
        }
    }

    /// The datapath has gone: its flows end.
    pub(super) fn disconnect(&mut self) {
        let flows = self.session.flow_count();
        self.session.disconnect();
        self.unsent.clear();
        self.forget_waiting();
        self.drain();
        info!(datapath = %self.name, flows, "the datapath has gone");
    }

    fn forget_waiting(&mut self) {
        for waiting in self.waiting.drain(..) {
            if let Waiting::Begin(cell, _) = waiting {
                cell.give_up();
            }
        }
    }

    fn open(&mut self, mut opened: Box<Opened>) {
        let info = &mut opened.announced.info;
        if info.origin == Origin::Adopted
            && let Some(observed) = self.outlet.observe(info.sock_id)
        {
            let info = Arc::make_mut(info);
            // It may have been announced long ago.
            let own_rate = info.state.rate;
            info.state = observed.state;
            info.state.rate = own_rate;
        }
        let place = match self.room.as_ref().map(Room::take).transpose() {
            Ok(place) => place,
            Err(full) => {
                self.session.refuse(opened.announced.info.sock_id);
                warn!(
                    datapath = %self.name,
                    limit = full.most,
                    key = full.key,
                    "there are as many flows as are taken; further ones run natively"
                );
                return;
            }
        };
        let cell = FlowCell::new(
            &opened,
            Arc::clone(&self.outlet),
            &self.shared,
            &self.metrics,
            place,
        );
        debug!(
            datapath = %self.name,
            flow = opened.flow.0,
            src = %opened.announced.info.src,
            dst = %opened.announced.info.dst,
            algorithm = opened.algorithm.as_ref().map(Algorithm::name),
            "a flow has come"
        );
        self.flows.insert(opened.flow, Arc::clone(&cell));
        self.shared.board.add(Arc::clone(&cell));
        self.waiting.push(Waiting::Begin(cell, opened));
    }

    fn turn(&self, flow: FlowId, turn: Turn, last: &mut Option<Arc<FlowCell>>) {
        if let Some(cell) = self.flows.get(&flow) {
            cell.inbox.turn(turn);
            hand(Arc::clone(cell), last);
        }
    }

    fn note(&mut self, notice: &SessionNotice) {
        let datapath = &self.name;
        match notice {
            SessionNotice::Ready {
                programs,
                lost_flows,
            } => {
                info!(%datapath, programs, lost_flows, "a datapath is ready")
            }
            SessionNotice::ProgramRefused(refused) => warn!(
                %datapath,
                program = refused.program.name(),
                why = %refused.why,

                "the datapath does not run a program"
            ),
            SessionNotice::Unavailable { algorithm } => warn!(
                %datapath,
                algorithm,

                "the datapath does not run what the algorithm needs: its flows get the default, or \
                 stay native"
            ),
            SessionNotice::TooManyFlows { limit } => warn!(
                %datapath,
                limit,

                "the datapath has as many flows as are taken; further ones run natively"
            ),
            other => {
                info!(%datapath, notice = ?other, "about a datapath")
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
        self.publish();
        self.shared.metrics.uncount(Count::Datapaths);
    }
}

#[cfg(test)]
mod tests;
