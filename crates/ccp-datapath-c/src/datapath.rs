//! The datapath as a whole.

use std::ffi::{CStr, c_char, c_int};
use std::slice;

use ccp_datapath::{Config, Datapath, Native, Touched};
use ccp_program::{RegisterDef, Type, Unit};
use ccp_types::{Micros, Timestamp};

use crate::error::{BUG, INVALID, OK, REFUSED, guarded, note};
use crate::flow::CFlow;
use crate::measurements::CMeasurements;
use crate::sink::CSink;

/// `ccpdp_datapath`.
#[derive(Debug)]
pub struct CDatapath(pub(crate) Datapath);

// What `ccpdp.h` says of threads.
const _: () = {
    const fn any<T: Send + Sync>() {}
    const fn one_at_a_time<T: Send>() {}
    any::<CDatapath>();
    one_at_a_time::<CFlow>();
    one_at_a_time::<CMeasurements>();
};

/// `ccpdp_register`: a register beyond libccp's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CRegister {
    /// Its name in programs, such as `Utp.queue_delay_us`.
    pub name: *const c_char,
    /// 0 number, 1 boolean.
    pub boolean: u8,
    /// 0 none, 1 bytes, 2 packets, 3 microseconds, 4 bytes per second.
    pub unit: u8,
}

/// `ccpdp_config`. What each field means is said at [`Config`]; times are microseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "described at `Config`")]
pub struct CConfig {
    pub id: u32,
    pub max_flows: u64,
    pub max_programs: u64,
    /// 0 CUBIC, 1 Reno.
    pub native: u32,
    pub max_fault_run: u32,
    pub fault_pause_us: u64,
    pub unanswered_after_us: u64,
    pub unanswered_after_legacy_us: u64,
    pub ready_every_us: u64,
    pub announce_every_us: u64,
    pub announcements_per_second: u32,
    /// Measurements beyond libccp's fifteen; their places begin at 15, in this order.
    pub primitives: *const CRegister,
    pub primitives_count: usize,
    /// Writable registers beyond `Cwnd` and `Rate`.
    pub writables: *const CRegister,
    pub writables_count: usize,
}

/// `ccpdp_received`: what came of a message.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CReceived {
    /// How many messages were obeyed.
    pub messages: usize,
    /// Which flows have something new: 0 none, 1 the one called `sock_id`, 2 any may have.
    pub touched: u32,
    /// That one.
    pub sock_id: u32,
}

/// Fills `config` with the defaults.
///
/// # Safety
/// `config` is null or points to memory for one.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_config_default(config: *mut CConfig) {
    let default = Config::default();
    let filled = CConfig {
        id: default.id,
        max_flows: default.max_flows as u64,
        max_programs: default.max_programs as u64,
        native: 0,
        max_fault_run: default.max_fault_run,
        fault_pause_us: default.fault_pause.0,
        unanswered_after_us: default.unanswered_after.0,
        unanswered_after_legacy_us: default.unanswered_after_legacy.0,
        ready_every_us: default.ready_every.0,
        announce_every_us: default.announce_every.0,
        announcements_per_second: default.announcements_per_second,
        primitives: std::ptr::null(),
        primitives_count: 0,
        writables: std::ptr::null(),
        writables_count: 0,
    };
    if !config.is_null() {
        // SAFETY: the caller's; what was there before is not read.
        unsafe { config.write(filled) };
    }
}

/// A datapath as `config` says (null: the defaults). Null if something in it is wrong.
///
/// # Safety
/// `config` is null or filled, and its lists have as many entries as it says, with names that end in 0.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_new(config: *const CConfig) -> *mut CDatapath {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: the caller's.
        let made = match unsafe { config.as_ref() } {
            None => Ok(Config::default()),
            // SAFETY: the caller's.
            Some(config) => unsafe { read(config) },
        };
        match made {
            Ok(config) => Box::into_raw(Box::new(CDatapath(Datapath::new(config)))),
            Err(why) => {
                note(why);
                std::ptr::null_mut()
            }
        }
    })
}

/// # Safety
/// As [`ccpdp_datapath_new`].
#[allow(unsafe_code, reason = "C's memory is read")]
unsafe fn read(from: &CConfig) -> Result<Config, String> {
    let count = |what: &str, value: u64, most: u64| match usize::try_from(value) {
        Ok(count) if (1..=most).contains(&value) => Ok(count),
        _ => Err(format!("{what} is {value}: must be 1 to {most}")),
    };
    let mut config = Config {
        id: from.id,
        max_flows: count("max_flows", from.max_flows, 1 << 22)?,
        max_programs: count("max_programs", from.max_programs, 1 << 16)?,
        native: match from.native {
            0 => Native::Cubic,
            1 => Native::Reno,
            other => return Err(format!("native is {other}: must be 0 (CUBIC) or 1 (Reno)")),
        },
        max_fault_run: from.max_fault_run,
        fault_pause: Micros(from.fault_pause_us),
        unanswered_after: Micros(from.unanswered_after_us),
        unanswered_after_legacy: Micros(from.unanswered_after_legacy_us),
        ready_every: Micros(from.ready_every_us),
        announce_every: Micros(from.announce_every_us),
        announcements_per_second: from.announcements_per_second,
        ..Config::default()
    };
    // SAFETY: the caller's.
    let primitives = unsafe { registers("primitives", from.primitives, from.primitives_count) }?;
    // SAFETY: the caller's.
    let writables = unsafe { registers("writables", from.writables, from.writables_count) }?;
    config.registers = config
        .registers
        .with_primitives(primitives)
        .with_writable(writables);
    Ok(config)
}

/// # Safety
/// `list` has `count` entries, or is null.
#[allow(unsafe_code, reason = "C's memory is read")]
unsafe fn registers(
    what: &str,
    list: *const CRegister,
    count: usize,
) -> Result<Vec<RegisterDef>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if list.is_null() || count > usize::from(u16::MAX) {
        return Err(format!("{what} is null, or there are more than 65,535"));
    }
    // SAFETY: the caller's.
    let list = unsafe { slice::from_raw_parts(list, count) };
    let mut all: Vec<RegisterDef> = Vec::with_capacity(count);
    for (place, register) in list.iter().enumerate() {
        if register.name.is_null() {
            return Err(format!("{what}[{place}] has no name"));
        }
        // SAFETY: the caller's: it ends in 0.
        let name = unsafe { CStr::from_ptr(register.name) };
        let name = name
            .to_str()
            .map_err(|_| format!("{what}[{place}] has a name that is not UTF-8"))?;
        let unit = Unit::from_wire(register.unit)
            .ok_or_else(|| format!("{what}[{place}] has a unit that does not exist"))?;
        if all.iter().any(|known| known.name == name) {
            return Err(format!("{what}[{place}] is called `{name}`, as another"));
        }
        all.push(RegisterDef {
            name: name.to_owned().into(),
            ty: if register.boolean == 0 {
                Type::Num
            } else {
                Type::Bool
            },
            unit,
        });
    }
    Ok(all)
}

/// Frees `datapath`; null is passed over. Its flows live on until they are closed.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`], and is not used any more.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_free(datapath: *mut CDatapath) {
    if !datapath.is_null() {
        // SAFETY: the caller's.
        drop(unsafe { Box::from_raw(datapath) });
    }
}

/// The daemon sent `len` bytes: one or more messages. `received`, if not null, says what came of it,
/// also of an error.
///
/// # Safety
/// `datapath` comes from [`ccpdp_datapath_new`], `bytes` points to `len` bytes, `received` is null or
/// points to memory for one.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_message(
    datapath: *const CDatapath,
    now_us: u64,
    bytes: *const u8,
    len: usize,
    received: *mut CReceived,
) -> c_int {
    guarded(BUG, || {
        // SAFETY: the caller's.
        let Some(datapath) = (unsafe { datapath.as_ref() }) else {
            note("the datapath is null");
            return INVALID;
        };
        if bytes.is_null() && len > 0 {
            note("the message is null");
            return INVALID;
        }
        let bytes = if len == 0 {
            &[]
        } else {
            // SAFETY: the caller's.
            unsafe { slice::from_raw_parts(bytes, len) }
        };
        let (told, code) = match datapath.0.on_message(Timestamp(now_us), bytes) {
            Ok(told) => {
                let (touched, sock_id) = match told.touched {
                    Touched::None => (0, 0),
                    Touched::Flow(sock_id) => (1, sock_id.0),
                    Touched::All => (2, 0),
                };
                let told = CReceived {
                    messages: told.messages,
                    touched,
                    sock_id,
                };
                (told, OK)
            }
            Err(why) => {
                note(why);
                // Others in the same datagram may have been obeyed.
                let told = CReceived {
                    touched: 2,
                    ..CReceived::default()
                };
                (told, REFUSED)
            }
        };
        if !received.is_null() {
            // SAFETY: the caller's; what was there before is not read.
            unsafe { received.write(told) };
        }
        code
    })
}

/// Says READY as long as nobody answers, and tells of the ends of flows that could not be told. Call it
/// at the start and when [`ccpdp_datapath_next_timer`] says.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`]; the sink's function may be called with what
/// belongs to it.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_timer(
    datapath: *const CDatapath,
    now_us: u64,
    mut sink: CSink,
) {
    guarded((), || {
        // SAFETY: the caller's.
        if let Some(datapath) = unsafe { datapath.as_ref() } {
            datapath.0.on_timer(Timestamp(now_us), &mut sink);
        }
    });
}

/// When [`ccpdp_datapath_timer`] is to be called next; `UINT64_MAX`: not before the next message or the
/// next end of a flow.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_next_timer(datapath: *const CDatapath) -> u64 {
    guarded(u64::MAX, || {
        // SAFETY: the caller's.
        let datapath = unsafe { datapath.as_ref() };
        let next = datapath.and_then(|datapath| datapath.0.next_timer());
        next.map_or(u64::MAX, |time| time.0)
    })
}

/// The place of the measurement called `name`; negative if there is none.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`]; `name` is null or ends in 0.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_primitive(
    datapath: *const CDatapath,
    name: *const c_char,
) -> c_int {
    // SAFETY: the caller's.
    let (datapath, name) = unsafe { (datapath.as_ref(), text(name)) };
    let found = datapath.zip(name).and_then(|(d, name)| d.0.primitive(name));
    found.map_or_else(
        || {
            note("the datapath has no measurement of this name");
            INVALID
        },
        |primitive| c_int::from(primitive.index()),
    )
}

/// The place of the writable register called `name`; negative if there is none.
///
/// # Safety
/// As [`ccpdp_datapath_primitive`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_writable(
    datapath: *const CDatapath,
    name: *const c_char,
) -> c_int {
    // SAFETY: the caller's.
    let (datapath, name) = unsafe { (datapath.as_ref(), text(name)) };
    let found = datapath.zip(name).and_then(|(d, name)| d.0.writable(name));
    found.map_or_else(
        || {
            note("the datapath has no writable register of this name");
            INVALID
        },
        |writable| c_int::from(writable.index()),
    )
}

/// Whether a daemon is there and alive.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_is_steered(
    datapath: *const CDatapath,
    now_us: u64,
) -> bool {
    // SAFETY: the caller's.
    unsafe { datapath.as_ref() }.is_some_and(|d| d.0.is_steered(Timestamp(now_us)))
}

/// How many flows there are.
///
/// # Safety
/// `datapath` is null or comes from [`ccpdp_datapath_new`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_datapath_flow_count(datapath: *const CDatapath) -> usize {
    // SAFETY: the caller's.
    unsafe { datapath.as_ref() }.map_or(0, |d| d.0.flow_count())
}

/// A text of C's, if it is one.
///
/// # Safety
/// `text` is null or ends in 0, and lives as long as what is returned.
#[allow(unsafe_code, reason = "C's memory is read")]
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}
