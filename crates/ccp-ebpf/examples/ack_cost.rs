//! Nanoseconds per acknowledgement of the datapath's programs, by the kernel's own statistics.
//!
//! `cargo run --release -p ccp-ebpf --example ack_cost` (root). The kernel's measuring costs about
//! 70 ns per call, which is included. Traffic stays within a namespace of its own.

use std::error::Error;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ccp_ebpf::{Namespaces, Options, TcpDatapath};
use ccp_lab::{Bulk, Namespace, Need, Until, require};
use ccp_program::Program;
use ccp_wire::Message;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use libbpf_rs::{MapCore, MapHandle};

const STILL: &str = "(def (x 0)) (when true (:= x 0))";
const RENO: &str = "
    (def (Report (volatile acked 0) (volatile lost 0) (rtt 0)))
    (when true
        (:= Report.acked (+ Report.acked Ack.bytes_acked))
        (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
        (:= Report.rtt Flow.rtt_sample_us)
        (:= Cwnd (+ Cwnd (/ (* Flow.mss Ack.bytes_acked) Cwnd)))
        (fallthrough))
    (when (> Micros EVERY) (:= Micros 0) (report))";

fn main() -> Result<(), Box<dyn Error>> {
    require(&[Need::Namespaces])?;
    // SAFETY: a plain call; the descriptor it gives is ours.
    let statistics = unsafe {
        let fd = libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME);
        if fd < 0 {
            return Err(std::io::Error::from_raw_os_error(-fd).into());
        }
        OwnedFd::from_raw_fd(fd)
    };
    println!(
        "{:34} {:>9} {:>11} {:>12}",
        "", "ACKs", "ns per ACK", "pkts_acked"
    );
    let rates = "(def (Report (in 0))) (when true (:= Report.in (+ Flow.rate_incoming Flow.rate_outgoing)))";
    for (what, source) in [
        ("native CUBIC", None),
        ("a program of one operation", Some(STILL.to_owned())),
        ("the same, reading both rates", Some(rates.to_owned())),
        (
            "reno, a report every 10 ms",
            Some(RENO.replace("EVERY", "10000")),
        ),
        ("reno, a report per ACK", Some(RENO.replace("EVERY", "0"))),
    ] {
        let mut best: Option<(u64, f64, f64)> = None;
        for _ in 0..5 {
            let (acks, ns, other) = measure(source.as_deref())?;
            if best.is_none_or(|b| ns < b.1) {
                best = Some((acks, ns, other));
            }
        }
        if let Some((acks, ns, other)) = best {
            println!("{what:34} {acks:9} {ns:11.0} {other:12.0}");
        }
    }
    drop(statistics);
    Ok(())
}

fn compile(source: &str) -> Result<Program, Box<dyn Error>> {
    let table = TcpDatapath::register_table();
    let program = ccp_lang::compile(source, &table)
        .map_err(|e| e.to_string())?
        .program;
    Ok(program.bind(&table)?)
}

fn measure(source: Option<&str>) -> Result<(u64, f64, f64), Box<dyn Error>> {
    let name = format!("cost{}", std::process::id());
    let mut datapath = TcpDatapath::attach(Options {
        namespaces: Namespaces::Any,
        max_flows: 64,
        pin_root: format!("/sys/fs/bpf/{name}_pins").into(),
        ..Options::named(&name)
    })?;
    if let Some(source) = source {
        datapath.install(1, &compile(source)?)?;
    }
    let mailbox = datapath.mailbox();
    let mut ring = datapath.take_ring().ok_or("the ring is gone")?;
    let ns = Namespace::new("cost")?;
    ns.ip(["link", "set", "lo", "mtu", "1500"])?;
    let flow = Bulk::new(Until::Elapsed(Duration::from_millis(1500)))
        .congestion(&name)
        .check_content(false)
        .start(&ns, &ns, Ipv4Addr::LOCALHOST)?;
    let (start, mut before) = (Instant::now(), None);
    let mut creates = Vec::new();
    while !flow.is_finished() {
        datapath.beat();
        ring.consume(4096, |frame| {
            for frame in ccp_wire::frames(frame).flatten() {
                if let Ok(Message::Create(c)) = frame.message() {
                    creates.push((c.sock_id.0, c.generation()));
                }
            }
        });
        for (id, generation) in creates.drain(..) {
            if source.is_some() {
                mailbox.write(id, generation, Some(1), &[(0, 200_000)])?;
            }
        }
        if before.is_none() && start.elapsed() > Duration::from_millis(500) {
            before = Some(statistics(datapath.options())?);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let after = statistics(datapath.options())?;
    let before = before.ok_or("too short")?;
    flow.wait()?;
    datapath.detach()?;
    let per = |i: usize| {
        let n = after[i].0 - before[i].0;
        (n, (after[i].1 - before[i].1) as f64 / n.max(1) as f64)
    };
    let (acks, ns) = per(0);
    Ok((acks, ns, per(1).1))
}

/// Calls and nanoseconds of this datapath's `cong_control` and `pkts_acked`.
fn statistics(options: &Options) -> Result<[(u64, u64); 2], Box<dyn Error>> {
    let flows = options.pin_root.join(&options.name).join("v1/flows");
    let flows = MapHandle::from_pinned_path(flows)?.info()?.info.id;
    let query = ProgInfoQueryOptions::default().include_map_ids(true);
    let programs: Vec<_> = ProgInfoIter::with_query_opts(query).collect();
    let named = |name: &str, found: &dyn Fn(&ProgramInfo) -> bool| {
        programs
            .iter()
            .filter(|p| p.name.to_string_lossy().starts_with(name) && found(p))
            .min_by_key(|p| p.id)
    };
    let control = named("ccp_cong_contro", &|p| p.map_ids.contains(&flows)).ok_or("no program")?;
    // Loaded after it.
    let acked = named("ccp_pkts_acked", &|p| p.id > control.id).ok_or("no program")?;
    Ok([control, acked].map(|p| (p.run_cnt, p.run_time_ns)))
}
