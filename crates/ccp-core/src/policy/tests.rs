use std::net::SocketAddr;
use std::sync::Arc;

use ccp_types::{Attribute, Bytes, FlowInfo, SockId};

use super::{Fit, Match, MatchError, Native, NotNative, Policy, PortRange, Prefix, Rule};
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
        given: named(name).into(),
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
        (choice.rule, choice.given.name().into_owned())
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

/// What kernel TCP tells of a flow.
fn told(attributes: impl IntoIterator<Item = Attribute>) -> FlowInfo {
    let mut flow = flow("10.0.0.1:1000", "10.0.0.2:443");
    flow.attributes = attributes.into_iter().collect();
    flow
}

#[test]
fn a_control_group_is_itself_and_all_below_it() {
    for (rule, path, fits) in [
        ("/a/b", "/a/b", true),
        ("/a/b", "/a/b/c", true),
        ("/a/b", "/a/bc", false),
        ("/a/b", "/a", false),
        ("/a/b", "/x/a/b", false),
        ("/", "/", true),
        ("/", "/a", true),
        ("/a", "/", false),
    ] {
        let flow = told([Attribute::text(Attribute::CGROUP, path)]);
        let rule = matches(&format!("cgroup = \"{rule}\"")).unwrap();
        assert_eq!(rule.covers(&flow, "ccp"), fits, "{rule:?} {path}");
    }
    // A number alone is no path.
    let unknown = told([Attribute::number(Attribute::CGROUP, 7)]);
    assert!(!matches("cgroup = \"/\"").unwrap().covers(&unknown, "ccp"));
    for wrong in [
        "", "a", "a/b", "/a/", "//", "/a//b", "/a/../b", "/.", "/a\\nb",
    ] {
        let why = matches(&format!("cgroup = \"{wrong}\"")).unwrap_err();
        assert!(
            why.contains("is no path of a control group"),
            "{wrong}: {why}"
        );
    }
}

#[test]
fn users_at_the_edges_of_their_range() {
    let user = |uid| told([Attribute::number(Attribute::UID, uid)]);
    let rule = |text: &str| matches(text).unwrap();
    for (text, fits, differs) in [
        ("uid = 0", 0, 1),
        ("uid = \"1000-1999\"", 1000, 999),
        ("uid = \"1000-1999\"", 1999, 2000),
        ("uid = 4294967294", 4_294_967_294, 4_294_967_295),
    ] {
        assert!(rule(text).covers(&user(fits), "ccp"), "{text}");
        assert!(!rule(text).covers(&user(differs), "ccp"), "{text}");
    }
    for wrong in [
        "4294967295",
        "\"-1\"",
        "-1",
        "\"\"",
        "\"2-1\"",
        "\"root\"",
        "\"1-\"",
    ] {
        assert!(matches(&format!("uid = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn marks_with_and_without_a_mask() {
    let marked = |mark| told([Attribute::number(Attribute::MARK, mark)]);
    let rule = |text: &str| matches(text).unwrap();
    for (text, fits, differs) in [
        ("mark = 0", 0, 1),
        ("mark = 16", 0x10, 0x11),
        ("mark = \"0x10\"", 0x10, 0x110),
        ("mark = \"0x10/0xf0\"", 0xf1f, 0x20),
        ("mark = \"0/1\"", 2, 3),
        ("mark = \"0xffffffff\"", 0xffff_ffff, 0x1_ffff_ffff),
    ] {
        assert!(rule(text).covers(&marked(fits), "ccp"), "{text}");
        assert!(!rule(text).covers(&marked(differs), "ccp"), "{text}");
    }
    assert_eq!(
        matches("mark = \"0x11/0x10\"").unwrap_err(),
        "0x11/0x10 has bits set that the mask has not: no mark is so"
    );
    for wrong in [
        "4294967296",
        "\"0x\"",
        "\"0x+1\"",
        "-1",
        "\"1/\"",
        "\"1/2/3\"",
        "\"ff\"",
    ] {
        assert!(matches(&format!("mark = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn rules_are_for_the_initial_network_namespace_unless_they_say_otherwise() {
    let initial = told([
        Attribute::number(Attribute::NETNS, 4),
        Attribute::text(Attribute::NETNS, Attribute::INITIAL),
    ]);
    let blue = told([
        Attribute::number(Attribute::NETNS, 5),
        Attribute::text(Attribute::NETNS, "blue"),
        Attribute::text(Attribute::NETNS, "azure"),
    ]);
    let unnamed = told([Attribute::number(Attribute::NETNS, 6)]);
    let unknown = told([]);
    for (rule, fits) in [
        ("", [true, false, false, true]),
        ("netns = \"initial\"", [true, false, false, false]),
        ("netns = \"any\"", [true, true, true, true]),
        ("netns = \"blue\"", [false, true, false, false]),
        ("netns = \"azure\"", [false, true, false, false]),
        ("netns = 5", [false, true, false, false]),
        ("netns = \"6\"", [false, false, true, false]),
        ("netns = 4", [true, false, false, false]),
    ] {
        let rule = matches(rule).unwrap();
        let covered = [&initial, &blue, &unnamed, &unknown].map(|flow| rule.covers(flow, "ccp"));
        assert_eq!(covered, fits, "{rule:?}");
    }
    for wrong in ["\"\"", "\"a/b\"", "\"..\"", "0", "-1"] {
        let netns = matches(&format!("netns = {wrong}"));
        assert!(netns.is_err(), "{netns:?}");
    }
}

#[test]
fn each_key_says_what_it_wants_and_whether_it_got_it() {
    let rule = "dst = \"10.0.0.2\"\ndst_port = 80\nrequested = \"bbr\"\nuid = \"0-9\"\nmark = 7";
    let rule = matches(rule).unwrap();
    let flow = told([Attribute::number(Attribute::UID, 3)]);
    let said: Vec<_> = rule.verdicts(&flow, "ccp");
    let said: Vec<_> = said
        .iter()
        .map(|v| (v.key, v.wanted.as_str(), v.fit))
        .collect();
    assert_eq!(
        said,
        [
            ("dst", "10.0.0.2/32", Fit::Fits),
            ("dst_port", "80", Fit::Differs),
            ("requested", "bbr", Fit::Untold),
            ("uid", "0-9", Fit::Fits),
            ("mark", "0x7", Fit::Untold),
        ]
    );
    // What the rule does not say counts too, where the datapath knows namespaces.
    let elsewhere = told([Attribute::number(Attribute::NETNS, 5)]);
    let said = matches("").unwrap().verdicts(&elsewhere, "ccp");
    let [said] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(
        (said.key, &*said.wanted, said.fit),
        ("netns", "initial", Fit::Differs)
    );
    assert_eq!(matches("").unwrap().verdicts(&told([]), "ccp"), []);
}

mod laws {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::{CgroupPath, Mark, UidRange};
    use super::*;

    fn attribute() -> impl Strategy<Value = Attribute> {
        prop_oneof![
            "(/[ab]){0,3}".prop_map(|path| Attribute::text(Attribute::CGROUP, path)),
            "initial|blue".prop_map(|name| Attribute::text(Attribute::NETNS, name)),
            (0..3_u64).prop_map(|inode| Attribute::number(Attribute::NETNS, inode)),
            (0..4_u64).prop_map(|uid| Attribute::number(Attribute::UID, uid)),
            (0..4_u64).prop_map(|mark| Attribute::number(Attribute::MARK, mark)),
        ]
    }

    fn rule() -> impl Strategy<Value = Match> {
        let words = (
            option::of("ccp|quic"),
            option::of("bbr|reno"),
            option::of("(/[ab]){1,3}|/"),
            option::of("initial|any|blue|1|2"),
            option::of("[0-3]|0-2|1-3"),
            option::of("[0-3]|1/1|0/2"),
            option::of("443|1-442"),
        );
        words.prop_map(
            |(datapath, requested, cgroup, netns, uid, mark, port)| Match {
                datapath,
                requested,
                cgroup: cgroup.map(|text| text.parse().unwrap()),
                netns: netns.map(|text| text.parse().unwrap()),
                uid: uid.map(|text| text.parse().unwrap()),
                mark: mark.map(|text| text.parse().unwrap()),
                dst_port: port.map(|text| text.parse().unwrap()),
                ..Match::default()
            },
        )
    }

    proptest! {
        /// A flow fits if each key of the rule says so, and what a rule asks more never adds a flow.
        #[test]
        fn a_rule_is_the_sum_of_its_keys(
            rule in rule(),
            attributes in vec(attribute(), 0..5),
            requested in option::of("bbr|reno"),
        ) {
            let mut flow = told(attributes);
            flow.requested = requested;
            let verdicts = rule.verdicts(&flow, "ccp");
            let fits = rule.covers(&flow, "ccp");
            prop_assert_eq!(fits, verdicts.iter().all(|v| v.fit == Fit::Fits));
            let mut without_uid = rule.clone();
            without_uid.uid = None;
            prop_assert!(!fits || without_uid.covers(&flow, "ccp"));
            // What the datapath does not tell fits no rule that asks for it.
            flow.attributes = told([]).attributes;
            let asks = rule.cgroup.is_some() || rule.uid.is_some() || rule.mark.is_some();
            prop_assert!(!asks || !rule.covers(&flow, "ccp"));
        }

        /// What is shown of a rule can be put into a configuration and means the same.
        #[test]
        fn what_is_shown_reads_back(first in 0..u32::MAX, more in 0..9_u32, value: u32, mask: u32) {
            let last = first.saturating_add(more).min(u32::MAX - 1);
            let uid = UidRange::new(first..=last).unwrap();
            prop_assert_eq!(uid.to_string().parse::<UidRange>(), Ok(uid));
            let mark = Mark::new(value & mask, mask).unwrap();
            prop_assert_eq!(mark.to_string().parse::<Mark>(), Ok(mark));
            prop_assert!(mark.contains(value.into()));
        }

        #[test]
        fn any_text_is_a_path_or_refused(text in ".{0,20}") {
            if let Ok(path) = text.parse::<CgroupPath>() {
                prop_assert!(path.contains(&text));
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}

#[test]
fn what_leaves_a_flow_to_its_datapath() {
    let native = |text: &str| text.parse::<Native>();
    assert_eq!(native("native"), Ok(Native::Own));
    assert_eq!(native("native:cubic"), Ok(Native::Named("cubic".into())));
    assert_eq!(
        native("native:fifteen_letters").unwrap().to_string(),
        "native:fifteen_letters"
    );
    for wrong in [
        "native:",
        "native: bbr",
        "native:sixteen__letters",
        "native:a:b",
        "nativ",
        "cubic",
    ] {
        assert_eq!(native(wrong), Err(NotNative), "{wrong}");
    }
    assert!(Native::is_meant("native:") && !Native::is_meant("natively"));
}
