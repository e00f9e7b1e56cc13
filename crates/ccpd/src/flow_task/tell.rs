//! What happens to a flow is logged, and told if anybody listens.

use std::sync::Arc;

use ccp_control::{FlowMode, Why};
use ccp_core::{
    Algorithm, Announced, Assigned, FlowRunner, FlowUpdate, Origin, RawReport, RunnerNotice,
    Timestamp,
};
use ccp_wire::Totals;
use tracing::{debug, error, trace, warn};

use super::show::{self, name_of};
use super::work::Work;
use crate::change::NATIVE;
use crate::feed::{Reported, Topic, Updated, What};
use crate::metrics::{Count, OfAlgorithm};
use crate::outlet::Observed;

/// A longer text, of an algorithm's panic, is cut.
const LONGEST_TEXT: usize = 1024;

impl Work<'_> {
    fn tell_change(&self, at: Timestamp, what: impl FnOnce() -> What) {
        let feed = &self.shared.feed;
        if feed.wants(Topic::Changes) {
            feed.tell(Topic::Changes, at, self.cell.id, what());
        }
    }

    /// `now` is what the algorithm was told, so that what is told can be run again.
    pub(super) fn tell_opened(
        &self,
        runner: &FlowRunner,
        now: Timestamp,
        origin: Origin,
        rule: Option<usize>,
    ) {
        self.tell_change(now, || What::Opened {
            status: self.status(runner, now),
            origin: show::origin(origin),
            rule,
        });
    }

    /// How the flow is in the end, if anybody wants to know: before its algorithm goes.
    pub(super) fn last_status(
        &self,
        runner: &FlowRunner,
        now: Timestamp,
    ) -> Option<Box<ccp_control::FlowStatus>> {
        let wanted = self.shared.feed.wants(Topic::Changes);
        wanted.then(|| self.status(runner, now))
    }

    /// The last that is told of the flow.
    pub(super) fn tell_closed(
        &self,
        last: Option<Box<ccp_control::FlowStatus>>,
        totals: Option<&Totals>,
        now: Timestamp,
    ) {
        if let Some(mut status) = last {
            if let Some(totals) = totals {
                status.sent_bytes = Some(totals.sent.0);
                status.delivered_bytes = Some(totals.delivered.0);
                status.lost_bytes = Some(totals.lost.0);
            }
            self.tell_change(now, || What::Closed { status });
        }
    }

    pub(super) fn tell_step(&self, now: Timestamp, what: impl FnOnce() -> What) {
        let feed = &self.shared.feed;
        if feed.wants(Topic::Steps) {
            feed.tell(Topic::Steps, now, self.cell.id, what());
        }
    }

    /// The datapath has been told.
    pub(super) fn tell_updated(&self, runner: &FlowRunner, update: &FlowUpdate) {
        // The clock is not read for nothing.
        if self.shared.feed.wants(Topic::Steps) {
            self.tell_step(self.shared.clock.now(), || {
                What::Updated(Box::new(Updated {
                    update: update.clone(),
                    programs: Arc::clone(runner.programs()),
                }))
            });
        }
    }

    fn status(&self, runner: &FlowRunner, now: Timestamp) -> Box<ccp_control::FlowStatus> {
        let mut status = show::status(runner, now);
        if let Some(observed) = self.cell.outlet.observe(self.sock_id) {
            show::see(&mut status, &observed);
        }
        Box::new(status)
    }

    pub(super) fn tell_suspended(&self, now: Timestamp) {
        self.tell_change(now, || What::FellBack {
            why: Why::DaemonAway,
        });
    }

    /// Before `runner` hears of it: it still knows the program that faulted.
    pub(super) fn tell_resumed(&self, runner: &FlowRunner, now: Timestamp, announced: &Announced) {
        self.tell_step(now, || What::Announced(announced_as(announced)));
        // Where one can look, it has been seen.
        let again = announced.generation != runner.generation();
        if again && announced.faults > 0 && self.seen.is_none() {
            self.tell_change(now, || faults(runner, announced.faults.into()));
        }
        if announced.info.origin == Origin::Resumed {
            self.tell_change(now, || What::Returned {
                cwnd_bytes: announced.info.state.cwnd.0,
            });
        }
    }

    /// The datapath shows that the flow is steered by somebody else than before, or has faulted.
    #[cold]
    pub(super) fn tell_seen(&self, runner: &FlowRunner, observed: &Observed) {
        let Some((mode, before)) = self.seen else {
            return;
        };
        let now = self.shared.clock.now();
        let count = u64::from(observed.faults.saturating_sub(before));
        if count > 0 {
            self.tell_change(now, || faults(runner, count));
        }
        if observed.mode == FlowMode::Fallback && mode != FlowMode::Fallback {
            self.tell_change(now, || What::FellBack { why: Why::Datapath });
        }
    }

    pub(super) fn assign(&self, runner: &mut FlowRunner, now: Timestamp, assigned: Assigned) {
        if !self.shared.feed.wants(Topic::Changes) {
            return runner.assign(now, assigned);
        }
        let from = runner.algorithm().cloned();
        runner.assign(now, assigned);
        let to = runner.algorithm();
        let as_before = match (&from, to) {
            (Some(from), Some(to)) => from.same(to),
            (None, None) => true,
            _ => false,
        };
        if !as_before {
            self.tell_change(now, || What::AlgorithmChanged {
                from: name_of(from.as_ref()),
                to: name_of(to),
                why: Why::Assigned,
            });
        }
    }

    /// Something about the flow that somebody should know: counted, logged and told.
    pub(super) fn note(&self, notice: RunnerNotice) {
        let (flow, at) = (self.cell.id.0, self.shared.clock.now());
        let metrics = &self.shared.metrics;
        match notice {
            RunnerNotice::Panicked {
                algorithm,
                message,
                now,
            } => {
                metrics
                    .algorithm(Some(&algorithm))
                    .count(OfAlgorithm::Panics);
                error!(
                    flow,
                    algorithm,
                    panic = message,
                    now = heir(&now),
                    "an algorithm panicked"
                );
                self.tell_change(at, || What::Panicked {
                    algorithm: algorithm.clone(),
                    message: message.chars().take(LONGEST_TEXT).collect(),
                });
                self.tell_left(at, algorithm, now, Why::Panicked);
            }
            RunnerNotice::TakenOver { algorithm, now } => {
                metrics.count(Count::FlowsTakenOver, 1);
                error!(
                    flow,
                    algorithm,
                    now = heir(&now),
                    "the datapath took the flow over again and again (its program faults, or the algorithm does not come back): the algorithm is given up for this flow"
                );
                self.tell_left(at, algorithm, now, Why::TakenOver);
            }
            // Told once for all flows.
            RunnerNotice::Quarantined { algorithm, now } => {
                debug!(
                    flow,
                    algorithm,
                    ?now,
                    "a flow has left its quarantined algorithm"
                );
                self.tell_left(at, algorithm, now, Why::Quarantined);
            }
            RunnerNotice::Refused { algorithm, error } => {
                warn!(flow, algorithm, %error, "an algorithm's update was refused");
                self.tell_change(at, || What::UpdateRefused {
                    algorithm,
                    why: error.to_string(),
                });
            }
            other => warn!(flow, notice = ?other, "about a flow"),
        }
    }

    /// The flow has gone from the algorithm `from` to `to`, or to its datapath.
    fn tell_left(&self, at: Timestamp, from: String, to: Option<String>, why: Why) {
        self.tell_change(at, || What::AlgorithmChanged {
            from,
            to: to.unwrap_or_else(|| NATIVE.to_owned()),
            why,
        });
    }

    /// `RUST_LOG=ccpd::report=trace` shows every report with the names of its values.
    pub(super) fn log_report(&self, runner: &FlowRunner, report: &RawReport<'_>) {
        if !tracing::enabled!(target: "ccpd::report", tracing::Level::TRACE) {
            return;
        }
        let Some((uid, program)) = runner.program() else {
            return;
        };
        if uid != report.program_uid {
            return;
        }
        let values = program.ir().reports.iter().zip(report.fields);
        let values: Vec<String> = values
            .map(|(v, value)| format!("{}={value}", v.name))
            .collect();
        trace!(
            target: "ccpd::report",
            flow = self.cell.id.0,
            algorithm = runner.algorithm().map(Algorithm::name),
            program = program.name(),
            "{}",
            values.join(" ")
        );
    }

    /// Hands a report to the algorithm, and tells it with what followed.
    pub(super) fn report(&self, runner: &mut FlowRunner, now: Timestamp, report: &RawReport<'_>) {
        if self.shared.feed.wants(Topic::Reports) {
            self.report_and_tell(runner, now, report);
        } else {
            runner.on_report(now, report);
        }
    }

    #[cold]
    fn report_and_tell(&self, runner: &mut FlowRunner, now: Timestamp, report: &RawReport<'_>) {
        let program = runner.program().map(|(_, program)| program.clone());
        let algorithm = name_of(runner.algorithm());
        let before = runner.status().counts.reports;
        runner.on_report(now, report);
        let status = runner.status();
        // What was not for the algorithm is counted, not told.
        let (Some(program), true) = (program, status.counts.reports > before) else {
            return;
        };
        let reported = Reported {
            algorithm,
            program,
            merged: report.merged,
            cwnd_bytes: status.state.cwnd.0,
            rate_bytes_per_s: status.state.rate.0,
            values: report.fields.to_vec(),
        };
        let what = What::Report(Box::new(reported));
        let feed = &self.shared.feed;
        feed.tell(Topic::Reports, now, self.cell.id, what);
    }

    pub(super) fn tell_missed(&self, now: Timestamp, count: u64) {
        let feed = &self.shared.feed;
        if feed.wants(Topic::Reports) {
            let what = What::ReportsMissed { count };
            feed.tell(Topic::Reports, now, self.cell.id, what);
        }
    }
}

/// What the algorithm is told of the flow.
pub(super) fn announced_as(announced: &Announced) -> ccp_control::Announced {
    let info = &announced.info;
    ccp_control::Announced {
        origin: show::origin(info.origin),
        generation: announced.generation,
        faults: announced.faults,
        mss_bytes: info.mss,
        init_cwnd_bytes: info.init_cwnd.0,
        cwnd_bytes: info.state.cwnd.0,
        rate_bytes_per_s: info.state.rate.0,
        rtt_us: info.state.srtt.0,
        min_rtt_us: info.state.min_rtt.0,
    }
}

fn faults(runner: &FlowRunner, count: u64) -> What {
    What::ProgramFaults {
        program: runner
            .program()
            .map(|(_, program)| program.name().to_owned()),
        count,
    }
}

/// Who has the flow after an algorithm.
fn heir(now: &Option<String>) -> &str {
    now.as_deref().unwrap_or("its datapath")
}
