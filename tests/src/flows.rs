//! `ccp flows --json`, as scripts see it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;

/// An object of `ccp flows --json`: the keys that are promised, with the types that are promised.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "described where they are promised")]
pub struct FlowLine {
    pub flow: u64,
    pub datapath: String,
    pub sock_id: u32,
    pub algorithm: String,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub cwnd_bytes: u64,
    pub rate_bytes_per_s: u64,
    pub rtt_us: u64,
    pub reports: u64,
    pub updates: u64,
    pub state: String,
    pub attributes: BTreeMap<String, Value>,
}
