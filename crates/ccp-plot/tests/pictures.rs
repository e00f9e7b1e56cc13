//! Whole charts: well-formed SVG with everything in it, PNG that decodes and shows something.

use ccp_plot::{Bar, BarChart, Marker, Panel, PlotError, Series, TimeChart};

/// Two flows as they might be: a saw-tooth and a curve.
fn chart() -> TimeChart {
    let saw = |period: f64, low: f64, high: f64| {
        (0..1200).map(move |i| {
            let t = f64::from(i) / 20.0;
            (t, low + (high - low) * (t % period) / period)
        })
    };
    let curve = |period: f64, high: f64| {
        (0..1200).map(move |i| {
            let t = f64::from(i) / 20.0;
            let phase = (t % period) / period - 0.5;
            (t, high * (0.7 + 1.2 * phase.powi(3) * 2.0 + 0.15))
        })
    };
    TimeChart::new("Two flows on one link of 50 Mbit/s, 20 ms")
        .subtitle(
            "queue of one bandwidth-delay product; daemon killed at 30 s & restarted at 31.5 s",
        )
        .x_label("time (s)")
        .panel(
            Panel::new("window (packets)")
                .series(Series::steps("reno <10.1.0.1:5001>", saw(7.0, 60.0, 120.0)))
                .series(Series::steps(
                    "constant",
                    [(0.0, 20.0), (30.0, 20.0), (30.7, 34.0), (60.0, 20.0)],
                ))
                .series(Series::line("cubic", curve(11.0, 90.0))),
        )
        .panel(
            Panel::new("round-trip time (ms)")
                .series(Series::line("reno <10.1.0.1:5001>", saw(7.0, 21.0, 39.0)))
                .series(Series::line("cubic", curve(11.0, 38.0))),
        )
        .panel(
            Panel::new("throughput (Mbit/s)")
                .series(Series::line("reno <10.1.0.1:5001>", saw(7.0, 20.0, 26.0)))
                .series(Series::line("cubic", curve(11.0, 24.0)))
                .series(Series::line(
                    "constant",
                    [(0.0, 9.0), (25.0, f64::NAN), (28.0, 9.5), (60.0, 9.1)],
                ))
                .reference(50.0, "rate of the link"),
        )
        .marker(Marker::at(30.0, "daemon killed"))
        .marker(Marker::at(31.5, "daemon restarted"))
        .marker(Marker::span(44.0, 52.0, "link at 10 Mbit/s"))
}

fn bars() -> BarChart {
    BarChart::new("Loopback throughput of one flow", "Gbit/s")
        .subtitle("median of five runs, whiskers from the least to the greatest")
        .group(
            "1 flow",
            [
                Bar::with_spread("kernel reno", 31.2, 29.0, 32.5),
                Bar::value("our reno", 30.1),
            ],
        )
        .group(
            "4 flows at once",
            [
                Bar::value("kernel reno", 44.0),
                Bar::value("our reno", 43.2),
            ],
        )
        .group(
            "200 short flows of 10 kB",
            [Bar::value("kernel reno", 0.21), Bar::value("our reno", 0.2)],
        )
}

/// Checks that elements nest and close, and returns all character data.
fn well_formed(svg: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    let mut text = String::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        let name = tag
            .trim_matches('/')
            .split_whitespace()
            .next()
            .expect("a tag has a name");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            assert!(!tag.contains("NaN") && !tag.contains("inf"), "<{tag}>");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    for (i, _) in text.match_indices('&') {
        let entity = &text[i..];
        assert!(
            ["&amp;", "&lt;", "&gt;", "&quot;"]
                .iter()
                .any(|e| entity.starts_with(e)),
            "{entity}"
        );
    }
    text
}

/// Size, and the share of pixels that are not paper.
fn decode(png: &[u8]) -> (u32, u32, f64) {
    let pixmap = tiny_skia::Pixmap::decode_png(png).expect("a PNG");
    let all = pixmap.pixels().len();
    let inked = pixmap
        .pixels()
        .iter()
        .filter(|p| (p.red(), p.green(), p.blue()) != (255, 255, 255))
        .count();
    (pixmap.width(), pixmap.height(), inked as f64 / all as f64)
}

#[test]
fn a_time_chart_has_everything_in_it() {
    let svg = chart().to_svg();
    let text = well_formed(&svg);
    for part in [
        "Two flows on one link",
        "window (packets)",
        "round-trip time (ms)",
        "throughput (Mbit/s)",
        "time (s)",
        "reno &lt;10.1.0.1:5001&gt;",
        "constant",
        "daemon killed",
        "daemon restarted",
        "link at 10 Mbit/s",
        "rate of the link",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert_eq!(
        text.matches("constant").count(),
        1,
        "one entry in the legend"
    );
    // Each colour is in the legend and in the panels.
    for (color, uses) in [("#0072b2", 4), ("#d55e00", 4), ("#009e73", 4)] {
        assert!(svg.matches(color).count() >= uses, "{color}");
    }
    assert_eq!(svg, chart().to_svg(), "the same every time");
}

#[test]
fn a_time_chart_is_a_picture() {
    let (width, height, ink) = decode(&chart().to_png().expect("a picture"));
    assert_eq!(width, 2000);
    assert!((1400..1900).contains(&height), "{height}");
    assert!((0.02..0.5).contains(&ink), "{ink}");
    let (width, _, _) = decode(&chart().width(500.0).to_png_scaled(1.0).expect("a picture"));
    assert_eq!(width, 500);
}

#[test]
fn a_bar_chart_has_everything_in_it() {
    let text = well_formed(&bars().to_svg());
    for part in [
        "Loopback throughput",
        "Gbit/s",
        "kernel reno",
        "our reno",
        "1 flow",
        "31.2",
        "0.21",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let (width, _, ink) = decode(&bars().to_png().expect("a picture"));
    assert_eq!(width, 1520);
    assert!((0.05..0.7).contains(&ink), "{ink}");
}

#[test]
fn boxes_too() {
    let samples = |shift: f64| (0..500).map(move |i| shift + f64::from(i % 100) / 10.0);
    let chart = BarChart::new("Report to applied update", "latency (µs)")
        .group(
            "idle",
            [Bar::samples("default wake-up", samples(20.0)).expect("samples")],
        )
        .group(
            "loaded",
            [Bar::quantiles(
                "default wake-up",
                [8.0, 12.0, 14.0, 22.0, 62.0],
            )],
        );
    let text = well_formed(&chart.to_svg());
    assert!(text.contains("default wake-up") && text.contains("latency (µs)"));
    assert!(decode(&chart.to_png().expect("a picture")).2 > 0.015);
}

#[test]
fn nothing_to_show_is_still_a_chart() {
    for chart in [
        TimeChart::new(""),
        TimeChart::new("empty").panel(Panel::new("p")),
        TimeChart::new("one point").panel(Panel::new("p").series(Series::steps("s", [(1.0, 5.0)]))),
        TimeChart::new("not finite")
            .panel(
                Panel::new("p")
                    .series(Series::line("s", [(0.0, f64::NAN), (f64::NAN, 1.0)]))
                    .fit(),
            )
            .marker(Marker::at(f64::NAN, "nowhere")),
        TimeChart::new("huge").panel(Panel::new("p").series(Series::line(
            "s",
            [(0.0, 1e99), (1e99, -1e99), (1.0, 1e300)],
        ))),
        TimeChart::new("only markers").marker(Marker::at(3.0, "here")),
    ] {
        well_formed(&chart.to_svg());
        decode(&chart.to_png().expect("a picture"));
    }
    for chart in [
        BarChart::new("", ""),
        BarChart::new("e", "y").group("g", [Bar::value("s", f64::NAN)]),
    ] {
        well_formed(&chart.to_svg());
        decode(&chart.to_png().expect("a picture"));
    }
}

#[test]
fn an_impossible_size_is_refused() {
    for scale in [0.0, f64::NAN, 1e6, -1.0] {
        let error = chart().to_png_scaled(scale).expect_err("no such picture");
        assert!(matches!(error, PlotError::Size { .. }), "{error}");
    }
}

/// More than fits well: many series, many events close together, a narrow picture.
fn crowded() -> TimeChart {
    let wave = |n: u32| {
        (0..5000).map(move |i| {
            let t = f64::from(i) / 500.0;
            (
                t,
                40_000.0
                    + 30_000.0 * (t * (1.0 + f64::from(n) / 5.0)).sin()
                    + f64::from(n) * 1000.0,
            )
        })
    };
    let panel = (0..12).fold(
        Panel::new("delivery rate (bytes/s)").height(220.0),
        |panel, n| {
            panel.series(Series::line(
                format!("flow {n} (algorithm number {n})"),
                wave(n),
            ))
        },
    );
    let small = Series::line(
        "flow 3 (algorithm number 3)",
        [(0.0, 0.0011), (10.0, 0.0018)],
    );
    let events = [
        "stopped",
        "continued",
        "killed",
        "restarted",
        "rate halved",
        "rate restored",
    ];
    let chart = TimeChart::new("A rather long title which says everything about the run and more")
        .width(560.0)
        .panel(panel)
        .panel(
            Panel::new("loss (share)")
                .fit()
                .height(90.0)
                .series(small)
                .reference(0.0018, "limit"),
        );
    let chart = (0..).zip(events).fold(chart, |chart, (i, event)| {
        chart.marker(Marker::at(4.0 + 0.2 * f64::from(i), event))
    });
    chart
        .marker(Marker::at(9.9, "the end of the run"))
        .marker(Marker::span(7.0, 7.5, "link down"))
}

#[test]
fn a_crowded_chart_stays_small() {
    let svg = crowded().to_svg();
    let text = well_formed(&svg);
    assert!(text.contains("flow 11 (algorithm number 11)") && text.contains("60k"));
    // 12 lines of 5,000 points were thinned to what 500 pixels show.
    assert!(svg.len() < 400_000, "{}", svg.len());
    decode(&crowded().to_png_scaled(1.0).expect("a picture"));
}

/// Writes the pictures for a look: `PLOT_DIR=/tmp cargo test -p ccp-plot -- --ignored`.
#[test]
#[ignore = "writes files"]
#[expect(
    clippy::disallowed_methods,
    reason = "the library does no IO; this looks at what it made"
)]
fn look() {
    let dir = std::path::PathBuf::from(std::env::var_os("PLOT_DIR").expect("PLOT_DIR"));
    let samples = |shift: f64| (0..500).map(move |i| shift + f64::from(i % 100) / 10.0);
    let boxes = BarChart::new("Report to applied update", "latency (µs)")
        .group(
            "idle",
            [Bar::samples("wake-up", samples(20.0)).expect("samples")],
        )
        .group(
            "loaded",
            [Bar::quantiles("wake-up", [8.0, 12.0, 14.0, 22.0, 62.0])],
        );
    for (name, svg, png) in [
        ("time", chart().to_svg(), chart().to_png()),
        ("crowded", crowded().to_svg(), crowded().to_png()),
        ("bars", bars().to_svg(), bars().to_png()),
        ("boxes", boxes.to_svg(), boxes.to_png()),
    ] {
        std::fs::write(dir.join(format!("{name}.svg")), svg).expect("written");
        std::fs::write(dir.join(format!("{name}.png")), png.expect("a picture")).expect("written");
    }
}
