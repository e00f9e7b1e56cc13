//! What of a configuration stays as it is while the daemon runs.

use super::{Config, DatapathConfig, NetlinkConfig, SocketLimits, TcpConfig, UnixConfig};

impl Config {
    /// The keys in which `new` differs from `self` and that cannot change while the daemon runs, as they are
    /// told: `ccpd.control`, `max_flows of the datapath ccp`, `the datapath ccp2`.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        // Each key is dealt with here, one way or the other.
        let Self {
            control,
            control_mode,
            algorithm_timeout: _,
            metrics: _,
            log_format: _,
            datapaths,
            algorithms: _,
            policy: _,
        } = self;
        let mut keys = Vec::new();
        note(&mut keys, "ccpd.control", *control != new.control);
        note(
            &mut keys,
            "ccpd.control_mode",
            *control_mode != new.control_mode,
        );
        for datapath in datapaths {
            match new.datapaths.iter().find(|other| datapath.is_same(other)) {
                Some(other) => {
                    let name = datapath.name();
                    let differing = datapath.fixed(other).into_iter();
                    keys.extend(differing.map(|key| format!("{key} of the datapath {name}")));
                }
                None => keys.push(format!("the datapath {}", datapath.name())),
            }
        }
        for datapath in &new.datapaths {
            if !datapaths.iter().any(|other| datapath.is_same(other)) {
                keys.push(format!("the datapath {}", datapath.name()));
            }
        }
        keys
    }
}

fn note<K: From<&'static str>>(keys: &mut Vec<K>, key: &'static str, differs: bool) {
    if differs {
        keys.push(key.into());
    }
}

impl DatapathConfig {
    /// Whether it is the same datapath, perhaps with other settings.
    fn is_same(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.name() == other.name()
    }

    /// The keys in which it differs from `new`, of those that can't change.
    fn fixed(&self, new: &Self) -> Vec<&'static str> {
        match (self, new) {
            (Self::Tcp(old), Self::Tcp(new)) => old.fixed(new),
            (Self::Unix(old), Self::Unix(new)) => old.fixed(new),
            (Self::Netlink(old), Self::Netlink(new)) => old.fixed(new),
            // They are not the same.
            _ => vec!["kind"],
        }
    }
}

impl TcpConfig {
    fn fixed(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            name: _,
            names,
            namespaces,
            fallback_after,
            max_flows,
            max_flows_per_namespace,
            max_flows_per_user,
            unanswered_after,
            max_fault_run,
            take: _,
        } = self;
        let mut keys = Vec::new();
        for (key, differs) in [
            ("names", *names != new.names),
            ("namespaces", *namespaces != new.namespaces),
            ("fallback_after_ms", *fallback_after != new.fallback_after),
            ("max_flows", *max_flows != new.max_flows),
            (
                "max_flows_per_namespace",
                *max_flows_per_namespace != new.max_flows_per_namespace,
            ),
            (
                "max_flows_per_user",
                *max_flows_per_user != new.max_flows_per_user,
            ),
            (
                "unanswered_after_ms",
                *unanswered_after != new.unanswered_after,
            ),
            ("max_fault_run", *max_fault_run != new.max_fault_run),
        ] {
            note(&mut keys, key, differs);
        }
        keys
    }
}

impl UnixConfig {
    fn fixed(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            path: _,
            mode,
            limits,
        } = self;
        let mut keys = Vec::new();
        note(&mut keys, "mode", *mode != new.mode);
        limits.fixed(&new.limits, &mut keys);
        keys
    }
}

impl NetlinkConfig {
    fn fixed(&self, new: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        self.limits.fixed(&new.limits, &mut keys);
        keys
    }
}

impl SocketLimits {
    fn fixed(&self, new: &Self, keys: &mut Vec<&'static str>) {
        let Self {
            max_flows,
            max_flows_total,
            max_flows_per_user,
            max_datapaths,
            max_datapaths_per_user,
            max_malformed_per_s,
            mute,
        } = self;
        for (key, differs) in [
            ("max_flows", *max_flows != new.max_flows),
            ("max_flows_total", *max_flows_total != new.max_flows_total),
            (
                "max_flows_per_user",
                *max_flows_per_user != new.max_flows_per_user,
            ),
            ("max_datapaths", *max_datapaths != new.max_datapaths),
            (
                "max_datapaths_per_user",
                *max_datapaths_per_user != new.max_datapaths_per_user,
            ),
            (
                "max_malformed_per_s",
                *max_malformed_per_s != new.max_malformed_per_s,
            ),
            ("mute_ms", *mute != new.mute),
        ] {
            note(keys, key, differs);
        }
    }
}
