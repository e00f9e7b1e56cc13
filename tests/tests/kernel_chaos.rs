//! Everything that can happen to a daemon, in one run, while a thousand flows send: half of them ours, half under
//! the kernel's own CUBIC, on one link, so that those say what the others should have got.
//!
//! `CCP_TEST_CHAOS=full` has it happen five times, to 2,000 flows.

use std::{
    collections::HashMap,
    fmt,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ccp_control::{Client, FlowMode, FlowStatus};
use ccp_lab::{Namespace, Swarm, VethLink, VethSpec, congestion_of, set_congestion};
use ccp_tests::{Daemon, KernelTest, Setup, host, within};
use rustix::process::Signal;

/// What each flow can have of the link that all share, in bits per second, and how many packets of each have room in
/// its queue: enough for all to go on, and few enough for round trips to be far shorter than a second.
const RATE: u64 = 250_000;
const QUEUED_PACKETS: usize = 12;
/// Segments, in bytes, that are small enough for both.
const MSS: usize = 648;
/// Of the flows in each of the two halves.
const HALF: usize = 500;
/// The ports of ours, and what the rules give to their flows.
const OURS: [(u16, &str); 2] = [(5001, "reno"), (5002, "cubic")];
/// The port of the kernel's own.
const NATIVE: u16 = 5003;
/// Over so long it is looked how far each flow has come.
const STRETCH: Duration = Duration::from_secs(2);
/// How often the flows are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// A new daemon is to have all flows that send so long after its start.
const ADOPTED_WITHIN: Duration = Duration::from_secs(1);
/// The daemon's default: after this without a sign of life, flows go on by themselves.
const FALLBACK_AFTER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens first.
const NOTHING: &str = "nothing";

const CONFIG: &str = r#"
[algorithms.reno]
[algorithms.cubic]

[policy]
default = "reno"
rule = [{ match = { netns = "any", dst_port = 5002 }, algorithm = "cubic" }]
"#;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A path with one queue, which is not in the senders' own stack: there, a full queue is no loss, but holds senders
/// back.
struct Lab {
    client: Namespace,
    server: Namespace,
    _router: Namespace,
    _first: VethLink,
    last: VethLink,
}

impl Lab {
    fn new(flows: usize) -> anyhow::Result<Self> {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let router = Namespace::new("router")?;
        let first = VethLink::new(&client, &router, VethSpec::unlimited())?;
        let spec = VethSpec::limited(RATE * flows as u64)
            .limit_bytes((flows * QUEUED_PACKETS * (MSS + 66)) as u32);
        let last = VethLink::new(&router, &server, spec)?;
        router.set_sysctl("net.ipv4.ip_forward", "1")?;
        let via = |address: IpAddr| address.to_string();
        client.ip(["route", "add", "default", "via", &via(first.b_v4())])?;
        // Small segments: as many to a round trip as a flow needs to repair a loss, at a rate that takes little.
        let (via_last, mss) = (via(last.a_v4()), MSS.to_string());
        server.ip(["route", "add", "default", "via", &via_last, "advmss", &mss])?;
        Ok(Self {
            client,
            server,
            _router: router,
            _first: first,
            last,
        })
    }
}

/// How far each flow had come at a moment: bytes, and its window in packets.
struct Sample {
    at: Instant,
    flows: Vec<(u64, u32)>,
}

/// Something that happened, and what is to be looked at because of it.
struct Event {
    what: &'static str,
    from: Instant,
    to: Instant,
}

struct Chaos<'c> {
    setup: &'c Setup,
    client: &'c Namespace,
    swarm: &'c Swarm,
    runtime: &'c tokio::runtime::Runtime,
    samples: &'c Mutex<Vec<Sample>>,
    events: Vec<Event>,
    /// What should not have been.
    wrong: Vec<String>,
    half: usize,
}

impl<'c> Chaos<'c> {
    fn flows(&self) -> anyhow::Result<Vec<FlowStatus>> {
        let socket = self.setup.socket();
        Ok(self.runtime.block_on(async {
            let mut client = Client::connect(&socket).await?;
            client.flows().await
        })?)
    }

    /// Which of ours the daemon does not have, under the algorithm that they are to have, and in this state if one is
    /// given.
    fn missing(&self, state: Option<FlowMode>) -> Option<Vec<usize>> {
        // Who asks for a thousand flows all the time keeps the daemon from them.
        thread::sleep(ms(40));
        // It may be about to start, or to go.
        let flows = self.flows().ok()?;
        let by_end: HashMap<SocketAddr, &FlowStatus> =
            flows.iter().map(|flow| (flow.src, flow)).collect();
        let ours = self.swarm.members().iter().take(self.half).enumerate();
        let missing = ours.filter(|(_, member)| {
            let wanted = OURS.iter().find(|(port, _)| *port == member.peer.port());
            by_end.get(&member.local).is_none_or(|flow| {
                let other = state.is_some_and(|state| flow.state != state);
                other || flow.updates == 0 || Some(flow.algorithm.as_str()) != wanted.map(|w| w.1)
            })
        });
        Some(missing.map(|(flow, _)| flow).collect())
    }

    /// Waits until the daemon, which began to start at `start` and is ready now, has all of ours, and notes which
    /// it has too late, though acknowledgements came, and how many have a far smaller window than before: hardly
    /// more than of the kernel's own, whose windows shrink as well where a queue is full.
    fn await_adopted(&mut self, what: &'static str, start: Instant) -> anyhow::Result<()> {
        let (before, half) = (self.windows(), self.half);
        let (ready, at_ready) = (start.elapsed(), self.swarm.infos()?);
        // A start takes a few hundred milliseconds, not optimized. Where it takes longer the machine is busy with other
        // things, and the rest takes longer, too.
        let due = ADOPTED_WITHIN.max(ready * 4).min(PATIENCE / 2);
        let mut late = None;
        let mut last = None;
        let adopted = within(PATIENCE, || {
            let missing = self.missing(None);
            if start.elapsed() >= due && late.is_none() {
                late = missing.clone().zip(self.swarm.infos().ok());
            }
            last = missing.or_else(|| last.take());
            last.as_ref()
                .is_some_and(|missing| few(missing, half))
                .then(|| start.elapsed())
        });
        let missing = last.map_or(0, |missing| missing.len());
        let took = adopted.with_context(|| format!("{what}: {missing} flows are missing"))?;
        let (late, at_due) = late.unwrap_or_default();
        // An acknowledgement announces a flow. Who gets hardly any is waiting for a lost packet.
        let sends =
            |flow: &usize| at_due[*flow].segments_received - at_ready[*flow].segments_received > 3;
        let (late, starved): (Vec<usize>, Vec<usize>) = late.into_iter().partition(sends);
        let running = Some(FlowMode::Running);
        let all_run = within(PATIENCE, || {
            few(&self.missing(running)?, half).then(|| start.elapsed())
        });
        let all_run =
            all_run.with_context(|| format!("{what}: {:?} do not run", self.missing(running)))?;
        let now = self.swarm.infos()?;
        let shrunk: Vec<bool> = before
            .iter()
            .zip(&now)
            .map(|(before, now)| now.cwnd_packets * 5 < *before * 2)
            .collect();
        let (ours, native) = shrunk.split_at(self.half);
        let count = |shrunk: &[bool]| shrunk.iter().filter(|shrunk| **shrunk).count();
        let (ours, native) = (count(ours), count(native));
        println!(
            "{what}: ready after {ready:?}, all adopted after {took:?} and running after {all_run:?}; {} late after \
             {due:?}, and {} that hardly sent; windows far smaller: {ours}, of CUBIC's {native}",
            late.len(),
            starved.len()
        );
        if !few(&late, half) || starved.len() > half / 10 {
            self.wrong.push(format!(
                "{what}: ready after {ready:?}, and after {due:?} flows were not adopted: {late:?}, {starved:?}"
            ));
        }
        if ours > 2 * native + self.half / 20 {
            self.wrong.push(format!(
                "{what}: {ours} flows lost their window, {native} of CUBIC's"
            ));
        }
        Ok(())
    }

    fn windows(&self) -> Vec<u32> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let last = samples.last().expect("flows are looked at");
        last.flows.iter().map(|flow| flow.1).collect()
    }

    /// What came of it since `from`: over two stretches at least, as far as nothing else has happened.
    fn observe(&mut self, what: &'static str, from: Instant) {
        let to = (from + 2 * STRETCH).max(Instant::now() + STRETCH / 2);
        thread::sleep(to.saturating_duration_since(Instant::now()));
        self.events.push(Event { what, from, to });
    }

    fn start(&self) -> anyhow::Result<(Daemon<'c>, Instant)> {
        let (start, before) = (Instant::now(), self.starts());
        let daemon = self.setup.start(self.client);
        self.await_start(before)?;
        Ok((daemon, start))
    }

    /// How many daemons have been ready so far.
    fn starts(&self) -> usize {
        self.setup.log().matches("ccpd is running").count()
    }

    fn await_start(&self, before: usize) -> anyhow::Result<()> {
        let started = within(PATIENCE, || (self.starts() > before).then_some(()));
        started.context("no new daemon is ready")
    }

    /// Everything, once.
    fn round(&mut self, mut daemon: Daemon<'c>) -> anyhow::Result<Daemon<'c>> {
        let at = Instant::now();
        daemon.kill();
        thread::sleep(FALLBACK_AFTER + ms(300));
        let (next, start) = self.start()?;
        self.await_adopted("killed", start)?;
        self.observe("killed", at);
        daemon = next;

        let at = Instant::now();
        daemon.pause();
        thread::sleep(FALLBACK_AFTER + ms(500));
        daemon.resume();
        self.await_adopted("stopped and continued", Instant::now())?;
        self.observe("stopped and continued", at);

        // As a watchdog does with one that hangs.
        let at = Instant::now();
        daemon.pause();
        thread::sleep(FALLBACK_AFTER + ms(300));
        daemon.kill();
        let (next, start) = self.start()?;
        self.await_adopted("hung and killed", start)?;
        self.observe("hung and killed", at);
        daemon = next;

        let at = Instant::now();
        let ended = daemon.stop_by(Signal::USR1);
        ensure!(ended.code() == 0, "{}", ended.log);
        let (next, start) = self.start()?;
        self.await_adopted("restarted", start)?;
        self.observe("restarted", at);
        daemon = next;

        let at = Instant::now();
        let before = self.starts();
        daemon.replace();
        self.await_start(before)?;
        self.await_adopted("upgraded", at)?;
        self.observe("upgraded", at);
        Ok(daemon)
    }
}

/// Whether they are no more than may be waiting for a lost packet at any time.
fn few(flows: &[usize], half: usize) -> bool {
    flows.len() <= half / 50
}

/// A connection that says something now and then.
struct Quiet(TcpStream, TcpStream);

impl Quiet {
    fn new(ns: &Namespace, name: &str) -> anyhow::Result<Self> {
        ns.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let sender = TcpStream::connect(listener.local_addr()?)?;
            let (receiver, _) = listener.accept()?;
            set_congestion(&sender, name)?;
            let mut quiet = Self(sender, receiver);
            quiet.talk()?;
            Ok(quiet)
        })?
    }

    fn talk(&mut self) -> anyhow::Result<()> {
        self.0.write_all(&[7; 10_000])?;
        Ok(self.1.read_exact(&mut [0; 10_000])?)
    }
}

/// How far the flows of one half came in a stretch, in bytes: sorted.
struct Moved(Vec<u64>);

impl Moved {
    fn new(flows: &[u64]) -> Self {
        let mut moved = flows.to_vec();
        moved.sort_unstable();
        Self(moved)
    }

    /// What all but a twentieth moved at least.
    fn fifth_percentile(&self) -> u64 {
        self.0[self.0.len() / 20]
    }

    fn below(&self, limit: u64) -> usize {
        self.0.partition_point(|moved| *moved < limit)
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.0[self.0.len() / 2];
        let (last, fifth, still) = (self.0[0], self.fifth_percentile(), self.below(1));
        write!(
            f,
            "least {last}, 5th percentile {fifth}, median {median}, {still} nothing"
        )
    }
}

/// The stretch of an event in which ours did worst beside the kernel's own: ours, and those.
fn worst(samples: &[Sample], event: &Event, half: usize) -> Option<(Moved, Moved)> {
    let within = |at: Instant| event.from <= at && at <= event.to;
    let stretches = samples.iter().enumerate().filter(|(_, s)| within(s.at));
    let stretches = stretches.filter_map(|(i, first)| {
        let last = samples[i..].iter().find(|s| s.at >= first.at + STRETCH)?;
        let flows = first.flows.iter().zip(&last.flows);
        let moved: Vec<u64> = flows.map(|(a, b)| b.0 - a.0).collect();
        let (ours, native) = moved.split_at(half);
        (last.at <= event.to).then(|| (Moved::new(ours), Moved::new(native)))
    });
    let ratio = |(ours, native): &(Moved, Moved)| {
        ours.fifth_percentile() as f64 / native.fifth_percentile().max(1) as f64
    };
    stretches.min_by(|a, b| ratio(a).total_cmp(&ratio(b)))
}

#[test]
fn root_whatever_happens_to_the_daemon_a_thousand_flows_go_on() -> anyhow::Result<()> {
    let full = std::env::var("CCP_TEST_CHAOS").is_ok_and(|chaos| chaos == "full");
    let (rounds, half) = if full { (5, 2 * HALF) } else { (1, HALF) };
    let Some(_alone) = KernelTest::begin(Duration::from_secs(if full { 600 } else { 180 })) else {
        return Ok(());
    };
    let lab = Lab::new(2 * half)?;
    let (client, server) = (&lab.client, &lab.server);
    let setup = Setup::new(CONFIG);
    let daemon = setup.start(client);
    let name = setup.name();
    let groups = [
        (name, OURS[0].0, half / 2),
        (name, OURS[1].0, half / 2),
        ("cubic", NATIVE, half),
    ];
    let swarm = Swarm::start(client, server, lab.last.b_v4(), &groups)?;
    let mut quiet = Quiet::new(client, name)?;
    let samples = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (events, mut wrong) =
        thread::scope(|scope| -> anyhow::Result<(Vec<Event>, Vec<String>)> {
            let sampler = scope.spawn(|| -> anyhow::Result<()> {
                while !over.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let infos = swarm.infos()?;
                    let flows = infos
                        .iter()
                        .map(|i| (i.bytes_acked, i.cwnd_packets))
                        .collect();
                    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                    samples.push(Sample { at, flows });
                    drop(samples);
                    thread::sleep(SAMPLE_EVERY);
                }
                Ok(())
            });
            let mut chaos = Chaos {
                setup: &setup,
                client,
                swarm: &swarm,
                runtime: &runtime,
                samples: &samples,
                events: Vec::new(),
                wrong: Vec::new(),
                half,
            };
            let run = || -> anyhow::Result<(Vec<Event>, Vec<String>)> {
                let running = Some(FlowMode::Running);
                // All begin at once, and many lose what they sent first.
                let taken = within(2 * PATIENCE, || {
                    few(&chaos.missing(running)?, half).then_some(())
                });
                taken.with_context(|| {
                    format!("{:?} flows are not steered", chaos.missing(running))
                })?;
                thread::sleep(STRETCH);
                chaos.observe(NOTHING, Instant::now() - STRETCH);
                let mut daemon = daemon;
                for _ in 0..rounds {
                    daemon = chaos.round(daemon)?;
                }
                // Who said nothing all the time is found with the next acknowledgement.
                let local = quiet.0.local_addr()?;
                ensure!(chaos.flows()?.iter().all(|flow| flow.src != local));
                let found = within(PATIENCE, || {
                    // One acknowledgement announces it, and after the answer another one has it run.
                    quiet.talk().ok()?;
                    let flows = chaos.flows().ok()?;
                    let found = flows.into_iter().find(|flow| flow.src == local)?;
                    (found.state == FlowMode::Running).then_some(found.algorithm)
                });
                ensure!(found.as_deref() == Some("reno"), "{found:?}");

                let at = Instant::now();
                let ended = daemon.stop();
                ensure!(ended.code() == 0, "{}", ended.log);
                ensure!(!host::is_available(name) && !host::is_pinned(name));
                ensure!(!setup.socket().exists(), "the control socket is there");
                chaos.observe("ended", at);
                Ok((chaos.events, chaos.wrong))
            };
            let happened = run();
            over.store(true, Ordering::Relaxed);
            let sampled = sampler.join().expect("no panic there");
            // A flow that was reset says more than what came of it.
            sampled?;
            happened
        })?;
    ensure!(swarm.congestions()?.iter().all(|name| name == "cubic"));
    ensure!(congestion_of(&quiet.0)? == "cubic");
    quiet.talk()?;

    let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    for event in &events {
        let (ours, native) = worst(&samples, event, half).context("a stretch was looked at")?;
        let fifth = native.fifth_percentile();
        let line = format!(
            "{}: bytes in {STRETCH:?}: ours {ours}; CUBIC's {native}; {} of ours below CUBIC's 5th percentile",
            event.what,
            ours.below(fifth)
        );
        println!("{line}");
        ensure!(
            fifth >= 10 * MSS as u64,
            "a link on which CUBIC starves says nothing: {line}"
        );
        // Also of flows that are all alike, one in twenty is below what nineteen of twenty others get; and on a
        // link that drops, now and then one waits for its timer.
        let behind =
            3 * ours.fifth_percentile() < fifth || ours.below(1) > native.below(1) + half / 50;
        // Before anything happens they are still finding their shares: that is for comparison.
        if behind && event.what != NOTHING {
            wrong.push(line);
        }
    }
    // What was in the buffers arrives.
    for end in swarm.finish(Duration::from_secs(60))? {
        ensure!(end.sent == end.received, "{end:?}");
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
