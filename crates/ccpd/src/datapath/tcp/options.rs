//! What the configuration says, in the kernel side's terms.

use ccp_ebpf::Options;

use crate::config::{Namespaces, TcpConfig, TcpName};

pub(super) fn options(config: &TcpConfig) -> Options {
    let mut options = Options::named(&config.name);
    options.namespaces = match config.namespaces {
        Namespaces::Initial => ccp_ebpf::Namespaces::Initial,
        Namespaces::Any => ccp_ebpf::Namespaces::Any,
    };
    let name = |name: &TcpName| ccp_ebpf::Name {
        name: name.name.clone(),
        ecn: name.ecn,
    };
    options.more_names = config.names.iter().map(name).collect();
    options.fallback_after = config.fallback_after;
    options.max_flows = config.max_flows;
    options.unanswered_after = config.unanswered_after;
    options.max_fault_run = config.max_fault_run;
    let half = (config.max_flows / 2).max(1);
    let share = |limit: Option<u32>| Some(limit.unwrap_or(half));
    options.max_flows_per_namespace = share(config.max_flows_per_namespace);
    options.max_flows_per_user = share(config.max_flows_per_user);
    options
}
