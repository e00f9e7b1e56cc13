//! What the replay decides beside what was recorded.

use super::outcome::{Compared, Difference};

/// What a datapath was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// The program that it starts.
    pub(super) program: Option<String>,
    /// What it sets, by name.
    pub(super) fields: Vec<(String, u64)>,
}

impl Decision {
    /// The order of what is set means nothing.
    pub(super) fn new(program: Option<String>, mut fields: Vec<(String, u64)>) -> Self {
        fields.sort_unstable();
        Self { program, fields }
    }

    fn shown(&self) -> String {
        let start = self
            .program
            .iter()
            .map(|program| format!("start {program}"));
        let set = self.fields.iter().map(|(name, v)| format!("{name}={v}"));
        start.chain(set).collect::<Vec<_>>().join(" ")
    }
}

impl Compared {
    /// The recording has `recorded`, the replay `replayed` or nothing.
    pub(super) fn compare(
        &mut self,
        time_us: u64,
        recorded: &Decision,
        replayed: Option<&Decision>,
    ) {
        self.updates += 1;
        if replayed == Some(recorded) {
            return;
        }
        self.differing += 1;
        self.first.get_or_insert_with(|| Difference {
            update: self.updates,
            time_us,
            recorded: recorded.shown(),
            replayed: replayed.map_or_else(|| "nothing".to_owned(), Decision::shown),
        });
    }
}
