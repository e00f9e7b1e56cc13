//! Contenders measured in turn, and the same numbers of flows of each set beside each other.

use anyhow::{Context as _, Result};
use ccp_plot::{Bar, BarChart};

use crate::contenders::Contender;
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

/// Has `measure` measure each of `things` under each contender, as often as a real run does `times` times: told are
/// the round, from 0, the thing and the contender. Nobody is always the one after the same other.
pub(crate) fn measured<T, R>(
    plan: &Plan,
    section: &str,
    times: usize,
    things: &[T],
    contenders: &[Contender],
    mut measure: impl FnMut(usize, &T, &Contender) -> Result<R>,
) -> Result<Vec<R>> {
    let mut order: Vec<&Contender> = contenders.iter().collect();
    let mut measured = Vec::new();
    for round in 0..plan.times(times) {
        for thing in things {
            for contender in &order {
                interrupt::check()?;
                measured.push(measure(round, thing, contender).with_context(|| contender.name)?);
            }
            order.rotate_left(1);
        }
        eprintln!("ccp-bench: {section}: round {} over", round + 1);
    }
    Ok(measured)
}

/// What was measured of so many flows of one contender.
pub(crate) struct Run {
    pub(crate) flows: usize,
    pub(crate) contender: &'static str,
    /// What the contenders are compared by.
    pub(crate) value: f64,
    /// What the flows reached together.
    pub(crate) gbit_per_s: f64,
}

/// How [`Comparison::outcome`] calls what it sets beside each other.
pub(crate) struct Comparison {
    pub(crate) section: &'static str,
    pub(crate) header: &'static [&'static str],
    /// The keys of contenders, in the order of the table.
    pub(crate) rows: &'static [&'static str],
    /// Keys: of the value, and of what it is beside the kernel's own.
    pub(crate) keys: [&'static str; 2],
    /// The name of the picture's file, and what it shows.
    pub(crate) picture: [&'static str; 2],
    /// The title of the chart and the unit of the values.
    pub(crate) chart: [&'static str; 2],
    /// Whether the table has a last column with what the flows reached.
    pub(crate) tells_speed: bool,
}

impl Comparison {
    /// The table, the values and the chart of `runs`, of each number of flows one block.
    pub(crate) fn outcome(
        &self,
        flows: &[usize],
        contenders: &[Contender],
        runs: &[Run],
    ) -> Outcome {
        let mut outcome = Outcome::new(self.section);
        let mut table = Table::new(self.header.iter().copied());
        let [title, unit] = self.chart;
        let mut chart = BarChart::new(title, unit)
            .subtitle("median, least and most of the runs, one after the other in turn");
        for &flows in flows {
            let of = |key: &str, value: fn(&Run) -> f64| {
                let these = runs
                    .iter()
                    .filter(|run| (run.flows, run.contender) == (flows, key));
                Samples::new(these.map(value))
            };
            let mut bars = Vec::new();
            for &key in self.rows {
                let Some(contender) = contenders.iter().find(|one| one.key == key) else {
                    continue;
                };
                let own = of(key, |run| run.value);
                let ratio = own.median() / of(contender.beside, |run| run.value).median();
                let [value_key, ratio_key] = self.keys;
                outcome.value(format!("{flows}_flows.{key}.{value_key}"), own.median());
                outcome.value(format!("{flows}_flows.{key}.{ratio_key}"), ratio);
                let mut row = vec![
                    flows.to_string(),
                    contender.name.to_owned(),
                    own.spread(),
                    number(ratio),
                ];
                if self.tells_speed {
                    row.push(number(of(key, |run| run.gbit_per_s).median()));
                }
                table.row(row);
                bars.push(Bar::with_spread(
                    contender.name.replace('`', ""),
                    own.median(),
                    own.least(),
                    own.most(),
                ));
            }
            let name = if flows == 1 { "flow" } else { "flows" };
            chart = chart.group(format!("{flows} {name}"), bars);
        }
        outcome.tables.push(table);
        let [file, shows] = self.picture;
        outcome.bars(file, shows, chart);
        outcome
    }
}
