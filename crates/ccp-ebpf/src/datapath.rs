//! The datapath: attached, adopted, steered, left.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use ccp_program::{Limits, Program, RegisterTable};
use libbpf_rs::libbpf_sys::bpf_program;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{AsRawLibbpf, Link, MapMut, OpenProgramMut};

use crate::bpf_log::listening;
use crate::codegen::{self, Entry, Env, Kind};
use crate::error::{AttachError, InstallError};
use crate::host::{HostInfo, Signature, check_host};
use crate::layout::{CONFIG_STOPPING, Config, MAX_NAMES, Slot};
use crate::leave::{Left, leave};
use crate::link;
use crate::mailbox::{Mailbox, NATIVE};
use crate::mapped::MappedArray;
use crate::maps::{Held, Maps};
use crate::namespaces::initial_namespace;
use crate::options::{Namespaces, Options};
use crate::pins::Pins;
use crate::programs::{Programs, Start};
use crate::registers::register_table;
use crate::ring::Ring;
use crate::skel::glue::{CcpMaps, CcpSkelBuilder, OpenCcpMaps, OpenCcpProgs, OpenCcpSkel};
use crate::stats::{Counters, FlowSnapshot};
use crate::take::{Take, TakeError, Taker, Taking, release_pinned};

/// `TCP_CONG_NEEDS_ECN`: the kernel negotiates ECN for sockets that use the name.
const CONG_NEEDS_ECN: u32 = 2;

/// How long a clean stop waits for busy flows to hand themselves over.
const LEAVE_WAIT: Duration = Duration::from_millis(200);

/// Linux TCP under this process' control: the name is registered, flows that ask for it announce
/// themselves, and go on natively when the heartbeat stops.
///
/// Dropping it is what a killed process does: the name stays, flows go on natively, and the next
/// [`attach`](Self::attach) adopts them. [`detach`](Self::detach) leaves the host as it was.
#[derive(Debug)]
pub struct TcpDatapath {
    options: Options,
    host: HostInfo,
    pins: Pins,
    links: Vec<(String, Link)>,
    maps: Maps,
    config: MappedArray<Config>,
    slots: MappedArray<Slot>,
    mailbox: Mailbox,
    programs: Mutex<Programs>,
    ring: Option<Ring>,
    taker: Mutex<Option<Taker>>,
    adopted: bool,
    /// Names of a daemon before that this one does not register; sockets may still use them.
    retired: Vec<String>,
}

impl TcpDatapath {
    /// Registers the name and takes it over: from nobody, or from a process that was killed, whose
    /// flows announce themselves (as *adopted*) with the first ACK at which they look.
    ///
    /// Mounts a BPF file system if there is none ([`mounted`](Self::mounted_bpffs) says where).
    /// Where a killed daemon left maps of other sizes, those are kept. The heartbeat starts now.
    ///
    /// # Errors
    /// See [`AttachError`]; nothing is left behind then, and what was there before stays.
    pub fn attach(options: Options) -> Result<Self, AttachError> {
        options.validate()?;
        let host = check_host()?;
        let pins = Pins::lock(&options.pin_root, &options.name)?;
        let had_link = pins.link().exists();
        if !had_link {
            // Maps without a link: a start that was interrupted. No flow uses them.
            pins.remove_layouts(true);
        }
        match attach(&options, &host, &pins) {
            Ok(parts) => {
                pins.remove_layouts(false);
                Ok(parts.into_datapath(options, host, pins))
            }
            Err(e) => {
                if !had_link && let Err(e) = pins.remove() {
                    tracing::warn!(error = %e, "cannot remove the pins of a failed start");
                }
                Err(e)
            }
        }
    }

    /// What this datapath measures and takes; programs are bound to it before they are installed.
    #[must_use]
    pub fn register_table() -> RegisterTable {
        register_table()
    }

    /// How large programs may be.
    #[must_use]
    pub const fn limits() -> Limits {
        codegen::LIMITS
    }

    /// The options it was attached with; `max_flows` and `ring_bytes` as they really are.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &HostInfo {
        &self.host
    }

    /// Whether a killed daemon had left the name and its flows.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// Where this process mounted a BPF file system, if it had to.
    #[must_use]
    pub fn mounted_bpffs(&self) -> Option<&std::path::Path> {
        self.pins.mounted()
    }

    /// Installs `program`, bound to [`register_table`](Self::register_table), under the number
    /// `uid`. Flows start it when the mailbox tells them to. Takes milliseconds.
    ///
    /// A program that is already installed under this number is replaced; flows that run it fall
    /// back, and announce themselves again.
    ///
    /// # Errors
    /// If it does not fit this datapath, the kernel refuses it, or `uid` is [`NATIVE`]; then
    /// nothing has changed.
    pub fn install(&self, uid: u32, program: &Program) -> Result<(), InstallError> {
        if uid == NATIVE {
            return Err(InstallError::NativeNumber);
        }
        let kernel = &self.host.kernel;
        let mut programs = self.lock_programs();
        let handle = programs.next(uid)?;
        let env = Env {
            entry: Entry::Socket {
                storage: self.maps.flows.as_fd(),
                programs: self.maps.programs.as_fd(),
                mailbox: self.maps.mailbox.as_fd(),
                handle,
                signature: self.host.signature,
                ack: kernel.ack,
            },
            ring: self.maps.ring.as_fd(),
            config: self.maps.config.as_fd(),
            sock: kernel.sock,
        };
        let generated = codegen::generate(program, &env)?;
        let start = Start {
            uid,
            defaults: &generated.defaults,
            prim_mask: generated.prim_mask,
            own_recovery: generated.own_recovery,
        };
        let kind = Kind::CongControl(kernel.cong_control);
        let loaded = codegen::load(&format!("ccp_{uid}"), kind, &generated.insns)?;
        programs.insert(&self.maps, handle, loaded.as_fd(), &start)
    }

    /// Takes the program out; whether it was there. Flows that run it fall back on their next
    /// ACK and announce themselves again.
    ///
    /// # Errors
    /// If the kernel's maps cannot be written.
    pub fn remove(&self, uid: u32) -> Result<bool, InstallError> {
        self.lock_programs().remove(&self.maps, uid)
    }

    fn lock_programs(&self) -> std::sync::MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading end of the frames, once.
    pub fn take_ring(&mut self) -> Option<Ring> {
        self.ring.take()
    }

    /// The writing end of the updates.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Proves that frames are being read: to be called by whoever reads them, several times per
    /// `fallback_after`. Ten nanoseconds.
    ///
    /// Returns the age of the previous heartbeat. If it was older than `fallback_after`, flows may
    /// have fallen back: they announce themselves (as *resumed*); a caller that may have missed or
    /// sent things in between calls [`bump_epoch`](Self::bump_epoch).
    pub fn beat(&self) -> Duration {
        let now = monotonic_ns();
        let Some(config) = self.config.at(0) else {
            return Duration::ZERO;
        };
        // SAFETY: an aligned word within the mapping that only this process writes.
        let beat = unsafe { AtomicU64::from_ptr(&raw mut (*config).beat_ns) };
        Duration::from_nanos(now.saturating_sub(beat.swap(now, Ordering::Relaxed)))
    }

    /// Lets every flow announce itself again (as *adopted*), natively steered until it is answered:
    /// everything written or sent before is void. Returns the new epoch.
    pub fn bump_epoch(&self) -> u32 {
        let Some(config) = self.config.at(0) else {
            return 0;
        };
        // SAFETY: an aligned word within the mapping that only this process writes.
        let epoch = unsafe { AtomicU32::from_ptr(&raw mut (*config).epoch) };
        bump(epoch)
    }

    /// Takes flows that do not ask for the name: those that `take` says, from now on, instead of
    /// those that were said before. `None` takes none; flows that were taken stay.
    ///
    /// To be called once after [`attach`](Self::attach), when programs are installed, even with
    /// `None`: a killed daemon's choice is in force until then. Takes milliseconds, and with
    /// [`Take::living`] as long as it takes to look at every socket.
    ///
    /// A taken flow is one like any other. When it is handed back ([`detach`](Self::detach), or beyond a
    /// limit), it gets the algorithm that it had. While the heartbeat is old, none are taken.
    ///
    /// # Errors
    /// If the kernel refuses, or there are no control groups; what was in force still is. A control
    /// group that is not there is no error: see [`Taking::missing`].
    pub fn take(&self, take: Option<&Take>) -> Result<Taking, TakeError> {
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        let new = take.map(|take| Taker::new(take, &self.options, &self.pins));
        let new = new.transpose()?;
        let before = taker.take();
        if let Some(before) = before {
            before.release();
        }
        // Of a daemon that was killed.
        let mut old = self.pins.takes();
        if let Some(new) = &new {
            old.retain(|pin| new.pins().all(|ours| ours != pin));
        }
        if let Err(error) = release_all(&old) {
            tracing::warn!(%error, "cannot end what an earlier daemon took flows by");
        }
        let Some(new) = new else {
            return Ok(Taking::default());
        };
        let new = taker.insert(new);
        let mut taking = Taking {
            missing: new.missing(),
            cgroups: new.attached(),
            ..Taking::default()
        };
        self.take_living(new, &mut taking);
        Ok(taking)
    }

    /// Looks whether control groups whose flows are to be taken have come, or come back, since they were
    /// last looked for. To be called now and then; costs a system call for each.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn look_for_cgroups(&self) -> Result<Taking, TakeError> {
        let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(taker) = &mut *taker else {
            return Ok(Taking::default());
        };
        let mut taking = Taking {
            cgroups: taker.look(&self.pins)?,
            missing: taker.missing(),
            ..Taking::default()
        };
        if !taking.cgroups.is_empty() {
            self.take_living(taker, &mut taking);
        }
        Ok(taking)
    }

    fn take_living(&self, taker: &Taker, taking: &mut Taking) {
        let taken = || self.counters().map_or(0, |c| c.taken_living);
        let before = taken();
        taking.unreached = taker.take_living();
        taking.living = taken().saturating_sub(before);
    }

    /// The glue's counters.
    ///
    /// # Errors
    /// If the kernel's map cannot be read.
    pub fn counters(&self) -> io::Result<Counters> {
        let values: io::Result<Vec<u64>> = (0..Counters::NAMES.len() as u32)
            .map(|i| self.maps.stats.sum(i))
            .collect();
        Ok(Counters::from_values(&values?))
    }

    /// Each installed program's number, and how many of its invocations had no effect since it
    /// was installed: added up by the glue at least once per round-trip time of a flow.
    ///
    /// # Errors
    /// If the kernel's map cannot be read.
    pub fn faults(&self) -> io::Result<Vec<(u32, u64)>> {
        self.lock_programs().faults(&self.maps)
    }

    /// Every live flow, of all network namespaces, as the glue last noted it. Reads memory only.
    pub fn flows(&self) -> impl Iterator<Item = FlowSnapshot> {
        let used = self
            .config
            .copy(0)
            .map_or(0, |c| c.next_slot.min(c.max_flows));
        (0..used).filter_map(|i| FlowSnapshot::from_slot(&self.slots.copy(i)?))
    }

    /// One live flow, by its number.
    #[must_use]
    pub fn flow(&self, sock_id: u32) -> Option<FlowSnapshot> {
        let slot = self.slots.copy(sock_id & 0xffff)?;
        FlowSnapshot::from_slot(&slot).filter(|f| f.sock_id == sock_id)
    }

    /// Clean stop: the name goes; flows go on under the system's CUBIC from their present window,
    /// in every network namespace that can be reached; defaults that are our name become `cubic` (see [`Left`]);
    /// pins and lock go.
    ///
    /// Flows that are idle in a namespace that cannot be reached run native CUBIC inside what is
    /// left in the kernel, and switch to the system's with their next ACK.
    ///
    /// # Errors
    /// If a step fails; those after it are tried all the same.
    pub fn detach(self) -> io::Result<Left> {
        let Self {
            options,
            pins,
            links,
            maps,
            config,
            slots,
            programs,
            retired,
            taker,
            ..
        } = self;
        drop((options, programs));
        stop(&config);
        if let Some(taker) = taker.into_inner().unwrap_or_else(PoisonError::into_inner) {
            taker.release();
        }
        let released = release_all(&pins.takes());
        let mut names = retired;
        let mut unregistered = Ok(());
        for (name, link) in links {
            let done = link::unregister(link, &pins.link_of(&name));
            unregistered = unregistered.and(done);
            names.push(name);
        }
        let left = go(&names, &pins, &config, &slots);
        drop(maps);
        let removed = pins.remove();
        let left = left?;
        unregistered?;
        released?;
        removed?;
        Ok(left)
    }
}

/// What a killed daemon left of `options.name` goes: as [`TcpDatapath::detach`] does it. `None` if
/// there was nothing.
///
/// # Errors
/// If a living process runs the datapath, or a step fails.
pub fn clean_up(options: &Options) -> Result<Option<Left>, AttachError> {
    options.validate()?;
    check_host()?;
    let Some(pins) = Pins::lock_existing(&options.pin_root, &options.name)? else {
        return Ok(None);
    };
    let system = AttachError::system;
    let maps = Maps::by(|name| Held::pinned(&pins.map(name))).ok();
    let arrays = maps.as_ref().and_then(|m| {
        let config = MappedArray::<Config>::new(&m.config, 1, true).ok()?;
        let slots = MappedArray::<Slot>::new(&m.slots, m.slots.max_entries(), false).ok()?;
        Some((config, slots))
    });
    if let Some((config, _)) = &arrays {
        stop(config);
    }
    release_all(&pins.takes()).map_err(system("end what takes flows"))?;
    let mut names = pins.names();
    for name in &names {
        let pin = pins.link_of(name);
        link::unregister(link::open(&pin)?, &pin).map_err(system("unregister the name"))?;
    }
    if !names.contains(&options.name) {
        names.push(options.name.clone());
    }
    let left = match &arrays {
        Some((config, slots)) => go(&names, &pins, config, slots),
        None => leave(&names, &pins.map("taken")),
    }
    .map_err(system("move flows to the system's CUBIC"))?;
    pins.remove().map_err(system("remove the pins"))?;
    Ok(Some(left))
}

/// Lets flows hand themselves over with the first ACK at which they look.
fn stop(config: &MappedArray<Config>) {
    if let Some(config) = config.at(0) {
        // SAFETY: an aligned word within the mapping that only this process writes.
        unsafe { AtomicU32::from_ptr(&raw mut (*config).flags) }
            .fetch_or(CONFIG_STOPPING, Ordering::SeqCst);
    }
}

/// Ends what takes flows, where it is pinned. The first failure is told, after all.
fn release_all(takes: &[PathBuf]) -> io::Result<()> {
    let mut released = Ok(());
    for pin in takes {
        let one = release_pinned(pin);
        released = released.and(one);
    }
    released
}

/// Moves the flows, and waits a little for those that move themselves.
fn go(
    names: &[String],
    pins: &Pins,
    config: &MappedArray<Config>,
    slots: &MappedArray<Slot>,
) -> io::Result<Left> {
    let mut left = leave(names, &pins.map("taken"))?;
    let until = Instant::now() + LEAVE_WAIT;
    let live = || {
        let used = config.copy(0).map_or(0, |c| c.next_slot.min(c.max_flows));
        (0..used)
            .filter(|i| slots.copy(*i).is_some_and(|s| s.live == 1))
            .count() as u32
    };
    loop {
        left.remaining = live();
        if left.remaining == 0 || Instant::now() >= until {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Every map that is pinned.
macro_rules! pinned_maps {
    ($with:ident) => {
        $with!(
            flows,
            taken,
            ring,
            mailbox,
            answers,
            shares,
            slots,
            free_slots,
            config,
            stats,
            programs,
            program_meta
        )
    };
}

/// What attaching makes.
struct Parts {
    links: Vec<(String, Link)>,
    retired: Vec<String>,
    maps: Maps,
    config: MappedArray<Config>,
    slots: MappedArray<Slot>,
    mailbox: Mailbox,
    programs: Programs,
    ring: Ring,
    adopted: bool,
}

impl Parts {
    fn into_datapath(self, mut options: Options, host: HostInfo, pins: Pins) -> TcpDatapath {
        options.max_flows = self.slots.len();
        options.ring_bytes = self.maps.ring.max_entries();
        TcpDatapath {
            options,
            host,
            pins,
            links: self.links,
            retired: self.retired,
            maps: self.maps,
            config: self.config,
            slots: self.slots,
            mailbox: self.mailbox,
            programs: Mutex::new(self.programs),
            ring: Some(self.ring),
            taker: Mutex::new(None),
            adopted: self.adopted,
        }
    }
}

fn attach(options: &Options, host: &HostInfo, pins: &Pins) -> Result<Parts, AttachError> {
    let system = AttachError::system;
    let initial = initial_namespace().map_err(system("find the initial network namespace"))?;
    let adopted = pins.maps().is_dir();

    let mut object = MaybeUninit::uninit();
    let (skel, log) = listening(|| {
        let mut open = CcpSkelBuilder::default().open(&mut object)?;
        if adopted && let Err(unusable) = check_left(&open.maps, pins) {
            return Ok(Err(unusable));
        }
        prepare(&mut open, options, host, adopted.then_some(pins))?;
        open.load().map(Ok)
    });
    let mut skel = skel.map_err(|source| AttachError::Load { source, log })??;

    if !adopted {
        pins.make_maps()?;
        macro_rules! pin {
            ($($map:ident),+) => {$({
                let path = pins.map(stringify!($map));
                skel.maps.$map.pin(&path).map_err(|e| AttachError::Pin {
                    action: "pin a map to",
                    path,
                    source: crate::maps::other(e),
                })?;
            })+};
        }
        pinned_maps!(pin);
    }
    let maps = Maps::by(|name| Held::pinned(&pins.map(name))).map_err(system("open the maps"))?;
    let max_flows = maps.slots.max_entries();
    let map = system("map the datapath's memory");
    let mapped = || -> io::Result<_> {
        let config = MappedArray::<Config>::new(&maps.config, 1, true)?;
        let slots = MappedArray::<Slot>::new(&maps.slots, max_flows, false)?;
        let handles = Arc::new(RwLock::new(HashMap::new()));
        let mailbox = MappedArray::new(&maps.mailbox, max_flows, true)?;
        let answers = MappedArray::new(&maps.answers, max_flows, true)?;
        let mailbox = Mailbox::new(mailbox, answers, Arc::clone(&handles));
        let ring = Ring::new(
            maps.ring.try_clone()?,
            maps.ring.max_entries(),
            MappedArray::new(&maps.config, 1, true)?,
        )?;
        let programs = Programs::new(&maps, handles)?;
        Ok((config, slots, mailbox, programs, ring))
    };
    let (config, slots, mailbox, programs, ring) = mapped().map_err(map)?;

    maps.clear_programs()
        .map_err(system("void the programs of the daemon before"))?;
    configure(&config, options, max_flows, initial);
    let glue = match host.signature {
        Signature::FourArguments => skel.progs.ccp_cong_control.as_fd(),
        Signature::TwoArguments => skel.progs.ccp_cong_control_2.as_fd(),
    };
    // Where programs leave to it what they do not do themselves.
    maps.set_program(0, glue)
        .map_err(system("put the glue into the program array"))?;
    let mut links = Vec::new();
    for (i, (name, _)) in options.names().enumerate() {
        let Some(ops) = operations(&mut skel.maps, i) else {
            break;
        };
        let link = link::register(ops, name, &pins.link_of(name))?;
        links.push((name.to_owned(), link));
    }
    // Sockets that use a name of before keep the glue they have, on the same maps.
    let mut retired = pins.names();
    retired.retain(|name| options.names().all(|(ours, _)| ours != name));
    for name in &retired {
        let pin = pins.link_of(name);
        link::unregister(link::open(&pin)?, &pin)
            .map_err(system("take back a name of the daemon before"))?;
    }
    Ok(Parts {
        links,
        retired,
        maps,
        config,
        slots,
        mailbox,
        programs,
        ring,
        adopted,
    })
}

/// Name, flags and callbacks of one set of operations.
macro_rules! describe {
    ($ops:expr, $name:expr, $ecn:expr, $callbacks:expr) => {{
        // SAFETY: libbpf's own copy of the operations, which lives as long as the open object.
        let ops = unsafe { &mut *$ops };
        ops.name.fill(0);
        for (to, from) in ops.name.iter_mut().zip($name.bytes()) {
            *to = from as _;
        }
        if $ecn {
            ops.flags |= CONG_NEEDS_ECN;
        }
        // What is null is neither loaded nor looked for in the kernel's type information.
        ops.cong_control = $callbacks.cong_control;
        ops.in_ack_event = $callbacks.in_ack_event;
        ops.cwnd_event = $callbacks.cwnd_event;
        ops.cwnd_event_tx_start = $callbacks.cwnd_event_tx_start;
    }};
}

/// The callbacks that not every kernel has, or not in the same form.
struct Callbacks {
    cong_control: *mut bpf_program,
    in_ack_event: *mut bpf_program,
    cwnd_event: *mut bpf_program,
    cwnd_event_tx_start: *mut bpf_program,
}

impl Callbacks {
    /// Chooses, and keeps the others from being loaded.
    fn choose(progs: &mut OpenCcpProgs<'_>, host: &HostInfo) -> Self {
        let four = host.signature == Signature::FourArguments;
        let choose = |program: &mut OpenProgramMut<'_>, wanted: bool| {
            program.set_autoload(wanted);
            if wanted {
                program.as_libbpf_object().as_ptr()
            } else {
                std::ptr::null_mut()
            }
        };
        let new = choose(&mut progs.ccp_cong_control, four);
        let old = choose(&mut progs.ccp_cong_control_2, !four);
        Self {
            cong_control: if four { new } else { old },
            in_ack_event: choose(&mut progs.ccp_in_ack_event, !four),
            cwnd_event: choose(&mut progs.ccp_cwnd_event, !host.tx_start),
            cwnd_event_tx_start: choose(&mut progs.ccp_cwnd_event_tx_start, host.tx_start),
        }
    }
}

/// Sizes, names, and the callbacks that this kernel wants.
fn prepare(
    open: &mut OpenCcpSkel<'_>,
    options: &Options,
    host: &HostInfo,
    reuse: Option<&Pins>,
) -> libbpf_rs::Result<()> {
    let maps = &mut open.maps;
    maps.ring.set_max_entries(options.ring_bytes)?;
    maps.mailbox.set_max_entries(options.max_flows)?;
    maps.answers.set_max_entries(options.max_flows)?;
    // One namespace and one user per flow at most.
    maps.shares.set_max_entries(2 * options.max_flows)?;
    maps.slots.set_max_entries(options.max_flows)?;
    maps.free_slots.set_max_entries(options.max_flows)?;
    if let Some(pins) = reuse {
        macro_rules! reuse {
            ($($map:ident),+) => {
                $(maps.$map.reuse_pinned_map(pins.map(stringify!($map)))?;)+
            };
        }
        pinned_maps!(reuse);
    }
    let callbacks = Callbacks::choose(&mut open.progs, host);
    let mut names = options.names();
    macro_rules! operations {
        ($($ops:ident),+) => {
            $(let name = names.next();
            maps.$ops.set_autocreate(name.is_some())?;
            if let Some((name, ecn)) = name {
                describe!(open.struct_ops.$ops, name, ecn, callbacks);
            })+
        };
    }
    operations!(
        ccp_ops_0, ccp_ops_1, ccp_ops_2, ccp_ops_3, ccp_ops_4, ccp_ops_5, ccp_ops_6, ccp_ops_7
    );
    Ok(())
}

/// The operations of the name at place `i`.
fn operations<'m, 'o>(maps: &'m mut CcpMaps<'o>, i: usize) -> Option<&'m mut MapMut<'o>> {
    Some(match i {
        0 => &mut maps.ccp_ops_0,
        1 => &mut maps.ccp_ops_1,
        2 => &mut maps.ccp_ops_2,
        3 => &mut maps.ccp_ops_3,
        4 => &mut maps.ccp_ops_4,
        5 => &mut maps.ccp_ops_5,
        6 => &mut maps.ccp_ops_6,
        7 => &mut maps.ccp_ops_7,
        // `Options::validate` lets no more through.
        MAX_NAMES.. => return None,
    })
}

/// Maps that an earlier daemon pinned must all be there, and what we would have made, but for the number
/// of elements.
fn check_left(maps: &OpenCcpMaps<'_>, pins: &Pins) -> Result<(), AttachError> {
    let unusable = |map: &str, problem: String| AttachError::Leftover {
        path: pins.map(map),
        problem,
    };
    let mut slots = Vec::new();
    macro_rules! check {
        ($($map:ident),+) => {$({
            let (name, ours) = (stringify!($map), &maps.$map);
            let left = Held::pinned(&pins.map(name)).map_err(|e| unusable(name, e.to_string()))?;
            let wanted = (ours.map_type(), ours.key_size(), ours.value_size());
            if left.shape() != wanted {
                let problem = format!("it is {:?}, not {wanted:?}: type, size of keys, of values", left.shape());
                return Err(unusable(name, problem));
            }
            if ["mailbox", "answers", "slots"].contains(&name) {
                slots.push((name, left.max_entries()));
            }
        })+};
    }
    pinned_maps!(check);
    match slots.iter().find(|(_, count)| *count != slots[0].1) {
        None => Ok(()),
        Some((name, _)) => Err(unusable(
            name,
            format!("it has another number of elements than `{}`", slots[0].0),
        )),
    }
}

/// Fills in the configuration; `next_slot` is the glue's.
fn configure(config: &MappedArray<Config>, options: &Options, max_flows: u32, initial: u32) {
    let Some(at) = config.at(0) else {
        return;
    };
    let limit = u64::try_from(options.fallback_after.as_nanos()).unwrap_or(u64::MAX);
    let netns = match options.namespaces {
        Namespaces::Any => 0,
        Namespaces::Initial => initial,
    };
    let unanswered = options.unanswered_after.map_or(0, |t| t.as_micros());
    let unanswered = u32::try_from(unanswered).unwrap_or(u32::MAX);
    // SAFETY: aligned fields within the mapping, written by this process only.
    unsafe {
        (&raw mut (*at).unanswered_after_us).write_volatile(unanswered);
        (&raw mut (*at).initial_netns).write_volatile(initial);
        let share = options.max_flows_per_namespace.unwrap_or(0);
        (&raw mut (*at).max_per_namespace).write_volatile(share);
        let share = options.max_flows_per_user.unwrap_or(0);
        (&raw mut (*at).max_per_user).write_volatile(share);
        (&raw mut (*at).fallback_after_ns).write_volatile(limit);
        (&raw mut (*at).netns_inum).write_volatile(netns);
        (&raw mut (*at).max_flows).write_volatile(max_flows);
        (&raw mut (*at).max_fault_run).write_volatile(options.max_fault_run);
        (&raw mut (*at).flags).write_volatile(0);
        (&raw mut (*at).polling).write_volatile(0);
        (&raw mut (*at).beat_ns).write_volatile(monotonic_ns());
        bump(AtomicU32::from_ptr(&raw mut (*at).epoch));
    }
}

/// The next epoch, which is never 0.
fn bump(epoch: &AtomicU32) -> u32 {
    let next = |e: u32| e.wrapping_add(1).max(1);
    let before = epoch
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |e| Some(next(e)))
        .unwrap_or_else(|e| e);
    next(before)
}

pub(crate) fn monotonic_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
