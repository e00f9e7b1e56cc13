//! `ccp top`: the flows that matter most, live.
//!
//! One thread asks the daemon, this one draws and listens to keys: a daemon that is slow, or gone, holds up
//! neither. What is drawn is a function of [`model::Model`] alone.

mod asker;
mod keys;
mod lines;
mod model;
mod view;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::{DefaultTerminal, Terminal};

use crate::daemon::{ask, print};
use crate::flows::Sort;
use crate::units::duration;
use asker::{Answer, Asker};
use model::Model;

/// Keys and answers are looked for at least this often.
const TICK: Duration = Duration::from_millis(50);
/// The size of what `--once` prints where there is no terminal.
const WIDTH: u16 = 140;
/// So many flows are in what `--once` prints, unless more are asked for.
const ONCE: u16 = 20;
/// More flows than this are never asked for.
const MOST: u32 = 10_000;

/// Arguments of `ccp top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What comes first.
    #[arg(long, value_name = "KEY", default_value = "rate")]
    sort: Sort,

    /// Only flows in which this word occurs: in the datapath, the algorithm, the state or an address. All
    /// of several words have to.
    #[arg(long, value_name = "WORD")]
    filter: Vec<String>,

    /// How often it looks: 200ms to 1h.
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    interval: Duration,

    /// At most so many flows; without it, as many as fit the terminal, or 20 with --once and --json.
    #[arg(long, value_name = "N")]
    limit: Option<u16>,

    /// Print one frame and end. Needs no terminal.
    #[arg(long)]
    once: bool,

    /// Print one JSON object per interval, a line each. Needs no terminal.
    #[arg(long)]
    json: bool,

    /// With --json: end after so many objects.
    #[arg(long, value_name = "N", requires = "json", conflicts_with = "once")]
    count: Option<u64>,

    /// With --json: end after this time: 500ms, 10s, 5min, 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, requires = "json")]
    time: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let allowed = Duration::from_millis(200)..=Duration::from_secs(3_600);
    if allowed.contains(&time) {
        Ok(time)
    } else {
        Err("must be 200ms to 1h".to_owned())
    }
}

/// Shows flows until it is told to end.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let mut model = Model::new(args.sort, &args.filter, args.interval);
    if args.json {
        return lines::run(socket, args, &mut model);
    }
    if args.once {
        return once(socket, args, &mut model);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        eprintln!(
            "ccp: `top` needs a terminal: `ccp top --once` prints one frame, `ccp top --json` is for \
             scripts"
        );
        return Ok(ExitCode::from(2));
    }
    // Who can't be asked is told before the screen is taken.
    let asker = Asker::start(socket, model.question(args.limit.unwrap_or(ONCE)))?;
    // From here on the terminal is put back however this ends: by a panic too.
    let mut terminal = ratatui::try_init().context("can't use the terminal")?;
    let ended = live(&mut terminal, &asker, args, &mut model);
    let restored = ratatui::try_restore().context("can't put the terminal back");
    ended?;
    restored?;
    Ok(ExitCode::SUCCESS)
}

fn live(
    terminal: &mut DefaultTerminal,
    asker: &Asker,
    args: &Args,
    model: &mut Model,
) -> anyhow::Result<()> {
    let mut due = Instant::now();
    let mut drawn = false;
    while !asker.ends() {
        while let Some(answer) = asker.answer() {
            take(model, answer);
            drawn = false;
        }
        if !drawn {
            terminal
                .draw(|frame| view::draw(frame, model))
                .context("can't draw")?;
            drawn = true;
        }
        let now = Instant::now();
        if now >= due && !model.paused() && !asker.is_asked() {
            let height = terminal.size().context("can't see the terminal")?.height;
            let rows = args.limit.unwrap_or_else(|| view::rows(height));
            asker.ask(model.question(rows));
            due = now + model.interval();
        }
        if !event::poll(TICK).context("can't read keys")? {
            continue;
        }
        drawn = false;
        match event::read().context("can't read keys")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let Some(action) = keys::action(key, model.typed().is_some()) else {
                    continue;
                };
                if !model.act(action) {
                    return Ok(());
                }
                // Something else is to be seen: at once.
                if model.changed() {
                    due = Instant::now();
                }
            }
            // Another size: also of the answer.
            Event::Resize(..) => due = Instant::now(),
            _ => {}
        }
    }
    Ok(())
}

fn take(model: &mut Model, answer: Answer) {
    match answer.result {
        Ok(selected) => model.show(selected, answer.release, answer.at),
        Err(error) => model.fail(error),
    }
}

/// Prints one frame.
fn once(socket: &Path, args: &Args, model: &mut Model) -> anyhow::Result<ExitCode> {
    let question = model.question(args.limit.unwrap_or(ONCE));
    let (selected, release) = ask(socket, async |ccpd| {
        let selected = ccpd.select(&question).await?;
        Ok((selected, ccpd.release().to_owned()))
    })?;
    let rows = u16::try_from(selected.flows.len()).unwrap_or(u16::MAX);
    model.show(selected, release, Instant::now());
    let width = rustix::termios::tcgetwinsize(io::stdout()).map_or(WIDTH, |size| size.ws_col);
    let height = rows.saturating_add(view::AROUND);
    let text = drawn(model, width.max(80), height);
    // The last line is about keys.
    let frame = text
        .trim_end()
        .rsplit_once('\n')
        .map_or("", |(frame, _)| frame);
    print(&format!("{}\n", frame.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// What the model looks like, as text.
fn drawn(model: &mut Model, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(frame) = terminal.draw(|frame| view::draw(frame, model));
    let mut text = String::new();
    for cells in frame.buffer.content().chunks(usize::from(width)) {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
