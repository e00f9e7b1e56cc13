//! Who takes part: the link, the flows, and the configuration that gives each its algorithm.

use std::{path::Path, time::Duration};

/// What the demo's sockets ask for. Always the same, so that what a killed demo has left is taken over, and
/// removed, by the next.
pub(super) const NAME: &str = "ccp_demo";

/// Rate of the link in bits per second.
pub(super) const RATE: u64 = 50_000_000;
/// One-way delay.
pub(super) const DELAY: Duration = Duration::from_millis(10);
/// The queue in bytes: one and a half bandwidth-delay products.
pub(super) const QUEUE: u64 = RATE / 8 * 20 / 1000 * 3 / 2;
/// What the flow under `steady` gets, in Mbit/s.
pub(super) const STEADY_MBIT: u32 = 8;

/// A flow of the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// For people.
    pub(super) label: &'static str,
    /// As a column or a file name.
    pub(super) key: &'static str,
    /// The port that the rules know it by.
    pub(super) port: u16,
    /// What its socket asks for.
    pub(super) congestion: &'static str,
    /// When it starts, as a share of the whole time.
    pub(super) starts: f64,
}

impl Role {
    /// Its place in tables and plots.
    pub(super) fn place(&self) -> usize {
        let place = ROLES.iter().position(|role| role.key == self.key);
        place.unwrap_or(ROLES.len())
    }

    /// Whether `ccpd` has it.
    pub(super) fn is_steered(&self) -> bool {
        self.congestion == NAME
    }
}

/// All flows, in the order of tables and plots.
pub(super) const ROLES: [Role; 4] = [
    Role {
        label: "steady (ccpd, constant)",
        key: "steady",
        port: 5001,
        congestion: NAME,
        starts: 0.0,
    },
    Role {
        label: "reno (ccpd)",
        key: "reno",
        port: 5002,
        congestion: NAME,
        starts: 0.0,
    },
    Role {
        label: "late (ccpd, reno)",
        key: "late",
        port: 5003,
        congestion: NAME,
        starts: 0.2,
    },
    Role {
        label: "cubic (kernel's own)",
        key: "cubic",
        port: 5004,
        congestion: "cubic",
        starts: 0.0,
    },
];

/// When the daemon is killed, as a share of the whole time.
pub(super) const KILLED: f64 = 0.5;
/// When it is started again.
pub(super) const BACK: f64 = 0.65;

/// The configuration of the demo's `ccpd`.
pub(super) fn config(socket: &Path) -> String {
    format!(
        r#"[ccpd]
control = "{socket}"

[[datapath]]
kind = "tcp"
name = "{NAME}"
namespaces = "any"        # the demo's flows are in network namespaces of their own

[algorithms.steady]
kind = "constant"
rate_mbit = {STEADY_MBIT}
cwnd_packets = 60

[algorithms.reno]

[policy]
default = "reno"

[[policy.rule]]
match = {{ netns = "any", dst_port = 5001 }}
algorithm = "steady"
"#,
        socket = socket.display()
    )
}
