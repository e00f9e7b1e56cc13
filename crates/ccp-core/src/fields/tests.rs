use ccp_types::{Bytes, Micros, Rate};

use crate::{CompiledProgram, ControlField, Controls, Report, Updates};

const PROGRAM: &str = "
    (def (Report (volatile acked 0) (min.rtt +infinity) (loss false) (type 7)) (gain 3) (on true))
    (when on
        (:= Report.acked (+ Report.acked (* gain Ack.bytes_acked)))
        (report))";

fn program() -> CompiledProgram {
    CompiledProgram::compile("p", PROGRAM).unwrap()
}

fn report<'a>(program: &'a CompiledProgram, values: &'a [u64]) -> Report<'a> {
    Report::new(program, values, 0).unwrap()
}

#[derive(Debug, PartialEq, Report)]
struct Whole {
    // In another order than the program's, and with every way to get a name.
    loss: bool,
    acked: Bytes,
    r#type: u64,
    #[ccp(rename = "min.rtt")]
    min_rtt: Micros,
    none: Option<Rate>,
}

#[test]
fn values_come_by_name() {
    let program = program();
    let reports = program.reports::<Whole>().unwrap();
    let expected = Whole {
        loss: true,
        acked: Bytes(1),
        r#type: 4,
        min_rtt: Micros(2),
        none: None,
    };
    assert_eq!(report(&program, &[1, 2, 1, 4]).read(reports), expected);
}

#[derive(Debug, PartialEq, Report)]
#[ccp(partial)]
struct Part {
    loss: Option<bool>,
}

#[test]
fn a_part_is_enough_if_the_struct_says_so() {
    let program = program();
    let reports = program.reports::<Part>().unwrap();
    let read = report(&program, &[1, 2, 0, 4]).read(reports);
    assert_eq!(read, Part { loss: Some(false) });
}

#[derive(Debug, Report)]
#[allow(dead_code, reason = "it fits no program")]
struct Wrong {
    acked: bool,
    min_rtts: u64,
    loss: Option<u64>,
    #[ccp(rename = "min_rtt")]
    least: u64,
}

#[test]
fn everything_that_does_not_fit_is_named() {
    let error = program().reports::<Wrong>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`Wrong` does not fit the program `p`:
  the report variable `acked` is a number, the field `acked` takes a boolean
  no report variable `min_rtts` for the field `min_rtts`; did you mean `min.rtt`?
  the report variable `loss` is a boolean, the field `loss` takes a number
  no report variable `min_rtt` for the field `least`; did you mean `min.rtt`?
  no field takes the report variable `min.rtt`: add one, or say `#[ccp(partial)]` if it is not needed
  no field takes the report variable `type`: add one, or say `#[ccp(partial)]` if it is not needed"
    );
}

#[test]
#[should_panic(expected = "a report of another program")]
fn a_report_of_another_program_is_not_read() {
    let program = program();
    let other = "(def (Report (x 0))) (when true (:= Report.x Cwnd) (report))";
    let other = CompiledProgram::compile("other", other).unwrap();
    let reports = program.reports::<Whole>().unwrap();
    let _ = report(&other, &[1]).read(reports);
}

#[derive(Clone, Copy, Controls)]
struct Inner {
    on: ControlField<bool>,
}

#[derive(Clone, Copy, Controls)]
struct Knobs {
    #[ccp(flatten)]
    inner: Inner,
    #[ccp(rename = "gain")]
    factor: ControlField<u64>,
    none: Option<ControlField<Rate>>,
}

#[test]
fn control_variables_are_set_by_their_fields() {
    let program = program();
    let knobs = program.controls::<Knobs>().unwrap();
    let updates = Updates::none()
        .set(knobs.inner.on, false)
        .set(knobs.factor, 9);
    let changes: Vec<String> = updates.iter().map(|u| format!("{:?}", u.change)).collect();
    assert_eq!(changes, ["Control(1, 0)", "Control(0, 9)"]);
    assert!(knobs.none.is_none());
}

#[derive(Controls)]
#[allow(dead_code, reason = "it fits no program")]
struct WrongInner {
    on: ControlField<u64>,
}

#[derive(Controls)]
#[allow(dead_code, reason = "it fits no program")]
struct WrongKnobs {
    gian: ControlField<u64>,
    #[ccp(flatten)]
    inner: WrongInner,
    gain: Option<ControlField<bool>>,
}

#[test]
fn every_knob_that_is_not_there_is_named() {
    let error = program().controls::<WrongKnobs>().err().unwrap();
    assert_eq!(
        error.to_string(),
        "`WrongKnobs` does not fit the program `p`:
  no control variable `gian` for the field `gian`; did you mean `gain`?
  the control variable `on` is a boolean, the field `WrongInner::on` takes a number
  the control variable `gain` is a number, the field `gain` takes a boolean"
    );
}
