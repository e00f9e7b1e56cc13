//! What a configuration names that only this machine knows.

use std::io;

use nix::unistd::User;

/// The number of the user called `name`; `None` if there is none.
pub(super) fn uid_of(name: &str) -> io::Result<Option<u32>> {
    let user = User::from_name(name).map_err(io::Error::from)?;
    Ok(user.map(|user| user.uid.as_raw()))
}
