//! Quantities as a person reads them.

use std::time::Duration;

/// `bytes` in segments of `mss` bytes.
pub(crate) fn packets(bytes: u64, mss: u32) -> String {
    if mss == 0 {
        return format!("{bytes} B");
    }
    let packets = bytes as f64 / f64::from(mss);
    if packets.fract() == 0.0 {
        format!("{packets:.0} pkt")
    } else {
        format!("{packets:.1} pkt")
    }
}

/// A rate; a dash if there is none.
pub(crate) fn rate(bytes_per_s: u64) -> String {
    if bytes_per_s == 0 {
        return "-".to_owned();
    }
    format!("{:.2} Mbit/s", bytes_per_s as f64 / 125_000.0)
}

/// A rate in few letters; a dash if there is none.
pub(crate) fn short_rate(bytes_per_s: u64) -> String {
    let bits = bytes_per_s as f64 * 8.0;
    match bits {
        ..1.0 => "-".to_owned(),
        ..1e6 => format!("{:.2} kbit/s", bits / 1e3),
        ..1e9 => format!("{:.2} Mbit/s", bits / 1e6),
        ..1e12 => format!("{:.2} Gbit/s", bits / 1e9),
        _ => format!("{:.2} Tbit/s", bits / 1e12),
    }
}

/// A time in milliseconds; a dash if there is none.
pub(crate) fn millis(us: u64) -> String {
    if us == 0 {
        return "-".to_owned();
    }
    format!("{:.3} ms", us as f64 / 1_000.0)
}

/// An amount of data.
pub(crate) fn data(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

/// How much of what was sent was lost; a dash if that is not known.
pub(crate) fn loss(lost: Option<u64>, delivered: Option<u64>) -> String {
    let (Some(lost), Some(delivered)) = (lost, delivered) else {
        return "-".to_owned();
    };
    let all = lost as f64 + delivered as f64;
    if all == 0.0 {
        return "0 %".to_owned();
    }
    format!("{:.2} %", 100.0 * lost as f64 / all)
}

/// How long something has lasted.
pub(crate) fn age(us: u64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..60 => format!("{:.1} s", us as f64 / 1e6),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The time of day, in UTC, of a time in microseconds since 1970.
pub(crate) fn time_of_day(us: u64) -> String {
    let millis = us / 1_000 % 86_400_000;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!(
        "{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Reads a length of time: `500ms`, `10s`, `5min`, `2h`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time, as in 500ms, 10s, 5min or 2h; got `{text}`");
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{age, data, duration, loss, packets, short_rate, time_of_day};

    #[test]
    fn quantities_are_read_by_people() {
        assert_eq!(packets(28_960, 1448), "20 pkt");
        assert_eq!(packets(15_000, 1448), "10.4 pkt");
        assert_eq!(packets(15_000, 0), "15000 B");
        assert_eq!(short_rate(6_250_000), "50.00 Mbit/s");
        assert_eq!(short_rate(133_780_112_500), "1.07 Tbit/s");
        assert_eq!(short_rate(0), "-");
        assert_eq!(data(999), "999 B");
        assert_eq!(data(1_250_000), "1.2 MB");
        assert_eq!(loss(Some(1), Some(99)), "1.00 %");
        assert_eq!(loss(Some(0), Some(0)), "0 %");
        assert_eq!(loss(None, Some(0)), "-");
        assert_eq!(age(1_500_000), "1.5 s");
        assert_eq!(age(61_000_000), "1 min 1 s");
        assert_eq!(age(90_000_000_000), "1 d 1 h");
        assert_eq!(time_of_day(1_700_000_000_123_456), "22:13:20.123Z");
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2", 2_000),
            ("1.5min", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "5y", "1e400"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("expected a time"), "{text}: {error}");
        }
    }
}
