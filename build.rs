//! Tells the linker of a static build where to put code that a quiet round does not run (`.cargo/rare.ld`).

fn main() {
    println!("cargo:rerun-if-changed=.cargo/rare.ld");
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/rare.ld");
    }
}
