//! `ccp policy`: what the rules say.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use ccp_control::Explanation;

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
    /// (default `ccp`) and `requested`. What is not given is the address 0.0.0.0 or ::, the port 0, and no
    /// request: no prefix but 0.0.0.0/0 or ::/0 and no port fits that.
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
        ccpd.explain(&asked.datapath, asked.src, asked.dst, requested)
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
}

impl Asked {
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let (mut src, mut dst) = (None, None);
        let (mut src_port, mut dst_port) = (0, 0);
        let (mut datapath, mut requested) = ("ccp".to_owned(), None);
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
                _ => {
                    return Err(format!(
                        "`{word}`: there is no such key; there are src, dst, src_port, dst_port, \
                         datapath, requested"
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
        })
    }
}

fn told(explained: &Explanation) -> String {
    let mut text = String::new();
    for (place, (algorithm, misfit)) in (1..).zip(&explained.passed) {
        text.push_str(&format!(
            "rule {place} ({algorithm}): {misfit} does not fit\n"
        ));
    }
    let algorithm = &explained.algorithm;
    text.push_str(&match explained.rule {
        Some(rule) => format!("rule {rule} ({algorithm}): fits\n"),
        None => format!("no rule fits: the default ({algorithm})\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::{Asked, told};
    use ccp_control::Explanation;

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
    fn it_says_why_each_rule_was_passed() {
        let mut explained = Explanation {
            passed: vec![("slow".to_owned(), "dst_port".to_owned())],
            rule: Some(2),
            algorithm: "web".to_owned(),
        };
        assert_eq!(
            told(&explained),
            "rule 1 (slow): dst_port does not fit\nrule 2 (web): fits\n"
        );
        explained.rule = None;
        assert_eq!(
            told(&explained),
            "rule 1 (slow): dst_port does not fit\nno rule fits: the default (web)\n"
        );
    }
}
