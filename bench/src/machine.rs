//! On what and when it was measured, without saying whose machine it is.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::system::uname;

/// How busy the machine is, before anything is measured: the load average of the last minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().filter(|load| !load.is_empty());
    load.unwrap_or("unknown").to_owned()
}

/// One line: processors, kernel, date.
pub(crate) fn describe() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!(
        "{}, Linux {} ({}), {}",
        processors(&cpuinfo),
        version(&uname().release().to_string_lossy()),
        uname().machine().to_string_lossy(),
        date(SystemTime::now())
    )
}

fn processors(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim())
    };
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = field("model name").unwrap_or("unknown");
    let virtual_machine = field("flags").is_some_and(|f| f.split(' ').any(|f| f == "hypervisor"));
    let kind = if virtual_machine {
        "virtual machine"
    } else {
        "machine"
    };
    format!("{kind} with {count} × {model}")
}

/// The numbers of a kernel's release, without what its builder added.
fn version(release: &str) -> &str {
    release.split(['-', '+', '_']).next().unwrap_or(release)
}

/// The day in UTC, as ISO 8601 writes it. Source: the Gregorian calendar, whose 400 years have 146,097
/// days; years begin in March, so that the leap day is the last.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::{date, processors, version};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn days_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_088, "2024-12-31"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(days * 86_400 + 86_399);
            assert_eq!(date(time), text);
        }
    }

    #[test]
    fn a_machine_is_described() {
        let text = "processor\t: 0\nmodel name\t: Fast CPU\nflags\t: fpu hypervisor\n\nprocessor\t: 1\n\
                    model name\t: Fast CPU\n";
        assert_eq!(processors(text), "virtual machine with 2 × Fast CPU");
        assert_eq!(version("6.18.44-some-build"), "6.18.44");
    }
}
