//! The page at `/` in a real browser, on the real program; one test for each thing a person does.

mod pictures;
mod scene;

use crate::support::Folder;
use crate::support::browser::Browser;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Server;
use serde_json::Value;
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TOKEN: &str = "t0p-secret";
/// A name no Engine gives, but who says that it is one.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";
/// Half of one layer, and another one there already.
const HALF_WAY: &str = concat!(
    r#"{"status":"Pulling from acme/hermes","id":"latest"}"#,
    "\n",
    r#"{"status":"Already exists","progressDetail":{},"id":"aaaaaaaaaaaa"}"#,
    "\n",
    r#"{"status":"Download complete","progressDetail":{},"id":"bbbbbbbbbbbb"}"#,
    "\n",
    r#"{"status":"Extracting","progressDetail":{"current":0,"total":8},"id":"bbbbbbbbbbbb"}"#,
    "\n",
);
/// A colour's luminance and the contrast of each text with what is behind it (WCAG 2.2, 1.4.3):
/// the texts that fall short.
const FAINT: &str = r"
(() => {
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const part = (value) => (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!node.checkVisibility() || !walk.currentNode.data.trim()) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) faint.push(`${walk.currentNode.data}: ${contrast}`);
  }
  return faint;
})()";

/// An Engine, a registry and the program between them.
struct World {
    program: Program,
    engine: Server,
    _registry: Server,
    _folder: Folder,
}

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

/// The registry has `b…` of everything. `ws-1` runs `a…`, `web` and the rest run `b…`. The tag of `ws-1` means `a…`
/// here until it is pulled. A pull is answered with `pull`.
fn world(token: Option<&str>, pull: Answer) -> World {
    world_after(token, pull, json!([]))
}

/// The same after these events.
fn world_after(token: Option<&str>, pull: Answer, history: Value) -> World {
    let registry =
        Server::tcp(|_| Answer::new(200, &[("Docker-Content-Digest", &digest("b"))], ""));
    let host = registry.host();
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let names = host.clone();
    let is_pulled = AtomicBool::new(false);
    let engine = Server::unix(&socket, move |seen| {
        let summary = |id: &str, (name, image, runs, state): (&str, &str, &str, &str)| {
            json!({"Id": id.repeat(64), "Names": [format!("/{name}")], "State": state,
                   "Image": format!("{names}/acme/{image}:latest"), "ImageID": digest(runs),
                   "Labels": {"imagewatch.enable": "true"}})
        };
        let inspect = |id: &str, (name, image, runs, state): (&str, &str, &str, &str)| {
            json!({"Id": id.repeat(64), "Name": format!("/{name}"), "Image": digest(runs),
                   "State": {"Status": state, "Running": state == "running"},
                   "Config": {"Image": format!("{names}/acme/{image}:latest"),
                              "Labels": {"imagewatch.enable": "true"}},
                   "HostConfig": {}, "NetworkSettings": {}, "Mounts": []})
        };
        let containers = [
            ("1", ("ws-1", "hermes", "a", "running")),
            ("2", ("web", "web", "b", "running")),
            ("3", (HOSTILE, "web", "b", "exited")),
        ];
        let path = seen.target.trim_start_matches("/v1.41");
        match path {
            "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "/version" => Answer::json(
                200,
                &json!({"Version": "20.10.24", "Platform": {"Name": "Fake"}, "Arch": "amd64"}),
            ),
            "/containers/json?all=1" => {
                let list = containers.map(|(id, one)| summary(id, one));
                Answer::json(200, &json!(list))
            }
            _ if path.starts_with("/containers/") && path.ends_with("/json") => {
                let found = containers
                    .iter()
                    .find(|(id, _)| path.contains(&id.repeat(64)));
                match found {
                    Some((id, one)) => Answer::json(200, &inspect(id, *one)),
                    None => Answer::json(404, &json!({"message": "no such container"})),
                }
            }
            // A plan asks what is in its layer.
            _ if path.ends_with("/changes") => Answer::json(200, &Value::Null),
            _ if path.starts_with("/images/create?") => {
                is_pulled.store(true, Ordering::Relaxed);
                pull.clone()
            }
            _ if path.contains("/acme/hermes@") && !is_pulled.load(Ordering::Relaxed) => {
                Answer::json(404, &json!({"message": "no such image"}))
            }
            _ if path.starts_with("/images/") => {
                let is_old =
                    path.contains("/acme/hermes:latest") && !is_pulled.load(Ordering::Relaxed);
                let letter = if is_old || path.contains(&digest("a")) {
                    "a"
                } else {
                    "b"
                };
                let repository = if letter == "a" { "hermes" } else { "web" };
                let digests = [format!("{names}/acme/{repository}@{}", digest(letter))];
                Answer::json(
                    200,
                    &json!({"Id": digest(letter), "Created": "2026-01-02T03:04:05Z",
                            "RepoDigests": digests}),
                )
            }
            _ => Answer::json(500, &json!({"message": "not in this test"})),
        }
    });
    let socket = format!("unix://{}", socket.display());
    let state = json!({"version": 1, "history": history, "rejected": []});
    folder.write("imagewatch.json", state.to_string());
    let state = folder.path().to_str().expect("UTF-8");
    let image = format!("{host}/acme/{{runtime}}:latest");
    let mut vars = vec![
        ("DOCKER_HOST", socket.as_str()),
        ("IMAGEWATCH_STATE", state),
        ("IMAGEWATCH_IMAGE", &image),
        ("IMAGEWATCH_RUNTIMES", "hermes"),
        ("IMAGE_AUTO_REFRESH", "true"),
    ];
    vars.extend(token.map(|token| ("ADMIN_TOKEN", token)));
    let program = Program::start(&vars);
    program.await_line("/acme/web:latest: seeded with");
    World {
        program,
        engine,
        _registry: registry,
        _folder: folder,
    }
}

fn pulled() -> Answer {
    Answer::new(
        200,
        &[],
        format!("{HALF_WAY}{{\"status\":\"Pull complete\",\"id\":\"bbbbbbbbbbbb\"}}\n"),
    )
}

impl World {
    fn url(&self) -> String {
        format!("http://{}/", self.program.host())
    }
}

/// Nothing was asked of anybody else, nothing was put where others may read it, and the browser has
/// nothing to complain of but `expected`.
#[track_caller]
fn assert_clean(browser: &mut Browser, world: &World, expected: &[&str]) {
    let url = world.url();
    for request in &browser.requests {
        let asked = request["url"].as_str().expect("a URL");
        assert!(asked.starts_with(&url) || asked == "data:,", "{asked}");
        assert!(!asked.contains(TOKEN), "{asked}");
    }
    let complaints = browser.complaints.iter();
    let unexpected: Vec<&String> = complaints
        .filter(|one| !expected.iter().any(|text| one.contains(text)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let kept = browser.value("[location.href, document.cookie, localStorage.length]");
    assert_eq!(kept, json!([url, "", 0]));
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it_in_the_tab() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let world = world(Some(TOKEN), pulled());
    browser.open(&world.url());
    browser.await_text("Admin token");
    assert!(!browser.text().contains("hermes"));
    // It has the focus already: no mouse is needed.
    browser.write("wrong");
    browser.press("Enter");
    browser.await_text("This token was refused: invalid admin auth token.");
    browser.write(TOKEN);
    browser.press("Enter");
    browser.await_text("ws-1");
    assert!(!browser.text().contains("refused"));
    let kept = "sessionStorage.getItem('imagewatch.token')";
    assert_eq!(browser.value(kept), json!(TOKEN));
    // A reload asks nobody again; signing out does.
    browser.open(&world.url());
    browser.await_text("ws-1");
    browser.value("document.getElementById('out').click()");
    browser.await_text("Admin token");
    assert_eq!(browser.value(kept), Value::Null);
    assert_clean(&mut browser, &world, &["401 (Unauthorized)"]);
}

#[test]
fn the_page_shows_what_the_status_says() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let world = world(None, pulled());
    browser.open(&world.url());
    browser.await_text("ws-1");
    let (_, status) = world.program.ask("GET", "/admin/status");
    let (a, b) = ("sha256:aaaaaaaaaaaa", "sha256:bbbbbbbbbbbb");
    let rows = browser.value(
        "[...document.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.innerText.replace(/\\s+/g, ' ')))",
    );
    let listed = status["containers"].as_array().expect("containers");
    let image = |name: &str| {
        let mut listed = listed.iter();
        let found = listed.find(|one| one["name"] == name).expect("it");
        found["image"].as_str().expect("a reference").to_owned()
    };
    let ago = rows[0][3].clone();
    assert!(ago.as_str().is_some_and(|ago| ago.ends_with(" days ago")));
    // What is behind is first, and what is not followed is last.
    let moved = format!("{a} → {b}");
    let row = |name: &str, state: &str, version: &str, decisions: &str| {
        let head = format!("{name} {}", image(name));
        json!([head, state, version, ago, decisions])
    };
    assert_eq!(
        rows,
        json!([
            row("ws-1", "outdated", &moved, "Update Skip Hold"),
            row("web", "up to date", b, ""),
            row(HOSTILE, "exited", b, ""),
        ])
    );
    assert_eq!(browser.value("document.images.length"), json!(0));
    browser.await_text("1 outdated.");
    assert_clean(&mut browser, &world, &[]);
}

#[test]
fn a_refresh_is_shown_while_it_goes_on() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let chunk = format!("{:x}\r\n{HALF_WAY}\r\n", HALF_WAY.len());
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let world = world(
        Some(TOKEN),
        Answer::RawThenSilence(format!("{head}{chunk}").into_bytes()),
    );
    browser.open(&world.url());
    browser.await_text("Admin token");
    browser.write(TOKEN);
    browser.press("Enter");
    browser.await_text("ws-1");
    // By keyboard alone: the buttons of the head, the search, the filters, the name, and then the first decision.
    let focused = "document.activeElement.ariaLabel ?? document.activeElement.innerText";
    let tab_to = |browser: &mut Browser, name: &str| {
        for _ in 0..12 {
            if browser.value(focused) == json!(name) {
                break;
            }
            browser.press("Tab");
        }
        assert_eq!(browser.value(focused), json!(name));
        let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, json!("solid"));
    };
    tab_to(&mut browser, "Update ws-1");
    browser.press("Enter");
    browser.await_text("Update ws-1?");
    browser.await_text("ws-1 stops for a moment.");
    // Enter alone changes nothing.
    assert_eq!(browser.value(focused), json!("Cancel"));
    tab_to(&mut browser, "Update");
    browser.press("Enter");
    browser.await_text("Update of ws-1: asked for.");
    browser.await_text("pulling, 0 of 1 layer");
    browser.until("document.querySelector('progress').value === 50");
    let busy = "document.querySelector('[data-do=update]').ariaDisabled";
    assert_eq!(browser.value(busy), json!("true"));
    // Somebody else sees it too, and a reload does not lose it.
    let (_, status) = world.program.ask("GET", "/admin/status");
    let run = &status["under_way"];
    assert_eq!(run["asked_by"], "admin");
    assert_eq!(run["pulls"][0]["percent"], 50);
    assert_eq!(run["swaps"], json!([]));
    // The status goes on being read, and nobody's place is lost by that.
    let reads = |browser: &mut Browser| {
        let urls = browser
            .requests
            .iter()
            .filter_map(|one| one["url"].as_str());
        urls.filter(|url| url.ends_with("/admin/status")).count()
    };
    let before = reads(&mut browser);
    while reads(&mut browser) < before + 2 {
        browser.until("true");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(browser.value(focused), json!("Update ws-1"));
    let posts = browser
        .requests
        .iter()
        .filter(|one| one["method"] == "POST");
    let posts: Vec<&str> = posts.filter_map(|one| one["url"].as_str()).collect();
    let url = format!(
        "{}admin/containers/ws-1/update?digest={}&wait=false",
        world.url(),
        digest("b")
    );
    assert_eq!(posts, [url]);
    browser.open(&world.url());
    browser.await_text("pulling, 0 of 1 layer");
    assert_clean(&mut browser, &world, &["401 (Unauthorized)"]);
}

#[test]
fn a_refresh_ends_with_its_report() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let world = world(None, pulled());
    browser.open(&world.url());
    browser.await_text("ws-1");
    // This Engine lets nobody create anything, so nobody is renewed, and the reason is said.
    click(&mut browser, "Update ws-1");
    click(&mut browser, "Update");
    browser.await_text("Done: skipped: ws-1 (");
    browser.await_text("not in this test");
    click(&mut browser, "Close this message");
    click(&mut browser, "Refresh all runtimes");
    browser.await_text("Refresh of all runtimes: asked for.");
    browser.await_text("Done: skipped: ws-1 (");
    click(&mut browser, "Close this message");
    // What failed is a problem now, so there is nothing that `Update all` would be for.
    browser.await_text("1 problem.");
    world.program.ask("POST", "/admin/update");
    let (_, status) = world.program.ask("GET", "/admin/status");
    let count = status["refreshes"].as_array().map_or(0, Vec::len);
    browser.until(&format!(
        "document.querySelectorAll('#lately li').length === {count}"
    ));
    assert_clean(&mut browser, &world, &[]);
}

/// Clicks on the only button of this name.
#[track_caller]
fn click(browser: &mut Browser, name: &str) {
    let name = json!(name);
    let found = browser.value(&format!(
        "(() => {{
           const all = [...document.querySelectorAll('button')].filter((one) => one.checkVisibility());
           const found = all.filter((one) => (one.ariaLabel ?? one.innerText) === {name});
           found.forEach((one) => one.click());
           return found.length;
         }})()"
    ));
    assert_eq!(found, json!(1), "{name} in {}", browser.text());
}

#[test]
fn an_owner_decides_on_the_page() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let at = "2026-01-01T00:00:00Z";
    let update = json!({"first": at, "last": at, "times": 1, "outcome": "recreated", "container": "ws-1",
                        "image": "hermes", "old": digest("c"), "new": digest("a")});
    let world = world_after(None, pulled(), json!([update]));
    let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true});
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    browser.open(&world.url());
    browser.await_text("ws-1");
    let decisions = |key: &str, of: &str| {
        let (_, status) = world.program.ask("GET", "/admin/status");
        let list = status[key].as_array().expect("a list").iter();
        list.map(|one| one[of].clone()).collect::<Vec<_>>()
    };
    let held = |number: usize| {
        let texts = "[...document.querySelectorAll('#table small')].map((one) => one.innerText)";
        format!("{texts}.filter((text) => text.startsWith('held')).length === {number}")
    };

    click(&mut browser, "ws-1");
    browser.await_text("Its settings are compared once it is pulled.");
    assert_readable(&mut browser);
    assert_fits(&mut browser, 390);
    click(&mut browser, "Hold ws-1 for 7 days");
    browser.await_text("ws-1 is held for 7 days.");
    browser.await_text("held, ends in 6 days");
    assert_eq!(decisions("held", "container"), ["ws-1"]);
    let names = "[...document.querySelectorAll('button')].map((one) => one.ariaLabel ?? '').join()";
    let offered = browser.value(names).to_string();
    assert!(!offered.contains("Update ws-1") && !offered.contains("Roll ws-1 back"));
    click(&mut browser, "Release ws-1");
    browser.await_text("ws-1 is not held.");
    browser.until(&held(0));
    click(&mut browser, HOSTILE);
    click(&mut browser, &format!("Hold {HOSTILE} for ever"));
    browser.await_text(&format!("{HOSTILE} is held for ever."));
    assert_eq!(decisions("held", "container"), [HOSTILE]);

    click(&mut browser, "Skip the newest image of ws-1");
    browser.await_text("ws-1: sha256:bbbbbbbbbbbb is skipped.");
    browser.await_text("Do not skip");
    assert_eq!(decisions("skipped", "digest"), [digest("b")]);
    click(&mut browser, "Do not skip the image of ws-1");
    browser.await_text("ws-1: sha256:bbbbbbbbbbbb is not skipped.");

    // Somebody else holds it, after this page has offered the roll-back.
    click(&mut browser, "Roll ws-1 back");
    browser.await_text("ws-1: from sha256:aaaaaaaaaaaa to sha256:cccccccccccc.");
    browser.await_text("Make a backup first: a database");
    // Enter alone changes nothing.
    let focused = browser.value("document.activeElement.innerText");
    assert_eq!(focused, json!("Cancel"));
    assert_readable(&mut browser);
    assert_fits(&mut browser, 390);
    world.program.ask("POST", "/admin/containers/ws-1/hold");
    click(&mut browser, "Roll back");
    browser
        .await_text("Failed: imagewatch answers: ws-1 is held by admin (DELETE its hold first).");
    browser.until(&held(2));
    click(&mut browser, "Release ws-1");
    browser.until(&held(1));

    click(&mut browser, "Update ws-1");
    click(&mut browser, "Update");
    browser.await_text("Done: skipped: ws-1 (");
    let posts = browser
        .requests
        .iter()
        .filter(|one| one["method"] == "POST");
    let last = posts.filter_map(|one| one["url"].as_str()).next_back();
    let update = format!(
        "admin/containers/ws-1/update?digest={}&wait=false",
        digest("b")
    );
    assert_eq!(last, Some(&*(world.url() + &update)));
    assert_eq!(browser.value("document.images.length"), json!(0));
    assert_clean(&mut browser, &world, &["409 (Conflict)"]);
}

/// What an Engine would have to go through a lot for: a stand-in for the program says it.
#[test]
fn the_worst_is_said_as_well() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (a, b) = (digest("a"), digest("b"));
    let status = json!({
        "version": "1.2.3", "engine": {"reachable": true, "name": "Docker", "version": "29"},
        "under_way": {"asked_by": "watcher", "pulls": [], "swaps": [{"container": "ws-3", "phase": "undo"}, {"container": "odd", "phase": "new"}]},
        "watcher": {"enabled": true, "last_round": "2026-01-01T00:00:00Z"},
        "references": [{"reference": HOSTILE, "name": "hermes", "registry_digest": b,
                        "state": "rejected", "last_error": HOSTILE}],
        "put_off": [{"host": HOSTILE, "until": "2036-01-01T00:00:00Z", "reason": "429"}],
        "containers": [
            {"name": "ws-1", "image": HOSTILE, "state": "running", "image_digests": [a]},
            {"name": "ws-3", "image": HOSTILE, "state": "running", "image_digests": [a], "group": HOSTILE},
            {"name": "ws-4", "image": HOSTILE, "state": "2/3", "image_digests": [b], "service": true},
            {"name": "old", "image": a, "state": HOSTILE, "left_alone": "made from an id"},
            {"name": "odd", "image": a, "state": HOSTILE, "left_alone": "made from an id"},
        ],
        "history": [
            {"last": "2026-01-01T00:00:00Z", "times": 1, "outcome": "recreated", "container": "ws-2",
             "image": HOSTILE, "old": a, "new": b, "downtime_seconds": 1.25},
            {"last": "2026-01-02T00:00:00Z", "times": 3, "outcome": "rolled_back",
             "container": "ws-1", "image": HOSTILE, "reason": HOSTILE},
        ],
        "refreshes": [],
    });
    let report = json!({"pulled": [], "failed": [], "recreated": [], "unchanged": [],
                        "rolled_back": [{"name": "ws-1", "reason": HOSTILE}], "skipped": []});
    let server = stand_in(status, report);
    browser.open(&format!("http://{}/", server.host()));
    for text in [
        "3 problems.",
        "2/3 tasks",
        "putting the old container back, begun by a round",
        &format!("{HOSTILE} is left alone; to be asked again in "),
        "left alone\nmade from an id",
        &format!("rejected\n{HOSTILE}"),
        &format!("rolled back ws-1: {HOSTILE}"),
        ", 3 times, ",
        "sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb, down for 1.3 s",
    ] {
        browser.await_text(text);
    }
    let first = "document.querySelector('#lately li').innerText.startsWith('rolled back')";
    assert_eq!(browser.value(first), json!(true), "the newest is first");
    click(&mut browser, "Try ws-1 again anyway");
    browser.await_text(&format!("This image did not come up before: {HOSTILE}."));
    assert_readable(&mut browser);
    click(&mut browser, "Try again");
    browser.await_text(&format!("Done: rolled back: ws-1 ({HOSTILE})."));
    let posted = server
        .lines()
        .into_iter()
        .find(|line| line.starts_with("POST "));
    let update = format!("POST /admin/containers/ws-1/update?digest={b}&force=true&wait=false");
    assert_eq!(posted, Some(update));
    assert_eq!(browser.value("document.images.length"), json!(0));
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    assert_readable(&mut browser);
}

#[test]
fn trouble_is_said_in_words() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let mut world = world(None, pulled());
    browser.open(&world.url());
    browser.await_text("ws-1");
    drop(std::mem::replace(
        &mut world.engine,
        Server::tcp(|_| Answer::Close),
    ));
    browser.await_text(
        "The Engine cannot be reached, so what runs now is not known. Before: 1 outdated.",
    );
    world.program.kill();
    browser.await_text("imagewatch does not answer. Is it running? What is shown may be old.");
    let summary = "document.getElementById('summary').innerText";
    assert_eq!(
        browser.value(summary),
        json!("How things stand now is not known.")
    );
    assert_clean(&mut browser, &world, &["ERR_CONNECTION"]);
}

/// A stand-in for the program: it says this status, and ends each job at once with this report.
fn stand_in(status: Value, report: Value) -> Server {
    Server::tcp(move |seen| match seen.line().as_str() {
        "GET /" => Answer::new(
            200,
            &[("Content-Type", "text/html; charset=utf-8")],
            pictures::page(),
        ),
        "GET /admin/status" => Answer::json(200, &status),
        "GET /admin/jobs/1" => Answer::json(200, &json!({"state": "done", "report": report})),
        line if line.ends_with("/plan") => Answer::json(200, &scene::plan()),
        _ => Answer::json(202, &json!({"job": "1"})),
    })
}

#[test]
fn the_headline_says_what_is_not_known() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let here = json!({"reachable": true, "name": "Docker", "version": "29"});
    let gone = json!({"reachable": false, "error": "no socket"});
    let unlisted = json!({"reachable": true, "error": "403 Forbidden"});
    let on = json!({"enabled": true, "last_round": "2026-01-01T00:00:00Z"});
    let new = json!({"enabled": true});
    let off = json!({"enabled": false});
    let (well, failed) = (Value::Null, json!("503"));
    for (engine, watcher, error, expected) in [
        (&here, &on, &well, "Nothing is known to be outdated."),
        (&here, &new, &well, "Nothing has been looked up yet."),
        (
            &here,
            &off,
            &well,
            "The watcher is off: images are refreshed when asked for.",
        ),
        (&here, &on, &failed, "1 problem."),
        (
            &gone,
            &on,
            &well,
            "The Engine cannot be reached, so what runs now is not known.",
        ),
        (
            &gone,
            &off,
            &well,
            "The Engine cannot be reached, so what runs now is not known.",
        ),
        (
            &unlisted,
            &on,
            &well,
            "The containers cannot be listed, so what runs now is not known.",
        ),
        (
            &gone,
            &on,
            &failed,
            "The Engine cannot be reached, so what runs now is not known. Before: 1 problem.",
        ),
    ] {
        let status = json!({
            "version": "1.2.3", "engine": engine, "watcher": watcher, "containers": [],
            "references": [{"reference": "a.b/c:d", "name": "a.b/c:d", "state": "current", "last_error": error}],
            "history": [], "refreshes": [],
        });
        let server = stand_in(status, Value::Null);
        browser.open(&format!("http://{}/", server.host()));
        browser.await_text("a.b/c:d");
        let summary = browser.value("document.getElementById('summary').innerText");
        assert_eq!(summary, json!(expected));
        let is_well = expected.starts_with("Nothing") || expected.starts_with("The watcher");
        let title = if is_well {
            "imagewatch"
        } else {
            "(!) imagewatch"
        };
        assert_eq!(browser.value("document.title"), json!(title), "{expected}");
        let about = browser.value("document.getElementById('about').innerText");
        let counts = about.as_str().expect("a text").contains("0 containers");
        assert_eq!(counts, engine.get("error").is_none(), "{about}");
    }
}

/// Names, references, reasons and last words as long as they come, with nowhere to break them.
fn long_status() -> (Value, Value) {
    let long = "x-y_z.".repeat(40);
    let (a, b) = (digest("a"), digest("b"));
    let reference = format!("registry.{long}:5000/{long}/{long}:{long}");
    let reason = format!("{long} {long};\nit said:\nline one {long}\n  line two");
    let status = json!({
        "version": long, "engine": {"reachable": true, "name": long, "version": long, "error": long},
        "watcher": {"enabled": true, "last_round": "2026-01-01T00:00:00Z"},
        "references": [
            {"reference": reference, "name": "hermes", "registry_digest": b, "state": "rejected", "last_error": reason,
             "version": {"running": long, "registry": long, "source": format!("https://{long}")}, "newer": long},
            {"reference": long, "name": long, "registry_digest": format!("sha512:{}", "b".repeat(128)), "state": long},
        ],
        "put_off": [{"host": long, "until": "2036-01-01T00:00:00Z", "reason": long}],
        "containers": [
            {"name": long, "image": reference, "state": "running", "image_digests": [a], "image_created": "2020-01-01T00:00:00Z"},
            {"name": "web", "image": long, "state": long, "image_digests": [long], "left_alone": long, "version": long},
        ],
        "history": [{"last": "2026-01-02T00:00:00Z", "times": 3, "outcome": "rolled_back",
                     "container": long, "image": reference, "old": a, "new": b, "reason": reason}],
        "refreshes": [],
        "under_way": {"asked_by": long, "pulls": [{"image": long, "layers": 3, "ready": 1, "percent": 40}], "swaps": []},
    });
    let report = json!({"pulled": [], "failed": [long], "recreated": [long], "unchanged": [],
                        "rolled_back": [{"name": long, "reason": reason}], "skipped": []});
    (status, report)
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (status, report) = long_status();
    let long = status["containers"][0]["name"].as_str().expect("a name");
    let again = format!("Try {long} again anyway");
    let long = long.to_owned();
    let server = stand_in(status, report);
    for width in [320, 390, 768, 1100] {
        let screen =
            json!({"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 800});
        browser.call("Emulation.setDeviceMetricsOverride", screen);
        browser.open(&format!("http://{}/", server.host()));
        browser.await_text("rejected");
        click(&mut browser, &long);
        browser.await_text("line two");
        browser.await_text("Config.Env.VERSION");
        click(&mut browser, &again);
        browser.await_text("This image did not come up before");
        assert_fits(&mut browser, width);
        click(&mut browser, "Try again");
        browser.await_text("Done: ");
        assert_fits(&mut browser, width);
    }
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn last_words_are_shown_once_and_as_they_were_said() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let (status, report) = long_status();
    let long = status["containers"][0]["name"].as_str().expect("a name");
    let long = long.to_owned();
    let server = stand_in(status, report);
    browser.open(&format!("http://{}/", server.host()));
    browser.await_text("rejected");
    click(&mut browser, &long);
    browser.await_text("line two");
    let block = browser.value("document.querySelector('#table pre').innerText");
    let block = block.as_str().expect("a text");
    assert!(
        block.starts_with("it said:\nline one ") && block.ends_with("\n  line two"),
        "{block}"
    );
    assert_eq!(browser.text().matches("line one").count(), 1);
}

#[test]
fn versions_are_shown_and_only_addresses_of_the_web_are_links() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let reference = |name: &str, source: &str| {
        json!({"reference": name, "name": name, "state": "outdated", "registry_digest": digest("b"), "newer": "2.0.0",
               "version": {"running": "1.3.9", "registry": HOSTILE, "source": source}})
    };
    let event = |source: &str| {
        json!({"last": "2026-01-01T00:00:00Z", "times": 1, "outcome": "newer", "image": "a.b/c:d",
               "old_version": "1.3.9", "new_version": "2.0.0", "source": source})
    };
    let (good, bad) = ("https://github.com/acme/api", "javascript:alert(1)");
    let status = json!({
        "version": "1.2.3", "engine": {"reachable": true, "name": "Docker", "version": "29"},
        "watcher": {"enabled": true},
        "references": [reference("a.b/c:d", good), reference("a.b/c:e", bad)],
        "containers": [{"name": "web", "image": "a.b/c:d", "state": "running", "version": "1.3.9"}],
        "history": [event(good), event(bad)], "refreshes": [],
    });
    let server = stand_in(status, Value::Null);
    browser.open(&format!("http://{}/", server.host()));
    browser.await_text("newer version");
    let text = browser.text();
    for expected in ["2.0.0 exists", HOSTILE, "1.3.9 → 2.0.0"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let links = browser.value("[...document.querySelectorAll('a')].map((a) => [a.href, a.rel])");
    let link = json!([good, "noopener noreferrer"]);
    assert_eq!(links, json!([link, link]));
    assert_eq!(
        browser.value("document.querySelectorAll('img').length"),
        json!(0)
    );
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// Nothing sticks out. A phone would make the page as wide as what does, so `innerWidth` does not tell.
#[track_caller]
fn assert_fits(browser: &mut Browser, width: u32) {
    let wide = format!(
        "[document.documentElement, ...document.querySelectorAll('body *')]
         .filter((one) => !one.closest('thead, script') && Math.max(one.scrollWidth, one.getBoundingClientRect().right) > {width})
         .map((one) => `${{one.tagName}} ${{one.id}} ${{one.scrollWidth}} ${{one.innerText.slice(0, 60)}}`)"
    );
    assert_eq!(browser.value(&wide), json!([]), "on {width} px");
    let page = browser.value("document.documentElement.scrollWidth");
    assert!(
        page.as_u64().is_some_and(|page| page <= u64::from(width)),
        "{page} on {width} px"
    );
}

#[test]
fn the_page_is_for_everybody() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let world = world(Some(TOKEN), pulled());
    for scheme in ["light", "dark"] {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.call("Emulation.setEmulatedMedia", json!({ "features": feature }));
        for width in [320, 390, 1100] {
            let screen = json!({"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": width < 500});
            browser.call("Emulation.setDeviceMetricsOverride", screen);
            browser.open(&world.url());
            browser.value("document.getElementById('out').click()");
            browser.await_text("Admin token");
            assert_readable(&mut browser);
            assert_fits(&mut browser, width);
            browser.write(TOKEN);
            browser.press("Enter");
            browser.await_text("ws-1");
            click(&mut browser, "ws-1");
            browser.await_text("Looked up");
            click(&mut browser, "Refresh all runtimes");
            browser.await_text("Done: ");
            assert_readable(&mut browser);
            assert_fits(&mut browser, width);
            let dark = browser.value("matchMedia('(prefers-color-scheme: dark)').matches");
            assert_eq!(dark, json!(scheme == "dark"));
        }
    }
    assert_clean(&mut browser, &world, &["401 (Unauthorized)"]);
}

/// Is no fainter than people can read, and has a name for whatever can be used.
#[track_caller]
fn assert_readable(browser: &mut Browser) {
    assert_eq!(browser.value(FAINT), json!([]));
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes").iter();
    let mut roles = Vec::new();
    for node in nodes.filter(|node| node["ignored"] == json!(false)) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if [
            "button",
            "textbox",
            "progressbar",
            "table",
            "columnheader",
            "rowheader",
            "dialog",
        ]
        .contains(&role)
        {
            assert!(
                node["name"]["value"]
                    .as_str()
                    .is_some_and(|name| !name.is_empty()),
                "{node}"
            );
        }
        roles.push(role.to_owned());
    }
    let is_there = |role: &str| roles.iter().any(|one| one == role);
    assert!(
        is_there("textbox") || is_there("dialog") || (is_there("rowheader") && is_there("cell")),
        "{roles:?}"
    );
}
