//! `ccp policy`: what the rules say.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use ccp_control::{AttributeValue, Attributes, Explanation, Fit, KeyVerdict};

use crate::daemon::{ask, json, print};

/// Subcommands of `ccp policy`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Says which rule takes a flow, and why none before it does.
    Explain(Args),
}

/// Arguments of `ccp policy explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is known of the flow: `dst=10.1.2.3 dst_port=443`, further `src`, `src_port`, `datapath`
    /// (default `ccp`), `requested`, and what only kernel TCP tells: `cgroup` (a path), `netns` (`initial`, a
    /// name or a number), `uid` (a number), `mark`. An address that is not given is 0.0.0.0 or ::, a port 0:
    /// no prefix but 0.0.0.0/0 or ::/0 and no port fits that. Of the others, what is not given fits no
    /// rule that asks for it.
    #[arg(value_name = "KEY=VALUE", required = true)]
    flow: Vec<String>,

    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks and prints the answer.
pub(crate) fn run(socket: &Path, Command::Explain(args): &Command) -> anyhow::Result<ExitCode> {
    // Also all of them as one word, as a shell's quotes make it.
    let words = args.flow.iter().flat_map(|word| word.split_whitespace());
    let asked = match Asked::read(words) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("ccp: {why}");
            return Ok(ExitCode::from(2));
        }
    };
    let explained = ask(socket, async |ccpd| {
        let requested = asked.requested.as_deref();
        let attributes = asked.attributes.clone();
        ccpd.explain(&asked.datapath, asked.src, asked.dst, requested, attributes)
            .await
    })?;
    let text = if args.json {
        json(&explained)?
    } else {
        told(&explained)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A flow as far as it was described.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    datapath: String,
    src: SocketAddr,
    dst: SocketAddr,
    requested: Option<String>,
    attributes: Attributes,
}

impl Asked {
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let (mut src, mut dst) = (None, None);
        let (mut src_port, mut dst_port) = (0, 0);
        let (mut datapath, mut requested) = ("ccp".to_owned(), None);
        let mut attributes = Vec::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}`: expected a key, `=` and a value"))?;
            let address = || -> Result<Option<IpAddr>, String> {
                let address = value.parse();
                address
                    .map(Some)
                    .map_err(|_| format!("`{word}`: expected an IPv4 or IPv6 address"))
            };
            let port = || -> Result<u16, String> {
                let port = value.parse();
                port.map_err(|_| format!("`{word}`: expected a port, 1 to 65535"))
            };
            match key {
                "src" => src = address()?,
                "dst" => dst = address()?,
                "src_port" => src_port = port()?,
                "dst_port" => dst_port = port()?,
                "datapath" => value.clone_into(&mut datapath),
                "requested" => requested = Some(value.to_owned()),
                "cgroup" | "netns" | "uid" | "mark" => {
                    attributes.push((key.to_owned(), attribute(word, key, value)?));
                }
                _ => {
                    return Err(format!(
                        "`{word}`: there is no such key; there are src, dst, src_port, dst_port, \
                         datapath, requested, cgroup, netns, uid, mark"
                    ));
                }
            }
        }
        // An end that is not given is of the other's family.
        let like = |other: Option<IpAddr>| match other {
            Some(IpAddr::V6(_)) => IpAddr::from([0_u16; 8]),
            _ => IpAddr::from([0, 0, 0, 0]),
        };
        Ok(Self {
            datapath,
            src: (src.unwrap_or_else(|| like(dst)), src_port).into(),
            dst: (dst.unwrap_or_else(|| like(src)), dst_port).into(),
            requested,
            attributes: Attributes(attributes),
        })
    }
}

fn attribute(word: &str, key: &str, value: &str) -> Result<AttributeValue, String> {
    let number = || match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    };
    match key {
        "cgroup" if value.starts_with('/') => Ok(AttributeValue::Text(value.to_owned())),
        "cgroup" => Err(format!("`{word}`: expected a path from the root, `/`")),
        "netns" => Ok(value.parse().map_or_else(
            |_| AttributeValue::Text(value.to_owned()),
            AttributeValue::Number,
        )),
        _ => number()
            .map(|number| AttributeValue::Number(number.into()))
            .ok_or_else(|| format!("`{word}`: expected a number, 0 to 4294967295")),
    }
}

fn told(explained: &Explanation) -> String {
    let mut text = String::new();
    for rule in &explained.rules {
        let said: Vec<String> = match rule.fits {
            true => rule.keys.iter().map(named).collect(),
            false => rule.keys.iter().filter_map(why_not).collect(),
        };
        let said = match (rule.fits, said.is_empty()) {
            (true, true) => "fits, as every flow".to_owned(),
            (true, false) => format!("fits: {}", said.join(", ")),
            (false, _) => said.join("; "),
        };
        text.push_str(&format!(
            "rule {} ({}): {said}\n",
            rule.rule, rule.algorithm
        ));
    }
    if explained.rule.is_none() {
        let algorithm = &explained.algorithm;
        text.push_str(&format!("no rule fits: the default ({algorithm})\n"));
    }
    text
}

fn named(key: &KeyVerdict) -> String {
    format!("{} {}", key.key, key.wanted)
}

fn why_not(key: &KeyVerdict) -> Option<String> {
    match key.fit {
        Fit::Fits => None,
        Fit::Differs => Some(format!("{} does not fit", named(key))),
        Fit::Untold => Some(format!("{} is not known of the flow", named(key))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, told};
    use ccp_control::{AttributeValue, Explanation, Fit, KeyVerdict, RuleVerdict};

    fn read(text: &str) -> Result<Asked, String> {
        Asked::read(text.split_whitespace())
    }

    #[test]
    fn what_is_not_given_is_unspecified() {
        let asked = read("dst=2001:db8::1 dst_port=443 requested=cubic").unwrap();
        assert_eq!(asked.dst, "[2001:db8::1]:443".parse().unwrap());
        assert_eq!(asked.src, "[::]:0".parse().unwrap());
        assert_eq!(asked.datapath, "ccp");
        assert_eq!(asked.requested.as_deref(), Some("cubic"));
        let asked = read("src=10.1.2.3 datapath=x").unwrap();
        assert_eq!(asked.dst, "0.0.0.0:0".parse().unwrap());
        assert_eq!((asked.datapath.as_str(), asked.src.port()), ("x", 0));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("dst", "`dst`: expected a key, `=` and a value"),
            ("dst=host", "`dst=host`: expected an IPv4 or IPv6 address"),
            (
                "dst_port=70000",
                "`dst_port=70000`: expected a port, 1 to 65535",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), why);
        }
        assert!(read("port=1").unwrap_err().contains("there is no such key"));
    }

    #[test]
    fn what_only_kernel_tcp_tells() {
        let asked = read("cgroup=/system.slice netns=blue uid=33 mark=0x10").unwrap();
        let netns = read("netns=4026531840").unwrap().attributes;
        let text = |text: &str| AttributeValue::Text(text.to_owned());
        let pair = |key: &str, value| (key.to_owned(), value);
        assert_eq!(
            asked.attributes.0,
            [
                pair("cgroup", text("/system.slice")),
                pair("netns", text("blue")),
                pair("uid", AttributeValue::Number(33)),
                pair("mark", AttributeValue::Number(16)),
            ]
        );
        let number = AttributeValue::Number(4_026_531_840);
        assert_eq!(netns.0, [pair("netns", number)]);
        for wrong in [
            "cgroup=system.slice",
            "uid=root",
            "mark=-1",
            "uid=4294967296",
        ] {
            assert!(
                read(wrong)
                    .unwrap_err()
                    .starts_with(&format!("`{wrong}`: expected"))
            );
        }
    }

    #[test]
    fn it_says_why_each_rule_was_passed_and_why_one_fits() {
        let key = |key: &str, wanted: &str, fit| KeyVerdict {
            key: key.to_owned(),
            wanted: wanted.to_owned(),
            fit,
        };
        let rule = |rule, algorithm: &str, fits, keys| RuleVerdict {
            rule,
            algorithm: algorithm.to_owned(),
            fits,
            keys,
        };
        let passed = [rule(
            1,
            "slow",
            false,
            vec![
                key("dst", "10.1.0.0/16", Fit::Fits),
                key("dst_port", "443", Fit::Differs),
                key("uid", "33", Fit::Untold),
            ],
        )];
        let first = "rule 1 (slow): dst_port 443 does not fit; uid 33 is not known of the flow\n";
        let mut explained = Explanation {
            rules: passed.to_vec(),
            rule: None,
            algorithm: "web".to_owned(),
        };
        assert_eq!(
            told(&explained),
            format!("{first}no rule fits: the default (web)\n")
        );
        explained.rule = Some(2);
        let fits = vec![
            key("dst", "10.1.0.0/16", Fit::Fits),
            key("mark", "0x10/0xf0", Fit::Fits),
        ];
        explained.rules.push(rule(2, "web", true, fits));
        assert_eq!(
            told(&explained),
            format!("{first}rule 2 (web): fits: dst 10.1.0.0/16, mark 0x10/0xf0\n")
        );
        explained.rules[1].keys.clear();
        assert_eq!(
            told(&explained),
            format!("{first}rule 2 (web): fits, as every flow\n")
        );
    }
}
