use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, ConfigError, DatapathConfig, Namespaces, TcpConfig, UnixConfig};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "ccpd.toml")
}

/// What is said of `text`, as a person reads it.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(config) => panic!("taken as {config:?}"),
        Err(error) => error.to_string(),
    }
}

/// One snapshot for each way to be wrong: what is written, and what is said of it.
macro_rules! refusals {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            let text = $text;
            insta::assert_snapshot!(format!("{text}\n--\n{}", refused(text)));
        }
    )*};
}

refusals! {
    not_toml: "[ccpd]\ncontrol = \n";
    two_slips: "[ccpd\n\n[policy]\ndefault = 'reno\n";
    a_key_twice: "[policy]\ndefault = 'reno'\ndefault = 'reno'\n";
    unknown_table: "[polisy]\ndefault = 'reno'\n";
    unknown_key_in_ccpd: "[ccpd]\nsocket = '/run/c.sock'\n";
    ccpd_is_no_table: "ccpd = 1\n";
    control_is_no_text: "[ccpd]\ncontrol = 5\n";
    control_is_relative: "[ccpd]\ncontrol = 'control.sock'\n";
    control_is_a_directory: "[ccpd]\ncontrol = '/run/ccpd/'\n";
    datapath_is_one_table: "[datapath]\nkind = 'tcp'\n";
    datapath_holds_no_tables: "datapath = [1]\n";
    datapath_without_kind: "[[datapath]]\nname = 'ccp'\n";
    datapath_of_unknown_kind: "[[datapath]]\nkind = 'quic'\n";
    datapath_kind_is_no_text: "[[datapath]]\nkind = true\n";
    tcp_unknown_key: "[[datapath]]\nkind = 'tcp'\nnamespace = 'any'\n";
    tcp_has_no_path: "[[datapath]]\nkind = 'tcp'\npath = '/run/d.sock'\n";
    tcp_name_too_long: "[[datapath]]\nkind = 'tcp'\nname = 'sixteen_letters_'\n";
    tcp_name_empty: "[[datapath]]\nkind = 'tcp'\nname = ''\n";
    tcp_name_with_a_blank: "[[datapath]]\nkind = 'tcp'\nname = 'my ccp'\n";
    tcp_namespaces_unknown: "[[datapath]]\nkind = 'tcp'\nnamespaces = 'all'\n";
    tcp_fallback_too_soon: "[[datapath]]\nkind = 'tcp'\nfallback_after_ms = 99\n";
    tcp_fallback_too_late: "[[datapath]]\nkind = 'tcp'\nfallback_after_ms = 60001\n";
    tcp_fallback_is_no_whole_number: "[[datapath]]\nkind = 'tcp'\nfallback_after_ms = 1.5\n";
    tcp_no_flows: "[[datapath]]\nkind = 'tcp'\nmax_flows = 0\n";
    tcp_flows_are_no_power_of_two: "[[datapath]]\nkind = 'tcp'\nmax_flows = 1000\n";
    tcp_name_of_dots: "[[datapath]]\nkind = 'tcp'\nname = '..'\n";
    tcp_names_is_no_list: "[[datapath]]\nkind = 'tcp'\nnames = 'ccp_cubic'\n";
    tcp_names_without_name: "[[datapath]]\nkind = 'tcp'\nnames = [{ requests = 'cubic' }]\n";
    tcp_names_with_a_hyphen: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'ccp-cubic' }]\n";
    tcp_names_unknown_key: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'a', request = 'cubic' }]\n";
    tcp_names_requests_nothing: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'a', requests = '' }]\n";
    tcp_names_ecn_is_no_boolean: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'a', ecn = 1 }]\n";
    tcp_names_twice: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'a' }, { name = 'a' }]\n";
    tcp_names_has_its_own: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'ccp' }]\n";
    tcp_names_of_another: "[[datapath]]\nkind = 'tcp'\n[[datapath]]\nkind = 'tcp'\nname = 'b'\nnames = [{ name = 'ccp' }]\n";
    tcp_name_is_a_further_one_of_another: "[[datapath]]\nkind = 'tcp'\nnames = [{ name = 'b' }]\n[[datapath]]\nkind = 'tcp'\nname = 'b'\n";
    tcp_too_many_names: "[[datapath]]\nkind = 'tcp'\nnames = [{name='a'},{name='b'},{name='c'},{name='d'},{name='e'},{name='f'},{name='g'},{name='h'}]\n";
    tcp_unanswered_too_soon: "[[datapath]]\nkind = 'tcp'\nunanswered_after_ms = 99\n";
    tcp_no_flows_per_user: "[[datapath]]\nkind = 'tcp'\nmax_flows_per_user = 0\n";
    tcp_too_many_flows_per_namespace: "[[datapath]]\nkind = 'tcp'\nmax_flows_per_namespace = 65537\n";
    tcp_too_many_faults: "[[datapath]]\nkind = 'tcp'\nmax_fault_run = 1000001\n";
    tcp_too_many_flows: "[[datapath]]\nkind = 'tcp'\nmax_flows = 65537\n";
    tcp_fewer_than_no_flows: "[[datapath]]\nkind = 'tcp'\nmax_flows = -1\n";
    tcp_same_name_twice: "[[datapath]]\nkind = 'tcp'\n[[datapath]]\nkind = 'tcp'\nname = 'ccp'\n";
    take_is_no_table: "[[datapath]]\nkind = 'tcp'\ntake = true\n";
    take_says_nothing: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\nliving = true\n";
    take_unknown_key: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\nto = '10.0.0.0/8'\ndst = '10.0.0.0/8'\n";
    take_unknown_exception: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = '/'\nexcept = { living = true }\n";
    take_cgroup_is_relative: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = ['user.slice']\n";
    take_cgroup_leads_up: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = ['/a', '/a/../b']\n";
    take_cgroup_as_it_is_mounted: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = '/sys/fs/cgroup/unified/user.slice'\n";
    take_lists_that_are_empty: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = []\nexcept = { src = [] }\n";
    take_addresses_and_ports: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ndst = ['10.1.2.3/16', 7]\nsrc_port = [80, '0', true]\n";
    take_too_many_ports: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ndst_port = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]\n";
    take_living_is_no_boolean: "[[datapath]]\nkind = 'tcp'\n[datapath.take]\ncgroups = '/'\nliving = 1\n";
    unix_takes_no_flows: "[[datapath]]\nkind = 'unix'\n[datapath.take]\ncgroups = '/'\n";
    unix_path_relative: "[[datapath]]\nkind = 'unix'\npath = 'd.sock'\n";
    unix_same_path_twice: "[[datapath]]\nkind = 'unix'\n[[datapath]]\nkind = 'unix'\n";
    unix_path_is_the_control_socket: "[[datapath]]\nkind = 'unix'\npath = '/run/ccpd/control.sock'\n";
    unix_mode_is_a_number: "[[datapath]]\nkind = 'unix'\nmode = 0o600\n";
    unix_mode_is_not_octal: "[[datapath]]\nkind = 'unix'\nmode = '0680'\n";
    unix_mode_locks_the_owner_out: "[[datapath]]\nkind = 'unix'\nmode = '0066'\n";
    unix_mode_with_more_than_rights: "[[datapath]]\nkind = 'unix'\nmode = '1777'\n";
    unix_too_many_flows: "[[datapath]]\nkind = 'unix'\nmax_flows = 1048577\n";
    unix_limits_out_of_range: "[[datapath]]\nkind = 'unix'\nmax_flows_total = 0\nmax_datapaths = 16385\nmax_malformed_per_s = 99\nmute_ms = 0\n";
    netlink_has_no_path: "[[datapath]]\nkind = 'netlink'\npath = '/run/x'\n";
    netlink_twice: "[[datapath]]\nkind = 'netlink'\n[[datapath]]\nkind = 'netlink'\nmax_flows = 5\n";
    algorithms_is_no_table: "algorithms = 'reno'\n";
    algorithm_is_no_table: "[algorithms]\nreno = 3\n";
    algorithm_kind_is_no_text: "[algorithms.reno]\nkind = 3\n";
    policy_is_no_table: "policy = 'reno'\n";
    policy_unknown_key: "[policy]\ndefault = 'reno'\nrules = []\n";
    default_is_no_text: "[policy]\ndefault = 1\n";
    default_is_unknown: "[policy]\ndefault = 'rino'\n";
    default_is_left_out: "[algorithms.slow]\nkind = 'constant'\n[policy]\n";
    policy_is_left_out: "[algorithms.slow]\nkind = 'constant'\n";
    rule_is_one_table: "[policy.rule]\nalgorithm = 'reno'\n";
    rule_without_match: "[[policy.rule]]\nalgorithm = 'reno'\n";
    rule_without_algorithm: "[[policy.rule]]\nmatch = {}\n";
    rule_with_unknown_algorithm: "[[policy.rule]]\nmatch = {}\nalgorithm = 'cubic'\n";
    rule_unknown_key: "[[policy.rule]]\nmatch = {}\nalgorithm = 'reno'\nalgoritm = 'reno'\n";
    rule_hands_flows_to_nothing: "[[policy.rule]]\nmatch = {}\nalgorithm = 'native:'\n";
    rule_hands_flows_to_ourselves: "[[datapath]]\nkind = 'tcp'\nname = 'a'\nnames = [{ name = 'b' }]\n[[policy.rule]]\nmatch = {}\nalgorithm = 'native:b'\n";
    rule_hands_flows_to_cdg: "[[policy.rule]]\nmatch = {}\nalgorithm = 'native:cdg'\n";
    default_is_native: "[policy]\ndefault = 'native:cubic'\n";
    match_is_no_table: "[[policy.rule]]\nmatch = '10.0.0.0/8'\nalgorithm = 'reno'\n";
    match_unknown_key: "[[policy.rule]]\nmatch = { dest = '10.0.0.0/8' }\nalgorithm = 'reno'\n";
    match_dst_is_no_text: "[[policy.rule]]\nmatch = { dst = true }\nalgorithm = 'reno'\n";
    match_dst_is_no_address: "[[policy.rule]]\nmatch = { dst = 'example' }\nalgorithm = 'reno'\n";
    match_prefix_too_long: "[[policy.rule]]\nmatch = { src = '10.0.0.0/33' }\nalgorithm = 'reno'\n";
    match_prefix_with_host_bits: "[[policy.rule]]\nmatch = { dst = '10.1.2.3/16' }\nalgorithm = 'reno'\n";
    match_port_too_high: "[[policy.rule]]\nmatch = { dst_port = 65536 }\nalgorithm = 'reno'\n";
    match_port_range_turned_round: "[[policy.rule]]\nmatch = { src_port = '5999-5000' }\nalgorithm = 'reno'\n";
    match_port_is_a_list: "[[policy.rule]]\nmatch = { dst_port = [80, 443] }\nalgorithm = 'reno'\n";
    match_cgroup_is_relative: "[[policy.rule]]\nmatch = { cgroup = 'system.slice' }\nalgorithm = 'reno'\n";
    match_cgroup_is_a_list: "[[policy.rule]]\nmatch = { cgroup = ['/a', '/b'] }\nalgorithm = 'reno'\n";
    match_netns_is_a_path: "[[policy.rule]]\nmatch = { netns = '/run/netns/blue' }\nalgorithm = 'reno'\n";
    match_uid_too_high: "[[policy.rule]]\nmatch = { uid = 4294967295 }\nalgorithm = 'reno'\n";
    match_uid_range_turned_round: "[[policy.rule]]\nmatch = { uid = '1999-1000' }\nalgorithm = 'reno'\n";
    match_uid_is_nobody_s_name: "[[policy.rule]]\nmatch = {\n  uid = 'no such user' }\nalgorithm = 'reno'\n";
    match_mark_too_high: "[[policy.rule]]\nmatch = { mark = 0x100000000 }\nalgorithm = 'reno'\n";
    match_mark_outside_its_mask: "[[policy.rule]]\nmatch = { mark = '0x11/0x10' }\nalgorithm = 'reno'\n";
    match_datapath_is_no_text: "[[policy.rule]]\nmatch = { datapath = 1 }\nalgorithm = 'reno'\n";
    algorithm_timeout_too_short: "[ccpd]\nalgorithm_timeout_ms = 99\n";
    algorithm_timeout_too_long: "[ccpd]\nalgorithm_timeout_ms = 60001\n";
    log_format_unknown: "[log]\nformat = 'syslog'\n";
    log_unknown_key: "[log]\nlevel = 'info'\n";
    metrics_on_no_port: "[metrics]\nlisten = 0\n";
    metrics_on_a_port_too_high: "[metrics]\nlisten = 65536\n";
    metrics_on_a_name: "[metrics]\nlisten = 'localhost:9469'\n";
    metrics_unknown_key: "[metrics]\nport = 9469\n";
    everything_wrong_is_said_at_once: "[ccpd]\ncontrol = 1\n[[datapath]]\nkind = 'tcp'\nname = ''\n[policy]\ndefault = 'x'\n";
    socket_path_too_long: concat!("[ccpd]\ncontrol = '/", "0123456789012345678901234567890123456789", "0123456789012345678901234567890123456789", "012345678901234567890123456", "'\n");
}

#[test]
fn the_last_values_that_are_taken() {
    let longest = format!("/{}", "x".repeat(106));
    let config = parse(&format!(
        "[ccpd]\ncontrol = '{longest}'\n\
         [[datapath]]\nkind = 'tcp'\nname = 'fifteen.letters'\nfallback_after_ms = 100\nmax_flows = 1\n\
         [[datapath]]\nkind = 'tcp'\nname = '_'\nfallback_after_ms = 60000\nmax_flows = 65536\n\
         [[datapath]]\nkind = 'unix'\nmode = '0777'\nmax_flows = 1048576\n"
    ))
    .unwrap();
    assert_eq!(config.control, Path::new(&longest));
    let [
        DatapathConfig::Tcp(first),
        DatapathConfig::Tcp(second),
        DatapathConfig::Unix(third),
    ] = &config.datapaths[..]
    else {
        panic!("{config:?}");
    };
    assert_eq!(first.fallback_after, Duration::from_millis(100));
    assert_eq!(second.max_flows, 65_536);
    assert_eq!(third.mode, 0o777);
}

#[test]
fn a_port_alone_is_on_the_loopback() {
    for (listen, expected) in [
        ("9469", "127.0.0.1:9469"),
        ("'9469'", "127.0.0.1:9469"),
        ("'[::1]:1'", "[::1]:1"),
        ("'0.0.0.0:65535'", "0.0.0.0:65535"),
    ] {
        let config = parse(&format!("[metrics]\nlisten = {listen}\n")).unwrap();
        assert_eq!(config.metrics, Some(expected.parse().unwrap()), "{listen}");
    }
    assert_eq!(parse("[metrics]\n").unwrap().metrics, None);
}

#[test]
fn what_is_left_out_has_its_default() {
    for text in [
        "",
        "[ccpd]\n",
        "[policy]\n",
        "[algorithms.reno]\n",
        "[[datapath]]\nkind = 'tcp'\n",
    ] {
        let config = parse(text).unwrap();
        assert!(
            config.means_the_same(&Config::default()),
            "{text:?}: {config:?}"
        );
    }
}

#[test]
fn datapaths_that_are_given_replace_the_default() {
    let config = parse("[[datapath]]\nkind = 'unix'\n").unwrap();
    assert_eq!(
        config.datapaths,
        [DatapathConfig::Unix(UnixConfig::default())]
    );
    let config = parse("datapath = []\n").unwrap();
    assert_eq!(config.datapaths, []);
}

#[test]
fn the_example_means_what_it_says() {
    let config = parse(
        r#"
        [ccpd]
        control = "/run/ccpd/control.sock"

        [[datapath]]
        kind = "tcp"                      # Linux kernel TCP through eBPF
        name = "ccp"
        namespaces = "any"

        [[datapath]]
        kind = "unix"
        path = "/run/ccpd/datapath.sock"

        [algorithms.slow]
        kind = "constant"
        cwnd_packets = 20
        rate_mbit = 50

        [algorithms.reno]

        [policy]
        default = "reno"

        [[policy.rule]]
        match = { dst = "10.1.0.0/16", dst_port = "5000-5999" }
        algorithm = "slow"

        [[policy.rule]]
        match = { dst_port = 443 }
        algorithm = "slow"
        "#,
    )
    .unwrap();
    assert_eq!(config.control, PathBuf::from("/run/ccpd/control.sock"));
    let expected = TcpConfig {
        namespaces: Namespaces::Any,
        ..TcpConfig::default()
    };
    assert_eq!(config.datapaths[0], DatapathConfig::Tcp(expected));
    let names: Vec<_> = config
        .algorithms
        .iter()
        .map(|a| (a.name(), a.kind()))
        .collect();
    assert_eq!(names, [("slow", "constant"), ("reno", "reno")]);
    assert_eq!(config.policy.rules.len(), 2);
    let second = &config.policy.rules[1];
    assert_eq!(second.matching.dst_port, Some("443".parse().unwrap()));
    assert_eq!(second.algorithm, "slow");
}

#[test]
fn users_are_named_and_marks_are_written_as_people_do() {
    let one = |rule: &str| {
        let text = format!("[[policy.rule]]\nmatch = {{ {rule} }}\nalgorithm = 'reno'\n");
        parse(&text).unwrap().policy.rules[0].matching.clone()
    };
    assert_eq!(one("uid = 'root'"), one("uid = 0"));
    assert_eq!(one("uid = '0-0'"), one("uid = 0"));
    assert_eq!(one("mark = 0x10"), one("mark = 16"));
    assert_eq!(one("mark = '0x10'"), one("mark = 16"));
    assert_eq!(one("netns = 5"), one("netns = '5'"));
    assert_ne!(one("netns = 'any'"), one(""));
}

#[test]
fn flows_that_do_not_ask_are_chosen_as_rules_choose() {
    let config = parse(
        r#"
        [[datapath]]
        kind = "tcp"

        [datapath.take]
        cgroups = ["/user.slice/", "/"]
        dst = "10.0.0.0/8"
        src = ["192.0.2.7", "2001:db8::/32"]
        dst_port = [443, "5000-5999"]
        living = true

        [datapath.take.except]
        src_port = 22
        "#,
    )
    .unwrap();
    let Some(DatapathConfig::Tcp(tcp)) = config.datapaths.first() else {
        panic!("{config:?}");
    };
    let take = tcp.take.as_deref().unwrap();
    assert_eq!(
        take.which.cgroups,
        [PathBuf::from("/user.slice"), PathBuf::from("/")]
    );
    assert_eq!(take.which.dst, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        take.which.src,
        ["192.0.2.7", "2001:db8::/32"].map(|p| p.parse().unwrap())
    );
    assert_eq!(
        take.which.dst_port,
        ["443", "5000-5999"].map(|p| p.parse().unwrap())
    );
    assert_eq!(take.which.src_port, []);
    assert_eq!(take.except.src_port, ["22".parse().unwrap()]);
    assert!(take.living && !take.chosen_too);
    // It may change while the daemon runs.
    let without = parse("[[datapath]]\nkind = 'tcp'\n").unwrap();
    assert_ne!(config.datapaths, without.datapaths);
    assert!(config.needs_restart(&without).is_empty());
}

#[test]
fn rules_hand_flows_to_what_the_kernel_has() {
    let rule = |algorithm: &str| {
        parse(&format!(
            "[[policy.rule]]\nmatch = {{}}\nalgorithm = '{algorithm}'\n"
        ))
    };
    assert_eq!(rule("native").unwrap().policy.rules[0].algorithm, "native");
    // Every Linux has it.
    let config = rule("native:reno").unwrap();
    assert_eq!(config.policy.rules[0].algorithm, "native:reno");
    let why = rule("native:none_such").unwrap_err().to_string();
    let begin = "ccpd.toml:3:13: policy.rule[0].algorithm = 'native:none_such': this kernel has no algorithm \
                 `none_such` now, but ";
    assert!(why.starts_with(begin), "{why}");
    assert!(why.ends_with("`modprobe tcp_none_such` loads it"), "{why}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nonexistent/ccpd.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't read the configuration /nonexistent/ccpd.toml"
    );
}

#[test]
fn programs_are_read_from_files_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("programs")).unwrap();
    std::fs::write(at("programs/a.ccp"), "(def)").unwrap();
    std::fs::write(at("bytes.ccp"), b"\xff").unwrap();
    std::fs::write(at("long.ccp"), " ".repeat((1 << 20) + 1)).unwrap();
    let text = |file: &str| {
        format!(
            "[algorithms.mine]\nkind = 'program'\nfile = '{file}'\n[policy]\ndefault = 'mine'\n"
        )
    };
    for file in [
        "programs/a.ccp",
        &at("programs/a.ccp").display().to_string(),
    ] {
        std::fs::write(at("ccpd.toml"), text(file)).unwrap();
        let config = Config::load(&at("ccpd.toml")).unwrap();
        let program = config.algorithms[0].file("file").unwrap();
        assert_eq!(program.text(), "(def)");
        assert_eq!(program.name(), at("programs/a.ccp").display().to_string());
    }
    for (file, why) in [
        ("none.ccp", "No such file or directory (os error 2)"),
        ("programs", "it is no file"),
        ("/dev/zero", "it is no file"),
        ("bytes.ccp", "it is not UTF-8, as program text has to be"),
        ("long.ccp", "it is longer than 1048576 bytes"),
    ] {
        let error = Config::parse_beside(&text(file), "ccpd.toml", dir.path()).unwrap_err();
        let full = dir.path().join(file).display().to_string();
        assert_eq!(
            error.to_string(),
            format!("ccpd.toml:3:8: algorithms.mine.file = '{file}': can't read {full}: {why}")
        );
    }
}

mod sample {
    use std::path::Path;

    use super::{Config, DatapathConfig, UnixConfig, parse};

    const SAMPLE: &str = include_str!("../../../../config/ccpd.toml");

    /// The sample with the settings in force that are commented out by `marks`, or by fewer.
    fn uncommented(marks: &[&str]) -> String {
        let line = |line: &str| {
            marks
                .iter()
                .find_map(|mark| {
                    let setting = line.strip_prefix(mark)?;
                    let first = setting.chars().next()?;
                    (first.is_ascii_lowercase() || first == '[').then(|| setting.to_owned())
                })
                .unwrap_or_else(|| line.to_owned())
        };
        SAMPLE.lines().map(|l| line(l) + "\n").collect()
    }

    #[test]
    fn as_it_comes_it_is_the_default() {
        assert!(parse(SAMPLE).unwrap().means_the_same(&Config::default()));
        let settings = SAMPLE
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        assert_eq!(settings.count(), 0, "everything is commented out");
    }

    #[test]
    fn uncommented_it_is_still_the_default() {
        let text = uncommented(&["#"]);
        assert!(text.contains("\ncontrol = "), "{text}");
        let config = parse(&text).unwrap();
        assert!(config.means_the_same(&Config::default()), "{config:?}");
        for params in &config.algorithms {
            let written: algs::reno::Config = params.parse().unwrap();
            assert_eq!(written, algs::reno::Config::default());
        }
    }

    #[test]
    fn its_examples_parse_and_show_defaults_too() {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let text = uncommented(&["##", "#"]);
        let config = Config::parse_beside(&text, "ccpd.toml", &beside).unwrap();
        let registry = algs::registry();
        for params in &config.algorithms {
            registry.build(params).unwrap();
        }
        let unix = config
            .datapaths
            .iter()
            .find(|d| matches!(d, DatapathConfig::Unix(_)));
        let mut shown = UnixConfig::default();
        // By default half of all.
        shown.limits.max_flows_per_user = Some(65_536);
        shown.limits.max_datapaths_per_user = Some(512);
        assert_eq!(unix, Some(&DatapathConfig::Unix(shown)));
        let Some(DatapathConfig::Tcp(tcp)) = config.datapaths.first() else {
            panic!("{config:?}");
        };
        assert_eq!(tcp.names[0].requests.as_deref(), Some("cubic"));
        assert!(tcp.names[1].ecn && tcp.names[1].requests.is_none());
        assert!(config.algorithms.iter().any(|a| a.kind() == "constant"));
        assert_eq!(config.policy.rules.len(), 6);
    }

    /// Every key that the code knows is described, and no other.
    #[test]
    fn it_has_every_key() {
        let text = uncommented(&["##", "#"]);
        let table: toml::Table = text.parse().unwrap();
        let keys = |value: &toml::Value| {
            let table = value.as_table().unwrap();
            let mut keys: Vec<_> = table.keys().cloned().collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(
            keys(&table["ccpd"]),
            "algorithm_timeout_ms control control_mode"
        );
        assert_eq!(keys(&table["metrics"]), "listen");
        assert_eq!(keys(&table["log"]), "format");
        assert_eq!(
            keys(&table["datapath"][0]),
            "fallback_after_ms kind max_fault_run max_flows max_flows_per_namespace max_flows_per_user \
             name names namespaces take unanswered_after_ms"
        );
        let take = &table["datapath"][0]["take"];
        assert_eq!(
            keys(take),
            "cgroups chosen_too dst dst_port except living src src_port"
        );
        assert_eq!(keys(&take["except"]), "cgroups dst dst_port src src_port");
        assert_eq!(
            keys(&table["datapath"][1]),
            "kind max_datapaths max_datapaths_per_user max_flows max_flows_per_user max_flows_total \
             max_malformed_per_s mode mute_ms path"
        );
        assert_eq!(keys(&table["algorithms"]["reno"]), "kind report");
        assert_eq!(
            keys(&table["algorithms"]["slow"]),
            "cwnd_packets kind rate_mbit"
        );
        assert_eq!(keys(&table["policy"]), "default rule");
        let mut matched: Vec<String> = Vec::new();
        for rule in table["policy"]["rule"].as_array().unwrap() {
            assert_eq!(keys(rule), "algorithm match");
            matched.extend(keys(&rule["match"]).split(' ').map(str::to_owned));
        }
        matched.sort();
        matched.dedup();
        assert_eq!(
            matched.join(" "),
            "cgroup datapath dst dst_port mark netns requested src src_port uid"
        );
    }
}
