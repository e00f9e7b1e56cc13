//! Gives the shared library the name under which programs look for it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number goes up when a program linked before would not work any more.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libccpdp.so.0");
}
