//! What others do while a successor is being accepted: its owner stops or restarts it, the Engine goes down and
//! comes back.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::swap::every_moment::share;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::images::ImageSpec;
use crate::support::program::Program;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// How long a successor has to stay up.
const SETTLE: (&str, &str) = ("IMAGEWATCH_SETTLE", "4s");
/// Long enough for whoever acts meanwhile to be in time.
const WAITING: &str = "waiting for it to be accepted";

/// One container, for which there is a newer image, and a program for it alone.
struct Case<'l> {
    lab: &'l Lab,
    name: String,
    policy: String,
    between: EngineProxy,
    program: Program,
}

impl<'l> Case<'l> {
    fn new(lab: &'l Lab, name: &str, policy: &str, next: &ImageSpec) -> Self {
        lab.publish(name, &good("v1"));
        lab.pull(name);
        let body = json!({"Image": lab.reference(name), "StopTimeout": 2,
                          "HostConfig": {"RestartPolicy": {"Name": policy}}});
        lab.docker.run(&lab.name(name), &body);
        lab.publish(name, next);
        let between = EngineProxy::part(&lab.docker, &lab.name(name));
        let (host, own) = (between.host(), lab.name(name));
        let vars = [
            ("DOCKER_HOST", &*host),
            ("IMAGEWATCH_PREFIX", &*own),
            SETTLE,
        ];
        let program = lab.program(name, &vars);
        Self {
            lab,
            name: name.to_owned(),
            policy: policy.to_owned(),
            between,
            program,
        }
    }

    /// Refreshes it, and has somebody act once its successor is started.
    fn refresh(&self, act: impl FnOnce() + Send) -> Value {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.program.await_line(WAITING);
                act();
            });
            self.program.refresh("").1
        })
    }

    /// It is there once, under its name, as its owner made it; nothing else is, and nothing is rejected.
    #[track_caller]
    fn is_whole(&self, version: &str, runs: bool) {
        let (what, log) = (&self.name, self.program.log());
        let names = self.lab.docker.names(&self.lab.name(&self.name));
        assert_eq!(names, [self.lab.name(&self.name)], "{what}: {log}");
        let seen = self.lab.inspect(&self.name);
        assert_eq!(self.lab.version(&self.name), version, "{what}: {log}");
        assert_eq!(seen["State"]["Running"], runs, "{what}: {log}");
        let policy = &seen["HostConfig"]["RestartPolicy"]["Name"];
        assert_eq!(policy.as_str(), Some(&*self.policy), "{what}");
    }

    #[track_caller]
    fn is_recreated(&self, report: &Value) {
        let name = self.lab.name(&self.name);
        let log = self.program.log();
        assert_eq!(report["recreated"], json!([name]), "{report}\n{log}");
        let (_, status) = self.program.ask("GET", "/admin/status");
        assert_eq!(status["rejected"], json!([]), "{name}: {log}");
    }
}

/// How many are at work side by side.
const SIDE_BY_SIDE: usize = 4;

/// Does each to a container of its own, a few side by side.
fn each<J: Sync + Send>(jobs: Vec<J>, job: impl Fn(&J) + Sync) {
    let jobs = Mutex::new(share(jobs));
    let next = || jobs.lock().expect("no panic").pop();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(one) = next() {
                    job(&one);
                }
            });
        }
    });
}

#[test]
fn what_its_owner_stops_before_it_is_accepted_stays_stopped_and_is_not_rejected() {
    let Some(lab) = Lab::parted() else { return };
    let mut jobs = Vec::new();
    for policy in ["no", "always", "unless-stopped"] {
        for (what, call) in [
            ("stop", "/stop"),
            ("kill", "/kill"),
            ("term", "/kill?signal=TERM"),
        ] {
            jobs.push((format!("{what}-{policy}"), policy, call));
        }
    }
    each(jobs, |(name, policy, call)| {
        let case = Case::new(&lab, name, policy, &good("v2"));
        let report = case.refresh(|| {
            let path = format!("/containers/{}{call}", lab.name(name));
            let (status, answer) = lab.docker.json("POST", &path, &Value::Null);
            assert_eq!(status, 204, "{answer}");
        });
        case.is_recreated(&report);
        case.is_whole("v2", false);
    });
}

#[test]
fn what_its_owner_renames_before_it_is_accepted_keeps_that_name() {
    let Some(lab) = Lab::parted() else { return };
    let rename = |from: &str, to: &str| {
        let path = format!("/containers/{from}/rename?name={to}");
        let (status, answer) = lab.docker.json("POST", &path, &Value::Null);
        assert_eq!(status, 204, "{answer}");
    };
    let is_kept = |own: &str, log: &str| {
        let mine = format!("{own}-mine");
        let mut names = lab.docker.names(own);
        names.retain(|name| !name.ends_with("imagewatch.claim"));
        assert_eq!(names, [&*mine], "{log}");
        let seen = lab.docker.inspect(&mine);
        assert_eq!(seen["Config"]["Labels"]["version"], "v2", "{log}");
        assert_eq!(seen["State"]["Running"], true, "{log}");
    };
    let case = Case::new(&lab, "renamed", "always", &good("v2"));
    let own = lab.name("renamed");
    let report = case.refresh(|| rename(&own, &format!("{own}-mine")));
    case.is_recreated(&report);
    is_kept(&own, &case.program.log());
    // And after a kill.
    let mut case = Case::new(&lab, "killed", "always", &good("v2"));
    let own = lab.name("killed");
    let (status, _) = case
        .program
        .ask("POST", "/admin/workspace-images/refresh?wait=false");
    assert_eq!(status, 202);
    case.program.await_line(WAITING);
    case.program.kill();
    rename(&own, &format!("{own}-mine"));
    let host = case.between.host();
    let vars = [
        ("DOCKER_HOST", &*host),
        ("IMAGEWATCH_PREFIX", &*own),
        SETTLE,
    ];
    let program = lab.program("killed", &vars);
    program.await_line("a swap was found half done and is finished now");
    is_kept(&own, &program.log());
}

#[test]
fn what_its_owner_takes_away_whole_before_it_is_accepted_stays_away() {
    let Some(lab) = Lab::parted() else { return };
    if lab.leaves_out("does not tell who ended what is gone") {
        return;
    }
    let case = Case::new(&lab, "taken", "always", &good("v2"));
    let own = lab.name("taken");
    // As `docker compose down` does.
    let report = case.refresh(|| {
        for name in lab.docker.names(&own) {
            let path = format!("/containers/{name}?force=1");
            lab.docker.ask("DELETE", &path, b"");
        }
    });
    let reason = &report["skipped"][0]["reason"];
    assert_eq!(*reason, "its owner removed it in mid-swap", "{report}");
    let mut names = lab.docker.names(&own);
    names.retain(|name| !name.ends_with("imagewatch.claim"));
    assert_eq!(names, Vec::<String>::new(), "{}", case.program.log());
    assert_eq!(case.program.ask("GET", "/health").0, 200);
}

#[test]
fn what_policy_its_owner_sets_before_it_is_accepted_stays() {
    let Some(lab) = Lab::parted() else { return };
    if lab.leaves_out("cannot set one before 5.1") {
        return;
    }
    for (name, before, after) in [
        ("set", "no", "always"),
        ("changed", "always", "unless-stopped"),
    ] {
        let mut case = Case::new(&lab, name, before, &good("v2"));
        let report = case.refresh(|| {
            let path = format!("/containers/{}/update", lab.name(name));
            let body = json!({"RestartPolicy": {"Name": after}});
            let (status, answer) = lab.docker.json("POST", &path, &body);
            assert_eq!(status, 200, "{answer}");
        });
        case.is_recreated(&report);
        case.policy = after.to_owned();
        case.is_whole("v2", true);
    }
}

/// A provider, and who lives in its process namespace: the first process there takes all others along.
#[test]
fn what_ends_with_the_one_its_owner_kills_is_not_laid_to_an_image() {
    let Some(lab) = Lab::parted() else { return };
    let mut jobs = Vec::new();
    for call in ["kill", "stop"] {
        for (when, place) in [
            ("provider", None),
            ("tenant", None),
            ("early", Some(Place::Holding("/start ", 2))),
        ] {
            // Podman starts with a container what that lives in.
            if when == "early" && lab.is_podman {
                continue;
            }
            jobs.push((format!("{call}-{when}"), call, place));
        }
    }
    each(jobs, |(name, call, place)| {
        let case = Case::new(&lab, name, "no", &good("v2"));
        let provider = lab.name(name);
        let tenant = format!("{provider}-tenant");
        let shared = json!({"PidMode": format!("container:{provider}")});
        let runtime = format!("{name}-tenant");
        lab.publish(&runtime, &good("v1"));
        lab.pull(&runtime);
        let body = json!({"Image": lab.reference(&runtime), "HostConfig": shared});
        lab.docker.run(&tenant, &body);
        let (docker, path) = (lab.docker.clone(), format!("/containers/{provider}/{call}"));
        let act = move || {
            let (status, answer) = docker.json("POST", &path, &Value::Null);
            assert_eq!(status, 204, "{answer}");
        };
        let report = std::thread::scope(|scope| {
            if let Some(place) = place {
                // Right before the tenant is started.
                let act = Action::First(Arc::new(act));
                case.between.at(place.clone(), act, |_| ());
            } else {
                let is_late = name.ends_with("tenant");
                let who = if is_late { &tenant } else { &provider };
                let program = &case.program;
                scope.spawn(move || {
                    program.await_line(&format!("{who}: started, waiting"));
                    act();
                });
            }
            case.program.refresh("").1
        });
        let log = case.program.log();
        assert_eq!(report["rolled_back"], json!([]), "{report}\n{log}");
        let (_, status) = case.program.ask("GET", "/admin/status");
        assert_eq!(status["rejected"], json!([]), "{log}");
        assert_eq!(lab.version(name), "v2", "{log}");
        for name in [&provider, &tenant] {
            let seen = lab.docker.inspect(name);
            assert_eq!(seen["State"]["Running"], false, "{name} {log}");
        }
        assert_eq!(lab.docker.names(&provider), [provider, tenant], "{log}");
    });
}

#[test]
fn what_its_owner_restarts_or_pauses_before_it_is_accepted_is_waited_for() {
    let Some(lab) = Lab::parted() else { return };
    let mut jobs = Vec::new();
    for policy in ["no", "always"] {
        for calls in [
            vec!["restart"],
            vec!["stop", "start"],
            vec!["pause", "unpause"],
        ] {
            jobs.push((format!("{}-{policy}", calls[0]), policy, calls));
        }
    }
    each(jobs, |(name, policy, calls)| {
        let case = Case::new(&lab, name, policy, &good("v2"));
        let report = case.refresh(|| {
            for call in calls {
                let path = format!("/containers/{}/{call}", lab.name(name));
                let (status, answer) = lab.docker.json("POST", &path, &Value::Null);
                assert_eq!(status, 204, "{answer}");
            }
        });
        case.is_recreated(&report);
        case.is_whole("v2", true);
    });
}

#[test]
fn a_bad_image_that_its_owner_restarts_or_pauses_does_not_pass() {
    let Some(lab) = Lab::parted() else { return };
    let bad = good("v2").with("Cmd", json!(["/bin/sh", "-c", "sleep 3; exit 7"]));
    let mut jobs = Vec::new();
    for policy in ["no", "always"] {
        for call in ["restart", "pause"] {
            jobs.push((format!("bad-{call}-{policy}"), policy, call));
        }
    }
    each(jobs, |(name, policy, call)| {
        let case = Case::new(&lab, name, policy, &bad);
        let report = case.refresh(|| {
            let act = |call: &str| {
                let path = format!("/containers/{}/{call}", lab.name(name));
                lab.docker.ask("POST", &path, b"");
            };
            act(call);
            if *call == "pause" {
                // Longer than it would have to stay up.
                std::thread::sleep(Duration::from_secs(5));
                act("unpause");
            }
        });
        let log = case.program.log();
        let reason = report["rolled_back"][0]["reason"].as_str();
        let reason = reason.unwrap_or_else(|| panic!("{name}: {report}\n{log}"));
        assert!(reason.contains("it exited"), "{reason}");
        case.is_whole("v1", true);
    });
}

#[test]
fn an_engine_that_is_restarted_before_it_is_accepted_lets_no_bad_image_pass_and_no_good_one_fail() {
    disturb_acceptance("restart");
}

/// It ends what runs on when it comes back, as an owner would.
#[test]
fn nor_does_an_engine_that_is_killed() {
    disturb_acceptance("kill");
}

fn disturb_acceptance(how: &str) {
    let Some(lab) = Lab::in_charge() else { return };
    let bad = good("v2").with("Cmd", json!(["/bin/sh", "-c", "sleep 3; exit 7"]));
    let mut cases = Vec::new();
    for policy in ["no", "always", "unless-stopped", "on-failure"] {
        for (what, next) in [("good", &good("v2")), ("bad", &bad)] {
            let case = Case::new(&lab, &format!("{what}-{policy}"), policy, next);
            // As systemd's socket does, what comes while the daemon is away waits for it.
            case.between.wait_for_engine();
            cases.push(case);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for case in &cases {
                case.program.await_line(WAITING);
            }
            lab.do_to_engine(how);
        });
        for case in &cases {
            scope.spawn(move || {
                let (_, report) = case.program.refresh("");
                let log = case.program.log();
                if case.name.starts_with("good") {
                    case.is_recreated(&report);
                    case.is_whole("v2", true);
                } else {
                    let reason = report["rolled_back"][0]["reason"].as_str();
                    let reason = reason.unwrap_or_else(|| panic!("{}: {report}\n{log}", case.name));
                    assert!(reason.contains("it exited"), "{reason}");
                    case.is_whole("v1", true);
                }
            });
        }
    });
}
