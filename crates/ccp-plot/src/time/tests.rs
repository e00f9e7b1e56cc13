use super::{
    draw::{EDGE, LABEL, TITLE, stepped, wrapped},
    *,
};
use crate::canvas::Canvas;

fn overlaps(a: (f64, f64), b: (f64, f64)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

#[test]
fn marker_labels_never_overlap() {
    let line = Series::line("s", [(0.0, 0.0), (60.0, 1.0)]);
    let mut chart = TimeChart::new("t").panel(Panel::new("p").series(line));
    for (x, label) in [
        (59.9, "the very last event of all"),
        (10.0, "killed"),
        (10.1, "restarted"),
        (10.2, "back"),
        (0.0, "start of it all"),
    ] {
        chart = chart.marker(Marker::at(x, label));
    }
    let canvas = Canvas::new("t", 1000.0);
    let (left, right) = (40.0, 976.0);
    let x_of = |x: f64| left + x / 60.0 * (right - left);
    let rows = chart.marker_rows(&canvas, &x_of, left, right);
    for (i, &(row, start)) in rows.iter().enumerate() {
        let label = (
            start,
            start + canvas.measure(&chart.markers[i].label, LABEL),
        );
        assert!(
            label.0 >= left && label.1 <= right + 1e-9,
            "inside: {label:?}"
        );
        for (j, &(other_row, other_start)) in rows.iter().enumerate().filter(|&(j, _)| j != i) {
            let other = &chart.markers[j];
            let other_label = (
                other_start,
                other_start + canvas.measure(&other.label, LABEL),
            );
            assert!(
                row != other_row || !overlaps(label, other_label),
                "{i} and {j}: {rows:?}"
            );
            // A line runs from its label down, through the rows below.
            let x = x_of(other.from);
            let crossed = other_row > row && overlaps(label, (x, x));
            assert!(
                !crossed,
                "the line of {j} runs through the label of {i}: {rows:?}"
            );
        }
    }
    assert_eq!(rows.iter().map(|&(row, _)| row).max(), Some(2));
}

#[test]
fn steps_hold_their_value() {
    let points = [(0.0, 1.0), (2.0, 1.0), (3.0, 5.0)];
    assert_eq!(
        stepped(&points),
        [(0.0, 1.0), (2.0, 1.0), (3.0, 1.0), (3.0, 5.0)]
    );
    assert!(stepped(&[]).is_empty());
}

#[test]
fn gaps_split_a_series_and_order_is_by_x() {
    let series = Series::line(
        "s",
        [
            (3.0, 1.0),
            (1.0, 1.0),
            (2.0, f64::NAN),
            (f64::INFINITY, 1.0),
        ],
    );
    let stretches: Vec<_> = series.stretches().collect();
    assert_eq!(stretches, [&[(1.0, 1.0)][..], &[(3.0, 1.0)][..]]);
}

#[test]
fn axes_begin_at_zero_unless_asked_to_fit() {
    let panel = Panel::new("p").series(Series::line("s", [(0.0, 20.3), (1.0, 39.0)]));
    assert_eq!((panel.axis().low, panel.axis().high), (0.0, 40.0));
    assert_eq!(panel.clone().fit().axis().low, 20.0);
    assert_eq!(panel.clone().y_max(30.0).axis().high, 30.0);
    assert_eq!(panel.clone().reference(50.0, "link").axis().high, 60.0);
    let empty = Panel::new("p").axis();
    assert!(empty.low < empty.high);
}

#[test]
fn long_titles_are_broken() {
    let canvas = Canvas::new("t", 300.0);
    let lines = wrapped(&canvas, &"word ".repeat(30), TITLE);
    assert!(lines.len() > 3);
    assert!(
        lines
            .iter()
            .all(|line| canvas.measure(line, TITLE) <= 300.0 - 2.0 * EDGE)
    );
}
