use std::net::SocketAddr;
use std::sync::Arc;

use ccp_types::{Bytes, FlowInfo, SockId};

use super::{Match, MatchError, Policy, PortRange, Prefix, Rule};
use crate::registry::Algorithm;
use crate::testing::Idle;

fn flow(src: &str, dst: &str) -> FlowInfo {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    FlowInfo::new(SockId(1), end(src), end(dst), 1_000, Bytes(10_000))
}

fn matches(text: &str) -> Result<Match, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

fn named(name: &str) -> Algorithm {
    Algorithm::new(name, "idle", Arc::new(Idle))
}

#[test]
fn the_first_rule_that_matches_wins() {
    let rule = |text: &str, name: &str| Rule {
        matches: matches(text).unwrap(),
        algorithm: named(name),
    };
    let policy = Policy::new(
        vec![
            rule("dst = \"10.1.0.0/16\"\ndst_port = \"5000-5999\"", "slow"),
            rule("dst = \"10.1.0.0/16\"", "lan"),
            rule("datapath = \"quic\"", "quic"),
        ],
        named("reno"),
    );
    let chosen = |flow: &FlowInfo, datapath| {
        let choice = policy.choose(flow, datapath);
        (choice.rule, choice.algorithm.name().to_owned())
    };
    let local = "192.0.2.1:40000";
    assert_eq!(
        chosen(&flow(local, "10.1.2.3:5000"), "ccp"),
        (Some(0), "slow".into())
    );
    assert_eq!(
        chosen(&flow(local, "10.1.2.3:6000"), "ccp"),
        (Some(1), "lan".into())
    );
    assert_eq!(
        chosen(&flow(local, "10.2.2.3:5000"), "quic"),
        (Some(2), "quic".into())
    );
    assert_eq!(
        chosen(&flow(local, "10.2.2.3:5000"), "ccp"),
        (None, "reno".into())
    );
    let names: Vec<String> = policy
        .algorithms()
        .iter()
        .map(|a| a.name().to_owned())
        .collect();
    assert_eq!(names, ["reno", "slow", "lan", "quic"]);
}

#[test]
fn everything_given_must_fit() {
    let mut asked = flow("10.0.0.1:1000", "10.0.0.2:443");
    asked.requested = Some("bbr".into());
    for (text, fits) in [
        ("", true),
        ("src = \"10.0.0.1\"", true),
        ("src = \"10.0.0.2\"", false),
        ("src_port = 1000", true),
        ("src_port = \"1001-2000\"", false),
        ("dst_port = 443", true),
        ("dst_port = 443\nsrc_port = 7", false),
        ("requested = \"bbr\"", true),
        ("requested = \"cubic\"", false),
        ("datapath = \"ccp\"", true),
        ("datapath = \"tcp\"", false),
    ] {
        assert_eq!(matches(text).unwrap().covers(&asked, "ccp"), fits, "{text}");
    }
    // A flow that asked for nothing is not one that asked for this.
    let silent = flow("10.0.0.1:1000", "10.0.0.2:443");
    assert!(
        !matches("requested = \"bbr\"")
            .unwrap()
            .covers(&silent, "ccp")
    );
}

#[test]
fn mapped_addresses_are_ipv4_addresses() {
    let mapped = flow("[::ffff:10.0.0.1]:1", "[::ffff:10.1.2.3]:2");
    let v4 = matches("dst = \"10.1.0.0/16\"").unwrap();
    let as_mapped = matches("dst = \"::ffff:10.1.0.0/112\"").unwrap();
    let all_v6 = matches("dst = \"::/0\"").unwrap();
    assert!(v4.covers(&mapped, ""));
    assert_eq!(v4, as_mapped);
    assert!(!all_v6.covers(&mapped, ""));
    let real = flow("[fd00::1]:1", "[fd00::2]:2");
    assert!(all_v6.covers(&real, ""));
    assert!(!matches("dst = \"0.0.0.0/0\"").unwrap().covers(&real, ""));
}

#[test]
fn prefixes_at_their_edges() {
    let p = |text: &str| text.parse::<Prefix>();
    let contains =
        |prefix: &str, address: &str| p(prefix).unwrap().contains(address.parse().unwrap());
    assert!(contains("10.1.0.0/16", "10.1.255.255"));
    assert!(!contains("10.1.0.0/16", "10.2.0.0"));
    assert!(contains("0.0.0.0/0", "255.255.255.255"));
    assert!(contains("192.0.2.7", "192.0.2.7"));
    assert!(!contains("192.0.2.7/32", "192.0.2.6"));
    assert!(contains("192.0.2.6/31", "192.0.2.7"));
    assert!(contains("fd00::/8", "fdff::1"));
    assert!(!contains("fd00::/8", "fe00::1"));
    assert!(contains("::1/128", "::1"));
    assert_eq!(p("fd00::/8").unwrap().to_string(), "fd00::/8");
    assert_eq!(p("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
}

#[test]
fn what_is_no_prefix_is_refused_in_words() {
    for (text, words) in [
        ("10.1.0.0/33", "the prefix length `33` must be 0 to 32"),
        ("::/129", "the prefix length `129` must be 0 to 128"),
        ("10.1.0.0/", "the prefix length `` must be 0 to 32"),
        ("10.1.0.0/-1", "the prefix length `-1` must be 0 to 32"),
        ("10.1.0.0/+8", "the prefix length `+8` must be 0 to 32"),
        (
            "10.1.2.3/16",
            "10.1.2.3/16 has bits set behind the first 16; did you mean 10.1.0.0/16 or 10.1.2.3/32?",
        ),
        (
            "10.1.0/16",
            "`10.1.0/16` is no IPv4 or IPv6 address; expected one like 192.0.2.7, 10.1.0.0/16 or \
             fd00::/8",
        ),
        (
            "localhost",
            "`localhost` is no IPv4 or IPv6 address; expected one like 192.0.2.7, 10.1.0.0/16 or \
             fd00::/8",
        ),
    ] {
        assert_eq!(
            matches(&format!("dst = \"{text}\"")).unwrap_err(),
            words,
            "{text}"
        );
    }
}

#[test]
fn ports_and_what_is_none() {
    let p = |text: &str| text.parse::<PortRange>();
    assert_eq!(p("443").unwrap().to_string(), "443");
    assert_eq!(p("5000-5999").unwrap().to_string(), "5000-5999");
    assert_eq!(p("5000 - 5999"), p("5000-5999"));
    let range = p("5000-5999").unwrap();
    assert!(range.contains(5000) && range.contains(5999));
    assert!(!range.contains(4999) && !range.contains(6000));
    assert!(p("65535").is_ok());
    assert_eq!(p("10-5"), Err(MatchError::Reversed { first: 10, last: 5 }));
    for wrong in ["", "0", "0-5", "65536", "a", "1-", "-5", "+5", "1-2-3"] {
        assert!(p(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        matches("dst_port = 443").unwrap().dst_port,
        Some(p("443").unwrap())
    );
    for (text, words) in [
        (
            "dst_port = 0",
            "`0` is no port; expected 1 to 65535, or a range like 5000-5999",
        ),
        (
            "dst_port = 70000",
            "`70000` is no port; expected 1 to 65535, or a range like 5000-5999",
        ),
        (
            "dst_port = \"9-1\"",
            "the range 9-1 is empty; did you mean 1-9?",
        ),
    ] {
        assert_eq!(matches(text).unwrap_err(), words);
    }
    assert!(matches("dst_port = -1").is_err());
    assert!(
        matches("port = 1")
            .unwrap_err()
            .contains("unknown field `port`")
    );
}
