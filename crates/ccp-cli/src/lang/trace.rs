//! Recorded acknowledgements: a table in a CSV file, read row by row.
//!
//! Numbers, `true` and `false` need neither quotes nor line breaks within a cell, so a row is a
//! line, and what is wrong has a line and a column. Quotes around a cell are taken off.

use std::io::BufRead;

use anyhow::{Context as _, anyhow, bail};
use ccp_program::{RegisterTable, Type};

/// The longest line, in bytes: a table of every measurement has shorter ones by far.
const MAX_LINE: usize = 64 << 10;

/// The column that is the time, in microseconds.
const NOW: &str = "Ack.now";

/// A table of acknowledgements.
pub(super) struct Trace<R> {
    name: String,
    input: R,
    /// What each column is for: the place of a measurement, or nothing.
    columns: Vec<Option<Column>>,
    names: Vec<String>,
    line: Vec<u8>,
    number: u64,
    now: Option<u64>,
}

#[derive(Clone, Copy)]
struct Column {
    place: usize,
    ty: Type,
}

impl<R: BufRead> Trace<R> {
    /// Reads the first line, which names the columns after the measurements of `table`.
    pub(super) fn new(name: String, input: R, table: &RegisterTable) -> anyhow::Result<Self> {
        let mut trace = Self {
            name,
            input,
            columns: Vec::new(),
            names: Vec::new(),
            line: Vec::new(),
            number: 0,
            now: None,
        };
        let Some(line) = trace.next_line()? else {
            bail!(
                "{}: is empty: its first line has to name the columns",
                trace.name
            );
        };
        for (column, cell) in cells(&line) {
            let known = table.primitive(cell);
            if trace.names.iter().any(|name| name == cell) && known.is_some() {
                bail!(
                    "{}: there is a column `{cell}` already",
                    trace.place(column)
                );
            }
            trace.names.push(cell.to_owned());
            trace.columns.push(known.map(|(place, def)| Column {
                place: usize::from(place),
                ty: def.ty,
            }));
        }
        if !trace.has(NOW) {
            bail!(
                "{}: there is no column `{NOW}`, the time of each acknowledgement in microseconds",
                trace.place(1)
            );
        }
        Ok(trace)
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|column| column == name)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The columns that are no measurement.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        let columns = self.names.iter().zip(&self.columns);
        columns.filter_map(|(name, column)| column.is_none().then_some(name.as_str()))
    }

    /// Reads the next acknowledgement into `values`, at the places of the table, and returns its
    /// time. `None` at the end.
    pub(super) fn next(&mut self, values: &mut [u64]) -> anyhow::Result<Option<u64>> {
        let line = loop {
            match self.next_line()? {
                None => return Ok(None),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => break line,
            }
        };
        let mut count = 0;
        let mut now = None;
        for (at, cell) in cells(&line) {
            let (Some(column), Some(name)) = (self.columns.get(count), self.names.get(count))
            else {
                bail!(
                    "{}: there are more cells than the {} columns",
                    self.place(at),
                    self.columns.len()
                );
            };
            count += 1;
            let Some(column) = column else { continue };
            let value = value(cell, column.ty)
                .map_err(|why| anyhow!("{}: `{name}` = `{cell}`: {why}", self.place(at)))?;
            if let Some(place) = values.get_mut(column.place) {
                *place = value;
            }
            if name == NOW {
                if let Some(before) = self.now.filter(|before| *before > value) {
                    bail!(
                        "{}: `{NOW}` = {value}: time goes back, it was {before} already",
                        self.place(at)
                    );
                }
                now = Some(value);
            }
        }
        if count < self.columns.len() {
            bail!(
                "{}: the row ends without `{}`",
                self.place(line.chars().count() + 1),
                self.names.get(count).map_or("", String::as_str)
            );
        }
        self.now = now;
        Ok(now)
    }

    /// The next line without its end. It is given away so that the rest may be used beside it.
    fn next_line(&mut self) -> anyhow::Result<Option<String>> {
        self.line.clear();
        self.number += 1;
        let most = MAX_LINE as u64 + 1;
        let mut limited = std::io::Read::take(&mut self.input, most);
        let read = limited.read_until(b'\n', &mut self.line);
        read.with_context(|| format!("can't read {}", self.name))?;
        if self.line.len() > MAX_LINE {
            bail!(
                "{}: the line is longer than {MAX_LINE} bytes",
                self.place(1)
            );
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.line).map_err(|error| {
            let good = self.line.get(..error.valid_up_to()).unwrap_or_default();
            let column = String::from_utf8_lossy(good).chars().count() + 1;
            anyhow!("{}: this is not UTF-8", self.place(column))
        })?;
        // What Windows programs begin a text with.
        let text = match self.number {
            1 => text.strip_prefix('\u{feff}').unwrap_or(text),
            _ => text,
        };
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    fn place(&self, column: usize) -> String {
        format!("{}:{}:{column}", self.name, self.number)
    }
}

/// The cells of a line, without the spaces and quotes around them, with their columns.
fn cells(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut column = 1;
    line.split(',').map(move |cell| {
        let spaces = cell.chars().take_while(|c| c.is_whitespace()).count();
        let at = column + spaces;
        column += cell.chars().count() + 1;
        let cell = cell.trim();
        let bare = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
        (at, bare.unwrap_or(cell))
    })
}

/// The value of a cell.
fn value(cell: &str, ty: Type) -> Result<u64, String> {
    match (ty, cell) {
        (Type::Bool, "true" | "1") => Ok(1),
        (Type::Bool, "false" | "0") => Ok(0),
        (Type::Bool, _) => Err("must be true or false".to_owned()),
        (Type::Num, "+infinity") => Ok(u64::MAX),
        (Type::Num, _) if cell.bytes().all(|b| b.is_ascii_digit()) => cell
            .parse()
            .map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX)),
        (Type::Num, _) => Err(format!(
            "must be a whole number from 0 to {}, or +infinity",
            u64::MAX
        )),
    }
}

#[cfg(test)]
mod tests;
