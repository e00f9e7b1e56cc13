//! What the kernel has of ours: registered algorithms, pins, BPF objects.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Where ccpd pins, one directory per name.
const PINS: &str = "/sys/fs/bpf/ccpd";

/// The algorithms that sockets may ask for now.
///
/// # Panics
///
/// If the kernel does not tell.
#[must_use]
pub fn available() -> Vec<String> {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .expect("the kernel tells its algorithms")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Whether sockets may ask for `name`.
#[must_use]
pub fn is_available(name: &str) -> bool {
    available().iter().any(|n| n == name)
}

/// The directory of the pins of the daemon called `name`.
#[must_use]
pub fn pin_dir(name: &str) -> PathBuf {
    Path::new(PINS).join(name)
}

/// Whether there are pins of the daemon called `name`.
#[must_use]
pub fn is_pinned(name: &str) -> bool {
    pin_dir(name).exists()
}

/// Removes the pins of a daemon that runs no more. With the last of them the name goes; sockets that have it
/// run natively from then on.
pub fn remove_pins(name: &str) {
    // bpffs has directories and pins only; unlinking a pin gives up the object.
    let _ = fs::remove_dir_all(pin_dir(name));
}

/// Removes what tests left whose process was killed.
pub(crate) fn sweep() {
    let _ = ccp_lab::sweep();
    for entry in fs::read_dir(PINS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(crate::daemon::PREFIX)
            .and_then(|rest| rest.split('_').next())
            .and_then(|pid| u32::from_str_radix(pid, 16).ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove_pins(&name);
        }
    }
}

/// Whether an administrator's command is here.
#[must_use]
pub fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// A BPF object: its kind and number.
pub type BpfObject = (&'static str, u64);

/// Every BPF program and map in the kernel, with its name. What is registered as a congestion control is a
/// map, too.
///
/// # Panics
///
/// If `bpftool` fails.
#[must_use]
pub fn bpf_objects() -> BTreeMap<BpfObject, String> {
    let mut objects = BTreeMap::new();
    for kind in ["prog", "map"] {
        for object in bpftool(kind) {
            let id = object.get("id").and_then(Value::as_u64);
            let name = object.get("name").and_then(Value::as_str).unwrap_or("");
            if let Some(id) = id {
                objects.insert((kind, id), name.to_owned());
            }
        }
    }
    objects
}

/// The maps that process `pid` holds, and the programs that use them, with their names. What it has registered
/// as a congestion control is among the maps.
///
/// # Panics
///
/// If `bpftool` fails.
#[must_use]
pub fn bpf_objects_of(pid: u32) -> BTreeMap<BpfObject, String> {
    let maps: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten()
        // A descriptor may be closed in the meantime.
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            line.trim().parse().ok()
        })
        .collect();
    let uses = |program: &Value| {
        let used = program.get("map_ids").and_then(Value::as_array);
        let mut used = used.into_iter().flatten().filter_map(Value::as_u64);
        used.any(|map| maps.contains(&map))
    };
    let programs: Vec<u64> = bpftool("prog")
        .iter()
        .filter(|program| uses(program))
        .filter_map(|program| program.get("id").and_then(Value::as_u64))
        .collect();
    let mut objects = bpf_objects();
    objects.retain(|(kind, id), _| match *kind {
        "prog" => programs.contains(id),
        _ => maps.contains(id),
    });
    objects
}

fn bpftool(kind: &str) -> Vec<Value> {
    let output = Command::new("bpftool")
        .env(
            "PATH",
            format!(
                "{}:/usr/sbin:/sbin",
                std::env::var("PATH").unwrap_or_default()
            ),
        )
        .args(["-j", kind, "show"])
        .output()
        .expect("bpftool can be started");
    assert!(
        output.status.success(),
        "bpftool {kind} show: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Array(list)) => list,
        other => panic!("bpftool {kind} show: {other:?}"),
    }
}
