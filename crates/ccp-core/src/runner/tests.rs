use std::sync::Arc;

use ccp_program::{Limits, RegisterTable};
use ccp_types::{Bytes, FlowState, Micros, Origin, Rate, Timestamp};
use ccp_wire::Capabilities;

use super::{FlowMode, FlowRunner, RawReport, RunnerNotice, RunnerOutput, UpdateError};
use crate::alg::{CongAlg, Event, Flow, FlowId, NewFlow};
use crate::command::{Command, FlowUpdate, Place};
use crate::policy::Native;
use crate::program::CompiledProgram;
use crate::registry::Algorithm;
use crate::session::{Announced, Assigned, Opened};
use crate::table::ProgramTable;
use crate::testing::{Puppet, info, order};
use crate::update::Updates;

const START: Timestamp = Timestamp(1_000);

mod steering;

fn table(algorithms: &[Algorithm]) -> Arc<ProgramTable> {
    let capabilities = Capabilities::new(RegisterTable::well_known(), Limits::MAX);
    Arc::new(ProgramTable::new(algorithms, Some(&capabilities)))
}

fn announced(generation: u32, origin: Origin, cwnd: u64) -> Announced {
    let mut info = info(1, 443);
    info.origin = origin;
    info.state.cwnd = Bytes(cwnd);
    Announced {
        info: info.into(),
        generation,
        faults: 0,
    }
}

fn runner(algorithm: &Algorithm, default: &Algorithm) -> FlowRunner {
    let opened = Opened::new(
        FlowId(4),
        "ccp",
        announced(1, Origin::New, 10_000),
        Some(algorithm.clone()),
        table(&[default.clone(), algorithm.clone()]),
    );
    FlowRunner::new(START, opened, Some(default.clone()))
}

/// A flow of `puppet`, with its program started.
fn started(puppet: &Puppet) -> FlowRunner {
    let algorithm = puppet.named("mine");
    let mut runner = runner(&algorithm, &algorithm);
    let first = update(&mut runner);
    assert!(first.change_program);
    puppet.heard();
    runner
}

/// Gives the flow to `algorithm`, whose programs come after those that its datapath has.
fn assign(runner: &mut FlowRunner, algorithm: Option<&Algorithm>) {
    let more: Vec<Algorithm> = algorithm.into_iter().cloned().collect();
    let programs = Arc::new(runner.programs().extended(&more));
    let default = Puppet::new().named("default");
    runner.assign(START, Assigned::new(algorithm.cloned(), default, programs));
}

fn poll(runner: &mut FlowRunner) -> Vec<RunnerOutput> {
    std::iter::from_fn(|| runner.poll()).collect()
}

fn update(runner: &mut FlowRunner) -> FlowUpdate {
    match poll(runner).as_slice() {
        [RunnerOutput::Command(Command::Update(update))] => update.clone(),
        other => panic!("expected one update, got {other:?}"),
    }
}

fn report(runner: &mut FlowRunner, what: u64) {
    report_of(runner, uid(runner), what);
}

fn uid(runner: &FlowRunner) -> u32 {
    let program = runner.status().program.unwrap();
    runner.programs().uid(&program).unwrap()
}

fn report_of(runner: &mut FlowRunner, program_uid: u32, what: u64) {
    let generation = runner.generation;
    let report = RawReport {
        program_uid,
        generation,
        merged: 0,
        fields: &[what],
    };
    runner.on_report(Timestamp(2_000), &report);
}

#[test]
fn an_update_takes_in_what_is_decided_until_it_is_taken() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    assert_eq!(runner.update(), None);
    report(&mut runner, 5_000);
    let first = runner.update().unwrap().clone();
    report(&mut runner, order::OTHER_PROGRAM);
    let both = runner.update().unwrap().clone();
    assert_eq!((first.program_uid, both.program_uid), (1, 2));
    assert_eq!(both.cwnd(), Some(50));
    let before = runner.status().updates;
    runner.update_taken();
    assert_eq!(runner.status().updates, before + 1);
    assert!(runner.update().is_none() && runner.poll().is_none());
}

/// As for [`FlowRunner::poll`], what was to be said before goes first.
#[test]
fn an_update_waits_for_a_notice() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, order::ZERO_WINDOW);
    report(&mut runner, 5_000);
    assert_eq!(runner.update(), None);
    assert!(matches!(runner.poll(), Some(RunnerOutput::Notice(_))));
    assert_eq!(runner.update().cloned(), Some(update(&mut runner)));
}

#[test]
fn a_new_flow_starts_its_program_with_the_first_update() {
    let puppet = Puppet::new();
    let algorithm = puppet.named("mine");
    let mut runner = runner(&algorithm, &algorithm);
    assert_eq!(puppet.heard(), ["New 10000 B"]);
    let update = update(&mut runner);
    assert_eq!((update.program_uid, update.change_program), (1, true));
    assert_eq!((update.generation, update.flow), (1, FlowId(4)));
    let status = runner.status();
    assert_eq!(status.mode, FlowMode::Running);
    assert_eq!(status.state.cwnd, Bytes(10_000));
    assert_eq!(status.updates, 1);
}

#[test]
fn updates_not_yet_taken_are_made_one_and_none_is_lost() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, 5_000);
    report(&mut runner, 12);
    report(&mut runner, 6_000);
    let update = update(&mut runner);
    assert!(!update.change_program);
    assert_eq!(
        update.fields.as_slice(),
        [(Place::Writable(0), 6_000), (Place::Control(0), 12)]
    );
    assert_eq!(runner.status().reports, 3);
    assert_eq!(runner.status().updates, 2);
    assert_eq!(runner.status().state.cwnd, Bytes(6_000));
}

#[test]
fn a_program_change_keeps_the_window_and_drops_the_fields_of_the_old_program() {
    // What used to happen elsewhere: libccp's CHANGE_PROG clears an UPDATE sent just before it.
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, 5_000);
    report(&mut runner, order::OTHER_PROGRAM);
    let update = update(&mut runner);
    assert_eq!((update.program_uid, update.change_program), (2, true));
    assert_eq!(
        update.fields.as_slice(),
        [(Place::Writable(0), 50), (Place::Control(1), 2)]
    );
}

#[test]
fn reports_of_another_program_or_announcement_are_counted_not_delivered() {
    // What used to happen elsewhere: a report of the program before made the algorithm panic.
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, order::OTHER_PROGRAM);
    let _ = update(&mut runner);
    report_of(&mut runner, 1, 5_000);
    report_of(&mut runner, 9, 5_000);
    let old = RawReport {
        program_uid: 2,
        generation: 0,
        merged: 0,
        fields: &[5_000],
    };
    runner.on_report(START, &old);
    let short = RawReport {
        fields: &[],
        generation: 1,
        ..old
    };
    runner.on_report(START, &short);
    assert!(poll(&mut runner).is_empty());
    assert_eq!(runner.status().stale, 4);
    assert_eq!(runner.status().reports, 1);
}

#[test]
fn an_update_that_cannot_be_leaves_the_flow_as_it_was() {
    for (what, error) in [
        (order::ZERO_WINDOW, UpdateError::ZeroWindow),
        (
            order::NO_SUCH_CONTROL,
            UpdateError::NoSuchControl {
                program: "puppet".into(),
                place: 1,
                count: 1,
            },
        ),
        (
            order::NO_SUCH_REGISTER,
            UpdateError::NoSuchRegister { place: 9, count: 3 },
        ),
        (
            order::FOREIGN_PROGRAM,
            UpdateError::NoSuchProgram {
                program: "foreign".into(),
            },
        ),
        (
            order::OTHER_FLOW,
            UpdateError::OtherFlow { flow: FlowId(99) },
        ),
    ] {
        let puppet = Puppet::new();
        let mut runner = started(&puppet);
        report(&mut runner, what);
        report(&mut runner, what);
        let algorithm = "mine".to_owned();
        // Told once, counted twice, nothing sent.
        match poll(&mut runner).as_slice() {
            [RunnerOutput::Notice(notice)] => {
                assert_eq!(*notice, RunnerNotice::Refused { algorithm, error });
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(runner.status().refused, 2);
        assert_eq!(runner.status().state.cwnd, Bytes(10_000));
        report(&mut runner, 5_000);
        assert_eq!(update(&mut runner).cwnd(), Some(5_000));
    }
}

#[test]
fn timers_come_when_they_were_asked_for_and_not_before() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, order::SLEEP);
    assert_eq!(runner.wake_at(), Some(Timestamp(7_000)));
    runner.on_timer(Timestamp(6_999));
    assert!(puppet.heard().is_empty());
    runner.on_timer(Timestamp(7_001));
    assert_eq!(puppet.heard(), ["timer 0.007001s"]);
    assert_eq!(runner.wake_at(), None);
}

#[test]
fn an_algorithm_cannot_keep_time_from_going_on() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, order::SLEEP_NOT);
    assert_eq!(runner.wake_at(), Some(Timestamp(2_000) + super::MIN_SLEEP));
}

#[test]
fn time_never_goes_back() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.on_event(Timestamp(9_000), &Event::MssChanged { mss: 1_200 });
    report(&mut runner, order::SLEEP);
    assert_eq!(runner.wake_at(), Some(Timestamp(14_000)));
    assert_eq!(runner.status().mss, 1_200);
}

#[test]
fn a_flow_that_is_given_back_starts_from_what_the_datapath_says() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, 5_000);
    report(&mut runner, order::SLEEP);
    runner.on_suspend();
    assert_eq!(runner.status().mode, FlowMode::Fallback);
    assert_eq!(runner.wake_at(), None);
    // What was staged for the announcement before is void, and nobody is asked.
    assert!(poll(&mut runner).is_empty());
    report_of(&mut runner, 1, 6_000);
    runner.on_timer(Timestamp(1_000_000));
    runner.on_event(Timestamp(1_000_000), &Event::MssChanged { mss: 900 });
    assert!(poll(&mut runner).is_empty());
    assert!(puppet.heard().is_empty());
    assert_eq!(runner.status().stale, 1);

    runner.on_resume(Timestamp(2_000_000), &announced(2, Origin::Resumed, 33_000));
    assert_eq!(puppet.heard(), ["Resumed 33000 B"]);
    let update = update(&mut runner);
    assert_eq!((update.generation, update.change_program), (2, true));
    assert_eq!(runner.status().state.cwnd, Bytes(33_000));
}

#[test]
fn what_the_datapath_tells_is_shown_and_kept() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    let told = FlowState {
        cwnd: Bytes(44_000),
        rate: Rate(9),
        srtt: Micros(20),
        min_rtt: Micros(10),
    };
    runner.observe(told);
    report(&mut runner, 5_000);
    assert_eq!(runner.status().state, told);
    runner.switch(START, &puppet.named("again"));
    assert_eq!(puppet.heard(), ["Adopted 44000 B"]);
}

#[test]
fn missed_reports_and_events_reach_the_algorithm() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.missed(START, 3);
    runner.on_event(START, &Event::ProgramFault { count: 2 });
    assert_eq!(
        puppet.heard(),
        ["ReportsMissed { count: 3 }", "ProgramFault { count: 2 }"]
    );
    assert_eq!(runner.status().missed, 3);
}

#[test]
fn the_end_is_told_with_totals_and_nothing_comes_after() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    report(&mut runner, 5_000);
    let _ = update(&mut runner);
    report(&mut runner, 6_000);
    runner.close(START);
    runner.close(START);
    assert_eq!(
        puppet.heard(),
        ["Closed(Totals { reports: 2, updates: 2 })"]
    );
    report_of(&mut runner, 1, 7_000);
    runner.on_resume(START, &announced(2, Origin::Resumed, 1));
    runner.switch(START, &puppet.named("late"));
    assert!(poll(&mut runner).is_empty());
    assert!(puppet.heard().is_empty());
}

#[test]
fn a_group_may_be_steered_by_one_of_its_flows() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    runner.set_group(vec![FlowId(99)]);
    report(&mut runner, order::OTHER_FLOW);
    let outputs = poll(&mut runner);
    let [
        RunnerOutput::Command(Command::Update(own)),
        RunnerOutput::Forward { to, updates },
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((own.cwnd(), *to), (Some(5), FlowId(99)));

    let mut other = started(&puppet);
    other.from_group(START, updates.clone());
    assert_eq!(update(&mut other).cwnd(), Some(6));
}

#[test]
fn a_libccp_flow_without_algorithm_is_told_to_go_on_by_itself() {
    let puppet = Puppet::new();
    let algorithm = puppet.named("mine");
    let opened = |algorithm| {
        let programs = Arc::new(ProgramTable::new(&[puppet.named("mine")], None));
        let announced = announced(0, Origin::New, 10_000);
        Opened::new(FlowId(1), "unix", announced, algorithm, programs)
    };
    let told = |runner: &mut FlowRunner| {
        let outputs = poll(runner);
        let told = |o: &RunnerOutput| {
            matches!(o, RunnerOutput::Command(Command::Native { mss: 1_000, .. }))
        };
        outputs.iter().filter(|o| told(o)).count()
    };
    let mut alone = FlowRunner::new(START, opened(None), None);
    assert_eq!(told(&mut alone), 1);
    alone.on_resume(START, &announced(0, Origin::New, 10_000));
    assert_eq!(told(&mut alone), 1);
    let mut steered = FlowRunner::new(START, opened(Some(algorithm)), None);
    assert_eq!(told(&mut steered), 0);
}

#[test]
fn an_algorithm_hears_of_its_programs_faults_before_it_gets_the_flow_back() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    let mut again = announced(2, Origin::Resumed, 9_000);
    again.faults = 16;
    runner.on_resume(Timestamp(2_000), &again);
    let fault = format!("{:?}", Event::ProgramFault { count: 16 });
    let heard = [fault, "Resumed 9000 B".to_owned()];
    assert_eq!(puppet.heard(), heard);
    assert_eq!(runner.status().faults, 16);
    assert!(update(&mut runner).change_program);
    // The same announcement, repeated since its answer was not seen yet, tells nothing new.
    runner.on_resume(Timestamp(3_000), &again);
    assert_eq!(puppet.heard(), ["Resumed 9000 B"]);
    assert_eq!(runner.status().faults, 16);
}

#[test]
fn a_window_beyond_what_a_flow_can_have_is_lowered_to_that() {
    let puppet = Puppet::new();
    let mut runner = started(&puppet);
    let most = super::MOST_PACKETS * u64::from(info(1, 443).mss);
    for (asked, bounded) in [(most, 0), (most + 1, 1), (u64::MAX, 2)] {
        runner.from_group(START, Updates::none().cwnd(Bytes(asked)));
        assert_eq!(update(&mut runner).cwnd(), Some(most), "{asked}");
        assert_eq!(runner.counts().bounded, bounded, "{asked}");
    }
}

/// What the datapath is told to steer the flow by, if it is told to.
fn told_by(runner: &mut FlowRunner) -> Option<Native> {
    poll(runner).into_iter().find_map(|output| match output {
        RunnerOutput::Command(Command::Native { by, .. }) => Some(by),
        _ => None,
    })
}
