//! `ccp show`: everything that is known of one flow.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use ccp_control::{FlowDetail, FlowOrigin, plain};

use crate::daemon::{ask, json, print};
use crate::units::{age, data, loss, millis, packets, rate};

/// Arguments of `ccp show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which flow: the number under FLOW in `ccp flows`.
    flow: u64,

    /// Print a JSON object: bytes, bytes per second and microseconds throughout.
    #[arg(long)]
    json: bool,
}

/// Asks for the flow and prints what is known of it.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let detail = ask(socket, async |ccpd| ccpd.show(args.flow).await)?;
    let text = if args.json {
        json(&detail)?
    } else {
        told(&detail)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn told(detail: &FlowDetail) -> String {
    let flow = &detail.status;
    let mss = flow.mss_bytes;
    let mut text = format!("flow {} of {}\n", flow.flow, plain(&flow.datapath));
    let mut line = |what: &str, value: String| {
        // Into memory: it does not fail.
        let _ = writeln!(text, "  {:<13}{}", plain(what), plain(&value));
    };
    line("local", flow.src.to_string());
    line("remote", flow.dst.to_string());
    for (name, value) in &flow.attributes.0 {
        line(name, value.to_string());
    }
    line("algorithm", algorithm(detail));
    line("because", because(detail));
    if let Some(requested) = &detail.requested {
        line("asks for", requested.clone());
    }
    line("state", state(detail));
    line(
        "window",
        format!(
            "{} ({}), {} at first",
            packets(flow.cwnd_bytes, mss),
            data(flow.cwnd_bytes),
            packets(detail.init_cwnd_bytes, mss)
        ),
    );
    line("rate", rate(flow.rate_bytes_per_s));
    line(
        "RTT",
        format!(
            "{}, least {}",
            millis(flow.rtt_us),
            millis(detail.min_rtt_us)
        ),
    );
    line("segment", format!("{mss} B"));
    if let (Some(sent), Some(delivered), Some(lost)) =
        (flow.sent_bytes, flow.delivered_bytes, flow.lost_bytes)
    {
        let share = loss(Some(lost), Some(delivered));
        let mut sent = format!(
            "{}, {} delivered, {} lost ({share})",
            data(sent),
            data(delivered),
            data(lost)
        );
        if let Some(timeouts) = detail.timeouts {
            let _ = write!(sent, ", {timeouts} timeouts");
        }
        line("sent", sent);
    }
    line(
        "reports",
        format!(
            "{}, besides {} merged, {} missed, {} stale",
            flow.reports, detail.reports_merged, flow.reports_missed, detail.reports_stale
        ),
    );
    line(
        "updates",
        format!(
            "{}, besides {} refused",
            flow.updates, detail.updates_refused
        ),
    );
    line(
        "faults",
        format!("{} of programs, {} panics", flow.faults, detail.panics),
    );
    let origin = match detail.origin {
        FlowOrigin::New => "new",
        FlowOrigin::Adopted => "alive before ccpd was",
        FlowOrigin::Resumed => "given back after a fallback",
    };
    line(
        "known for",
        format!("{}, announced as {origin}", age(flow.age_us)),
    );
    match &detail.last_report {
        None => line("last report", "none yet".to_owned()),
        Some(report) => {
            let merged = match report.merged {
                0 => String::new(),
                merged => format!(", with {merged} before it"),
            };
            line("last report", format!("of {}{merged}", report.program));
            let width = report.fields.iter().map(|(name, _)| name.len()).max();
            let width = width.unwrap_or(0);
            for (name, value) in &report.fields {
                let _ = writeln!(text, "    {name:<width$}  {value}");
            }
        }
    }
    text
}

fn algorithm(detail: &FlowDetail) -> String {
    let mut text = detail.status.algorithm.clone();
    if let Some(kind) = &detail.kind
        && *kind != text
    {
        let _ = write!(text, " (kind {kind})");
    }
    let parameters = detail.parameters.iter();
    let parameters: Vec<String> = parameters.map(|(k, v)| format!("{k} = {v}")).collect();
    if !parameters.is_empty() {
        let _ = write!(text, ": {}", parameters.join(", "));
    }
    text
}

/// Why the flow has its algorithm.
fn because(detail: &FlowDetail) -> String {
    let rules = &detail.rules;
    let says = match rules.rule {
        Some(rule) => format!("rule {rule} ({})", rules.algorithm),
        None => format!("no rule fits: the default ({})", rules.algorithm),
    };
    let given = if detail.by_hand {
        format!("given {} by hand, instead of {says}", detail.assigned)
    } else if detail.assigned == rules.algorithm {
        says
    } else {
        format!(
            "{says}, which its datapath does not run: {}",
            detail.assigned
        )
    };
    if detail.assigned == detail.status.algorithm {
        given
    } else {
        format!("{given}; that failed")
    }
}

fn state(detail: &FlowDetail) -> String {
    let state = detail.status.state;
    let Some(program) = &detail.status.program else {
        return format!("{state}, no program");
    };
    let mut text = format!("{state}, program {program}");
    if let (Some(uid), Some(size)) = (detail.program_uid, detail.program_instructions) {
        let _ = write!(text, " (number {uid}, {size} instructions)");
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use ccp_control::{
        AttributeValue, Attributes, Explanation, FlowDetail, FlowOrigin, LastReport,
    };

    use crate::flows::tests::flow;

    pub(crate) fn detail() -> FlowDetail {
        let mut status = flow(1);
        status.sent_bytes = Some(2_000_000);
        status.delivered_bytes = Some(1_980_000);
        status.lost_bytes = Some(20_000);
        FlowDetail {
            status,
            origin: FlowOrigin::New,
            requested: None,
            assigned: "slow".to_owned(),
            by_hand: false,
            rules: Explanation {
                rules: Vec::new(),
                rule: Some(2),
                algorithm: "slow".to_owned(),
            },
            kind: Some("constant".to_owned()),
            parameters: vec![("cwnd_packets".to_owned(), "20".to_owned())],
            program_uid: Some(3),
            program_instructions: Some(21),
            min_rtt_us: 19_000,
            init_cwnd_bytes: 14_480,
            generation: 1,
            reports_merged: 1,
            reports_stale: 0,
            updates_refused: 0,
            panics: 0,
            timeouts: Some(0),
            last_report: Some(LastReport {
                program: "constant".to_owned(),
                merged: 0,
                fields: vec![("acked".to_owned(), 28_960), ("rtt".to_owned(), 20_123)],
            }),
        }
    }

    #[test]
    fn everything_is_told() {
        insta::assert_snapshot!("detail", super::told(&detail()));
        insta::assert_snapshot!("detail_json", crate::daemon::json(&detail()).unwrap());
    }

    #[test]
    fn what_a_user_chooses_is_shown_and_not_obeyed() {
        let mut detail = detail();
        detail.requested = Some("reno\u{1b}[2J".to_owned());
        let path = AttributeValue::Text("/user.slice/a\n  algorithm    fine".to_owned());
        detail.status.attributes = Attributes(vec![("cgroup".to_owned(), path)]);
        let text = super::told(&detail);
        let said = "\n  cgroup       /user.slice/a\\n  algorithm    fine\n";
        assert!(text.contains(said), "{text}");
        assert!(text.contains("\n  asks for     reno\\u{1b}[2J\n"), "{text}");
    }

    #[test]
    fn why_it_has_what_it_has() {
        let mut detail = detail();
        assert_eq!(super::because(&detail), "rule 2 (slow)");
        detail.assigned = "reno".to_owned();
        assert_eq!(
            super::because(&detail),
            "rule 2 (slow), which its datapath does not run: reno; that failed"
        );
        detail.status.algorithm = "reno".to_owned();
        detail.by_hand = true;
        assert_eq!(
            super::because(&detail),
            "given reno by hand, instead of rule 2 (slow)"
        );
        detail.rules.rule = None;
        detail.rules.algorithm = "reno".to_owned();
        detail.by_hand = false;
        assert_eq!(super::because(&detail), "no rule fits: the default (reno)");
    }
}
