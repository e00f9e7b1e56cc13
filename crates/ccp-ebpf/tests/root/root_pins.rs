//! Pins that are not as this version leaves them: of another layout, some of them gone, something else in
//! their place.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use ccp_ebpf::layout::LAYOUT_VERSION;
use ccp_ebpf::{AttachError, Mode, TcpDatapath, clean_up};
use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use libbpf_rs::MapHandle;

use crate::common::{Attached, Daemon, is_registered, skipped, still, wait};

/// A datapath whose daemon has died, and a flow of it.
struct Left {
    attached: Attached,
    flow: RunningFlow,
    ns: Namespace,
}

impl Left {
    fn new(label: &str) -> Self {
        let attached = Attached::with(|o| o.fallback_after = Duration::from_millis(100));
        let name = attached.name().to_owned();
        let ns = Namespace::new(label).unwrap();
        let mut daemon = Daemon::running(attached, &still(), &[]);
        let flow = start(&ns, &name);
        daemon.until("it runs", |d| {
            d.datapath.flows().any(|f| f.mode == Mode::Running)
        });
        let mut attached = daemon.datapath;
        attached.abandon();
        Self { attached, flow, ns }
    }

    fn dir(&self) -> PathBuf {
        let options = self.attached.options();
        options.pin_root.join(&options.name)
    }

    fn maps(&self) -> PathBuf {
        self.dir().join(format!("v{LAYOUT_VERSION}"))
    }

    /// A start that is refused, with what it says; the flow does not mind.
    fn refused(&self) -> String {
        let Err(error) = TcpDatapath::attach(self.attached.options().clone()) else {
            panic!("attached");
        };
        assert!(matches!(error, AttachError::Leftover { .. }), "{error}");
        goes_on(&self.flow);
        assert!(is_registered(self.attached.name()));
        println!("{error}");
        error.to_string()
    }

    /// `ccpd --cleanup` brings everything in order.
    fn cleaned_up(self) {
        let Self { attached, flow, .. } = self;
        clean_up(attached.options())
            .unwrap()
            .expect("something was left");
        assert!(!is_registered(attached.name()));
        assert!(!attached.options().pin_root.exists());
        assert_eq!(flow.congestion().unwrap(), "cubic");
        goes_on(&flow);
    }
}

fn start(ns: &Namespace, name: &str) -> RunningFlow {
    let bulk = Bulk::new(Until::Stopped).congestion(name);
    bulk.start(ns, ns, Ipv4Addr::LOCALHOST).unwrap()
}

fn goes_on(flow: &RunningFlow) {
    let before = flow.bytes_received();
    wait("bytes", || flow.bytes_received() > before);
}

/// The flows of another version run natively until they end; new ones are steered.
#[test]
fn root_another_layout_is_replaced() {
    if skipped() {
        return;
    }
    let mut left = Left::new("layout");
    let other = left.dir().join("v1");
    fs::rename(left.maps(), &other).unwrap();
    left.attached.attach_again();
    assert!(!left.attached.adopted() && !other.exists());
    let Left { attached, flow, ns } = left;
    let name = attached.name().to_owned();
    let mut daemon = Daemon::running(attached, &still(), &[]);
    let new = start(&ns, &name);
    daemon.until("the new one runs", |d| {
        d.datapath.flows().any(|f| f.mode == Mode::Running)
    });
    daemon.for_some(Duration::from_millis(300));
    assert!(daemon.seen.of(flow.local()).is_none(), "it is nobody's");
    goes_on(&flow);
    assert_eq!(flow.congestion().unwrap(), name);
    // A clean stop finds it by its name.
    daemon.datapath.detach();
    for flow in [flow, new] {
        assert_eq!(flow.congestion().unwrap(), "cubic");
        goes_on(&flow);
    }
    assert!(!is_registered(&name));
}

#[test]
fn root_a_map_is_missing() {
    if skipped() {
        return;
    }
    let left = Left::new("missing");
    fs::remove_file(left.maps().join("mailbox")).unwrap();
    let error = left.refused();
    assert!(
        error.contains("mailbox") && error.contains("--cleanup"),
        "{error}"
    );
    left.cleaned_up();
}

#[test]
fn root_something_else_is_pinned_for_a_map() {
    if skipped() {
        return;
    }
    let left = Left::new("foreign");
    let slots = left.maps().join("slots");
    let mut config = MapHandle::from_pinned_path(left.maps().join("config")).unwrap();
    fs::remove_file(&slots).unwrap();
    config.pin(&slots).unwrap();
    let error = left.refused();
    assert!(
        error.contains("slots") && error.contains("--cleanup"),
        "{error}"
    );
    left.cleaned_up();
}

#[test]
fn root_something_else_is_pinned_for_the_name() {
    if skipped() {
        return;
    }
    let left = Left::new("link");
    let link = left.dir().join("link");
    let aside = left.dir().join("aside");
    fs::rename(&link, &aside).unwrap();
    let mut config = MapHandle::from_pinned_path(left.maps().join("config")).unwrap();
    config.pin(&link).unwrap();
    let error = left.refused();
    assert!(
        error.contains("/link") && error.contains("--cleanup"),
        "{error}"
    );
    fs::remove_file(&link).unwrap();
    fs::rename(&aside, &link).unwrap();
    left.cleaned_up();
}
