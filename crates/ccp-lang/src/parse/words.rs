//! What a word is: a name, a number, a time, a fraction.

use crate::ast::Length;

/// Words that cannot be names of variables.
pub(super) const RESERVED: [&str; 3] = ["true", "false", "volatile"];

/// What a word is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Digits, perhaps with `_` between them.
    Number,
    Name,
    /// Digits that go on like a name: perhaps a time.
    Mixed,
    /// Anything else.
    Other,
}

pub(super) fn word(text: &str) -> Word {
    let Some(first) = text.bytes().next() else {
        return Word::Other;
    };
    let mut digits = true;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'_' => {}
            b'a'..=b'z' | b'A'..=b'Z' | b'.' => digits = false,
            _ => return Word::Other,
        }
    }
    match (first.is_ascii_digit(), digits) {
        (false, _) => Word::Name,
        (true, true) => Word::Number,
        (true, false) => Word::Mixed,
    }
}

/// Why a word that begins with a digit is not a number.
pub(super) enum NotNumber {
    /// It is a number, but too large for what it should be, or a fraction of nothing.
    OutOfRange,
    Malformed,
}

/// The number that `text` is, digits with single `_` between them.
pub(super) fn number(text: &str) -> Result<u64, NotNumber> {
    let mut value: u64 = 0;
    let mut too_large = false;
    let mut digit_before = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => {
                let next = value.checked_mul(10);
                match next.and_then(|v| v.checked_add(u64::from(byte - b'0'))) {
                    Some(next) => value = next,
                    None => too_large = true,
                }
                digit_before = true;
            }
            b'_' if digit_before => digit_before = false,
            _ => return Err(NotNumber::Malformed),
        }
    }
    match (digit_before, too_large) {
        (false, _) => Err(NotNumber::Malformed),
        (true, true) => Err(NotNumber::OutOfRange),
        (true, false) => Ok(value),
    }
}

/// The microseconds of a number with `us`, `ms` or `s` behind it.
pub(super) fn duration(text: &str) -> Result<u64, NotNumber> {
    let (digits, unit) = split_unit(text);
    let scale = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err(NotNumber::Malformed),
    };
    number(digits)?
        .checked_mul(scale)
        .ok_or(NotNumber::OutOfRange)
}

/// The length of a phase: a time, or a number of round trips with `rtt` behind it.
pub(super) fn length(text: &str) -> Result<Length, NotNumber> {
    match split_unit(text) {
        (digits, "rtt") => number(digits).map(Length::RoundTrips),
        _ => duration(text).map(Length::Micros),
    }
}

/// Numerator and denominator of `n`, `n/d` or a decimal fraction, in lowest terms.
pub(super) fn fraction(text: &str) -> Result<(u64, u64), NotNumber> {
    let (numerator, denominator) = if let Some((n, d)) = text.split_once('/') {
        (number(n)?, number(d)?)
    } else if let Some((whole, decimals)) = text.split_once('.') {
        if decimals.is_empty() || !decimals.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotNumber::Malformed);
        }
        let places = u32::try_from(decimals.len()).unwrap_or(u32::MAX);
        let scale = 10_u64.checked_pow(places).ok_or(NotNumber::OutOfRange)?;
        let whole = number(whole)?.checked_mul(scale);
        let sum = whole.and_then(|w| w.checked_add(number(decimals).ok()?));
        (sum.ok_or(NotNumber::OutOfRange)?, scale)
    } else {
        (number(text)?, 1)
    };
    if denominator == 0 {
        return Err(NotNumber::OutOfRange);
    }
    let common = gcd(numerator, denominator);
    Ok((numerator / common, denominator / common))
}

/// Digits and what follows them.
fn split_unit(text: &str) -> (&str, &str) {
    let letters = text.bytes().position(|b| !b.is_ascii_digit() && b != b'_');
    text.split_at_checked(letters.unwrap_or(text.len()))
        .unwrap_or((text, ""))
}

/// The greatest common divisor; `b` is not zero.
pub(crate) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}
