//! Where the programs under test are.
//!
//! They belong to other packages, so Cargo neither tells this one where they are nor builds them for it
//! (`CARGO_BIN_EXE_…` exists only within a package; artifact dependencies are unstable). What stands in the
//! target directory may therefore be missing, or older than the sources, and a test of yesterday's daemon is
//! worse than none. So each test program has Cargo bring them up to date once, with the profile and into the
//! directory that it was itself built with; with everything fresh that takes a moment. Where there are only
//! binaries (a virtual machine without Rust), `CCP_TEST_BIN_DIR` says where.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The daemon.
#[must_use]
pub fn ccpd() -> PathBuf {
    directory().join("ccpd")
}

/// The command.
#[must_use]
pub fn ccp() -> PathBuf {
    directory().join("ccp")
}

/// The directory of both.
///
/// # Panics
///
/// If they cannot be built or are not where they should be; with what Cargo said.
#[must_use]
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = std::env::var_os("CCP_TEST_BIN_DIR").map_or_else(build, PathBuf::from);
        for program in ["ccpd", "ccp"] {
            let file = directory.join(program);
            assert!(file.is_file(), "no program {}", file.display());
        }
        directory
    })
}

fn build() -> PathBuf {
    // <target>/<profile>/deps/<test>-<hash>
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test
        .parent()
        .and_then(Path::parent)
        .expect("in target/<profile>/deps")
        .to_owned();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("{} is not in a target directory", test.display()),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "ccpd",
            "--package",
            "ccp-cli",
            "--bins",
        ])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(directory.parent().expect("target/<profile>"))
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    // Cargo tells its tests about themselves in the environment; that is not for another package's build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "cannot build the programs under test:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    directory
}
