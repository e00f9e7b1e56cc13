//! Everything that can happen to a daemon, in one run, while a thousand flows send: half of them ours, half under
//! the kernel's own CUBIC, on one link, so that those say what the others should have got.
//!
//! `CCP_TEST_CHAOS=full` has it happen five times, to 2,000 flows, and then once to 1,000 that are all ours.

mod adoption;
mod fairness;

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use adoption::{ANNOUNCED_WITHIN, Adopted, WITHIN, Waited, Windows};
use anyhow::{Context as _, ensure};
use ccp_control::{Client, FlowMode, FlowStatus};
use ccp_lab::{Namespace, Swarm, TcpInfo, VethLink, VethSpec, congestion_of, set_congestion};
use ccp_tests::{Daemon, Ended, KernelTest, Setup, host, within};
use fairness::{FIFTH, LEAST, Moved, STRETCH, Sample, Seen, USUAL_PART};
use rustix::process::Signal;

/// What each flow can have of the link that all share, in bits per second, and how many packets of each have room in
/// its queue: enough for all to go on, and few enough for round trips to be far shorter than a second.
const RATE: u64 = 250_000;
const QUEUED_PACKETS: usize = 12;
/// Segments, in bytes, that are small enough for both.
const MSS: usize = 648;
/// Of the flows in each of the two halves.
const HALF: usize = 500;
/// The ports of ours, and what the rules give to their flows: to one in five what takes less of a link than CUBIC
/// does, whatever happens, and is not compared with it.
const OURS: [(u16, &str); 2] = [(5001, "reno"), (5002, "cubic")];
/// The port of the kernel's own.
const NATIVE: u16 = 5003;
/// How often the flows are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Until then flows that all begin at once have found their shares.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
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

/// Something that happened, and what is to be looked at because of it.
struct Event {
    what: &'static str,
    from: Instant,
    to: Instant,
}

/// All flows now.
fn look(swarm: &Swarm) -> anyhow::Result<Sample> {
    let seen = |info: &TcpInfo| Seen {
        bytes: info.bytes_acked,
        window: info.cwnd_packets,
        acks: info.segments_received,
        delivered: info.delivered_packets,
        retransmits: info.retransmits,
        open: info.ca_state == 0 && info.lost_packets == 0,
    };
    let infos = swarm.infos()?;
    Ok(Sample {
        at: Instant::now(),
        flows: infos.iter().map(seen).collect(),
    })
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
    /// How many of the flows, the first ones, are ours.
    ours: usize,
}

impl<'c> Chaos<'c> {
    fn flows(&self) -> anyhow::Result<Vec<FlowStatus>> {
        let socket = self.setup.socket();
        Ok(self.runtime.block_on(async {
            let mut client = Client::connect(&socket).await?;
            client.flows().await
        })?)
    }

    /// Which of ours do not run their program, though acknowledgements came since.
    fn missing(&self, since: &Sample) -> anyhow::Result<Vec<usize>> {
        let flows = self.flows()?;
        let now = look(self.swarm)?;
        let running = flows.iter().filter(|f| f.state == FlowMode::Running);
        let running: HashSet<_> = running.map(|flow| (flow.src, flow.dst)).collect();
        let ours = self.swarm.members().iter().take(self.ours).enumerate();
        // One announces it, with the second it runs, and the third says so.
        let acks = |flow: usize| now.flows[flow].acks - since.flows[flow].acks;
        let missing = ours.filter(|(flow, member)| {
            acks(*flow) > 3 && !running.contains(&(member.local, member.peer))
        });
        Ok(missing.map(|(flow, _)| flow).collect())
    }

    /// Waits until all of ours to which acknowledgements come run their program.
    fn await_running(&self, since: &Sample) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let all = within(PATIENCE, || {
            // Who asks for a thousand flows all the time keeps the daemon from them.
            thread::sleep(ms(80));
            last = self.missing(since).ok()?;
            last.is_empty().then_some(())
        });
        all.with_context(|| format!("{last:?} do not run"))
    }

    /// What a daemon has taken over that began to start at `start`, having waited so long for a processor, and is
    /// ready now.
    fn judge_adoption(
        &mut self,
        what: &'static str,
        pid: u32,
        (start, begun): (Instant, &Waited),
    ) -> anyhow::Result<()> {
        let (ready, at_ready) = (start.elapsed(), look(self.swarm)?);
        // On a machine that is busy with other things it gets no processor, whatever it does.
        let waited = || Waited::of(pid).since(pid, begun);
        let due = || start + WITHIN + waited();
        let before_due = loop {
            let until = due() - ANNOUNCED_WITHIN;
            wait_until(until);
            if due() <= until + 2 * ANNOUNCED_WITHIN {
                break look(self.swarm)?;
            }
        };
        wait_until(due() + ANNOUNCED_WITHIN);
        let (due, waited, listed) = (due(), waited(), self.flows()?);
        let members = &self.swarm.members()[..self.ours];
        let adopted = Adopted::new(&listed, Instant::now(), members, &OURS);
        let adopted = adopted.map_err(|wrong| anyhow::anyhow!("{what}: {wrong}"))?;
        let last = adopted.last_after(start);
        let (late, idle) = adopted.late(due, &at_ready, &before_due);
        self.await_running(&at_ready)?;
        let all_run = start.elapsed();
        let windows = {
            let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            Windows::new(&adopted, &samples)
        };
        println!(
            "{what}: ready {ready:?} after the start, having waited {waited:?} for a processor; the last one taken \
             over after {last:?}, all run after {all_run:?}; {} late, {idle} without an acknowledgement; {} windows \
             looked at, {} wrong; less than two fifths: {} of ours, {} native",
            late.len(),
            windows.looked_at,
            windows.wrong.len(),
            windows.shrunk.0,
            windows.shrunk.1,
        );
        // Most send, and have been ready to be taken over for a while.
        let too_late = start + ready + ANNOUNCED_WITHIN > due || idle > self.ours / 10;
        if !late.is_empty() || too_late {
            self.wrong.push(format!(
                "{what}: ready {ready:?} after the start, {waited:?} waiting; not taken over {WITHIN:?} after \
                 the start and the waiting: {late:?}, and {idle} that did not send"
            ));
        }
        if windows.looked_at < self.ours / 10 || !windows.wrong.is_empty() || windows.more_shrunk {
            self.wrong.push(format!("{what}: {windows:?}"));
        }
        Ok(())
    }

    /// That a daemon which goes on at `at` has all of ours again as soon as a new one would.
    fn judge_resumption(
        &mut self,
        what: &'static str,
        pid: u32,
        (at, before): (Instant, &Waited),
    ) -> anyhow::Result<()> {
        let since = look(self.swarm)?;
        wait_until(at + WITHIN);
        wait_until(at + WITHIN + Waited::of(pid).since(pid, before));
        let missing = self.missing(&since)?;
        self.await_running(&since)?;
        println!("{what}: {} run not after {WITHIN:?}", missing.len());
        if !missing.is_empty() {
            self.wrong
                .push(format!("{what}: run not after {WITHIN:?}: {missing:?}"));
        }
        Ok(())
    }

    /// What came of it since `from`: in stretches that begin within two seconds of it.
    fn observe(&mut self, what: &'static str, from: Instant) {
        let to = (from + 2 * STRETCH).max(Instant::now() + STRETCH / 2);
        wait_until(to + 2 * SAMPLE_EVERY);
        self.events.push(Event { what, from, to });
    }

    fn start(&self) -> anyhow::Result<(Daemon<'c>, Instant)> {
        let (start, before) = (Instant::now(), self.starts());
        let daemon = self.setup.start(self.client);
        self.await_said(READY, before)?;
        Ok((daemon, start))
    }

    /// How many daemons have been ready so far.
    fn starts(&self) -> usize {
        self.setup.log().matches(READY).count()
    }

    fn await_said(&self, what: &str, before: usize) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.setup.log().matches(what).count() <= before {
            ensure!(Instant::now() < until, "no daemon says `{what}`");
            thread::sleep(ms(2));
        }
        Ok(())
    }

    /// Everything, once.
    fn round(&mut self, mut daemon: Daemon<'c>) -> anyhow::Result<Daemon<'c>> {
        let at = Instant::now();
        daemon.kill();
        wait_until(at + FALLBACK_AFTER + ms(300));
        let (next, start) = self.start()?;
        self.judge_adoption("killed", next.pid(), (start, &Waited::default()))?;
        self.observe("killed", at);
        daemon = next;

        let at = Instant::now();
        daemon.pause();
        wait_until(at + FALLBACK_AFTER + ms(500));
        let (from, before) = (Instant::now(), Waited::of(daemon.pid()));
        daemon.resume();
        self.judge_resumption("stopped and continued", daemon.pid(), (from, &before))?;
        self.observe("stopped and continued", at);

        // As a watchdog does with one that hangs.
        let at = Instant::now();
        daemon.pause();
        wait_until(at + FALLBACK_AFTER + ms(300));
        daemon.kill();
        let (next, start) = self.start()?;
        self.judge_adoption("hung and killed", next.pid(), (start, &Waited::default()))?;
        self.observe("hung and killed", at);
        daemon = next;

        let at = Instant::now();
        end("restarted", || daemon.stop_by(Signal::USR1))?;
        let (next, start) = self.start()?;
        self.judge_adoption("restarted", next.pid(), (start, &Waited::default()))?;
        self.observe("restarted", at);
        daemon = next;

        let at = Instant::now();
        self.upgrade(&mut daemon)?;
        self.observe("upgraded", at);
        Ok(daemon)
    }

    /// The daemon becomes the program that is installed now.
    fn upgrade(&mut self, daemon: &mut Daemon<'_>) -> anyhow::Result<()> {
        let (at, before, left) = (
            Instant::now(),
            self.starts(),
            self.setup.log().matches(LEFT).count(),
        );
        daemon.replace();
        // The new one begins to start when the one before has looked whether it is good, and has left.
        self.await_said(LEFT, left)?;
        let begun = Waited::of(daemon.pid());
        let start = Instant::now();
        self.await_said(READY, before)?;
        println!(
            "upgraded: {:?} until it has left, {:?} until the next is ready",
            start - at,
            start.elapsed()
        );
        self.judge_adoption("upgraded", daemon.pid(), (start, &begun))
    }
}

/// What the log has of a daemon that is ready, and of one that leaves its flows to another.
const READY: &str = "ccpd is running";
const LEFT: &str = "flows and sockets are the next one's";

/// Ends a daemon, and says how long that took.
fn end(what: &str, end: impl FnOnce() -> Ended) -> anyhow::Result<()> {
    let at = Instant::now();
    let ended = end();
    println!("{what}: ended within {:?}", at.elapsed());
    ensure!(ended.code() == 0, "{}", ended.log);
    Ok(())
}

fn wait_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
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

/// Looks at the flows all the time until it is `over`.
fn sample(swarm: &Swarm, samples: &Mutex<Vec<Sample>>, over: &AtomicBool) -> anyhow::Result<()> {
    while !over.load(Ordering::Relaxed) {
        let sample = look(swarm)?;
        let at = sample.at;
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push(sample);
        drop(samples);
        wait_until(at + SAMPLE_EVERY);
    }
    Ok(())
}

/// Has everything happen to a daemon so many times while so many flows send; then it is stopped, and
/// leaves nothing behind.
fn chaos(rounds: usize, ours: usize, natives: usize) -> anyhow::Result<()> {
    let lab = Lab::new(ours + natives)?;
    let (client, server) = (&lab.client, &lab.server);
    let setup = Setup::new(CONFIG);
    let daemon = setup.start(client);
    let name = setup.name();
    let others = ours / 5;
    let groups = [
        (name, OURS[0].0, others),
        (name, OURS[1].0, ours - others),
        ("cubic", NATIVE, natives),
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
            let sampler = scope.spawn(|| sample(&swarm, &samples, &over));
            let mut chaos = Chaos {
                setup: &setup,
                client,
                swarm: &swarm,
                runtime: &runtime,
                samples: &samples,
                events: Vec::new(),
                wrong: Vec::new(),
                ours,
            };
            let run = || -> anyhow::Result<(Vec<Event>, Vec<String>)> {
                let since = look(&swarm)?;
                thread::sleep(SETTLED_AFTER);
                chaos.await_running(&since)?;
                chaos.observe(NOTHING, Instant::now());
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
                end("stopped", || daemon.stop())?;
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
    for event in events.iter().filter(|_| natives > 0) {
        let within = |s: &&Sample| event.from <= s.at && s.at <= event.to + SAMPLE_EVERY;
        let first = samples.iter().position(|s| within(&s)).unwrap_or(0);
        let count = samples[first..].iter().take_while(within).count();
        let moved = Moved::new(&samples[first..first + count], others, ours - others);
        ensure!(!moved.is_empty(), "{}: no stretch", event.what);
        ensure!(
            moved.least_fifth_percentile() >= 10 * MSS as u64,
            "{}: a link on which CUBIC starves says nothing: {}",
            event.what,
            moved.judge(&FIFTH)
        );
        let part = moved.least_usual_part();
        println!("{}: the median of ours is {part:.2} of CUBIC's", event.what);
        if event.what != NOTHING && part < USUAL_PART {
            wrong.push(format!(
                "{}: half of ours got {part:.2} of CUBIC's median",
                event.what
            ));
        }
        for limit in [&FIFTH, &LEAST] {
            let verdict = moved.judge(limit);
            let line = format!("{}: {verdict}", event.what);
            println!("{line}");
            // What there is when nothing happens is for comparison.
            if event.what != NOTHING && verdict.is_behind() {
                wrong.push(line);
            }
        }
    }
    // What was in the buffers arrives.
    for end in swarm.finish(Duration::from_secs(60))? {
        ensure!(end.sent == end.received, "{end:?}");
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Whether there is time for more.
fn is_full() -> bool {
    std::env::var("CCP_TEST_CHAOS").is_ok_and(|chaos| chaos == "full")
}

#[test]
fn root_whatever_happens_to_the_daemon_a_thousand_flows_go_on() -> anyhow::Result<()> {
    let (rounds, half) = if is_full() { (5, 2 * HALF) } else { (1, HALF) };
    let limit = if is_full() { 900 } else { 240 };
    let Some(_alone) = KernelTest::begin(Duration::from_secs(limit)) else {
        return Ok(());
    };
    chaos(rounds, half, half)
}

/// All that are on the link, at once.
#[test]
fn root_a_thousand_flows_are_taken_over_at_once() -> anyhow::Result<()> {
    if !is_full() {
        return Ok(());
    }
    let Some(_alone) = KernelTest::begin(Duration::from_secs(240)) else {
        return Ok(());
    };
    chaos(1, 2 * HALF, 0)
}
