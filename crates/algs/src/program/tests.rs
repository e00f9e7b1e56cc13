use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{
    Bytes, CongAlg as _, FlowId, FlowInfo, Micros, NewFlow, Params, SockId, SourceText, Timestamp,
};
use ccp_program::RegisterTable;

use super::Program;

const AIMD: &str = include_str!("../../../../config/programs/aimd.ccp");

fn aimd(more: &str) -> Program {
    let text = format!("file = \"aimd.ccp\"\nown_recovery = true\n{more}");
    let mut params = Params::parse_toml("aimd", &text).unwrap();
    params.attach("file", SourceText::new("aimd.ccp", AIMD));
    Program::from_params(&params).unwrap()
}

fn program(text: &str) -> Result<Program, String> {
    let params = Params::parse_toml("mine", text).unwrap();
    Program::from_params(&params).map_err(|error| error.to_string())
}

/// The refusal of a program that would be right.
fn refusal(more: &str) -> String {
    let source = "(def (Report (x 0)) (n 1) (on true) (volatile v 0)) (when true (:= Report.x (+ n v)) (if on (report)))";
    program(&format!("source = \"{source}\"\n{more}")).unwrap_err()
}

#[test]
fn the_sample_is_in_its_usual_shape() {
    assert_eq!(ccp_lang::format(AIMD).unwrap(), AIMD);
}

#[test]
fn the_sample_starts_slowly_and_halves() {
    for registers in [RegisterTable::libccp(), RegisterTable::well_known()] {
        let setup = Setup {
            registers,
            ..Setup::default()
        };
        let mut flow = TestFlow::with(aimd("step = 1000"), &setup);
        assert!(!flow.datapath_recovers());
        let start = flow.cwnd();
        let ack = |bytes| Ack::of(bytes).set("Flow.rtt_sample_us", 20_000);
        flow.ack(&ack(1000));
        assert_eq!(flow.cwnd(), start + Bytes(1000));
        flow.pass(Micros(20_000));
        let report = flow.ack(&ack(1000).lost(1)).unwrap();
        let half = (start + Bytes(1000)).0 / 2;
        assert_eq!(flow.cwnd(), Bytes(half));
        assert!(report.contains(&("cwnd".into(), half)), "{report:?}");
        // What belongs to the same loss is not answered twice, and nothing grows meanwhile.
        flow.pass(Micros(10_000));
        flow.ack(&ack(1000).lost(2));
        assert_eq!(flow.cwnd(), Bytes(half));
        // One step in a round trip from then on.
        flow.pass(Micros(10_000));
        flow.ack(&ack(half));
        assert_eq!(flow.cwnd(), Bytes(half + 1000));
        let timeout = Ack::timeout().set("Flow.rtt_sample_us", 20_000);
        flow.ack(&timeout);
        assert_eq!(flow.cwnd(), Bytes(1000));
    }
}

#[test]
fn control_variables_are_parameters() {
    let mut flow = TestFlow::new(aimd("left = 80\nssthresh = 0"));
    flow.ack(&Ack::of(1000));
    assert_eq!(flow.control("left"), Some(80));
    assert_eq!(flow.control("step"), Some(1448));
    // Only what changes is set: the program's own values stay.
    flow.reconfigure(aimd("left = 70\nssthresh = 0"));
    flow.ack(&Ack::of(1000).lost(1));
    assert_eq!(flow.control("left"), Some(70));
    let ssthresh = flow.control("ssthresh");
    flow.reconfigure(aimd("step = 9\nssthresh = 0"));
    flow.ack(&Ack::of(1000));
    assert_eq!(
        (flow.control("left"), flow.control("step")),
        (Some(50), Some(9))
    );
    assert_eq!(flow.control("ssthresh"), ssthresh);
    let infinite = TestFlow::new(aimd("ssthresh = \"+infinity\"")).control("ssthresh");
    assert_eq!(infinite, Some(u64::MAX));
}

#[test]
fn another_program_is_not_taken_under_way() {
    let end = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let info = FlowInfo::new(SockId(1), end(1), end(2), 1000, Bytes(10_000));
    let mut flow = aimd("").new_flow(&NewFlow::new(FlowId(1), "ccp", &info));
    let now = Timestamp(1);
    // The flow is then made anew, from its present window.
    let other = "source = \"(def (Report (x 0))) (when true (:= Report.x Cwnd) (report))\"";
    let other = program(other).unwrap();
    assert!(flow.reconfigure(now, &other).is_none());
    assert!(flow.reconfigure(now, &another_kind()).is_none());
    let same = flow.reconfigure(now, &aimd("")).unwrap();
    assert!(same.is_empty());
}

fn another_kind() -> crate::reno::Reno {
    crate::reno::Reno::from_params(&Params::empty("reno")).unwrap()
}

#[test]
fn a_flow_of_its_own_parameters_has_the_same_program() {
    let mut params = Params::parse_toml("aimd", "kind = 'program'\nfile = 'aimd.ccp'").unwrap();
    params.attach("file", SourceText::new("aimd.ccp", AIMD));
    let left = |value: &str| params.overridden(&[("left".into(), value.into())]).unwrap();
    let flow = TestFlow::new(Program::from_params(&left("70")).unwrap()).control("left");
    assert_eq!(flow, Some(70));
    // Files are opened by who reads the configuration, not for who asks.
    let other = params
        .overridden(&[("file".into(), "/etc/shadow".into())])
        .unwrap();
    let refused = Program::from_params(&other).unwrap_err().to_string();
    assert!(
        refused.contains("is read with a configuration file only"),
        "{refused}"
    );
    // And a file that was changed is a change.
    let mut changed = params.clone();
    assert!(changed.says_the_same(&params));
    changed.attach("file", SourceText::new("aimd.ccp", "(def)"));
    assert!(!changed.says_the_same(&params));
}

#[test]
fn what_is_reported_is_how_the_flow_is() {
    let source = "source = \"(def (Report (cwnd 0) (rate 0) (rtt 0))) (when true (:= Report.cwnd 11) (:= Report.rate 12) (:= Report.rtt 13) (report))\"";
    let mut flow = TestFlow::new(program(source).unwrap());
    flow.ack(&Ack::of(1000));
    let state = flow.status().state;
    assert_eq!((state.cwnd.0, state.rate.0, state.srtt.0), (11, 12, 13));
}

#[test]
fn what_is_wrong_is_said() {
    let refusals = [
        program("").unwrap_err(),
        program("file = 'x.ccp'").unwrap_err(),
        program("file = 1").unwrap_err(),
        program("source = 1").unwrap_err(),
        program("file = 'x.ccp'\nsource = '(def)'").unwrap_err(),
        program("source = '''\n(def (Report (x 0)))\n(when tru (report))'''").unwrap_err(),
        refusal("own_recovery = 1"),
        refusal("m = 1"),
        refusal("n = true"),
        refusal("n = -1"),
        refusal("on = 1"),
        refusal("v = 1"),
    ];
    insta::assert_snapshot!(refusals.join("\n\n"));
}
