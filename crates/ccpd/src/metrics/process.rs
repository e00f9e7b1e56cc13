//! What the system knows of this process.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the system knows of this process. What it does not tell is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) start_time: f64,
    pub(super) cpu: f64,
    pub(super) resident: f64,
    pub(super) address_space: f64,
    pub(super) descriptors: f64,
    pub(super) threads: f64,
}

impl Process {
    /// How it is now: three small files of proc(5).
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let mut process = parse(&stat, rustix::param::clock_ticks_per_second() as f64);
        process.resident *= rustix::param::page_size() as f64;
        // One of them is that of the directory.
        process.descriptors = fds.saturating_sub(1) as f64;
        let up: f64 = uptime
            .split(' ')
            .next()
            .and_then(|s| s.parse().ok())
            .unwrap_or(0.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let booted = now.unwrap_or(Duration::ZERO).as_secs_f64() - up;
        process.start_time += booted;
        process
    }
}

/// `/proc/self/stat`: memory in pages, and the start in seconds since the machine was.
fn parse(stat: &str, ticks: f64) -> Process {
    // The second field is a name in brackets that may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // proc(5) counts from 1, and two are gone.
    let number = |place: usize| -> f64 {
        let text = fields.get(place - 3).copied().unwrap_or_default();
        text.parse().unwrap_or(0.0)
    };
    Process {
        start_time: number(22) / ticks,
        cpu: (number(14) + number(15)) / ticks,
        resident: number(24),
        address_space: number(23),
        descriptors: 0.0,
        threads: number(20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_passed_over() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1000 8192 25 18446744073709551615";
        let process = parse(stat, 100.0);
        assert_eq!(process.cpu, 2.0);
        assert_eq!(process.threads, 9.0);
        assert_eq!(process.start_time, 10.0);
        assert_eq!((process.address_space, process.resident), (8192.0, 25.0));
    }

    #[test]
    fn this_process_uses_something() {
        let process = Process::now();
        assert!(process.resident > 1e5, "{process:?}");
        assert!(process.address_space >= process.resident, "{process:?}");
        assert!(
            process.threads >= 1.0 && process.descriptors >= 1.0,
            "{process:?}"
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - process.start_time;
        assert!((-1.0..86_400.0).contains(&age), "{process:?}");
    }
}
