//! Twenty containers on twenty images: bare stops and starts one after the other, imagewatch, and Docker Compose.
//!
//! `scripts/bench.sh` runs it against a private Engine. The three take turns in one run, so that a busy machine slows
//! all of them. The Engine's events tell when a container went down and when it came back.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use serde_json::Value;
use serde_json::json;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use support::Folder;
use support::docker::Docker;
use support::eventually;
use support::images::ImageSpec;
use support::images::Registry;
use support::program::Program;

const CONTAINERS: usize = 20;
const ROUNDS: usize = 3;
const SETTLE: &str = "10s";
/// The label that holds a container's number.
const LABEL: &str = "bench.number";

/// What one way of doing it took.
#[derive(Default)]
struct Took {
    /// From the first stop until the last container was started.
    answer: Duration,
    /// Until the command or the call was over, with its pulls.
    over: Duration,
    /// From the first signal to the start, of each container.
    down: Vec<Duration>,
}

/// What the Engine told: the number of a container, the action, and its time in nanoseconds.
type Events = Arc<Mutex<Vec<(String, String, u64)>>>;

struct Bench {
    docker: Docker,
    registry: Registry,
    folder: Folder,
    socket: String,
    prefix: String,
    events: Events,
    version: usize,
}

impl Bench {
    fn reference(&self, number: usize) -> String {
        format!("{}/bench/image{number}:latest", self.registry.host())
    }

    fn publish(&mut self) {
        self.version += 1;
        let image = ImageSpec::new(&format!("v{}", self.version));
        for number in 0..CONTAINERS {
            let repository = format!("bench/image{number}");
            self.registry.publish(&repository, "latest", &image);
        }
    }

    fn name(&self, number: usize) -> String {
        format!("{}{number:02}", self.prefix)
    }

    /// The project, or nothing if Compose is not at hand.
    fn compose(&self, arguments: &[&str]) -> Option<()> {
        let binary = std::env::var_os("LAB_COMPOSE")?;
        let output = Command::new(binary)
            .args(["--project-name", "bench"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DOCKER_HOST", format!("unix://{}", self.socket))
            .output()
            .expect("Compose runs");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words}");
        Some(())
    }

    fn write_project(&self) {
        let service = |number: usize| {
            let service = json!({
                "image": self.reference(number), "container_name": self.name(number),
                "network_mode": "none", "labels": {LABEL: number.to_string()},
            });
            (format!("s{number:02}"), service)
        };
        let services: serde_json::Map<String, Value> = (0..CONTAINERS).map(service).collect();
        let file = json!({ "services": services });
        self.folder.write("compose.yaml", file.to_string());
    }

    /// Does it, and reads from the events how long that took.
    fn measure(&self, work: impl FnOnce()) -> Took {
        self.events.lock().expect("no panic").clear();
        let begun = Instant::now();
        work();
        let over = begun.elapsed();
        let starts = |events: &[(String, String, u64)]| {
            let starts = events.iter().filter(|(_, action, _)| action == "start");
            starts.count()
        };
        eventually("all have started", || {
            (starts(&self.events.lock().expect("no panic")) >= CONTAINERS).then_some(())
        });
        let events = self.events.lock().expect("no panic").clone();
        let at = |number: usize, wanted: &str| {
            let number = number.to_string();
            let mut events = events.iter();
            let found = events.find(|(of, action, _)| *of == number && action == wanted);
            Duration::from_nanos(found.expect("an event").2)
        };
        let starts = (0..CONTAINERS).map(|number| at(number, "start"));
        let stops = (0..CONTAINERS).map(|number| at(number, "kill"));
        let first = stops.min().expect("some");
        Took {
            answer: starts.max().expect("some").saturating_sub(first),
            over,
            down: (0..CONTAINERS)
                .map(|number| at(number, "start").saturating_sub(at(number, "kill")))
                .collect(),
        }
    }
}

fn main() {
    let Ok(socket) = std::env::var("LAB_ENGINE") else {
        println!("left out: there is no Engine (scripts/bench.sh brings one)");
        return;
    };
    let mut bench = Bench {
        docker: Docker::new(&socket),
        registry: Registry::start(),
        folder: Folder::new(),
        prefix: format!("many{}-", support::unique()),
        events: Events::default(),
        version: 0,
        socket,
    };
    bench.publish();
    bench.write_project();
    let listens = Arc::new(AtomicBool::new(true));
    let listener = listen(&bench, &listens);
    let has_compose = bench.compose(&["up", "-d"]).is_some();
    if !has_compose {
        run_all(&bench);
    }
    let binary = std::env::var("LAB_BINARY");
    let binary = binary.as_deref();
    let binary = binary.unwrap_or(env!("CARGO_BIN_EXE_imagewatch"));
    let (host, parallel) = (format!("unix://{}", bench.socket), CONTAINERS.to_string());
    let vars = [
        ("DOCKER_HOST", &*host),
        ("IMAGEWATCH_PREFIX", &bench.prefix),
        ("IMAGEWATCH_SELECT", "all"),
        ("IMAGEWATCH_RUNTIMES", "none"),
        ("IMAGEWATCH_SETTLE", SETTLE),
        ("IMAGEWATCH_PARALLEL", &parallel),
        ("ADMIN_TOKEN", ""),
    ];
    let program = Program::start_binary(binary, &vars);
    let (mut bare, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bench.measure(|| {
            for number in 0..CONTAINERS {
                for action in ["stop", "start"] {
                    let path = format!("/containers/{}/{action}", bench.name(number));
                    bench.docker.ask("POST", &path, b"");
                }
            }
        }));
        bench.publish();
        ours.push(bench.measure(|| {
            let (_, report) = program.ask("POST", "/v1/update");
            let recreated = report["recreated"].as_array().map_or(0, Vec::len);
            assert_eq!(recreated, CONTAINERS, "{report}");
        }));
        if has_compose {
            bench.publish();
            theirs.push(bench.measure(|| {
                bench.compose(&["pull", "--quiet"]);
                bench.compose(&["up", "-d"]);
            }));
        }
    }
    listens.store(false, Ordering::Relaxed);
    listener.join().expect("no panic");
    bench.docker.clean(&bench.prefix, bench.registry.host());
    print(&bare, &ours, &theirs);
}

fn listen(bench: &Bench, listens: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (docker, events) = (bench.docker.clone(), Arc::clone(&bench.events));
    let listens = Arc::clone(listens);
    std::thread::spawn(move || {
        let outcome = docker.events(&mut |event| {
            let attributes = &event["Actor"]["Attributes"];
            if let (Some(number), Some(action)) =
                (attributes[LABEL].as_str(), event["Action"].as_str())
            {
                let at = event["timeNano"].as_u64().unwrap_or(0);
                let entry = (number.to_owned(), action.to_owned(), at);
                events.lock().expect("no panic").push(entry);
            }
            listens.load(Ordering::Relaxed)
        });
        outcome.expect("events");
    })
}

/// The same containers without Compose.
fn run_all(bench: &Bench) {
    for number in 0..CONTAINERS {
        let reference = bench.reference(number);
        let repository = reference.trim_end_matches(":latest").replace('/', "%2F");
        let path = format!("/images/create?fromImage={repository}&tag=latest");
        bench.docker.ask("POST", &path, b"");
        let labels = json!({LABEL: number.to_string()});
        let host = json!({"NetworkMode": "none"});
        let body = json!({"Image": reference, "Labels": labels, "HostConfig": host});
        bench.docker.run(&bench.name(number), &body);
    }
}

fn print(bare: &[Took], ours: &[Took], theirs: &[Took]) {
    println!(
        "{CONTAINERS} containers on {CONTAINERS} images, settle time {SETTLE}, median of {ROUNDS}, in seconds"
    );
    println!("                       all answer      over   down: sum   longest");
    let seconds = |values: &mut dyn Iterator<Item = Duration>| {
        let mut values: Vec<Duration> = values.collect();
        values.sort();
        values[values.len() / 2].as_secs_f64()
    };
    let mut rows = Vec::new();
    for (name, took) in [
        ("bare stop + start", bare),
        ("imagewatch", ours),
        ("compose pull, up -d", theirs),
    ] {
        if took.is_empty() {
            continue;
        }
        let answer = seconds(&mut took.iter().map(|one| one.answer));
        let over = seconds(&mut took.iter().map(|one| one.over));
        let sum = seconds(&mut took.iter().map(|one| one.down.iter().sum()));
        let longest = |one: &Took| one.down.iter().max().copied().unwrap_or_default();
        let longest = seconds(&mut took.iter().map(longest));
        println!("  {name:<20} {answer:>10.2} {over:>9.2} {sum:>11.2} {longest:>9.2}");
        rows.push((answer, sum, longest));
    }
    let ((answer, sum, _), (our_answer, our_sum, our_longest)) = (rows[0], rows[1]);
    let one = sum / CONTAINERS as f64;
    println!(
        "  ratio of imagewatch  {:>10.2} {:>9} {:>11.2} {:>9.2}",
        our_answer / answer,
        "",
        our_sum / sum,
        our_longest / one
    );
    println!(
        "  to be at most        {:>10.2} {:>9} {:>11.2} {:>9.2}",
        1.3, "", 1.2, 1.5
    );
}
