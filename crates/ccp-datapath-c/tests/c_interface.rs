//! The interfaces for C, from C: compiled with warnings as errors, run under AddressSanitizer and
//! UndefinedBehaviorSanitizer, on their own and under a real daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ccp_tests::{binaries, within};

const PATIENCE: Duration = Duration::from_secs(10);
const SANITIZED: [&str; 3] = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The static library. Tests of a package do not build what it is for others.
fn library() -> PathBuf {
    let directory = binaries::directory();
    let target = directory.parent().unwrap();
    let profile = directory.file_name().unwrap().to_str().unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "ccp-datapath-c", "--lib"])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .arg("--manifest-path")
        .arg(here("Cargo.toml")));
    let library = directory.join("libccpdp.a");
    assert!(library.exists(), "{}", library.display());
    library
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A C compiler with warnings as errors.
fn cc(standard: &str) -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror", standard]);
    cc
}

const LIBRARIES: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];

struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    /// A daemon whose flows get a window of 14 packets.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            "[ccpd]\ncontrol = '{at}/control.sock'\n[[datapath]]\nkind = 'unix'\npath = '{at}/daemon.sock'\n\
             [algorithms.fixed]\nkind = 'constant'\ncwnd_packets = 14\n[policy]\ndefault = 'fixed'\n"
        );
        std::fs::write(dir.path().join("ccpd.toml"), text).unwrap();
        let child = Command::new(binaries::ccpd())
            .arg("--config")
            .arg(dir.path().join("ccpd.toml"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { dir, child };
        let ready = within(PATIENCE, || daemon.socket().exists().then_some(()));
        ready.expect("a socket");
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("daemon.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn both_interfaces_hold_what_they_promise() {
    let (library, daemon) = (library(), Daemon::start());
    let dir = tempfile::tempdir().unwrap();
    for (name, standard, include) in [
        ("clean", "-std=gnu99", "include"),
        ("threads", "-std=gnu99", "include"),
        ("compat", "-std=gnu11", "include/libccp"),
        ("hostile", "-std=gnu99", "include/libccp"),
    ] {
        let program = dir.path().join(name);
        run(cc(standard)
            .args(SANITIZED)
            .arg("-I")
            .arg(here(include))
            .arg(here(&format!("tests/c/{name}.c")))
            .arg(&library)
            .args(LIBRARIES)
            .arg("-o")
            .arg(&program));
        let mut program = Command::new(program);
        if name == "clean" {
            program
                .arg(dir.path().join("own.sock"))
                .arg(daemon.socket());
        }
        let said = run(&mut program);
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said, format!("{name}: passed\n"));
    }
    // Headers are headers of C++ as well.
    let both = dir.path().join("both.cpp");
    std::fs::write(
        &both,
        "#include \"ccpdp.h\"\n#include \"libccp/ccp.h\"\nint main() { return ccp_init(nullptr, 0) == 0; }\n",
    )
    .unwrap();
    run(Command::new("c++")
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(here("include"))
        .arg(&both));
}

#[test]
fn nothing_is_allocated_at_an_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("quiet");
    run(cc("-std=gnu99")
        .arg("-I")
        .arg(here("include/libccp"))
        .arg(here("tests/c/quiet.c"))
        .arg(library())
        .arg("-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign")
        .args(LIBRARIES)
        .arg("-o")
        .arg(&program));
    let said = run(&mut Command::new(program));
    assert_eq!(said.stdout, b"quiet: passed\n");
}

/// Where the sources of the C library are that the crate `libccp` brings along.
fn libccp() -> PathBuf {
    let output = run(Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(here("Cargo.toml")));
    let text = String::from_utf8(output.stdout).unwrap();
    let at = text
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("/libccp-1."))
        .expect("the crate libccp");
    Path::new(at).with_file_name("libccp")
}

/// `object` linked with libccp's sources, and with our library.
fn link(dir: &Path, object: &Path, library: &Path, theirs: &Path) -> [PathBuf; 2] {
    let sources = ["ccp.c", "ccp_priv.c", "machine.c", "serialize.c"];
    let mut original = Command::new("cc");
    original
        .args(["-std=gnu99", "-w", "-I"])
        .arg(theirs)
        .arg(object)
        .args(sources.map(|source| theirs.join(source)));
    let mut ours = Command::new("cc");
    ours.arg(object).arg(library).args(LIBRARIES);
    [("libccp", original), ("libccpdp", ours)].map(|(name, mut link)| {
        let program = dir.join(name);
        run(link.arg("-o").arg(&program));
        program
    })
}

#[test]
fn a_datapath_written_for_libccp_relinks_without_change() {
    let (library, daemon, theirs) = (library(), Daemon::start(), libccp());
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("relink.o");
    // With libccp's own header.
    run(cc("-std=gnu99")
        .arg("-I")
        .arg(&theirs)
        .arg("-c")
        .arg(here("tests/c/relink.c"))
        .arg("-o")
        .arg(&object));
    for program in link(dir.path(), &object, &library, &theirs) {
        run(Command::new(&program)
            .arg(dir.path().join("own.sock"))
            .arg(daemon.socket())
            .arg((14 * 1448).to_string()));
    }
}

/// Seeds of random programs, acknowledgements and updates.
const SEEDS: u64 = 20;

#[test]
fn where_libccp_is_sound_both_do_the_same() {
    let (library, theirs) = (library(), libccp());
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("same.o");
    run(cc("-std=gnu99")
        .arg("-I")
        .arg(&theirs)
        .arg("-c")
        .arg(here("tests/c/same.c"))
        .arg("-o")
        .arg(&object));
    let [original, ours] = link(dir.path(), &object, &library, &theirs);
    for seed in 0..SEEDS {
        let said = [&original, &ours].map(|program| {
            let output = run(Command::new(program).arg(seed.to_string()));
            String::from_utf8(output.stdout).unwrap()
        });
        assert!(said[0].lines().count() > 5000, "seed {seed}");
        assert!(said[0].contains("report of 2") && said[0].contains(": -94"));
        let differs = said[0].lines().zip(said[1].lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(said[0].len(), said[1].len(), "seed {seed}");
    }
}

#[test]
fn what_is_installed_is_found_by_pkg_config_and_cmake() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("prefix");
    let directory = binaries::directory();
    let mut install = Command::new(here("../../scripts/install-c"));
    install
        .env("PREFIX", &prefix)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", directory.parent().unwrap())
        .env("PROFILE", "dev");
    run(&mut install);
    // As a packager does: into a root of its own, for a prefix that does not name it.
    let root = dir.path().join("root");
    run(install.env("DESTDIR", &root).env("PREFIX", "/usr"));
    let pc = std::fs::read_to_string(root.join("usr/lib/pkgconfig/libccp.pc")).unwrap();
    assert!(pc.starts_with("prefix=/usr\n"), "{pc}");

    let flags = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(["--cflags", "--libs", "ccpdp"]));
    let flags = String::from_utf8(flags.stdout).unwrap();
    let program = dir.path().join("clean");
    run(cc("-std=gnu99")
        .arg(here("tests/c/clean.c"))
        .args(flags.split_whitespace())
        .arg("-o")
        .arg(&program));
    run(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));

    let project = dir.path().join("project");
    std::fs::create_dir(&project).unwrap();
    let text = format!(
        "cmake_minimum_required(VERSION 3.13)\nproject(embedder C)\nfind_package(ccpdp 0.1 REQUIRED)\n\
         add_executable(compat {})\ntarget_link_libraries(compat ccpdp::libccp)\n",
        here("tests/c/compat.c").display()
    );
    std::fs::write(project.join("CMakeLists.txt"), text).unwrap();
    let build = project.join("build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&project)
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    run(&mut Command::new(build.join("compat")));
}

#[test]
fn libccp_falls_into_ten_traps_and_this_library_into_none() {
    let (library, theirs) = (library(), libccp());
    let dir = tempfile::tempdir().unwrap();
    let source = here("tests/c/traps.c");
    let [ours, original] = ["ours", "libccp"].map(|name| dir.path().join(name));
    run(cc("-std=gnu99")
        .args(SANITIZED)
        .arg("-I")
        .arg(here("include/libccp"))
        .args([&source, &library])
        .args(LIBRARIES)
        .arg("-o")
        .arg(&ours));
    let sources = ["ccp.c", "ccp_priv.c", "machine.c", "serialize.c"];
    run(Command::new("cc")
        .args(["-g", "-O1", "-std=gnu99", "-w"])
        .args(SANITIZED)
        .arg("-I")
        .arg(&theirs)
        .arg(&source)
        .args(sources.map(|source| theirs.join(source)))
        .arg("-o")
        .arg(&original));
    for trap in 1..=10 {
        run(Command::new(&ours).arg(trap.to_string()));
        let theirs = Command::new(&original)
            .arg(trap.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&theirs.stdout).into_owned()
            + &String::from_utf8_lossy(&theirs.stderr);
        let how = said
            .lines()
            .find(|l| l.contains("rror: ") || l.contains("ERROR") || l.contains("trap"));
        println!(
            "trap {trap}: libccp: {}: {}",
            theirs.status,
            how.unwrap_or("the alarm")
        );
        assert!(
            !theirs.status.success(),
            "libccp is sound in trap {trap} by now"
        );
        assert_ne!(theirs.status.code(), Some(2), "{said}");
    }
}
