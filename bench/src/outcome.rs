//! What a section of the benchmarks found.

use std::collections::BTreeMap;

use ccp_plot::{BarChart, PlotError, TimeChart};
use serde::Serialize;

/// What a section found.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// The section's name: what its markers in the document say.
    pub(crate) section: &'static str,
    pub(crate) tables: Vec<Table>,
    #[serde(skip)]
    pub(crate) charts: Vec<Chart>,
    /// The same numbers for programs: medians, by a name of several words with dots between.
    pub(crate) values: BTreeMap<String, f64>,
}

/// A table: as Markdown in the document.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A picture, and what those read who do not see it.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Its file in `docs/img`, without the ending.
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) picture: Picture,
}

/// What a picture shows.
#[derive(Debug)]
pub(crate) enum Picture {
    Bars(BarChart),
    Time(TimeChart),
}

impl Picture {
    pub(crate) fn to_svg(&self) -> String {
        match self {
            Self::Bars(chart) => chart.to_svg(),
            Self::Time(chart) => chart.to_svg(),
        }
    }

    pub(crate) fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        match self {
            Self::Bars(chart) => chart.to_png(),
            Self::Time(chart) => chart.to_png(),
        }
    }
}

impl Outcome {
    pub(crate) const fn new(section: &'static str) -> Self {
        Self {
            section,
            tables: Vec::new(),
            charts: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    /// Adds a picture of the file `name` in `docs/img`.
    pub(crate) fn bars(&mut self, name: &str, title: &str, chart: BarChart) {
        self.picture(name, title, Picture::Bars(chart));
    }

    /// Adds a picture over time of the file `name` in `docs/img`.
    pub(crate) fn times(&mut self, name: &str, title: &str, chart: TimeChart) {
        self.picture(name, title, Picture::Time(chart));
    }

    fn picture(&mut self, name: &str, title: &str, picture: Picture) {
        self.charts.push(Chart {
            file: name.to_owned(),
            title: title.to_owned(),
            picture,
        });
    }

    /// Left out if it is not a number, as the ratio of two counts of nothing.
    pub(crate) fn value(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.values.insert(name.into(), value);
        }
    }

    /// The section as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            out.push_str(&table.markdown());
            out.push('\n');
        }
        for Chart { file, title, .. } in &self.charts {
            out.push_str(&format!("![{title}](img/{file}.svg)\n\n"));
        }
        out
    }
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The first column holds names, the others numbers.
    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut out = line(&self.header);
        for i in 0..self.header.len() {
            out.push_str(if i == 0 { "|---" } else { "|---:" });
        }
        out.push_str("|\n");
        for row in &self.rows {
            out.push_str(&line(row));
        }
        out
    }
}
