//! Tells the linker of a static build where to put code that a quiet round does not run (`.cargo/rare.ld`), and which of
//! ring's functions stand in for those that `-DOPENSSL_SMALL` leaves out (`.cargo/config.toml`).

use std::env::var;

/// ring's Rust code calls the first, which needs the large tables or newer instructions, and ring's C has the second: the
/// same calculation, with the same arguments.
const STAND_INS: [(&str, &str); 2] = [
    ("p256_point_mul_base_vartime", "p256_point_mul_base"),
    (
        "x25519_scalar_mult_adx",
        "x25519_scalar_mult_generic_masked",
    ),
];

fn main() {
    println!("cargo:rerun-if-changed=.cargo/rare.ld");
    println!("cargo:rerun-if-changed=Cargo.lock");
    if var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("musl") {
        return;
    }
    let folder = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/rare.ld");
    let arch = var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    if !matches!(&*arch, "x86_64" | "aarch64") {
        return;
    }
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock is here");
    let version = lock.split("name = \"ring\"\nversion = \"").nth(1);
    let version = version.and_then(|rest| rest.split('"').next());
    let version = version.expect("ring is in Cargo.lock").replace('.', "_");
    for (missing, stand_in) in STAND_INS {
        let symbol = |name| format!("ring_core_{version}__{name}");
        let (missing, stand_in) = (symbol(missing), symbol(stand_in));
        println!("cargo:rustc-link-arg=-Wl,--defsym={missing}={stand_in}");
    }
}
