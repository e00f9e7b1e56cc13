use serde::Deserialize;

use super::Params;
use crate::source::SourceText;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Config {
    cwnd_packets: Option<u64>,
    rate_mbit: Option<f64>,
    list: Vec<u8>,
}

fn message(text: &str) -> String {
    Params::parse_toml("slow", text)
        .and_then(|params| params.parse::<Config>())
        .unwrap_err()
        .to_string()
}

#[test]
fn keys_become_fields_and_kind_is_taken_out() {
    let params = Params::parse_toml("slow", "kind = \"constant\"\ncwnd_packets = 20").unwrap();
    assert_eq!((params.name(), params.kind()), ("slow", "constant"));
    assert_eq!(
        params.parse::<Config>().unwrap(),
        Config {
            cwnd_packets: Some(20),
            ..Config::default()
        }
    );
    assert_eq!(Params::empty("reno").kind(), "reno");
    assert_eq!(
        Params::empty("reno").parse::<Config>().unwrap(),
        Config::default()
    );
}

#[test]
fn unknown_keys_are_refused_with_the_name_that_was_meant() {
    assert_eq!(
        message("\ncwnd_packet = 3"),
        "parameters of `slow`:2:1: algorithms.slow.cwnd_packet: no such key: did you mean \
         `cwnd_packets`? `slow` knows cwnd_packets, rate_mbit, list"
    );
    #[derive(Debug, Deserialize)]
    struct Nothing {}
    let params = Params::parse_toml("min_rtt", "x = 1").unwrap();
    assert_eq!(
        params.parse::<Nothing>().unwrap_err().to_string(),
        "parameters of `min_rtt`:1:1: algorithms.min_rtt.x: no such key: `min_rtt` has no parameters"
    );
}

#[test]
fn wrong_types_are_shown_with_key_and_value() {
    assert_eq!(
        message("rate_mbit = 5\ncwnd_packets = \"many\""),
        "parameters of `slow`:2:16: algorithms.slow.cwnd_packets = \"many\": invalid type: string \
         \"many\", expected u64"
    );
    assert_eq!(
        message("list = [1, 2, 300]"),
        "parameters of `slow`:1:15: algorithms.slow.list = 300: invalid value: integer `300`, \
         expected u8"
    );
}

#[test]
fn a_missing_key_points_at_the_table() {
    #[derive(Debug, Deserialize)]
    struct Must {
        #[expect(dead_code, reason = "only asked for")]
        rate_mbit: f64,
    }
    let error = Params::parse_toml("slow", "")
        .and_then(|params| params.parse::<Must>())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameters of `slow`:1:1: algorithms.slow: missing field `rate_mbit`"
    );
}

#[test]
fn places_are_those_of_the_whole_file() {
    let text = "[algorithms.reno]\n[algorithms.slow]\nkind = \"constant\"\ncwnd_packets = 0\n";
    let file = SourceText::new("ccpd.toml", text);
    let params = Params::new(&file, "slow").unwrap();
    let error = params.check("cwnd_packets", 0, 1..=9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ccpd.toml:4:16: algorithms.slow.cwnd_packets = 0: must be 1 to 9"
    );
    assert_eq!(&text[error.span.clone()], "0");

    let file = SourceText::new("ccpd.toml", "[algorithms]\nslow = 3");
    assert_eq!(
        Params::new(&file, "slow").unwrap_err().to_string(),
        "ccpd.toml:2:8: algorithms.slow = 3: must be a table, not an integer"
    );
    assert_eq!(
        Params::new(&file, "fast").unwrap_err().to_string(),
        "ccpd.toml:1:1: algorithms.fast: there is no such table"
    );
}

#[test]
fn text_that_is_not_toml_says_where() {
    let error = Params::parse_toml("slow", "cwnd_packets = = 3").unwrap_err();
    assert_eq!(error.position.line, 1);
    assert!(error.position.column >= 16, "{error}");
    assert!(Params::parse_toml("slow", "kind = 3").is_err());
}

#[test]
fn not_a_number_is_never_in_range() {
    let params = Params::parse_toml("slow", "rate_mbit = nan").unwrap();
    assert!(params.check("rate_mbit", f64::NAN, 0.001..=1e7).is_err());
}
