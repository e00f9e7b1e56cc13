//! What has to be known of a recording before it is run again.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use ccp_control::What;
use ccp_control::recording::{Entry, Reader, RecordedAlgorithm, RecordingError, Shape};

/// What a first reading of the recording has shown.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// When the first thing happened, and the last.
    pub(super) first_us: u64,
    pub(super) last_us: u64,
    /// So many events are missing.
    pub(super) lost: u64,
    /// Every algorithm as it was first.
    pub(super) algorithms: HashMap<String, RecordedAlgorithm>,
    flows: HashMap<u64, FlowHints>,
}

/// What one flow's datapath ran.
#[derive(Debug, Default)]
pub(super) struct FlowHints {
    /// The names of the programs.
    pub(super) programs: BTreeSet<String>,
    /// Of its first report.
    pub(super) shape: Option<Arc<Shape>>,
}

impl Hints {
    pub(super) fn collect<R: Read>(reader: &mut Reader<R>) -> Result<Self, RecordingError> {
        let mut hints = Self {
            first_us: u64::MAX,
            ..Self::default()
        };
        while let Some(entry) = reader.next_entry()? {
            let time_us = match entry {
                Entry::Algorithm(algorithm) => {
                    let name = algorithm.name.clone();
                    hints.algorithms.entry(name).or_insert(algorithm);
                    continue;
                }
                Entry::Lost(events) => {
                    hints.lost = hints.lost.saturating_add(events);
                    continue;
                }
                Entry::Alive { time_us, .. } => time_us,
                Entry::Report {
                    time_us,
                    flow,
                    report,
                } => {
                    let flow = hints.flows.entry(flow).or_default();
                    if !flow.programs.contains(&report.shape.program) {
                        flow.programs.insert(report.shape.program.clone());
                    }
                    flow.shape.get_or_insert(report.shape);
                    time_us
                }
                Entry::Event(event) => {
                    if let What::Updated {
                        program: Some(program),
                        ..
                    } = event.what
                    {
                        let flow = hints.flows.entry(event.flow).or_default();
                        flow.programs.insert(program);
                    }
                    event.time_us
                }
            };
            hints.first_us = hints.first_us.min(time_us);
            hints.last_us = hints.last_us.max(time_us);
        }
        hints.first_us = hints.first_us.min(hints.last_us);
        Ok(hints)
    }

    pub(super) fn flow(&self, flow: u64) -> Option<&FlowHints> {
        self.flows.get(&flow)
    }
}
