//! Charts of flows over time and of benchmarks, as SVG text and as PNG bytes in memory.
//!
//! No IO, no clock, nothing from the system: the font is part of the program (DejaVu Sans, whose licence is
//! in `LICENSE-FONT`), so a PNG comes out the same on a machine without fonts. Both forms are drawn from one
//! layout.
//!
//! - [`TimeChart`]: panels of lines or steps, stacked over a common x axis, with event markers across all.
//! - [`BarChart`]: groups of bars, or of boxes made of quantiles.
//!
//! Series of the same name have the same colour in all panels and one entry in the legend. Colours are Okabe
//! and Ito's, which people with any kind of colour vision can tell apart.
//!
//! ```
//! use ccp_plot::{Marker, Panel, Series, TimeChart};
//!
//! let cwnd = |name| Series::steps(name, (0..100).map(|i| (f64::from(i) / 10.0, f64::from(i % 40))));
//! let chart = TimeChart::new("Two flows on 50 Mbit/s, 20 ms")
//!     .x_label("time (s)")
//!     .panel(Panel::new("window (packets)").series(cwnd("reno")).series(cwnd("cubic")))
//!     .panel(
//!         Panel::new("throughput (Mbit/s)")
//!             .series(Series::line("reno", [(0.0, 10.0), (5.0, 24.0), (10.0, 25.0)]))
//!             .series(Series::line("cubic", [(0.0, 38.0), (5.0, 24.0), (10.0, 23.0)]))
//!             .reference(50.0, "link"),
//!     )
//!     .marker(Marker::at(4.0, "daemon killed"))
//!     .marker(Marker::span(6.0, 7.0, "link at 10 Mbit/s"));
//! let svg: String = chart.to_svg();
//! let png: Vec<u8> = chart.to_png()?;
//! assert!(svg.contains("daemon killed") && png.starts_with(b"\x89PNG"));
//! # Ok::<(), ccp_plot::PlotError>(())
//! ```

#![forbid(unsafe_code)]

mod bars;
mod canvas;
mod font;
mod geometry;
mod legend;
mod palette;
mod ticks;
mod time;

pub use bars::{Bar, BarChart};
pub use canvas::PlotError;
pub use time::{Marker, Panel, Series, TimeChart};
