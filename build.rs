//! Makes the page small, and tells the linker of a static build where to put code that a quiet round does not run
//! (`.cargo/rare.ld`).

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

fn main() {
    println!("cargo:rerun-if-changed=.cargo/rare.ld");
    println!("cargo:rerun-if-changed={PAGE}");
    let folder = std::env::var("OUT_DIR").expect("cargo sets it");
    let page = std::fs::read_to_string(PAGE).expect("the page");
    std::fs::write(Path::new(&folder).join("page.html"), small(&page)).expect("the small page");
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/.cargo/rare.ld");
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
