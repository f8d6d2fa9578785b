//! One test's corner of the Engine: names, repositories and a program that nobody else has.

use crate::support::docker::Docker;
use crate::support::engine_proxy::CLAIM;
use crate::support::engine_proxy::EngineProxy;
use crate::support::images::ImageSpec;
use crate::support::images::Registry;
use crate::support::program::Program;
use crate::support::program::binary;
use crate::support::server::Server;
use crate::support::tidy;
use crate::support::token_proxy::Rules;
use crate::support::unique;
use serde_json::Value;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;

/// Who is on the Engine, and how many.
static ENGINE: Mutex<(Company, usize)> = Mutex::new((Company::Shared, 0));
static LEFT: Condvar = Condvar::new();

/// What `scripts/lab/lab.sh` calls the Engine, if that made it.
const ENGINE_NAME: &str = "LAB_ENGINE_NAME";

/// Has the program recreate stopped containers as well.
pub(crate) const STOPPED_TOO: (&str, &str) = ("IMAGEWATCH_INCLUDE_STOPPED", "true");

/// With whom a test shares the Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    /// Programs that see all of it, and share one claim.
    Shared,
    /// Programs that each see a part of it, with a claim of its own (`EngineProxy::part`): they wait for nobody.
    Parted,
    /// Nobody.
    Alone,
}

/// The most tests on the Engine at a time. More threads than that only wait, so that tests which want the Engine to
/// themselves do not keep the others from it.
const MOST: usize = 8;

/// A place on the Engine, given up when dropped.
struct Stay;

impl Stay {
    fn among(company: Company) -> Self {
        let lock = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |now: &mut (Company, usize)| {
            now.1 >= MOST || now.1 > 0 && (now.0 != company || company == Company::Alone)
        };
        let waited = LEFT.wait_while(lock, is_full);
        let mut now = waited.unwrap_or_else(PoisonError::into_inner);
        *now = (company, now.1 + 1);
        Self
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        ENGINE.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        LEFT.notify_all();
    }
}

/// A registry, a token proxy before it, and a part of the Engine's names.
pub(crate) struct Lab {
    pub(crate) docker: Docker,
    pub(crate) registry: Registry,
    pub(crate) rules: Arc<Rules>,
    pub(crate) proxy: Server,
    pub(crate) prefix: String,
    pub(crate) login: (&'static str, &'static str),
    pub(crate) is_podman: bool,
    /// The build of the program that is tested.
    pub(crate) binary: String,
    socket: PathBuf,
    /// What its programs see of the Engine, if that is not all of it.
    part: Option<EngineProxy>,
    _stay: Stay,
}

impl Lab {
    /// `None`, said on the standard error, where there is no Engine. Its programs see only what has its prefix.
    pub(crate) fn new() -> Option<Self> {
        let mut lab = Self::parted()?;
        lab.part = Some(EngineProxy::part(&lab.docker, &lab.prefix));
        Some(lab)
    }

    /// The same where the test itself stands between programs and the Engine, with `EngineProxy::part`.
    pub(crate) fn parted() -> Option<Self> {
        Self::among(Company::Parted)
    }

    /// The same where programs see all of the Engine, and have to share its one claim with those of other tests:
    /// for tests in which few swaps are made, or files are put into containers.
    pub(crate) fn shared() -> Option<Self> {
        Self::among(Company::Shared)
    }

    /// The same with the Engine to itself.
    pub(crate) fn alone() -> Option<Self> {
        Self::among(Company::Alone)
    }

    /// The same where `scripts/lab/lab.sh` can do something to the Engine itself.
    pub(crate) fn in_charge() -> Option<Self> {
        let among = || Self::among(Company::Alone);
        Self::is_in_charge().then(among).flatten()
    }

    /// Whether `scripts/lab/lab.sh` made the Engine; then we are root, in a network of our own.
    pub(crate) fn is_in_charge() -> bool {
        std::env::var_os(ENGINE_NAME).is_some()
    }

    /// Has `scripts/lab/lab.sh` do this to the Engine: `restart`, `kill`, `cut`, `freeze` and `thaw`, `fill` and `empty`.
    #[track_caller]
    pub(crate) fn do_to_engine(&self, what: &str) {
        do_to_engine(what);
    }

    fn among(company: Company) -> Option<Self> {
        let Some(socket) = std::env::var_os("LAB_ENGINE").map(PathBuf::from) else {
            // Not `eprintln!`, which a passing test keeps to itself.
            let words = b"left out: the tests with a real Engine (scripts/test.sh runs them)\n";
            static SAID: Once = Once::new();
            SAID.call_once(|| drop(std::io::stderr().write_all(words)));
            return None;
        };
        let stay = Stay::among(company);
        let registry = Registry::start();
        let login = ("robot", "s3cret-pat");
        let rules = Rules::new(registry.host(), login);
        let proxy = rules.serve();
        let docker = Docker::new(&socket);
        let (_, version) = docker.json("GET", "/version", &Value::Null);
        Some(Self {
            docker,
            is_podman: version["Components"][0]["Name"] == "Podman Engine",
            binary: binary(),
            proxy,
            rules,
            registry,
            prefix: format!("t{}-", unique()),
            login,
            socket,
            part: None,
            _stay: stay,
        })
    }

    /// Whether a test has to be left out, because Podman is different: how, is said.
    pub(crate) fn leaves_out(&self, because: &str) -> bool {
        if self.is_podman {
            println!("left out on Podman: it {because}");
        }
        self.is_podman
    }

    /// The repository of a runtime: `acme/NAME`.
    pub(crate) fn repository(runtime: &str) -> String {
        format!("acme/{runtime}")
    }

    /// The reference the program watches for a runtime.
    pub(crate) fn reference(&self, runtime: &str) -> String {
        format!("{}/{}:latest", self.proxy.host(), Self::repository(runtime))
    }

    /// Publishes an image for a runtime and answers its digest.
    pub(crate) fn publish(&self, runtime: &str, image: &ImageSpec) -> String {
        self.registry
            .publish(&Self::repository(runtime), "latest", image)
    }

    /// Has the Engine pull a runtime's image, as whoever started the workspaces did.
    #[track_caller]
    pub(crate) fn pull(&self, runtime: &str) {
        self.pull_for(runtime, "");
    }

    /// The same for a platform.
    #[track_caller]
    pub(crate) fn pull_for(&self, runtime: &str, platform: &str) {
        let name = format!("{}/{}", self.proxy.host(), Self::repository(runtime));
        let path = format!(
            "/images/create?fromImage={}&tag=latest&platform={}",
            name.replace('/', "%2F"),
            platform.replace('/', "%2F")
        );
        let (status, body) = self.docker.ask("POST", &path, b"");
        let body = String::from_utf8_lossy(&body);
        assert!(
            status == 200 && !body.contains("\"error\""),
            "pull: {status} {body}"
        );
    }

    /// Starts a workspace of a runtime, whose image is published and pulled.
    #[track_caller]
    pub(crate) fn workspace(&self, name: &str, runtime: &str) -> String {
        self.docker
            .run(&self.name(name), &json!({"Image": self.reference(runtime)}))
    }

    /// Starts workspace `1` of a runtime, on its version `v1`.
    #[track_caller]
    pub(crate) fn first_workspace(&self, runtime: &str) -> String {
        self.publish(runtime, &good("v1"));
        self.pull(runtime);
        self.workspace("1", runtime)
    }

    /// The full name of a container of this test.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What its programs see of the Engine.
    pub(crate) fn seen(&self) -> Docker {
        Docker::new(self.docker_host().trim_start_matches("unix://"))
    }

    /// The same, as `DOCKER_HOST` names it.
    pub(crate) fn docker_host(&self) -> String {
        let whole = || self.whole_host();
        self.part.as_ref().map_or_else(whole, EngineProxy::host)
    }

    /// All of the Engine, as `DOCKER_HOST` names it.
    pub(crate) fn whole_host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The program with these variables and more, as soon as it listens.
    pub(crate) fn program(&self, runtimes: &str, more: &[(&str, &str)]) -> Program {
        let program = self.spawn(runtimes, more);
        program.await_line("listening on ");
        program
    }

    /// The same without waiting for it.
    pub(crate) fn spawn(&self, runtimes: &str, more: &[(&str, &str)]) -> Program {
        let host = self.docker_host();
        let image = format!("{}/acme/{{runtime}}:latest", self.proxy.host());
        let mut vars = vec![
            ("DOCKER_HOST", host.as_str()),
            ("IMAGEWATCH_IMAGE", image.as_str()),
            ("IMAGEWATCH_RUNTIMES", runtimes),
            ("IMAGEWATCH_PREFIX", self.prefix.as_str()),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_SETTLE", "1s"),
            // Not what another test labelled.
            ("IMAGEWATCH_SELECT", "workspaces"),
        ];
        vars.extend(more);
        Program::spawn_binary(&self.binary, &vars)
    }

    pub(crate) fn watcher(&self, runtimes: &str, more: &[(&str, &str)]) -> Program {
        let mut vars = vec![("IMAGE_AUTO_REFRESH", "true")];
        vars.extend(more);
        self.program(runtimes, &vars)
    }

    /// What a container is, by its short name.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        self.docker.inspect(&self.name(name))
    }

    /// The mark of the image a container runs.
    pub(crate) fn version(&self, name: &str) -> String {
        let inspect = self.inspect(name);
        inspect["Config"]["Labels"]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The names of all containers of this test, without the prefix. A claim comes and goes, and is none of them.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.docker.names(&self.prefix);
        let names = names.iter().map(|name| &name[self.prefix.len()..]);
        let is_claim = |name: &&str| self.part.is_some() && *name == CLAIM;
        names
            .filter(|name| !is_claim(name))
            .map(str::to_owned)
            .collect()
    }
}

impl Lab {
    /// Removes the lock of a program that a test killed: one in another PID namespace would wait for an hour.
    fn sweep_claim(&self) {
        let claim = self.docker.inspect(CLAIM);
        let label = claim["Config"]["Labels"]["io.imagewatch.claim"].as_str();
        let holder = label.and_then(|label| serde_json::from_str::<Value>(label).ok());
        let (Some(id), Some(holder)) = (claim["Id"].as_str(), holder) else {
            return;
        };
        let ours = std::fs::read_link("/proc/self/ns/pid").expect("Linux");
        let process = format!("/proc/{}", holder["pid"]);
        if holder["ns"].as_str() == ours.to_str() && !Path::new(&process).exists() {
            self.docker.remove(id);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        tidy(|| {
            self.sweep_claim();
            self.docker.clean(&self.prefix, &self.proxy.host());
        });
    }
}

/// An image that runs on.
pub(crate) fn good(mark: &str) -> ImageSpec {
    ImageSpec::new(mark)
}

/// See [`Lab::do_to_engine`].
#[track_caller]
pub(crate) fn do_to_engine(what: &str) {
    let name = std::env::var_os(ENGINE_NAME).expect("see `in_charge`");
    let status = Command::new("scripts/lab/lab.sh")
        .arg(what)
        .arg(name)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("the script").success(), "{what}");
}

/// The names on a list of a report.
pub(crate) fn names(report: &Value, list: &str) -> Vec<String> {
    let entries = report[list].as_array().expect("a list");
    let name = |entry: &Value| entry.as_str().or(entry["name"].as_str()).map(str::to_owned);
    entries.iter().filter_map(name).collect()
}
