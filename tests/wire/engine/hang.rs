//! An Engine that hangs on one call, or answers 500 to it, for as long as it likes: the rounds go on,
//! `/health` tells the truth, and afterwards all is done that was left undone. The calls of a swap
//! are disturbed on real Engines (`engine::swap::fault`).

use crate::support::Folder;
use crate::support::eventually;
use crate::support::images::agent;
use crate::support::program::Program;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use imagewatch::commands::Running;
use imagewatch::config::Config;
use imagewatch::engine::Deadlines;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// In place of 5, 30, 120 and 300 s.
const SHORT: Deadlines = Deadlines {
    ping: Duration::from_millis(400),
    call: Duration::from_millis(500),
    heavy: Duration::from_millis(700),
    silence: Duration::from_millis(700),
    stop_margin: Duration::from_millis(700),
};
const INTERVAL: Duration = Duration::from_millis(200);
/// Rounds that have to come while a call hangs.
const ROUNDS: usize = 4;
/// The longest that these may take: each its interval and the deadlines of a few calls, on a busy machine.
const LONGEST: Duration = Duration::from_secs(45);

/// The id of a container that was put aside.
const ASIDE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const OLD: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const NEW: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000002";

/// How `/health` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// 503, with the call.
    Tells,
    /// The Engine answers, and what failed is in the report and the status.
    StaysWell,
}

/// Every call that is made outside of a swap: the part of its line by which it is known, and how
/// `/health` takes it when it hangs.
const CALLS: [(&str, Health); 9] = [
    ("GET /_ping", Health::Tells),
    ("/version", Health::Tells),
    ("/containers/json", Health::Tells),
    ("/containers/web/json", Health::Tells),
    ("GET /images/", Health::Tells),
    ("POST /images/create", Health::StaysWell),
    (
        "POST /containers/create?name=imagewatch.claim",
        Health::StaysWell,
    ),
    ("GET /containers/imagewatch.claim", Health::StaysWell),
    ("DELETE /containers/claim", Health::StaysWell),
];

/// What becomes of the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// No answer at all.
    Silence,
    /// The beginning of an answer, and then nothing.
    HalfAnAnswer,
    /// 500.
    Refusal,
    /// 409, which is not tried again for long.
    Conflict,
}

impl Fault {
    fn answer(self) -> Answer {
        match self {
            Self::Silence => Answer::silence(),
            Self::HalfAnAnswer => {
                let begun =
                    "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 100\r\n\r\n{\"s\":";
                Answer::RawThenSilence(begun.into())
            }
            Self::Refusal => Answer::json(500, &json!({"message": "made to fail"})),
            Self::Conflict => Answer::json(409, &json!({"message": "made to fail"})),
        }
    }
}

/// What the Engine and the registry have, and what goes wrong.
#[derive(Default)]
struct World {
    fault: Mutex<Option<(&'static str, Fault)>>,
    /// Whether the tag points at the newer image, and whether that was pulled.
    moved: Mutex<(bool, bool)>,
    /// The claim, while somebody has it.
    claim: Mutex<Option<Value>>,
    /// A container that a killed process put aside, if there is one: its name now, and whether it runs.
    aside: Mutex<Option<(&'static str, bool)>>,
}

impl World {
    fn set(&self, fault: Option<(&'static str, Fault)>) {
        *self.fault.lock().expect("no panic") = fault;
    }

    fn engine(&self, seen: &Seen, registry: &str) -> Answer {
        let line = seen.line().replace("/v1.41", "");
        let fault = *self.fault.lock().expect("no panic");
        if let Some((_, fault)) = fault.filter(|(call, _)| line.contains(call)) {
            return fault.answer();
        }
        let reference = format!("{registry}/acme/app:latest");
        let is_pulled = self.moved.lock().expect("no panic").1;
        let id = |pulled: bool| if pulled { NEW } else { OLD };
        let image = |id: &str| {
            let digest = format!("{registry}/acme/app@{id}");
            Answer::json(
                200,
                &json!({"Id": id, "RepoDigests": [digest], "Os": "linux",
                                      "Architecture": "amd64", "Config": {}}),
            )
        };
        let mut claim = self.claim.lock().expect("no panic");
        match line.as_str() {
            "GET /_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
            "GET /version" => Answer::json(200, &json!({"Version": "20.10.24", "Arch": "amd64"})),
            "GET /events?since=1&until=1" => Answer::new(200, &[], ""),
            // The image of one is listed by id, so it has to be asked what it was made from.
            "GET /containers/json?all=1" => Answer::json(200, &self.list(claim.is_some())),
            // Looked at in a swap, it turns out to be nobody's to replace.
            "GET /containers/web/json" => Answer::json(
                200,
                &json!({"Id": "web", "Name": "/web", "Image": OLD, "State": {"Status": "running"},
                        "Config": {"Image": reference}, "HostConfig": {"AutoRemove": true}}),
            ),
            other if other.contains(ASIDE) => self.put_aside(other),
            "POST /containers/create?name=imagewatch.claim" => {
                let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
                *claim = Some(json!({"Id": "claim", "Name": "/imagewatch.claim", "Config": body}));
                Answer::json(201, &json!({"Id": "claim"}))
            }
            "GET /containers/imagewatch.claim/json" | "GET /containers/claim/json" => match &*claim
            {
                Some(claim) => Answer::json(200, claim),
                None => Answer::json(404, &json!({"message": "no such container"})),
            },
            "DELETE /containers/claim?force=1&v=1" => {
                *claim = None;
                Answer::new(204, &[], "")
            }
            other if other.starts_with("POST /images/") && other.contains("/tag?") => {
                Answer::new(201, &[], "")
            }
            other if other.starts_with("POST /images/create") => {
                self.moved.lock().expect("no panic").1 = true;
                Answer::new(200, &[], "{\"status\":\"Pulling\"}\r\n")
            }
            "GET /containers/box/json" => {
                Answer::json(404, &json!({"message": "no such container"}))
            }
            other if other.contains(OLD) => image(OLD),
            other if other.starts_with("GET /images/") => image(id(is_pulled)),
            other => panic!("unexpected: {other}"),
        }
    }

    fn list(&self, is_claimed: bool) -> Value {
        let mut list = vec![
            json!({"Id": "web", "Names": ["/web"], "Image": OLD, "ImageID": OLD,
                                   "State": "running", "Labels": {"imagewatch.enable": "true"}}),
        ];
        if is_claimed {
            list.push(json!({"Id": "claim", "Names": ["/imagewatch.claim"]}));
        }
        if let Some((name, _)) = self.aside() {
            list.push(json!({"Id": ASIDE, "Names": [format!("/{name}")], "ImageID": OLD}));
        }
        json!(list)
    }

    fn aside(&self) -> Option<(&'static str, bool)> {
        *self.aside.lock().expect("no panic")
    }

    /// A call about the container that was put aside.
    fn put_aside(&self, line: &str) -> Answer {
        let mut aside = self.aside.lock().expect("no panic");
        let (name, runs) = aside.expect("one");
        let (name, runs) = match line.rsplit('/').next().unwrap_or_default() {
            "rename?name=box" => ("box", runs),
            "start" => (name, true),
            "json" => {
                let status = if runs { "running" } else { "exited" };
                let found = json!({"Id": ASIDE, "Name": format!("/{name}"), "Image": OLD,
                                   "State": {"Status": status, "Running": runs}, "Config": {}});
                return Answer::json(200, &found);
            }
            other => panic!("unexpected: {other}"),
        };
        *aside = Some((name, runs));
        Answer::new(204, &[], "")
    }

    fn registry(&self) -> Answer {
        let moved = self.moved.lock().expect("no panic").0;
        let digest = if moved { NEW } else { OLD };
        Answer::new(200, &[("Docker-Content-Digest", digest)], "")
    }
}

/// The program, its Engine and its registry.
struct Lab {
    world: Arc<World>,
    registry: Server,
    running: Running,
    engine: Server,
    _folder: Folder,
}

impl Lab {
    fn new(world: World) -> Self {
        let world = Arc::new(world);
        let for_registry = Arc::clone(&world);
        let registry = Server::tcp(move |_| for_registry.registry());
        let (for_engine, host) = (Arc::clone(&world), registry.host());
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let engine = Server::unix(&socket, move |seen| for_engine.engine(seen, &host));
        let vars = [
            ("DOCKER_HOST", format!("unix://{}", socket.display())),
            ("IMAGE_AUTO_REFRESH", "true".to_owned()),
            ("IMAGEWATCH_RUNTIMES", "none".to_owned()),
            ("IMAGEWATCH_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let (mut config, _) = Config::from_vars(vars).expect("a configuration");
        config.interval = INTERVAL;
        let running = Running::start(&config, SHORT).expect("it starts");
        Self {
            world,
            registry,
            running,
            engine,
            _folder: folder,
        }
    }

    fn ask(&self, target: &str) -> (u16, Value) {
        let address = self.running.address().expect("it listens");
        let answer = agent().get(format!("http://{address}{target}")).call();
        let mut answer = answer.expect("an answer");
        let body = answer.body_mut().read_to_string().expect("a body");
        let json = serde_json::from_str(&body).unwrap_or(Value::Null);
        (answer.status().as_u16(), json)
    }

    /// Waits until `/health` answers this, with that in its reason.
    fn await_health(&self, expected: u16, reason: &str, what: &str) {
        eventually(&format!("{what}: /health answers {expected}"), || {
            let (status, answer) = self.ask("/health");
            let words = answer["error"].as_str().unwrap_or_default();
            (status == expected && words.contains(reason)).then_some(())
        });
    }

    /// Waits until the only reference is in this state.
    fn await_state(&self, state: &str, what: &str) {
        eventually(&format!("{what}: {state}"), || {
            let (_, status) = self.ask("/admin/status");
            (status["references"][0]["state"] == state).then_some(())
        });
    }

    /// Waits until nothing more is to be done for the newer image.
    fn await_newest(&self, what: &str) {
        eventually(&format!("{what}: the newest is seen"), || {
            let (_, status) = self.ask("/admin/status");
            (status["references"][0]["seen_digest"] == NEW).then_some(())
        });
    }

    fn rounds(&self) -> usize {
        self.registry.lines().len()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.running.stop();
    }
}

/// One call goes wrong in one way, and then goes well again.
fn disturb(call: &'static str, fault: Fault, health: Health) {
    let what = format!("{call} {fault:?}");
    let lab = Lab::new(World::default());
    lab.await_state("current", &what);
    lab.await_health(200, "", &what);

    lab.world.set(Some((call, fault)));
    lab.world.moved.lock().expect("no panic").0 = true;
    let (begun, before) = (Instant::now(), lab.rounds());
    eventually(&format!("{what}: rounds"), || {
        (lab.rounds() >= before + ROUNDS).then_some(())
    });
    assert!(begun.elapsed() < LONGEST, "{what}: {:?}", begun.elapsed());
    // Some calls are only made for the status.
    lab.ask("/admin/status");
    // Without these nothing can be done, however fast they are refused.
    let is_vital = ["GET /_ping", "/containers/json"].contains(&call);
    if is_vital || (health == Health::Tells && fault != Fault::Refusal) {
        lab.await_health(503, call.trim_start_matches("GET "), &what);
    } else {
        lab.await_health(200, "", &what);
    }

    lab.world.set(None);
    lab.await_health(200, "", &what);
    lab.await_newest(&what);
    // The container is nobody's to replace, and runs the older image.
    lab.await_state("outdated", &what);
    eventually(&format!("{what}: the lock is given back"), || {
        let claim = lab.world.claim.lock().expect("no panic");
        claim.is_none().then_some(())
    });
    let moved = *lab.world.moved.lock().expect("no panic");
    assert_eq!(moved, (true, true), "{what}: not pulled");
}

fn disturb_each(faults: &[Fault]) {
    std::thread::scope(|scope| {
        for (call, health) in CALLS {
            for &fault in faults {
                scope.spawn(move || disturb(call, fault, health));
            }
        }
    });
}

#[test]
fn a_call_that_hangs_costs_its_deadline_and_no_reference() {
    disturb_each(&[Fault::Silence]);
}

#[test]
fn an_answer_that_stops_in_the_middle_costs_its_deadline_and_no_reference() {
    disturb_each(&[Fault::HalfAnAnswer]);
}

#[test]
fn a_call_that_is_refused_costs_a_round_and_no_reference() {
    disturb_each(&[Fault::Refusal]);
}

/// Each call of a recovery: of a container that was put aside, and whose successor is gone.
const RECOVERY: [&str; 7] = [
    "GET /containers/json",
    "/containers/0123456789abcdef",
    "GET /images/",
    "POST /containers/create?name=imagewatch.claim",
    "/rename?name=box",
    "/start",
    "DELETE /containers/claim",
];

impl World {
    /// With a container that was put aside, and one call that goes wrong from the start on.
    fn half_done(call: &'static str, fault: Fault) -> Self {
        Self {
            fault: Mutex::new(Some((call, fault))),
            aside: Mutex::new(Some(("box.iw-old-01234567", false))),
            ..Self::default()
        }
    }
}

/// From the start on, until some rounds are over.
fn disturb_recovery(call: &'static str, fault: Fault) {
    let what = format!("recovery: {call} {fault:?}");
    let lab = Lab::new(World::half_done(call, fault));
    let rounds = || {
        let (_, status) = lab.ask("/admin/status");
        status["watcher"]["rounds"].as_u64().unwrap_or_default()
    };
    eventually(&format!("{what}: rounds"), || (rounds() > 4).then_some(()));
    lab.world.set(None);
    eventually(&format!("{what}: it is back"), || {
        (lab.world.aside() == Some(("box", true))).then_some(())
    });
    eventually(&format!("{what}: the lock is given back"), || {
        let claim = lab.world.claim.lock().expect("no panic");
        claim.is_none().then_some(())
    });
}

#[test]
fn a_recovery_in_which_a_call_hangs_or_fails_is_tried_until_it_is_done() {
    std::thread::scope(|scope| {
        for call in RECOVERY {
            for fault in [Fault::Silence, Fault::Refusal] {
                scope.spawn(move || disturb_recovery(call, fault));
            }
        }
    });
}

#[test]
fn what_a_recovery_cannot_settle_is_tried_again_until_it_can() {
    let call = "/rename?name=box";
    let lab = Lab::new(World::half_done(call, Fault::Conflict));
    let tries = || {
        let lines = lab.engine.lines();
        lines.iter().filter(|line| line.contains(call)).count()
    };
    // Four each time.
    eventually("two recoveries", || (tries() >= 8).then_some(()));
    lab.world.set(None);
    eventually("it is back", || {
        (lab.world.aside() == Some(("box", true))).then_some(())
    });
}

/// With the deadlines that users get, and the command that asks for them.
#[test]
fn a_silent_engine_is_told_of_within_its_deadline() {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let _engine = Server::unix(&socket, |_| Answer::silence());
    let host = format!("unix://{}", socket.display());
    let program = Program::start(&[("DOCKER_HOST", &host)]);
    let begun = Instant::now();
    let listen = program.host();
    let (code, _, complaint) = run(&["healthcheck"], &[("IMAGEWATCH_LISTEN", &listen)]);
    assert_eq!(code, Some(1), "{complaint}");
    let is_told = complaint.contains("503") && complaint.contains("/_ping: no answer in time");
    assert!(is_told, "{complaint}");
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}
