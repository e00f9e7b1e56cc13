//! How a flow is, for those who ask.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ccp_control::{Explanation, FlowDetail, FlowMode, FlowOrigin, FlowStatus, LastReport};
use ccp_core::{Algorithm, FlowRunner, Form, Installed, Origin, Report, SockId, Timestamp};
use tokio::time::Instant;

use super::{FlowCell, Steered};
use crate::change::NATIVE;
use crate::control_server::told;
use crate::outlet::Observed;

/// Who asks waits so long altogether for flows whose algorithms are at work, then is shown what was last
/// known of them.
const PATIENCE: Duration = Duration::from_millis(20);

/// Shows flows to one who asks.
#[derive(Debug)]
pub(crate) struct Shown {
    now: Timestamp,
    until: Instant,
}

impl Shown {
    /// Shows how flows are at the time `now`.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self {
            now,
            until: Instant::now() + PATIENCE,
        }
    }

    /// How the flow is. An algorithm that is at work for long does not hold up who asks.
    pub(crate) async fn status(&self, cell: &Arc<FlowCell>) -> FlowStatus {
        let look = |steered: &Steered| status(&steered.runner, self.now);
        let known = self.look(cell, look).await;
        let mut shown = cell.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = known {
            *shown = Some(Box::new(status));
        }
        let mut status = match &*shown {
            Some(status) => FlowStatus::clone(status),
            None => first_status(cell),
        };
        drop(shown);
        if let Some(observed) = cell.outlet.observe(SockId(status.sock_id)) {
            see(&mut status, &observed);
        }
        status
    }

    /// Everything that is known of the flow; `None` if its algorithm is at work for long. `rules` says
    /// what the rules give it, and whether what it has was given by hand.
    pub(crate) async fn detail(
        &self,
        cell: &Arc<FlowCell>,
        rules: impl Fn(&FlowRunner) -> (Explanation, bool),
    ) -> Option<FlowDetail> {
        let look = |steered: &Steered| detail(steered, self.now, rules(&steered.runner));
        let mut detail = self.look(cell, look).await?;
        if let Some(observed) = cell.outlet.observe(SockId(detail.status.sock_id)) {
            see(&mut detail.status, &observed);
            detail.min_rtt_us = observed.state.min_rtt.0;
            detail.timeouts = Some(observed.timeouts.into());
        }
        Some(detail)
    }

    async fn look<T>(&self, cell: &Arc<FlowCell>, look: impl Fn(&Steered) -> T) -> Option<T> {
        loop {
            if let Some(inside) = cell.enter() {
                // It is the algorithm that is asked, in the end.
                let _call = cell.shared.watchdog.enter(cell.id);
                return inside.steered().map(&look);
            }
            if Instant::now() >= self.until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What is so counts, not what was asked for: where the datapath lets one look.
pub(super) fn see(status: &mut FlowStatus, observed: &Observed) {
    status.cwnd_bytes = observed.state.cwnd.0;
    status.rate_bytes_per_s = observed.state.rate.0;
    status.rtt_us = observed.state.srtt.0;
    status.mss_bytes = observed.mss;
    status.state = observed.mode;
    status.faults = status.faults.max(observed.faults.into());
    status.sent_bytes = Some(observed.sent);
    status.delivered_bytes = Some(observed.delivered);
    status.lost_bytes = Some(observed.lost);
}

/// What is shown of a flow whose algorithm has been at work since it was announced.
fn first_status(cell: &FlowCell) -> FlowStatus {
    let first = &cell.info;
    FlowStatus {
        flow: cell.id.0,
        datapath: cell.datapath.to_string(),
        sock_id: first.sock_id.0,
        algorithm: name_of(cell.steered_by().as_ref()),
        program: None,
        src: first.src,
        dst: first.dst,
        cwnd_bytes: 0,
        rate_bytes_per_s: 0,
        rtt_us: 0,
        mss_bytes: first.mss,
        reports: 0,
        reports_missed: 0,
        updates: 0,
        state: FlowMode::Native,
        faults: 0,
        sent_bytes: None,
        delivered_bytes: None,
        lost_bytes: None,
        age_us: 0,
        attributes: Default::default(),
    }
}

pub(super) fn status(runner: &FlowRunner, now: Timestamp) -> FlowStatus {
    let status = runner.status();
    FlowStatus {
        flow: status.id.0,
        datapath: status.datapath.to_string(),
        sock_id: status.sock_id.0,
        algorithm: name_of(status.algorithm.as_ref()),
        program: status.program.as_ref().map(|p| p.name().to_owned()),
        src: status.src,
        dst: status.dst,
        cwnd_bytes: status.state.cwnd.0,
        rate_bytes_per_s: status.state.rate.0,
        rtt_us: status.state.srtt.0,
        mss_bytes: status.mss,
        reports: status.counts.reports,
        reports_missed: status.counts.missed,
        updates: status.counts.updates,
        state: match status.mode {
            ccp_core::FlowMode::Native => FlowMode::Native,
            ccp_core::FlowMode::Running => FlowMode::Running,
            ccp_core::FlowMode::Fallback => FlowMode::Fallback,
        },
        faults: status.counts.faults,
        sent_bytes: None,
        delivered_bytes: None,
        lost_bytes: None,
        age_us: now.since(status.opened_at).0,
        attributes: told::shown(&status.attributes),
    }
}

fn detail(steered: &Steered, now: Timestamp, rules: (Explanation, bool)) -> FlowDetail {
    let runner = &steered.runner;
    let (info, core) = (runner.info(), runner.status());
    let algorithm = core.algorithm.as_ref();
    let (rules, by_hand) = rules;
    let running = runner.program();
    let installed = running.and_then(|(uid, _)| runner.programs().get(uid));
    FlowDetail {
        origin: origin(info.origin),
        requested: info.requested.clone(),
        assigned: name_of(runner.assigned()),
        by_hand,
        rules,
        kind: algorithm.map(|a| a.kind().to_owned()),
        parameters: algorithm.map_or_else(Vec::new, |a| a.parameters().to_vec()),
        program_uid: running.map(|(uid, _)| uid),
        program_instructions: installed.map(|i| instructions(i)),
        min_rtt_us: core.state.min_rtt.0,
        init_cwnd_bytes: info.init_cwnd.0,
        generation: runner.generation(),
        reports_merged: core.counts.merged,
        reports_stale: core.counts.stale,
        updates_refused: core.counts.refused,
        panics: core.counts.panics,
        timeouts: None,
        last_report: last_report(steered),
        status: status(runner, now),
    }
}

fn last_report(steered: &Steered) -> Option<LastReport> {
    let last = steered.last?;
    let program = &steered.runner.programs().get(last.program_uid)?.program;
    let report = Report::new(program, &steered.fields, last.merged.into())?;
    let names = program.ir().reports.iter().map(|v| v.name.clone());
    Some(LastReport {
        program: program.name().to_owned(),
        merged: report.merged(),
        fields: names.zip(report.values().iter().copied()).collect(),
    })
}

/// The size of a program in the datapath's own terms.
pub(crate) fn instructions(installed: &Installed) -> u32 {
    let count = match &installed.form {
        Form::Whole(program) => program.len(),
        Form::Libccp(bytecode) => bytecode.instructions.len(),
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) const fn origin(origin: Origin) -> FlowOrigin {
    match origin {
        Origin::New => FlowOrigin::New,
        Origin::Adopted => FlowOrigin::Adopted,
        Origin::Resumed => FlowOrigin::Resumed,
    }
}

/// The algorithm's name; `native` for a flow that only its datapath steers.
pub(super) fn name_of(algorithm: Option<&Algorithm>) -> String {
    algorithm.map_or(NATIVE, Algorithm::name).to_owned()
}
