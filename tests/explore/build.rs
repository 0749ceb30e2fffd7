//! Sets `explored`: the engine's files are built here for a model checker, without their own unit tests.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=explored");
}
