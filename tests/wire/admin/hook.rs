//! Push hooks, from the first byte to the new container.

use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::haproxy::Haproxy;
use crate::support::program::Program;
use ring::hmac;
use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

const SECRET: &str = "0123456789abcdef0123";

fn start(crowd: &Crowd, more: &[(&str, &str)]) -> Program {
    let mut vars = vec![
        ("DOCKER_HOST", crowd.socket()),
        ("IMAGE_AUTO_REFRESH", "true"),
        ("IMAGEWATCH_INTERVAL", "1h"),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_SETTLE", "0s"),
        ("IMAGEWATCH_HOOK_SECRET", SECRET),
    ];
    vars.extend_from_slice(more);
    Program::start(&vars)
}

/// Sends these bytes, and returns the status and the last line of the answer.
fn send(program: &Program, request: &[u8]) -> (u16, Value) {
    send_to(&program.host(), request)
}

fn send_to(address: &str, request: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a timeout");
    // A refusal may come before the last byte is sent.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let answer = answer
        .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
        .unwrap_or(&answer);
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    let body = answer.lines().last().unwrap_or_default();
    (
        status.unwrap_or(0),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

fn post(program: &Program, target: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    send(program, request.as_bytes())
}

fn signed(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("X-Hub-Signature-256: sha256={hex}\r\n")
}

fn bearer() -> String {
    format!("Authorization: Bearer {SECRET}\r\n")
}

#[test]
fn a_push_is_followed_although_the_next_round_is_far() {
    let crowd = Crowd::new(4, |number| number % 2);
    let program = start(&crowd, &[]);
    program.await_line("watching 4 containers, 2 images; none is behind");
    let heads = crowd.asked().heads;
    crowd.publish([1]);
    let event = |tag: &str| json!({"action": "push", "target": {"repository": "acme/app1", "tag": tag}, "request": {"host": crowd.registry()}});
    let body = json!({"events": [event("latest")]}).to_string();
    let (status, answer) = post(&program, "/hooks/push", &bearer(), &body);
    let reference = format!("{}/acme/app1:latest", crowd.registry());
    assert_eq!((status, answer), (202, json!({"checked": [reference]})));
    // A thousand more, of a tag that nobody follows, cost nothing but this.
    for number in 0..100 {
        let body = json!({"events": [event(&number.to_string())]}).to_string();
        assert_eq!(post(&program, "/hooks/push", &bearer(), &body).0, 202);
    }
    eventually("both successors", || {
        (crowd.created().len() == 2).then_some(())
    });
    eventually("the refresh in the status", || {
        let (_, status) = program.ask("GET", "/admin/status");
        (status["refreshes"][0]["asked_by"] == "hook").then_some(())
    });
    let (_, status) = program.ask("GET", "/admin/status");
    assert!(status["watcher"]["last_hook"].is_string(), "{status}");
    assert_eq!(status["watcher"]["rounds"], 1);
    let found = crowd.asked().heads;
    assert!(found <= heads + 2, "{heads} {found}");
    let metrics = program.ask_text("GET", "/metrics").2;
    let line = "imagewatch_hooks_total{outcome=\"checked\",sender=\"distribution\"} 101";
    assert!(metrics.contains(line), "{metrics}");
    assert!(!program.log().contains(SECRET));
}

#[test]
fn a_push_waits_for_its_window_or_its_hold_like_any_other_update() {
    let crowd = Crowd::new(2, |number| number);
    // A window that was open an hour ago, and will be tomorrow.
    let hour = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|since| since.as_secs() / 3600 + 22);
    let hour = hour.expect("later") % 24;
    let window = format!("{hour:02}:00-{:02}:00", (hour + 1) % 24);
    crowd.label(0, "imagewatch.window", &window);
    let program = start(&crowd, &[("TZ", "UTC")]);
    program.await_line("watching 2 containers, 2 images; none is behind");
    let (status, answer) = program.ask("POST", "/admin/containers/stack0-app-1/hold?for=1d");
    assert_eq!(status, 200, "{answer}");
    crowd.publish([0, 1]);
    for number in 0..2 {
        let body = json!({"image": format!("{}/acme/app{number}", crowd.registry())}).to_string();
        let (status, answer) = post(&program, "/hooks/push", &signed(&body), &body);
        assert_eq!(
            (status, answer["checked"].as_array().map(Vec::len)),
            (202, Some(1))
        );
    }
    let status = eventually("both wait", || {
        let (_, status) = program.ask("GET", "/admin/status");
        let references = status["references"].as_array().expect("references");
        let waits = |one: &Value| one["state"] == "waiting";
        references.iter().all(waits).then_some(status)
    });
    assert!(program.has_said("for its window") && program.has_said("it is held by admin"));
    assert_eq!(status["held"][0]["container"], "stack0-app-1", "{status}");
    assert!(status["watcher"]["last_hook"].is_string(), "{status}");
    assert_eq!(status["watcher"]["rounds"], 1, "only the hook asked");
    assert_eq!(crowd.created().len(), 0, "{status}");
}

#[test]
fn of_no_interest_is_202_and_no_look_up() {
    let crowd = Crowd::new(2, |_| 0);
    let program = start(&crowd, &[]);
    program.await_line("watching 2 containers");
    let host = crowd.registry();
    let event = |action: &str, tag: &str| json!({"events": [{"action": action, "target": {"repository": "acme/app0", "tag": tag}, "request": {"host": host}}]});
    let mut bodies = vec![
        json!({"zen": "Keep it small.", "hook_id": 1}),
        json!({"image": "somewhere.example/else"}),
        event("push", ""),
        event("push", "sha256-00.sig"),
        json!([]),
        json!("x"),
    ];
    bodies.extend((0..100).map(|_| event("pull", "latest")));
    for body in bodies {
        let body = body.to_string();
        let answer = post(&program, "/hooks/push", &signed(&body), &body);
        assert_eq!(answer, (202, json!({"checked": []})), "{body}");
    }
    assert!(!program.has_said("push hook was refused"));
    let metrics = program.ask_text("GET", "/metrics").2;
    assert!(!metrics.contains("outcome=\"checked\",sender"), "{metrics}");
}

#[test]
fn bodies_come_in_every_shape_that_senders_use() {
    let crowd = Crowd::new(1, |_| 0);
    let program = start(&crowd, &[]);
    program.await_line("watching 1 container");
    let image = format!("{}/acme/app0", crowd.registry());
    let found = (202, json!({"checked": [format!("{image}:latest")]}));
    let body = json!({ "image": image }).to_string();
    let (all, half) = (body.len(), body.len() / 2);
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{half:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &body[..half],
        all - half,
        &body[half..]
    );
    let expected = format!("Expect: 100-continue\r\nContent-Length: {all}\r\n\r\n{body}");
    for rest in [chunked, expected] {
        let head = "POST /hooks/push HTTP/1.1\r\nHost: x\r\n";
        let request = format!("{head}{}{rest}", signed(&body));
        assert_eq!(send(&program, request.as_bytes()), found, "{request}");
    }
    let form = body
        .replace('%', "%25")
        .replace('{', "%7B")
        .replace('"', "%22")
        .replace('}', "%7D");
    let form = format!("payload={form}");
    let headers = format!(
        "Content-Type: application/x-www-form-urlencoded\r\n{}",
        signed(&form)
    );
    assert_eq!(post(&program, "/hooks/push", &headers, &form), found);
    let target = format!("/hooks/push?token={SECRET}");
    assert_eq!(post(&program, &target, "", &body), found);
    // As long as it may be.
    let long = json!({"image": image, "more": "x".repeat(200 * 1024)}).to_string();
    assert_eq!(post(&program, "/hooks/push", &signed(&long), &long), found);
}

#[test]
fn what_is_wrong_is_refused() {
    let crowd = Crowd::new(1, |_| 0);
    let program = start(&crowd, &[]);
    program.await_line("watching 1 container");
    let body = json!({"image": "nginx"}).to_string();
    let good = signed(&body);
    let wrong = "Authorization: Bearer 0123456789abcdef0124\r\n";
    for (headers, sent, expected) in [
        (String::new(), body.clone(), 401),
        (wrong.to_owned(), body.clone(), 401),
        // A wrong signature does not fall through to the next proof.
        (
            format!("X-Hub-Signature-256: sha256=00\r\n{}", bearer()),
            body.clone(),
            401,
        ),
        (good.clone(), format!("{body} "), 401),
        (good.clone(), body[..5].to_owned(), 401),
        (bearer(), "{".to_owned(), 400),
        (bearer(), "[".repeat(200_000), 400),
        (bearer(), "x".repeat(256 * 1024 + 1), 413),
        (format!("Expect: 200\r\n{}", bearer()), body.clone(), 417),
    ] {
        let (status, answer) = post(&program, "/hooks/push", &headers, &sent);
        assert_eq!(status, expected, "{headers} {sent:.40} {answer}");
    }
    for rest in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nx\r\n",
    ] {
        let request = format!("POST /hooks/push HTTP/1.1\r\nHost: x\r\n{}{rest}", bearer());
        let status = send(&program, request.as_bytes()).0;
        assert!([400, 411].contains(&status), "{status} {rest}");
    }
    assert_eq!(program.ask("GET", "/hooks/push").0, 405);
    let lines = program.log();
    let said = lines.matches("a push hook was refused").count();
    assert_eq!(said, 1, "not once for each");
}

#[test]
fn without_a_secret_or_a_watcher_there_are_no_hooks() {
    let crowd = Crowd::new(1, |_| 0);
    let body = json!({"image": "nginx"}).to_string();
    let program = start(&crowd, &[("IMAGEWATCH_HOOK_SECRET", "")]);
    assert_eq!(post(&program, "/hooks/push", &bearer(), &body).0, 404);
    let long = "x".repeat(20_000);
    assert_eq!(post(&program, "/hooks/push", &bearer(), &long).0, 413);
    let program = start(&crowd, &[("IMAGE_AUTO_REFRESH", "false")]);
    let (status, answer) = post(&program, "/hooks/push", &bearer(), &body);
    assert_eq!(status, 409, "{answer}");
}

/// The requests of the page, with their secrets filled in.
fn recipes() -> Vec<String> {
    let page = include_str!("../../../docs/hooks.md").replace("SECRET", SECRET);
    let blocks = page.split("```http\n").skip(1);
    let block = |text: &str| text.split("\n```").next().expect("an end").to_owned();
    blocks.map(block).collect()
}

#[test]
fn each_recipe_of_the_page_works() {
    let crowd = Crowd::new(1, |_| 0);
    let runtimes = [
        ("IMAGEWATCH_RUNTIMES", "app"),
        ("IMAGEWATCH_IMAGE", "127.0.0.1:9/acme/{runtime}:latest"),
    ];
    let program = start(&crowd, &runtimes);
    program.await_line("watching 1 container");
    let recipes = recipes();
    assert_eq!(recipes.len(), 11);
    for recipe in recipes {
        let (head, body) = recipe.split_once("\n\n").expect("a body");
        let signature = signed(body);
        let hex = signature.trim().rsplit('=').next().expect("a signature");
        let mut lines = head.lines();
        let target = lines.next().expect("a line").split(' ').nth(1);
        let headers: String = lines.map(|line| format!("{line}\r\n")).collect();
        let headers = headers.replace("HMAC", hex);
        let target = target.expect("a target");
        let answer = post(&program, target, &headers, body);
        let expected = json!({"checked": ["127.0.0.1:9/acme/app:latest"]});
        assert_eq!(answer, (202, expected), "{recipe}");
        // With another secret, or with another body, it is refused.
        let wrong = headers.replace(SECRET, &SECRET.replace('0', "1"));
        let wrong = wrong.replace(hex, &hex.replace(|c: char| c.is_ascii_digit(), "0"));
        let elsewhere = target.replace(SECRET, "0123456789abcdef");
        assert_eq!(post(&program, &elsewhere, &wrong, body).0, 401, "{recipe}");
        let asks = program.log();
        assert!(!asks.contains(SECRET), "{asks}");
    }
}

#[test]
fn slow_and_repeated_senders_hold_nobody_up() {
    let crowd = Crowd::new(1, |_| 0);
    let program = start(&crowd, &[]);
    program.await_line("watching 1 container");
    let heads = crowd.asked().heads;
    let image = format!("{}/acme/app0:latest", crowd.registry());
    let body = json!({ "image": image }).to_string();
    let (length, half) = (body.len(), &body[..body.len() / 2]);
    let head = format!("POST /hooks/push HTTP/1.1\r\nHost: x\r\n{}", signed(&body));
    let slow = [
        format!("{head}Content-Length: {length}\r\n\r\n{half}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{half}"),
        format!("{head}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"),
        head.clone(),
    ];
    let begun = std::time::Instant::now();
    let senders: Vec<TcpStream> = (0..60)
        .map(|number| {
            let mut stream = TcpStream::connect(program.host()).expect("it listens");
            let text = slow[number % slow.len()].as_bytes();
            stream.write_all(text).expect("it is read");
            stream
        })
        .collect();
    // The same call again and again is a single look-up.
    for _ in 0..50 {
        let answer = post(&program, "/hooks/push", &signed(&body), &body);
        assert_eq!(answer, (202, json!({"checked": [image]})));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    for mut stream in senders {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let answer = answer.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    eventually("one look-up", || {
        (crowd.asked().heads > heads).then_some(())
    });
    assert_eq!(crowd.asked().heads, heads + 1);
}

#[test]
fn the_proxy_of_the_document_passes_the_hooks_and_nothing_else() {
    if !Haproxy::is_here() {
        let words = b"left out: the proxy before the hooks, because there is no haproxy here\n";
        return drop(std::io::stderr().write_all(words));
    }
    let document = include_str!("../../../docs/hooks.md");
    let (_, recipe) = document.split_once("```text\nfrontend").expect("a recipe");
    let (recipe, _) = recipe.split_once("```").expect("an end");
    let crowd = Crowd::new(1, |_| 0);
    let program = start(&crowd, &[]);
    program.await_line("watching 1 container");
    let proxy = Haproxy::run(|address| {
        let tls = ":443 ssl crt /etc/ssl/private/hooks.example.org.pem";
        let recipe = format!("frontend{recipe}");
        assert!(recipe.contains(tls) && recipe.contains(" 127.0.0.1:8080\n"));
        let recipe = recipe.replace(tls, address);
        recipe.replace("127.0.0.1:8080", &program.host())
    });
    let ask = |method: &str, target: &str, headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        send_to(proxy.address(), request.as_bytes())
    };
    let image = format!("{}/acme/app0", crowd.registry());
    let body = json!({ "image": image }).to_string();
    let found = (202, json!({"checked": [format!("{image}:latest")]}));
    assert_eq!(ask("POST", "/hooks/push", &signed(&body), &body), found);
    let with_token = format!("/hooks/push?token={SECRET}");
    assert_eq!(ask("POST", &with_token, "", &body), found);
    assert_eq!(ask("POST", "/hooks/push", "", &body).0, 401);
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/admin/status"),
        ("POST", "/v1/update"),
        ("POST", "/admin/workspace-images/refresh"),
        ("GET", "/hooks/push"),
        ("POST", "/hooks/push/"),
        ("POST", "/hooks/push/../../v1/update"),
        ("POST", "/hooks/push%2f..%2f..%2fv1%2fupdate"),
        ("POST", "//hooks/push"),
        ("POST", "/v1/update?/hooks/push"),
        ("POST", "/v1/update#/hooks/push"),
        ("POST", "http://x/v1/update"),
    ] {
        let (status, answer) = ask(method, target, &signed(&body), &body);
        assert!(
            [400, 403].contains(&status),
            "{method} {target}: {status} {answer}"
        );
    }
    assert_eq!(crowd.created().len(), 0);
}
