//! `ccp set`: one flow gets another algorithm.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::daemon::{ask, json, print};

/// Arguments of `ccp set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which flow: the number under FLOW in `ccp flows`.
    flow: u64,

    /// The algorithm's name, as `ccp algorithms` lists it; `native` leaves the flow to its datapath,
    /// `native:NAME` (cubic, bbr, ...) hands it to that algorithm of the kernel, and it is no longer under control.
    algorithm: String,

    /// Other values for its parameters, as in the configuration.
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,

    /// Print a JSON object: which flow, and what it has now.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Done<'a> {
    flow: u64,
    algorithm: &'a str,
    parameters: BTreeMap<&'a str, &'a str>,
}

/// Asks for it. The flow keeps its window; the next reload puts it under the rules again.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    ask(socket, async |ccpd| {
        ccpd.set(args.flow, &args.algorithm, &args.parameters).await
    })?;
    if args.json {
        let parameters = args.parameters.iter();
        print(&json(&Done {
            flow: args.flow,
            algorithm: &args.algorithm,
            parameters: parameters.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        })?)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected a key, `=` and a value, as in beta=0.8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn parameters_are_keys_and_values() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(super::parameter("beta=0.8"), pair("beta", "0.8"));
        assert_eq!(super::parameter("a=b=c"), pair("a", "b=c"));
        assert_eq!(super::parameter("a="), pair("a", ""));
        assert!(super::parameter("=b").is_err());
        assert!(super::parameter("beta").is_err());
    }
}
