//! `[metrics]` and `[log]`: what others see of the daemon.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ccp_core::keys::Section;

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: `"human"`.
    #[default]
    Human,
    /// One JSON object per line: `"json"`.
    Json,
    /// To systemd's journal, with fields of their own: `"journald"`.
    Journald,
}

const LISTEN: &str = "an address with a port such as \"127.0.0.1:9469\" or \"[::1]:9469\", or a port \
                      from 1 to 65535 on 127.0.0.1";

const TIMEOUT: &str = "a whole number of milliseconds from 100 to 60000, or 0 for never";

/// Reads `ccpd.algorithm_timeout_ms`.
#[expect(
    clippy::option_option,
    reason = "what is not said, and what is said to be never"
)]
pub(super) fn algorithm_timeout(section: &Section<'_>) -> Option<Option<Duration>> {
    let found = section.whole_number("algorithm_timeout_ms", TIMEOUT)?;
    match found.value {
        0 => Some(None),
        100..=60_000 => Some(Some(Duration::from_millis(found.value))),
        _ => found.wrong(TIMEOUT),
    }
}

/// Reads `[metrics]`: where they are served.
pub(super) fn metrics(root: &Section<'_>) -> Option<SocketAddr> {
    let section = root.section("metrics")?;
    let listen = section.text_or_integer("listen", LISTEN).and_then(|found| {
        let port = |text: &str| Some((Ipv4Addr::LOCALHOST, text.parse().ok()?).into());
        let address: Option<SocketAddr> = found.value.parse().ok().or_else(|| port(found.value));
        match address.filter(|address| address.port() != 0) {
            None => found.wrong(LISTEN),
            some => some,
        }
    });
    section.finish();
    listen
}

/// Reads `[log]`: how it is written.
pub(super) fn log_format(root: &Section<'_>) -> Option<LogFormat> {
    const FORMATS: [(&str, LogFormat); 3] = [
        ("human", LogFormat::Human),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    let section = root.section("log")?;
    let format = section.choice("format", &FORMATS);
    section.finish();
    format
}
