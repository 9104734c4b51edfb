//! Lets the program find libtorch beside itself: in the build tree, or in `lib/` of an installation.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "cargo reads what a build script prints")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    // target/release, and target/release/deps for tests and benches.
    for up in ["../..", "../../.."] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/{up}/.libtorch/torch/lib");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/coldstart/torch/lib");
    // A libtorch of the user's own is where it is.
    if let Some(libtorch) = std::env::var_os("LIBTORCH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}/lib", libtorch.to_string_lossy());
    }
}
