//! Values that several tables have: what they have to look like.

use std::path::PathBuf;

use ccp_core::keys::Section;

/// `sockaddr_un` holds 108 bytes, the last of which is a zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// The absolute path of a socket.
pub(super) fn socket_path(section: &Section<'_>, key: &str) -> Option<PathBuf> {
    const EXPECTED: &str = "an absolute path of at most 107 bytes";
    let found = section.text(key, EXPECTED)?;
    let path = found.value;
    let whole = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    if whole && path.len() <= LONGEST_SOCKET_PATH {
        Some(PathBuf::from(path))
    } else {
        found.wrong(EXPECTED)
    }
}

/// The mode of a file, as octal digits in a text.
pub(super) fn mode(section: &Section<'_>, key: &str) -> Option<u32> {
    const EXPECTED: &str = "a mode such as \"0600\": octal digits from \"0600\" to \"0777\", the owner \
                            may read and write";
    let found = section.text(key, EXPECTED)?;
    let digits = found.value.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(found.value, 8) {
        Ok(mode) if digits && mode <= 0o777 && mode & 0o600 == 0o600 => Some(mode),
        _ => found.wrong(EXPECTED),
    }
}

/// How many flows at most.
pub(super) fn flows(section: &Section<'_>, key: &str, most: u32) -> Option<u32> {
    let found = section.integer(key, 1..=u64::from(most), "flows")?;
    u32::try_from(found.value).ok()
}

/// A power of two, at most `most`.
pub(super) fn power_of_two(section: &Section<'_>, key: &str, most: u32) -> Option<u32> {
    let expected = format!("a power of two from 1 to {most}");
    let found = section.whole_number(key, &expected)?;
    match u32::try_from(found.value) {
        Ok(value) if value.is_power_of_two() && value <= most => Some(value),
        _ => found.wrong(expected),
    }
}
