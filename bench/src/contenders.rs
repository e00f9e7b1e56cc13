//! Ours beside the kernel's: the algorithms that most sections beside the kernel compare.

use anyhow::{Result, bail};

use crate::daemon::{Daemon, is_available};

/// What the daemon is told: which port gets which algorithm.
pub(crate) const CONFIG: &str = r#"
[algorithms.reno]

[algorithms.cubic]

[algorithms.reno_ack]
kind = "reno"
report = "ack"

[policy]
default = "reno"

[[policy.rule]]
match = { netns = "any", dst_port = 5002 }
algorithm = "cubic"

[[policy.rule]]
match = { netns = "any", dst_port = 5003 }
algorithm = "reno_ack"
"#;

/// An algorithm that flows run under.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// Its name in values.
    pub(crate) key: &'static str,
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// The key of the kernel's own that it is compared with; its own key if it is one of them.
    pub(crate) beside: &'static str,
    /// What sockets ask for.
    pub(crate) congestion: String,
    /// The port that it is known by.
    pub(crate) port: u16,
}

/// The keys of the algorithms that there are on both sides: ours and the kernel's.
pub(crate) const PAIRS: [(&str, &str, &str); 2] = [
    ("`reno`", "reno", "kernel_reno"),
    ("`cubic`", "cubic", "kernel_cubic"),
];

/// Our `reno` and `cubic` with a report per round-trip time, and the kernel's.
pub(crate) fn pairs(daemon: &Daemon) -> Result<Vec<Contender>> {
    let one = |key, name, beside, congestion: &str, port| Contender {
        key,
        name,
        beside,
        congestion: congestion.to_owned(),
        port,
    };
    let ours = daemon.name();
    let all = vec![
        one("reno", "our `reno`", "kernel_reno", ours, 5001),
        one(
            "kernel_reno",
            "the kernel's `reno`",
            "kernel_reno",
            "reno",
            5004,
        ),
        one("cubic", "our `cubic`", "kernel_cubic", ours, 5002),
        one(
            "kernel_cubic",
            "the kernel's `cubic`",
            "kernel_cubic",
            "cubic",
            5005,
        ),
    ];
    for one in &all {
        if !is_available(&one.congestion) {
            bail!("this kernel has no congestion control `{}`", one.congestion);
        }
    }
    Ok(all)
}

/// [`pairs`], and our `reno` with a report for every acknowledgement.
pub(crate) fn with_reports_per_ack(daemon: &Daemon) -> Result<Vec<Contender>> {
    let mut all = pairs(daemon)?;
    all.push(Contender {
        key: "reno_ack",
        name: "our `reno`, a report per ACK",
        beside: "kernel_reno",
        congestion: daemon.name().to_owned(),
        port: 5003,
    });
    Ok(all)
}
