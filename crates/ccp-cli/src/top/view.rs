//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use ccp_control::FlowMode;
use clap::ValueEnum as _;

use super::model::{self, MOMENTS, Model, Trend};
use crate::units::{age, loss, millis, packets, short_rate};

/// Lines that show no flow: title, headings, keys.
pub(super) const AROUND: u16 = 3;

/// How many flows fit a terminal of `height` lines.
pub(super) const fn rows(height: u16) -> u16 {
    height.saturating_sub(AROUND)
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .split(frame.area());
    let [title, flows, keys] = &*areas else {
        return;
    };
    frame.render_widget(Paragraph::new(head(model)), *title);
    frame.render_widget(table(model, flows.width), *flows);
    frame.render_widget(Paragraph::new(foot(model)), *keys);
}

fn head(model: &Model) -> Line<'static> {
    let sort = model.sort().to_possible_value();
    let sort = sort.as_ref().map_or("", |sort| sort.get_name());
    let mut text = format!("ccpd {}: {} flows", model.release(), model.matching());
    if !model.words().is_empty() {
        text.push_str(&format!(" with `{}`", model.words().join(" ")));
    }
    text.push_str(&format!(", by {sort}"));
    if model.offset() > 0 {
        text.push_str(&format!(", from the {}. on", model.offset() + 1));
    }
    if model.paused() {
        text.push_str(", paused");
    }
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

fn foot(model: &Model) -> Line<'static> {
    if let Some(typed) = model.typed() {
        return Line::raw(format!(
            "filter: {typed}_   (Enter: take it, Esc: leave it)"
        ));
    }
    if let Some(error) = model.error() {
        let text = format!("{error}; trying again");
        return Line::styled(text, Style::new().fg(Color::Red));
    }
    Line::styled(
        "q quit  p pause  s sort (c r R l n f y)  t trend  / filter  arrows scroll",
        Style::new().add_modifier(Modifier::DIM),
    )
}

/// A column. Those with the highest number go first where there is no room for all.
struct Column {
    heading: &'static str,
    width: u16,
    right: bool,
    number: u8,
    text: fn(&Model, &model::Row) -> String,
}

const fn column(
    heading: &'static str,
    width: u16,
    right: bool,
    number: u8,
    text: fn(&Model, &model::Row) -> String,
) -> Column {
    Column {
        heading,
        width,
        right,
        number,
        text,
    }
}

/// The remote end, which gets the room that is left.
const REMOTE: &str = "REMOTE";

const COLUMNS: [Column; 12] = [
    column("FLOW", 7, true, 0, |_, row| row.flow.flow.to_string()),
    column("ALGORITHM", 12, false, 0, |_, row| {
        row.flow.algorithm.clone()
    }),
    column("STATE", 8, false, 5, |_, row| row.flow.state.to_string()),
    column(REMOTE, 21, false, 4, |_, row| row.flow.dst.to_string()),
    column("CWND", 10, true, 1, |_, row| {
        packets(row.flow.cwnd_bytes, row.flow.mss_bytes)
    }),
    column("RATE", 13, true, 3, |_, row| {
        short_rate(row.flow.rate_bytes_per_s)
    }),
    column("GOODPUT", 13, true, 6, |_, row| {
        row.goodput.map_or_else(|| "-".to_owned(), short_rate)
    }),
    column("RTT", 11, true, 1, |_, row| millis(row.flow.rtt_us)),
    column("LOSS", 7, true, 4, |_, row| {
        loss(row.flow.lost_bytes, row.flow.delivered_bytes)
    }),
    column("REPORTS/S", 9, true, 7, |_, row| {
        let reports = row.reports.map(|reports| format!("{reports:.0}"));
        reports.unwrap_or_else(|| "-".to_owned())
    }),
    column("AGE", 11, true, 8, |_, row| age(row.flow.age_us)),
    column("TREND", MOMENTS as u16, false, 2, |model, row| {
        sparkline(model.moments(row.flow.flow))
    }),
];

fn table(model: &Model, width: u16) -> Table<'static> {
    let columns = columns(width);
    let heading = |column: &&Column| {
        let trend = match model.trend() {
            Trend::Cwnd => "TREND OF CWND",
            Trend::Rate => "TREND OF RATE",
            Trend::Rtt => "TREND OF RTT",
        };
        let text = match column.heading {
            "TREND" => trend,
            heading => heading,
        };
        cell(text.to_owned(), column.right)
    };
    let header =
        Row::new(columns.iter().map(heading)).style(Style::new().add_modifier(Modifier::REVERSED));
    let widths = columns.iter().map(|column| match column.heading {
        REMOTE => Constraint::Min(column.width),
        _ => Constraint::Length(column.width),
    });
    let rows = model.rows().iter().map(|row| {
        let cells = columns.iter();
        Row::new(cells.map(|column| cell((column.text)(model, row), column.right)))
            .style(style(row.flow.state))
    });
    Table::new(rows, widths).header(header).column_spacing(1)
}

/// The columns for which there is room.
fn columns(width: u16) -> Vec<&'static Column> {
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    let needed = |columns: &[&Column]| columns.iter().map(|c| c.width + 1).sum::<u16>();
    while needed(&columns) > width + 1 {
        let last = columns.iter().map(|c| c.number).max().unwrap_or(0);
        if last == 0 {
            break;
        }
        let place = columns.iter().rposition(|c| c.number == last);
        columns.remove(place.unwrap_or(0));
    }
    columns
}

fn style(state: FlowMode) -> Style {
    match state {
        FlowMode::Running => Style::new(),
        FlowMode::Native => Style::new().add_modifier(Modifier::DIM),
        FlowMode::Fallback => Style::new().fg(Color::Yellow),
    }
}

fn cell(text: String, right: bool) -> Cell<'static> {
    let line = Line::raw(text);
    Cell::new(if right { line.right_aligned() } else { line })
}

/// Values as bars, the largest of them the full height.
fn sparkline(values: impl Iterator<Item = u64>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<u64> = values.collect();
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        let place = u128::from(*value) * (BARS.len() as u128 - 1) / u128::from(most);
        usize::try_from(place)
            .ok()
            .and_then(|place| BARS.get(place))
    };
    values.iter().filter_map(bar).collect()
}
