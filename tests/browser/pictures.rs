//! Pictures of the page in each of its states, and an accessibility checker's word on each.
//!
//! Every run leaves the pictures in `target/tmp/pictures`. With `PAGE_PICTURES=1` they also replace those of
//! `docs/pictures`. Two machines draw letters differently, so pictures are not compared. Instead `made-from.txt` there
//! holds a digest of all that the pictures are made from.

use super::TOKEN;
use super::click;
use super::scene;
use crate::support::browser::Browser;
use crate::support::server::Answer;
use crate::support::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256;
use ring::digest::digest;
use serde_json::Value;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The most bytes of a picture.
const SIZE: usize = 40_000;
/// The release of axe-core that judges.
const AXE: &str = "4.10.3";

/// One picture: its name, the status it shows, the scheme, width and height, and the way to the state.
struct Picture {
    name: &'static str,
    status: Value,
    scheme: &'static str,
    width: u32,
    height: u32,
    /// What comes after the address.
    at: &'static str,
    /// The buttons to press, in their order.
    press: &'static [&'static str],
    /// What is there in the end.
    shows: &'static str,
}

/// The ten pictures of the documentation.
fn pictures() -> Vec<Picture> {
    let wide = |name, status, scheme, height, at, press, shows| Picture {
        name,
        status,
        scheme,
        width: 1120,
        height,
        at,
        press,
        shows,
    };
    let phone = |name, scheme, height, at, press, shows| Picture {
        width: 320,
        ..wide(name, scene::status(), scheme, height, at, press, shows)
    };
    let (light, dark) = ("light", "dark");
    vec![
        wide("page", scene::status(), light, 900, "", &[], "shop-api-1"),
        wide(
            "page-dark",
            scene::status(),
            dark,
            900,
            "",
            &[],
            "shop-api-1",
        ),
        wide(
            "details",
            scene::status(),
            light,
            880,
            "?q=shop-api#shop-api-1",
            &[],
            "--http2",
        ),
        wide(
            "failed-start",
            scene::status(),
            dark,
            960,
            "?q=shop-db#shop-db-1",
            &[],
            "FATAL",
        ),
        wide(
            "update",
            scene::status(),
            light,
            640,
            "?show=outdated",
            &["Update shop-api-1"],
            "and with it",
        ),
        wide(
            "roll-back",
            scene::status(),
            dark,
            640,
            "?q=web#shop-web-1",
            &["Roll shop-web-1 back"],
            "Make a backup",
        ),
        wide(
            "progress",
            scene::busy(),
            light,
            640,
            "?q=outdated",
            &[],
            "3 of 7 layers",
        ),
        wide(
            "engine-away",
            scene::lost(),
            dark,
            640,
            "",
            &[],
            "cannot be reached",
        ),
        wide(
            "first-start",
            scene::empty(),
            light,
            460,
            "",
            &[],
            "No container is watched yet",
        ),
        phone("phone", light, 1100, "?q=shop", &[], "shop-api-1"),
    ]
}

/// The page as it is in the sources now.
pub(super) fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page.html");
    std::fs::read_to_string(path).expect("the page")
}

/// A digest of all that the pictures are made from.
fn source() -> String {
    let mut all = page();
    for one in pictures() {
        let way = json!([
            one.name, one.scheme, one.width, one.height, one.at, one.press
        ]);
        all += &format!("{way}{}", one.status);
    }
    let digest = digest(&SHA256, (all + &scene::plan().to_string()).as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures")
}

#[test]
fn the_pictures_of_the_documentation_show_the_page_of_today() {
    if std::env::var_os("PAGE_PICTURES").is_some() {
        return;
    }
    let made_from = std::fs::read_to_string(folder().join("made-from.txt")).unwrap_or_default();
    assert_eq!(
        made_from.trim(),
        source(),
        "the pictures are out of date: run PAGE_PICTURES=1 cargo test --test tests browser::pictures, and look at them"
    );
    for one in pictures() {
        let picture = std::fs::read(folder().join(format!("{}.png", one.name)));
        let bytes = picture.expect(one.name).len();
        assert!(
            bytes <= SIZE,
            "{}: {bytes} bytes are more than {SIZE}",
            one.name
        );
    }
}

fn serve(status: Value) -> Server {
    Server::tcp(move |seen| {
        let path = seen.target.split('?').next().unwrap_or_default();
        let (kind, body) = match path {
            "/" => ("text/html; charset=utf-8", page()),
            "/admin/status" => ("application/json", status.to_string()),
            _ if path.contains("shop-web") => ("application/json", scene::no_plan().to_string()),
            _ => ("application/json", scene::plan().to_string()),
        };
        Answer::new(200, &[("Content-Type", kind), ("Date", scene::DATE)], body)
    })
}

#[test]
fn each_state_has_its_picture_and_nobody_is_shut_out() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let axe = axe();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    let mut folders = vec![kept];
    if std::env::var_os("PAGE_PICTURES").is_some() {
        folders.push(folder());
    }
    for folder in &folders {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    for one in pictures() {
        let server = serve(one.status.clone());
        dress(&mut browser, one.scheme, one.width, one.height);
        browser.open(&format!("http://{}/{}", server.host(), one.at));
        browser.await_text("imagewatch");
        for button in one.press {
            browser.until(&format!("[...document.querySelectorAll('button')].some((one) => one.ariaLabel === '{button}')"));
            click(&mut browser, button);
        }
        browser.await_text(one.shows);
        if let Some(axe) = &axe {
            judge(&mut browser, axe, one.name);
        }
        assert!(
            browser.complaints.is_empty(),
            "{}: {:#?}",
            one.name,
            browser.complaints
        );
        let picture = take(&mut browser);
        for folder in &folders {
            std::fs::write(folder.join(format!("{}.png", one.name)), &picture).expect("written");
        }
        assert!(
            picture.len() <= SIZE,
            "{}: {} bytes",
            one.name,
            picture.len()
        );
    }
    if let [_, docs] = folders.as_slice() {
        std::fs::write(docs.join("made-from.txt"), source() + "\n").expect("written");
    }
}

/// States that are in no picture, in each scheme and on a small phone.
#[test]
fn nobody_is_shut_out_on_a_phone_or_while_signing_in() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let Some(axe) = axe() else { return };
    for scheme in ["light", "dark"] {
        for width in [320, 1120] {
            dress(&mut browser, scheme, width, 900);
            let server = serve(scene::busy());
            browser.open(&format!("http://{}/#shop-db-1", server.host()));
            browser.await_text("FATAL");
            super::assert_fits(&mut browser, width);
            judge(&mut browser, &axe, "an open row");
            click(&mut browser, "Copy the name of the image");
            browser.await_text("Copied.");
            judge(&mut browser, &axe, "a message");
            let closed = Server::tcp(|seen| match seen.target.as_str() {
                "/" => Answer::new(200, &[("Content-Type", "text/html; charset=utf-8")], page()),
                _ => Answer::json(401, &json!({"error": "admin auth required"})),
            });
            browser.open(&format!("http://{}/", closed.host()));
            browser.await_text("Admin token");
            browser.write(TOKEN);
            browser.press("Enter");
            browser.await_text("This token was refused");
            super::assert_fits(&mut browser, width);
            judge(&mut browser, &axe, "signing in");
        }
    }
}

#[test]
fn a_search_and_a_filter_are_kept_in_the_address() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = serve(scene::status());
    browser.open(&format!("http://{}/?q=SHOP&show=outdated", server.host()));
    browser.await_text("shop-api-1");
    let rows = "[...document.querySelectorAll('button.name')].map((one) => one.innerText)";
    assert_eq!(browser.value(rows), json!(["shop-api-1"]));
    click(&mut browser, "Outdated 2");
    let shop = json!(["shop-db-1", "shop-api-1", "shop-cache-1", "shop-web-1"]);
    assert_eq!(browser.value(rows), shop, "problems are first");
    browser.value("document.getElementById('q').select()");
    browser.write("no such thing");
    browser.await_text("Nothing matches.");
    let address = browser.value("document.URL");
    assert!(
        address
            .as_str()
            .is_some_and(|url| url.ends_with("/?q=no+such+thing"))
    );
    click(&mut browser, "Show all");
    browser.await_text("grafana");
    // Problems come first within each group, and the group with the worst is first.
    let all = json!([
        "shop-db-1",
        "shop-api-1",
        "shop-cache-1",
        "shop-web-1",
        "blog",
        "grafana",
        "imagewatch",
        "legacy",
        "prod_front",
    ]);
    assert_eq!(browser.value(rows), all);
}

/// The rows stay where they are while a person is at them, whatever a new status says.
#[test]
fn nothing_moves_under_the_hand() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::tcp(move |seen| {
        let mut status = scene::status();
        if seen.target == "/admin/status"
            && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0
        {
            status["containers"][3]["state"] = json!("restarting");
            status["put_off"] = json!([{"host": "registry.example", "until": "2026-03-01T09:20:00Z", "reason": "429"}]);
        }
        match seen.target.as_str() {
            "/" => Answer::new(200, &[("Content-Type", "text/html; charset=utf-8")], page()),
            "/admin/status" => Answer::json(200, &status),
            _ => Answer::json(200, &scene::plan()),
        }
    });
    dress(&mut browser, "light", 1120, 500);
    browser.open(&format!("http://{}/", server.host()));
    browser.await_text("shop-web-1");
    let place = "document.activeElement.getBoundingClientRect().top";
    browser.value("[...document.querySelectorAll('button.name')].find((one) => one.innerText === 'shop-web-1').focus()");
    let rows = "[...document.querySelectorAll('button.name')].map((one) => one.innerText)";
    let (before, top) = (browser.value(rows), browser.value(place));
    browser.value(
        "dispatchEvent(new Event('focus')); document.dispatchEvent(new Event('visibilitychange'))",
    );
    browser.await_text("restarting");
    browser.await_text("registry.example");
    assert_eq!(browser.value(rows), before);
    let place = browser.value(place);
    let moved = place
        .as_f64()
        .zip(top.as_f64())
        .map(|(now, then)| (now - then).abs());
    assert!(moved.is_some_and(|moved| moved < 1.0), "{top} {place}");
    // The person has left.
    browser.value(
        "document.activeElement.blur(); document.dispatchEvent(new Event('visibilitychange'))",
    );
    browser.until(&format!("{rows}[1] === 'shop-web-1'"));
}

fn dress(browser: &mut Browser, scheme: &str, width: u32, height: u32) {
    let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
    browser.call("Emulation.setEmulatedMedia", json!({ "features": feature }));
    browser.call("Emulation.setScrollbarsHidden", json!({ "hidden": true }));
    let screen =
        json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
    browser.call("Emulation.setDeviceMetricsOverride", screen);
}

/// The checker's source, or nothing where npm is not there, and that on the standard error.
fn axe() -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let file = folder.join("node_modules/axe-core/axe.min.js");
    let version = folder.join(AXE);
    if !version.exists() {
        std::fs::create_dir_all(&folder).expect("a folder");
        let install = Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(&folder)
            .arg(format!("axe-core@{AXE}"))
            .output();
        let Ok(output) = install else {
            let words = b"left out: axe-core on the page (no npm here)\n";
            drop(std::io::stderr().write_all(words));
            return None;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "npm cannot install axe-core: {said}"
        );
        std::fs::write(&version, "").expect("written");
    }
    Some(std::fs::read_to_string(file).expect("axe-core"))
}

#[track_caller]
fn judge(browser: &mut Browser, axe: &str, place: &str) {
    browser.value(&format!("if (!window.axe) {{ {axe} }}"));
    let found = browser.value(
        "axe.run({ resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } }).then(({ violations }) =>
           violations.map(({ id, help, nodes }) => [id, help, ...nodes.map(({ html, failureSummary }) => html.slice(0, 300) + failureSummary)]))",
    );
    assert_eq!(found, json!([]), "{place}");
}

/// Takes a picture, as a PNG with a palette.
fn take(browser: &mut Browser) -> Vec<u8> {
    browser.value("document.activeElement.blur()");
    let shot = browser.call("Page.captureScreenshot", json!({"format": "png"}));
    let shot = shot["data"].as_str().expect("a picture");
    let small = browser.value(&PALETTE.replace("COLORS", COLORS).replace("PICTURE", shot));
    STANDARD
        .decode(small.as_str().expect("text"))
        .expect("base64")
}

/// How many colours a picture has.
const COLORS: &str = "32";
/// Draws a picture with the colours that matter most: many points have them, and no other one is near. Packs it (PNG, third edition: 11.2.1 IHDR, 11.2.2 PLTE).
const PALETTE: &str = r"
(async () => {
  const bytes = Uint8Array.from(atob('PICTURE'), (one) => one.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' })), { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height), counts = new Map();
  const at = (place) => data[place] << 16 | data[place + 1] << 8 | data[place + 2];
  for (let place = 0; place < data.length; place += 4) counts.set(at(place), (counts.get(at(place)) ?? 0) + 1);
  const palette = [[...counts].sort((a, b) => b[1] - a[1])[0][0]], known = new Map(), gaps = new Map();
  const far = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + ((a >> shift & 255) - (b >> shift & 255)) ** 2, 0);
  while (palette.length < Math.min(COLORS, counts.size)) {
    let best = 0, most = -1;
    for (const [color, count] of counts) {
      const gap = Math.min(gaps.get(color) ?? Infinity, far(color, palette.at(-1)));
      gaps.set(color, gap);
      if (gap * count > most) [best, most] = [color, gap * count];
    }
    palette.push(best);
  }
  const nearest = (color) => {
    if (!known.has(color)) known.set(color, palette.reduce((best, one, index) => far(one, color) < far(palette[best], color) ? index : best, 0));
    return known.get(color);
  };
  const lines = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) lines[y * (width + 1) + x + 1] = nearest(at((y * width + x) * 4));
  const packed = new Uint8Array(await new Response(new Blob([lines]).stream().pipeThrough(new CompressionStream('deflate'))).arrayBuffer());
  const crc = (bytes) => {
    let sum = ~0;
    for (const byte of bytes) { sum ^= byte; for (let bit = 0; bit < 8; bit++) sum = sum >>> 1 ^ (sum & 1 ? 0xedb88320 : 0); }
    return ~sum >>> 0;
  };
  const word = (number) => [number >>> 24, number >>> 16 & 255, number >>> 8 & 255, number & 255];
  const chunk = (kind, bytes) => {
    const body = [...kind].map((letter) => letter.charCodeAt(0)).concat([...bytes]);
    return [...word(bytes.length), ...body, ...word(crc(body))];
  };
  const png = [137, 80, 78, 71, 13, 10, 26, 10,
    ...chunk('IHDR', [...word(width), ...word(height), 8, 3, 0, 0, 0]),
    ...chunk('PLTE', palette.flatMap((color) => [color >> 16, color >> 8 & 255, color & 255])),
    ...chunk('IDAT', packed), ...chunk('IEND', [])];
  return btoa(png.map((byte) => String.fromCharCode(byte)).join(''));
})()";
