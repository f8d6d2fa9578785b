//! Messages, to receivers good and bad.

use crate::support::Folder;
use crate::support::connect_proxy;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::tls::Authority;
use imagewatch::http::Proxies;
use imagewatch::http::certificates;
use imagewatch::journal::Event;
use imagewatch::journal::Outcome;
use imagewatch::journal::Step;
use imagewatch::notify::DAY;
use imagewatch::notify::Host;
use imagewatch::notify::Notifier;
use imagewatch::notify::Receiver;
use imagewatch::notify::Timing;
use serde_json::Value;
use serde_json::json;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Three more tries, at once.
const AT_ONCE: Timing = Timing {
    pauses: &[Duration::from_millis(1); 3],
    period: DAY,
};
const GRACE: Duration = Duration::from_secs(30);

fn receivers(urls: &[&str]) -> Vec<Receiver> {
    let parse = |url: &&str| Receiver::parse(url).expect("a receiver");
    urls.iter().flat_map(parse).collect()
}

fn notifier(urls: &[&str]) -> Notifier {
    timed(urls, AT_ONCE)
}

fn timed(urls: &[&str], timing: Timing) -> Notifier {
    let receivers = receivers(urls);
    let started = Notifier::start(&receivers, None, &Proxies::default(), timing, host());
    started.expect("threads")
}

fn host() -> Host {
    Host::new(Some("nas".to_owned()), || None)
}

fn behind(container: &str) -> Step {
    let newest = format!("sha256:{}", "b".repeat(64));
    Step::Outcome(Event::of(Outcome::Behind, container, "a.b/c:d").to(&newest))
}

fn updated() -> Step {
    let [old, new] = ["a", "b"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let event = Event::of(Outcome::Recreated, "web", "a.b/c:d").from_to(&old, &new);
    Step::Outcome(event.after(Some(Duration::from_millis(1200))))
}

const BEHIND: &str = "a newer image is out for web on nas";
const BEHIND_TEXT: &str =
    "a.b/c:d: sha256:bbbbbbbbbbbb is out. The update is left to you: `imagewatch refresh web`.";

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).expect("JSON")
}

/// Answers 200 to everything at this path, and wants nothing else.
fn listener(path: &'static str) -> Server {
    Server::tcp(move |seen| {
        assert_eq!(seen.line(), format!("POST {path}"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        Answer::new(200, &[], "")
    })
}

#[test]
fn a_plain_url_gets_the_event_with_the_login_in_it() {
    let server = listener("/hook?key=1");
    let url = format!("http://me:pass@{}/hook?key=1", server.host());
    let notifier = notifier(&[&url]);
    notifier.notify(&Step::Alive);
    notifier.notify(&updated());
    notifier.finish(GRACE);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), Some("Basic bWU6cGFzcw=="));
    let event = body(&seen[0]);
    assert_eq!(event["event"], "updated");
    assert_eq!(event["container"], "web");
    assert_eq!(event["level"], "success");
    assert_eq!(event["host"], "nas");
    assert_eq!(event["title"], "web updated on nas");
    assert_eq!(
        event["text"],
        "web updated on nas\na.b/c:d: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb, down for 1.2 s."
    );
}

#[test]
fn ntfy_and_gotify_are_told_in_their_own_words() {
    let (ntfy, gotify) = (listener("/"), listener("/sub/message"));
    let notifier = notifier(&[
        &format!("ntfy://:tk_1@{}/alerts?scheme=http&tags=whale", ntfy.host()),
        &format!(
            "gotify://{}/sub/Atoken?disabletls=yes&priority=3",
            gotify.host()
        ),
    ]);
    notifier.notify(&behind("web"));
    notifier.finish(GRACE);
    let seen = ntfy.seen();
    assert_eq!(seen[0].header("authorization"), Some("Basic OnRrXzE="));
    assert_eq!(
        body(&seen[0]),
        json!({"topic": "alerts", "title": BEHIND, "message": BEHIND_TEXT, "tags": ["whale"]})
    );
    let seen = gotify.seen();
    assert_eq!(seen[0].header("x-gotify-key"), Some("Atoken"));
    assert_eq!(
        body(&seen[0]),
        json!({"title": BEHIND, "message": BEHIND_TEXT, "priority": 3})
    );
}

#[test]
fn the_forms_that_shoutrrr_documents_today_are_understood() {
    let ntfy = listener("/");
    let gotify = listener("/sub/message");
    let template = listener("/hook?key=1");
    let text = Server::tcp(|seen| {
        assert_eq!(seen.line(), "POST /topic");
        assert_eq!(
            seen.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        Answer::new(200, &[], "")
    });
    let notifier = notifier(&[
        &format!("ntfy://{}/alerts?token=tk_1&disabletls=yes", ntfy.host()),
        &format!(
            "gotify://{}/sub/message?token=Atoken&DisableTLS=Yes",
            gotify.host()
        ),
        &format!(
            "generic://{}/hook?template=json&disabletls=yes&messagekey=words&$box=nas&key=1",
            template.host()
        ),
        &format!(
            "generic+http://{}/topic?@authorization=Bearer+tk",
            text.host()
        ),
    ]);
    notifier.notify(&behind("web"));
    notifier.finish(GRACE);
    let seen = ntfy.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer tk_1"));
    assert_eq!(body(&seen[0])["topic"], "alerts");
    assert_eq!(gotify.seen()[0].header("x-gotify-key"), Some("Atoken"));
    let expected = json!({"title": BEHIND, "words": BEHIND_TEXT, "box": "nas"});
    assert_eq!(body(&template.seen()[0]), expected);
    let seen = text.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer tk"));
    assert_eq!(seen[0].body, format!("{BEHIND}\n{BEHIND_TEXT}").as_bytes());
}

#[test]
fn the_services_with_hosts_of_their_own_are_reached_through_proxy_and_private_ca() {
    let authority = Authority::new();
    let names = [
        "discord.com",
        "hooks.slack.com",
        "slack.com",
        "api.telegram.org",
    ];
    let server = Server::tls(&authority.issue(&names), |seen| {
        let host = seen.header("host").expect("a host");
        match format!("{host} {}", seen.line()).as_str() {
            "discord.com POST /api/webhooks/1/t" => Answer::new(204, &[], ""),
            "hooks.slack.com POST /services/T/B/x" => Answer::new(200, &[], "ok"),
            "slack.com POST /api/chat.postMessage" => Answer::json(200, &json!({"ok": true})),
            "api.telegram.org POST /bot1:k/sendMessage" => Answer::json(200, &json!({"ok": true})),
            other => panic!("unexpected: {other}"),
        }
    });
    let proxies = Proxies {
        https: Some(format!("http://{}", connect_proxy(server.port()))),
        ..Proxies::default()
    };
    let roots = certificates(authority.pem().as_bytes()).expect("a bundle");
    let receivers = receivers(&[
        "discord://t@1",
        "slack://hook:T-B-x@webhook",
        "slack://xoxb:1-2@C1",
        "telegram://1:k@telegram?chats=@one,-2",
    ]);
    let notifier =
        Notifier::start(&receivers, Some(&roots), &proxies, AT_ONCE, host()).expect("threads");
    notifier.notify(&behind("web"));
    notifier.finish(GRACE);
    let mut bodies: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| body(seen).to_string())
        .collect();
    bodies.sort();
    let attachments = json!([{"text": BEHIND_TEXT, "color": "#3498db"}]);
    let embeds = json!([{"description": BEHIND_TEXT, "color": 0x34_98DB}]);
    let text = format!("ℹ️ {BEHIND}\n{BEHIND_TEXT}");
    let mut expected = [
        json!({"allowed_mentions": {"parse": []}, "content": BEHIND, "embeds": embeds}),
        json!({"text": BEHIND, "attachments": attachments, "unfurl_links": false}),
        json!({"channel": "C1", "text": BEHIND, "attachments": attachments, "unfurl_links": false}),
        json!({"chat_id": "@one", "text": text, "disable_web_page_preview": true}),
        json!({"chat_id": "-2", "text": text, "disable_web_page_preview": true}),
    ]
    .map(|body| body.to_string());
    expected.sort();
    assert_eq!(bodies, expected);
    let bot = server.seen();
    let bot = bot
        .iter()
        .find(|seen| seen.target.ends_with("chat.postMessage"));
    let bot = bot.expect("the bot's request");
    assert_eq!(bot.header("authorization"), Some("Bearer xoxb-1-2"));
}

#[test]
fn the_same_outcome_is_told_once() {
    let server = listener("/");
    let notifier = notifier(&[&format!("http://{}", server.host())]);
    for step in [behind("web"), behind("web"), behind("db"), behind("web")] {
        notifier.notify(&step);
    }
    notifier.finish(GRACE);
    let containers: Vec<Value> = server
        .seen()
        .iter()
        .map(|seen| body(seen)["container"].clone())
        .collect();
    assert_eq!(containers, ["web", "db"]);
}

fn down() -> Step {
    Step::Outcome(Event::of(Outcome::Down, "db", "a.b/c:d").because("no such device"))
}

fn titles(server: &Server) -> Vec<Value> {
    let seen = server.seen();
    seen.iter()
        .map(|seen| body(seen)["title"].clone())
        .collect()
}

#[test]
fn the_level_of_a_message_reaches_each_service() {
    let (ntfy, gotify, plain) = (listener("/"), listener("/message"), listener("/"));
    let notifier = notifier(&[
        &format!("ntfy://{}/alerts?scheme=http", ntfy.host()),
        &format!("gotify://{}/Atoken?disabletls=yes", gotify.host()),
        &format!("http://{}", plain.host()),
    ]);
    notifier.notify(&down());
    notifier.finish(GRACE);
    let ntfy = body(&ntfy.seen()[0]);
    assert_eq!(
        ntfy,
        json!({"topic": "alerts", "title": "db is DOWN on nas", "priority": 5, "tags": ["rotating_light"],
               "message": "a.b/c:d: no such device. imagewatch starts db as soon as the Engine lets it."})
    );
    assert_eq!(body(&gotify.seen()[0])["priority"], 10);
    assert_eq!(body(&plain.seen()[0])["level"], "failure");
}

#[test]
fn a_receiver_gets_only_the_events_that_its_owner_wants() {
    let (updates, others) = (listener("/hook?key=1"), listener("/"));
    let notifier = notifier(&[
        &format!("http://{}/hook?events=recreated&key=1", updates.host()),
        &format!("ntfy://{}/t?scheme=http&events=behind,down", others.host()),
    ]);
    for step in [behind("web"), updated(), down()] {
        notifier.notify(&step);
    }
    notifier.finish(GRACE);
    assert_eq!(titles(&updates), ["web updated on nas"]);
    assert_eq!(titles(&others), [BEHIND, "db is DOWN on nas"]);
}

#[test]
fn a_summary_is_sent_at_a_stop_and_what_is_urgent_at_once() {
    let server = listener("/");
    let url = format!("http://{}?digest=daily", server.host());
    let notifier = notifier(&[&url]);
    notifier.notify(&behind("web"));
    notifier.notify(&down());
    let first = eventually("the urgent one", || server.seen().first().map(body));
    assert_eq!(first["title"], "db is DOWN on nas");
    notifier.notify(&updated());
    notifier.finish(GRACE);
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let summary = body(&seen[1]);
    assert_eq!(summary["event"], "digest");
    assert_eq!(summary["level"], "info");
    assert_eq!(summary["title"], "1 behind, 1 updated on nas");
    assert_eq!(
        summary["text"],
        "1 behind, 1 updated on nas\na newer image is out for web\nweb updated"
    );
    notifier.finish(GRACE);
    assert_eq!(server.seen().len(), 2, "nothing is left to sum up");
}

#[test]
fn a_summary_that_is_due_is_sent() {
    let server = listener("/");
    let url = format!("http://{}?digest=daily", server.host());
    let period = Duration::ZERO;
    let notifier = timed(&[&url], Timing { period, ..AT_ONCE });
    for (count, step) in [(1, behind("web")), (2, updated())] {
        notifier.notify(&step);
        eventually("the summary", || {
            (server.seen().len() == count).then_some(())
        });
    }
    assert_eq!(titles(&server), ["1 behind on nas", "1 updated on nas"]);
}

#[test]
fn a_receiver_in_trouble_is_tried_again() {
    let tries = AtomicUsize::new(0);
    let server = Server::tcp(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(500, &[], "oh"),
        1 => Answer::new(429, &[("Retry-After", "1")], "slowly"),
        2 => Answer::Close,
        _ => Answer::new(200, &[], ""),
    });
    let notifier = notifier(&[&format!("http://{}", server.host())]);
    let begun = Instant::now();
    notifier.notify(&behind("web"));
    notifier.finish(GRACE);
    assert_eq!(server.seen().len(), 4);
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After");
}

#[test]
fn a_message_nobody_takes_is_given_up_and_the_next_one_comes() {
    let refusing = Server::tcp(|_| Answer::new(403, &[], "no"));
    let moved = Server::tcp(|_| Answer::new(302, &[("Location", "http://127.0.0.1:1/")], ""));
    let broken = Server::tcp(|_| Answer::new(503, &[], ""));
    let urls =
        [&refusing, &moved, &broken].map(|server| format!("http://{}/s3cr3t", server.host()));
    let notifier = notifier(&urls.each_ref().map(String::as_str));
    for container in ["web", "db"] {
        notifier.notify(&behind(container));
    }
    notifier.finish(GRACE);
    assert_eq!(refusing.seen().len(), 2, "no use in a second try");
    assert_eq!(moved.seen().len(), 2, "redirects are not followed");
    assert_eq!(broken.seen().len(), 2 * (1 + AT_ONCE.pauses.len()));
}

#[test]
fn a_silent_receiver_holds_up_nobody() {
    let silent = Server::tcp(|_| Answer::silence());
    let server = listener("/");
    let notifier = notifier(&[
        &format!("http://{}", silent.host()),
        &format!("http://{}", server.host()),
    ]);
    // More than fit the queue of the silent one.
    for number in 0..100 {
        notifier.notify(&behind(&format!("web-{number}")));
        let arrived = || (server.seen().len() > number).then_some(());
        if number % 20 == 19 {
            eventually("the messages to the other one", arrived);
        }
    }
    notifier.finish(Duration::from_millis(10));
    assert!(!silent.seen().is_empty());
}

#[test]
fn the_program_tells_and_keeps_every_secret() {
    let folder = Folder::new();
    let socket = folder.path().join("engine.sock");
    let _engine = Server::unix(&socket, |seen| match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/v1.41/version" => Answer::json(200, &json!({"Version": "20.10.24"})),
        // Where this test runs in a container.
        "/v1.41/info" => Answer::json(200, &json!({"Name": "nas"})),
        "/v1.41/containers/json?all=1" => Answer::json(200, &json!([])),
        other if other.contains("/images/create?") => {
            Answer::json(404, &json!({"message": "no such tag"}))
        }
        other if other.contains("/images/") => Answer::json(404, &json!({"message": "none"})),
        other => panic!("unexpected: {other}"),
    });
    let good = listener("/s3cr3t-path");
    let echo = Server::tcp(|seen| Answer::new(404, &[], format!("Cannot {}", seen.line())));
    let silent = Server::tcp(|_| Answer::silence());
    let urls = format!(
        "http://u:s3cr3t-word@{}/s3cr3t-path http://{}/s3cr3t-path?s3cr3t \
         gotify://{}/s3cr3t-path/s3cr3t-token?disabletls=yes ntfy://:s3cr3t-tk@{}/s3cr3t-topic?scheme=http",
        good.host(),
        echo.host(),
        echo.host(),
        silent.host(),
    );
    let file = folder.write("receivers", urls);
    let mut program = Program::start(&[
        ("DOCKER_HOST", &format!("unix://{}", socket.display())),
        ("IMAGEWATCH_NOTIFY_FILE", &file),
        ("IMAGEWATCH_LOG", "trace"),
    ]);
    program.await_line("notify=4");
    for _ in 0..2 {
        assert_eq!(
            program.refresh("?runtime=hermes").1["failed"],
            json!(["hermes"])
        );
    }
    let line = program.await_line("a message was not delivered: http://");
    assert!(line.contains("/***: 404 Not Found"), "{line}");
    let line = program.await_line("a message was not delivered: gotify://");
    assert!(
        line.contains("404 Not Found Cannot POST /***/message"),
        "{line}"
    );
    let event = eventually("the message", || good.seen().first().map(body));
    assert_eq!(event["event"], "failed");
    let reason = event["reason"].as_str().expect("a reason");
    assert!(reason.contains("no such tag"), "{reason}");
    program.signal("TERM");
    let (status, took) = program.await_exit();
    assert!(status.success());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(good.seen().len(), 1, "the second failure is no news");
    program.await_line("messages not sent before the end: 1");
    let log = program.log();
    assert!(!log.contains("s3cr3t"), "{log}");
}
