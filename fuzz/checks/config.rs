//! What must hold of any text that is taken for a configuration. Used by the fuzz target `config` and by
//! ordinary tests.

use ccpd::{Config, ConfigError};

/// Reads `text` as a configuration. It is one, or there is a list of what is wrong with it, each with its
/// place; nothing panics.
pub(crate) fn parse(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match Config::parse(&text, "fuzz.toml") {
        Ok(config) => {
            let again = Config::parse(&text, "fuzz.toml").expect("a text says always the same");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
        }
        Err(ConfigError::Wrong(problems)) => {
            let told = problems.to_string();
            assert!(told.starts_with("fuzz.toml:"), "{told}");
        }
        Err(other) => panic!("no file is read: {other}"),
    }
}
