//! Algorithms come, go and fail.

use super::*;

#[test]
fn a_panic_costs_the_flow_a_switch_to_the_default_from_its_present_window() {
    let puppet = Puppet::new();
    let spare = Puppet::with("spare", "");
    let mut runner = runner(&puppet.named("mine"), &spare.named("default"));
    let _ = update(&mut runner);
    report(&mut runner, 5_000);
    report(&mut runner, order::PANIC);
    let outputs = poll(&mut runner);
    assert_eq!(spare.heard(), ["Adopted 5000 B"]);
    match outputs.as_slice() {
        [
            RunnerOutput::Notice(notice),
            RunnerOutput::Command(Command::Update(update)),
        ] => {
            let expected = RunnerNotice::Panicked {
                algorithm: "mine".into(),
                message: "as told".into(),
                now: Some("default".into()),
            };
            assert_eq!(*notice, expected);
            assert!(update.change_program);
            assert_eq!(update.cwnd(), Some(5_000));
        }
        other => panic!("{other:?}"),
    }
    let status = runner.status();
    assert_eq!(status.mode, FlowMode::Running);
    assert_eq!(status.algorithm.unwrap().name(), "default");
    assert_eq!(status.counts.panics, 1);
}

fn assert_told_native(runner: &mut FlowRunner, announced: u32) {
    match poll(runner).as_slice() {
        [RunnerOutput::Command(Command::Native { generation, .. })] => {
            assert_eq!(*generation, announced);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_of_the_default_leaves_the_flow_to_the_datapath() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, order::PANIC);
    match poll(&mut runner).as_slice() {
        [
            RunnerOutput::Notice(RunnerNotice::Panicked { now: None, .. }),
            RunnerOutput::Command(Command::Native { generation: 1, .. }),
        ] => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(runner.status().mode, FlowMode::Fallback);
    assert!(runner.algorithm().is_none());
    // Nothing more reaches it. A new announcement is answered: it goes on natively.
    let report = RawReport {
        program_uid: 1,
        generation: 1,
        merged: 0,
        fields: &[order::PANIC],
    };
    runner.on_report(START, &report);
    runner.on_resume(START, &announced(2, Origin::Resumed, 3_000));
    assert_told_native(&mut runner, 2);
    assert_eq!(runner.status().mode, FlowMode::Fallback);
    assert_eq!(runner.status().panics, 1);
}

/// Panics wherever it can: when a flow is made, when it goes.
struct Bomb;

impl CongAlg for Bomb {
    fn programs(&self) -> Vec<CompiledProgram> {
        Vec::new()
    }
    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        panic!("at birth")
    }
}

struct Rigged(Puppet);

impl CongAlg for Rigged {
    fn programs(&self) -> Vec<CompiledProgram> {
        self.0.programs()
    }
    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(Self(self.0.clone()))
    }
}

impl Flow for Rigged {
    fn on_resume(&mut self, now: Timestamp, resume: &crate::Resume) -> Updates {
        Flow::on_resume(&mut self.0, now, resume)
    }
    fn on_report(&mut self, now: Timestamp, report: &crate::Report<'_>) -> Updates {
        Flow::on_report(&mut self.0, now, report)
    }
    fn state(&self) -> Option<FlowState> {
        panic!("when asked")
    }
}

impl Drop for Rigged {
    fn drop(&mut self) {
        panic!("at its end")
    }
}

#[test]
fn an_algorithm_that_panics_at_birth_or_death_hurts_nobody() {
    let spare = Puppet::new();
    let bomb = Algorithm::new("bomb", "bomb", Arc::new(Bomb));
    let mut after_birth = runner(&bomb, &spare.named("default"));
    assert_eq!(after_birth.status().algorithm.unwrap().name(), "default");
    assert_eq!(poll(&mut after_birth).len(), 2);

    let puppet = Puppet::with("rigged", "");
    let rigged = std::mem::ManuallyDrop::new(Rigged(puppet));
    let rigged = Algorithm::new("rigged", "rigged", Arc::new(Rigged(rigged.0.clone())));
    let mut runner = runner(&rigged, &spare.named("default"));
    assert_eq!(runner.status().state.cwnd, Bytes(10_000));
    report(&mut runner, order::PANIC);
    assert_eq!(runner.status().algorithm.unwrap().name(), "default");
    drop(runner);
    // Its destructor panics, too.
    std::mem::forget(rigged);
}

#[test]
fn parameters_change_under_way_if_the_flow_can() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.reconfigure(START, &puppet.named("renamed"));
    assert_eq!(
        update(&mut runner).fields.as_slice(),
        [(Place::Control(0), 77)]
    );
    assert_eq!(runner.algorithm().unwrap().name(), "renamed");
    assert!(puppet.heard().is_empty());

    // Another program: it cannot, and is made anew from the present window.
    let other = Puppet::with("newer", "(when (> Cwnd 5) (:= Cwnd 5) (fallthrough))");
    report(&mut runner, 5_000);
    let algorithm = other.named("newer");
    assign(&mut runner, Some(&algorithm));
    assert_eq!(other.heard(), ["Adopted 5000 B"]);
    assert!(update(&mut runner).change_program);
}

#[test]
fn nothing_steers_a_flow_that_was_left_to_its_datapath() {
    let opened = Opened::new(
        FlowId(1),
        "ccp",
        announced(1, Origin::New, 10_000),
        None,
        table(&[]),
    );
    // Each announcement is answered, or the datapath would go on announcing.
    let mut runner = FlowRunner::new(START, opened, None);
    assert_told_native(&mut runner, 1);
    runner.on_resume(START, &announced(2, Origin::Resumed, 10));
    assert_told_native(&mut runner, 2);
    assert_eq!(runner.status().mode, FlowMode::Native);
    // Until somebody is given it.
    let puppet = Puppet::new();
    let algorithm = puppet.named("mine");
    assign(&mut runner, Some(&algorithm));
    assert_eq!(puppet.heard(), ["Adopted 10 B"]);
    assert!(update(&mut runner).change_program);
    // And until it is taken back.
    assign(&mut runner, None);
    assert_told_native(&mut runner, 2);
    assert_eq!(runner.status().mode, FlowMode::Native);
    assert!(runner.algorithm().is_none());
}

#[test]
fn a_flow_that_is_given_what_it_has_goes_on_as_it_is() {
    let puppet = Puppet::new();
    let (mine, default) = (puppet.named("mine"), Puppet::new().named("default"));
    let mut runner = runner(&mine, &default);
    assert!(update(&mut runner).change_program);
    puppet.heard();
    let again = || {
        let programs = table(&[default.clone(), mine.clone()]);
        Assigned::new(Some(mine.clone()), default.clone(), programs)
    };
    runner.assign(START, again());
    assert!(poll(&mut runner).is_empty());
    assert!(puppet.heard().is_empty());
    // Also when it has failed since: it would fail again.
    report(&mut runner, order::PANIC);
    assert_eq!(runner.algorithm().unwrap().name(), "default");
    poll(&mut runner);
    runner.assign(START, again());
    assert!(poll(&mut runner).is_empty());
    assert_eq!(runner.algorithm().unwrap().name(), "default");
    // What is new is tried.
    let mended = Puppet::with("mended", "(when (> Cwnd 5) (:= Cwnd 5) (fallthrough))");
    assign(&mut runner, Some(&mended.named("mended")));
    assert!(update(&mut runner).change_program);
    assert_eq!(runner.algorithm().unwrap().name(), "mended");
}

#[test]
fn a_suspended_flow_runs_what_it_was_given_once_it_is_announced() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.on_suspend();
    let other = Puppet::with("newer", "(when (> Cwnd 5) (:= Cwnd 5) (fallthrough))");
    assign(&mut runner, Some(&other.named("newer")));
    assert!(poll(&mut runner).is_empty());
    runner.on_resume(START, &announced(2, Origin::Resumed, 7_000));
    assert_eq!(other.heard(), ["Resumed 7000 B"]);
    assert!(update(&mut runner).change_program);
}

#[test]
fn a_program_that_the_datapath_takes_over_from_again_and_again_is_given_up() {
    let puppet = Puppet::new();
    let spare = Puppet::with("spare", "");
    let mut runner = runner(&puppet.named("mine"), &spare.named("default"));
    let _ = poll(&mut runner);
    puppet.heard();
    let mut generation = 1;
    let mut resume = |runner: &mut FlowRunner, at| {
        generation += 1;
        runner.on_resume(
            Timestamp(at),
            &announced(generation, Origin::Resumed, 9_000),
        );
        poll(runner)
    };
    // Three times in ten seconds is bad luck.
    for nth in 0..3 {
        assert_eq!(resume(&mut runner, nth * 1_000_000).len(), 1);
    }
    assert_eq!(resume(&mut runner, 15_000_000).len(), 1);
    for nth in 0..2 {
        resume(&mut runner, 15_000_000 + nth);
    }
    assert!(spare.heard().is_empty());
    let outputs = resume(&mut runner, 15_000_003);
    match outputs.first() {
        Some(RunnerOutput::Notice(notice)) => assert_eq!(
            *notice,
            RunnerNotice::TakenOver {
                algorithm: "mine".into(),
                now: Some("default".into())
            }
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(spare.heard(), ["Adopted 9000 B"]);
    assert_eq!(runner.status().panics, 0);
}

#[test]
fn announcements_that_say_nothing_of_a_fault_give_nothing_up() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    for nth in 0..20_u32 {
        // The control plane was away itself; or the announcement came twice.
        runner.on_suspend();
        runner.on_resume(START, &announced(nth + 2, Origin::Resumed, 9_000));
        runner.on_resume(START, &announced(nth + 2, Origin::Resumed, 9_000));
    }
    assert_eq!(runner.algorithm().unwrap().name(), "mine");
}

#[test]
fn an_algorithm_that_panics_at_its_programs_faults_costs_its_flow_only() {
    let puppet = Puppet::new();
    let spare = Puppet::with("spare", "");
    let mut runner = runner(&puppet.named("mine"), &spare.named("default"));
    let _ = poll(&mut runner);
    let mut again = announced(2, Origin::Resumed, 9_000);
    again.faults = 666;
    runner.on_resume(Timestamp(2_000), &again);
    assert_eq!(spare.heard().last().unwrap(), "Resumed 9000 B");
    assert_eq!(runner.algorithm().unwrap().name(), "default");
}

#[test]
fn a_flow_leaves_a_quarantined_algorithm_and_returns_when_it_is_assigned_it() {
    let (puppet, other) = (Puppet::new(), Puppet::new());
    let (mine, default) = (puppet.named("mine"), other.named("default"));
    let mut runner = runner(&mine, &default);
    poll(&mut runner);
    runner.leave_quarantined(START);
    assert!(runner.algorithm().unwrap().same(&mine));
    assert!(mine.quarantine());
    runner.leave_quarantined(START);
    assert!(runner.algorithm().unwrap().same(&default));
    let outputs = poll(&mut runner);
    let RunnerOutput::Notice(notice) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    let expected = RunnerNotice::Quarantined {
        algorithm: "mine".to_owned(),
        now: Some("default".to_owned()),
    };
    assert_eq!(*notice, expected);
    // The default as well: nobody is left.
    assert!(default.quarantine());
    runner.leave_quarantined(START);
    assert!(runner.algorithm().is_none());
    assert_eq!(runner.mode(), FlowMode::Fallback);
    let _released = (mine.release(), default.release());
    assign(&mut runner, Some(&mine));
    assert!(runner.algorithm().unwrap().same(&mine));
}

#[test]
fn a_flow_is_handed_over_by_rule_and_by_hand() {
    let algorithm = Puppet::new().named("mine");
    let reno = Native::Named("reno".into());
    let programs = table(std::slice::from_ref(&algorithm));
    let announced = announced(1, Origin::New, 10_000);
    let mut opened = Opened::new(FlowId(4), "ccp", announced, None, programs.clone());
    opened.native = reno.clone();
    let mut runner = FlowRunner::new(START, opened, Some(algorithm.clone()));
    assert_eq!(told_by(&mut runner), Some(reno.clone()));
    // The same again is nothing new; another is.
    let assigned = |native: &Native| {
        let mut assigned = Assigned::new(None, algorithm.clone(), programs.clone());
        assigned.native = native.clone();
        assigned
    };
    runner.assign(START, assigned(&reno));
    assert_eq!(told_by(&mut runner), None);
    runner.assign(START, assigned(&Native::Own));
    assert_eq!(told_by(&mut runner), Some(Native::Own));

    // One that an algorithm steered, until another does.
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.assign(START, assigned(&reno));
    assert_eq!(told_by(&mut runner), Some(reno));
    assign(&mut runner, Some(&puppet.named("mine")));
    update(&mut runner);
    assert_eq!(told_by(&mut runner), None);
}
