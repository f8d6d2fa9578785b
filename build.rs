//! Packs the page, and tells the linker of a static build where to put code that a quiet round does not run
//! (`.cargo/rare.ld`), and which of ring's functions stand in for those that `-DOPENSSL_SMALL` leaves out
//! (`.cargo/config.toml`).

use std::collections::HashMap;
use std::env::var;
use std::path::Path;

const PAGE: &str = "src/admin/page.html";
/// In a style sheet, white space beside these means nothing.
const SPACED: [(&str, &str); 6] = [
    (": ", ":"),
    ("; ", ";"),
    (", ", ","),
    (" {", "{"),
    ("{ ", "{"),
    (";}", "}"),
];

/// ring's Rust code calls the first, which needs the large tables or newer instructions, and ring's C has the second: the
/// same calculation, with the same arguments.
const STAND_INS: [(&str, &str); 2] = [
    ("p256_point_mul_base_vartime", "p256_point_mul_base"),
    (
        "x25519_scalar_mult_adx",
        "x25519_scalar_mult_generic_masked",
    ),
];

/// The version of ring whose source was read for [`STAND_INS`]. In 0.17.14 the four functions are in
/// `crypto/fipsmodule/ec/p256*.c` and `crypto/curve25519/`: each pair has the same arguments, and gives the same numbers in
/// the same form. The stand-ins only take the same time for all numbers, and no newer instructions.
const CHECKED: &str = "0.17.14";

fn main() {
    println!("cargo:rerun-if-changed={PAGE}");
    let folder = var("OUT_DIR").expect("cargo sets it");
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let packed = pack(small(&page).as_bytes());
    std::fs::write(Path::new(&folder).join("page.packed"), packed).expect("the packed page");
    if var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        link_static();
    }
}

fn link_static() {
    println!("cargo:rerun-if-changed=.cargo/rare.ld");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let folder = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/rare.ld");
    let arch = var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    if !matches!(&*arch, "x86_64" | "aarch64") {
        return;
    }
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock is here");
    let versions: Vec<&str> = lock
        .split("name = \"ring\"\nversion = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(
        versions == [CHECKED],
        "Cargo.lock has ring {versions:?}, and STAND_INS in build.rs was checked for ring {CHECKED} only: read \
         docs/dev/dependencies.md, compare the functions, set CHECKED, and run scripts/test.sh"
    );
    let version = CHECKED.replace('.', "_");
    for (missing, stand_in) in STAND_INS {
        let symbol = |name| format!("ring_core_{version}__{name}");
        let (missing, stand_in) = (symbol(missing), symbol(stand_in));
        println!("cargo:rustc-link-arg=-Wl,--defsym={missing}={stand_in}");
    }
}

/// The page without indentation, comment lines and empty lines. No text of the page goes over a line's end, so the
/// page stays the same.
fn small(page: &str) -> String {
    let (mut text, mut is_style) = (String::new(), false);
    for line in page.lines().map(str::trim) {
        is_style = (is_style || line == "<style>") && line != "</style>";
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        let mut line = line.to_owned();
        if is_style {
            for (spaced, dense) in SPACED {
                line = line.replace(spaced, dense);
            }
        }
        text.push_str(&line);
        if !is_style || line == "<style>" {
            text.push('\n');
        }
    }
    text
}

/// A repetition shorter than this is not worth its three bytes.
const SHORTEST: usize = 4;
const LONGEST: usize = SHORTEST + 127;

/// Packs a text of less than 64 KiB: `src/admin/page.rs` unpacks it. A byte below 128 says how many plain bytes follow,
/// less one. Any other byte is a repetition: its length, less [`SHORTEST`], plus 128. The distance back follows in two
/// bytes, the low one first.
fn pack(text: &[u8]) -> Vec<u8> {
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut at = 0;
    while at < text.len() {
        let (length, from) = longest(text, at, &places);
        let later = longest(text, at + 1, &places).0;
        let taken = match length >= SHORTEST && later <= length {
            true => {
                put_plain(&mut plain, &mut packed);
                packed.push(u8::try_from(length - SHORTEST + 128).expect("at most LONGEST"));
                let distance = u16::try_from(at - from).expect("a short text");
                packed.extend(distance.to_le_bytes());
                length
            }
            false => {
                plain.push(text[at]);
                1
            }
        };
        for place in at..at + taken {
            if let Some(key) = text.get(place..place + SHORTEST) {
                places.entry(key).or_default().push(place);
            }
        }
        at += taken;
    }
    put_plain(&mut plain, &mut packed);
    packed
}

/// The longest repetition that begins at `at`, and the place where the same text stands before.
fn longest(text: &[u8], at: usize, places: &HashMap<&[u8], Vec<usize>>) -> (usize, usize) {
    let key = text.get(at..at + SHORTEST);
    let found = key.and_then(|key| places.get(key)).into_iter().flatten();
    let alike = |from: usize| {
        let pairs = text[from..].iter().zip(&text[at..]).take(LONGEST);
        pairs.take_while(|(a, b)| a == b).count()
    };
    found
        .map(|&from| (alike(from), from))
        .max()
        .unwrap_or((0, 0))
}

fn put_plain(plain: &mut Vec<u8>, packed: &mut Vec<u8>) {
    for run in plain.chunks(128) {
        packed.push(u8::try_from(run.len() - 1).expect("at most 128"));
        packed.extend(run);
    }
    plain.clear();
}
