//! Runs generated programs in the kernel without a socket: the flow lies in an array map that is
//! mapped here, the program is loaded as a raw tracepoint's and run by `BPF_PROG_TEST_RUN`.

use std::cell::RefCell;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;

use ccp_ebpf::codegen::{Entry, Env, Kind, LoadError, SockOffsets, load};
use ccp_ebpf::codegen::{Generated, generate};
use ccp_ebpf::layout::{Config, Flow, Hot};
use ccp_program::Program;
use ccp_wire::MeasureBuf;
use libbpf_rs::{MapHandle, MapType, RingBuffer, RingBufferBuilder};

/// What stands for the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Socket {
    pub snd_cwnd: u32,
    pub snd_cwnd_clamp: u32,
    pub snd_ssthresh: u32,
    pub packets_out: u32,
    pub srtt_us: u32,
    pub sk_pacing_status: u32,
    pub sk_pacing_rate: u64,
    pub sk_max_pacing_rate: u64,
    /// `icsk_ca_priv`.
    pub hot: Hot,
}

/// The value of the array map.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub flow: Flow,
    pub socket: Socket,
}

impl Memory {
    pub(crate) fn zeroed() -> Self {
        // SAFETY: nothing but integers.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

/// Where a fake socket has its fields.
pub(crate) const SOCKET: SockOffsets = SockOffsets {
    snd_cwnd: offset_of!(Socket, snd_cwnd) as i16,
    snd_cwnd_clamp: offset_of!(Socket, snd_cwnd_clamp) as i16,
    snd_ssthresh: offset_of!(Socket, snd_ssthresh) as i16,
    packets_out: offset_of!(Socket, packets_out) as i16,
    srtt_us: offset_of!(Socket, srtt_us) as i16,
    sk_max_pacing_rate: offset_of!(Socket, sk_max_pacing_rate) as i16,
    sk_pacing_rate: offset_of!(Socket, sk_pacing_rate) as i16,
    sk_pacing_status: offset_of!(Socket, sk_pacing_status) as i16,
    icsk_ca_priv: offset_of!(Socket, hot) as i16,
};

pub(crate) fn map(kind: MapType, value_size: usize, entries: u32, flags: u32) -> MapHandle {
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: flags,
        ..Default::default()
    };
    let key = if kind == MapType::RingBuf { 0 } else { 4 };
    MapHandle::create(
        kind,
        Some("ccp_test"),
        key,
        value_size as u32,
        entries,
        &opts,
    )
    .expect("a map")
}

/// Whether BPF programs can be loaded here; says so if not. With `CI=true` it has to be possible.
pub(crate) fn can_load() -> bool {
    let opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: libbpf_sys::BPF_F_MMAPABLE,
        ..Default::default()
    };
    match MapHandle::create(MapType::Array, Some("ccp_test"), 4, 8, 1, &opts) {
        Ok(_) => true,
        Err(error) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "CI must be able to load BPF programs: {error}"
            );
            eprintln!("SKIPPED: no BPF map can be created here (root is needed): {error}");
            false
        }
    }
}

/// A flow in memory that kernel and test share, and the ring that its reports go to.
pub(crate) struct Bench {
    array: MapHandle,
    ring: MapHandle,
    config: MapHandle,
    memory: NonNull<Memory>,
    mapped: usize,
    consumer: RingBuffer<'static>,
    frames: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Bench {
    /// `ring_bytes`: size of the ring, a power of two and at least a page.
    pub(crate) fn new(ring_bytes: u32) -> Self {
        let array = map(
            MapType::Array,
            size_of::<Memory>(),
            1,
            libbpf_sys::BPF_F_MMAPABLE,
        );
        let ring = map(MapType::RingBuf, 0, ring_bytes, 0);
        let config = map(MapType::Array, size_of::<Config>(), 1, 0);
        let mapped = size_of::<Memory>().next_multiple_of(rustix::param::page_size());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                mapped,
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
                array.as_fd(),
                0,
            )
        }
        .expect("the map can be mapped");
        let frames = Rc::new(RefCell::new(Vec::new()));
        let taken = Rc::clone(&frames);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&ring, move |frame: &[u8]| {
                taken.borrow_mut().push(frame.to_vec());
                0
            })
            .expect("the ring can be read");
        let consumer = builder.build().expect("the ring can be read");
        Self {
            array,
            ring,
            config,
            memory: NonNull::new(address.cast()).expect("mmap gives no null"),
            mapped,
            consumer,
            frames,
        }
    }

    pub(crate) fn env(&self) -> Env<'_> {
        Env {
            entry: Entry::Array {
                map: self.array.as_fd(),
            },
            ring: self.ring.as_fd(),
            config: self.config.as_fd(),
            sock: SOCKET,
        }
    }

    /// Generates and loads.
    pub(crate) fn load(&self, program: &Program) -> Result<(Generated, OwnedFd), LoadError> {
        let generated =
            generate(program, &self.env()).unwrap_or_else(|e| panic!("{e}: {program:?}"));
        let fd = load("ccp_test", Kind::RawTracepoint, &generated.insns)?;
        Ok((generated, fd))
    }

    pub(crate) fn get(&self) -> Memory {
        // SAFETY: the mapping is at least this long, aligned to a page, and nobody writes now:
        // programs run only within `run`.
        unsafe { self.memory.read_volatile() }
    }

    pub(crate) fn set(&self, memory: Memory) {
        // SAFETY: as in `get`.
        unsafe { self.memory.write_volatile(memory) }
    }

    /// One invocation.
    pub(crate) fn run(&self, program: &OwnedFd) {
        let mut opts = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        // SAFETY: the options outlive the call.
        let result =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) };
        assert_eq!(result, 0, "the test run");
        assert_eq!(opts.retval, 0);
    }

    /// The reports that wait in the ring, oldest first.
    pub(crate) fn take_reports(&self) -> Vec<MeasureBuf> {
        self.consumer.consume().expect("the ring can be read");
        self.frames
            .take()
            .iter()
            .map(|bytes| {
                let (frame, rest) = ccp_wire::Frame::split(bytes).expect("a whole frame");
                assert!(rest.is_empty(), "one frame per record");
                match frame.message().expect("a valid frame") {
                    ccp_wire::Message::Measure(measure) => measure.to_buf(),
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.memory.as_ptr().cast(), self.mapped) };
    }
}

/// How many instructions the kernel's verifier looked at.
pub(crate) fn verified_instructions(program: &OwnedFd) -> u32 {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is as long as `length` says and outlives the call.
    let result = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length)
    };
    assert_eq!(result, 0);
    info.verified_insns
}
