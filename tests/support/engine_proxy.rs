//! A socket between the program and the Engine: it numbers the calls, and when a chosen one comes
//! it does something to it, or says so and holds it. Everything else passes unchanged.

use super::Folder;
use super::docker::Docker;
use super::docker::Reply;
use super::server::Answer;
use super::server::Seen;
use super::server::Server;
use serde_json::Value;
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The name that the programs on one Engine compete for.
pub(crate) const CLAIM: &str = "imagewatch.claim";
/// The names that are given only once on an Engine, whoever asks.
const COMMON: [&str; 2] = [CLAIM, "imagewatch.helper"];

/// Which call is meant: the `nth`, from 1, whose line is, or holds, this; a line ends with a space
/// here. A call that is repeated at once, as in a wait, counts once.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Exactly(String, usize),
    Holding(&'static str, usize),
    /// Whatever it is.
    Any(usize),
    /// Whatever changes something.
    Change(usize),
}

impl Place {
    /// Whether the last of these lines is the one.
    fn is_here(&self, lines: &[String]) -> bool {
        let is_meant = |line: &&String| match self {
            Self::Exactly(text, _) => *line == text,
            Self::Holding(text, _) => format!("{line} ").contains(text),
            Self::Any(_) => true,
            Self::Change(_) => !line.starts_with("GET "),
        };
        let (Self::Exactly(_, nth) | Self::Holding(_, nth) | Self::Any(nth) | Self::Change(nth)) =
            self;
        lines.last().is_some_and(|last| is_meant(&last))
            && lines.iter().filter(is_meant).count() == *nth
    }
}

/// What is done to it.
#[derive(Clone)]
pub(crate) enum Action {
    /// No answer until the test is over, and the Engine never hears of it.
    HoldBefore,
    /// No answer until the test is over, but the Engine has done it.
    HoldAfter,
    /// This status, and the Engine never hears of it.
    Refuse(u16),
    /// A 500 that says so, and the Engine never hears of it.
    DiskIsFull,
    /// A 500, but the Engine has done it.
    FailAfter,
    /// The connection is closed, and the Engine never hears of it.
    CloseBefore,
    /// The connection is closed, but the Engine has done it.
    CloseAfter,
    /// Somebody else does something first.
    First(Arc<dyn Fn() + Send + Sync>),
    /// Somebody else does something as soon as the Engine has done it.
    Then(Arc<dyn Fn() + Send + Sync>),
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HoldBefore => f.write_str("held before"),
            Self::HoldAfter => f.write_str("held after"),
            Self::Refuse(status) => write!(f, "{status} instead"),
            Self::DiskIsFull => f.write_str("no space left"),
            Self::FailAfter => f.write_str("500 after"),
            Self::CloseBefore => f.write_str("closed before"),
            Self::CloseAfter => f.write_str("closed after"),
            Self::First(_) => f.write_str("somebody was faster"),
            Self::Then(_) => f.write_str("somebody went on at once"),
        }
    }
}

impl Action {
    /// Does it to a call. `said` is called as soon as the Engine has done what it is to do.
    fn carry_out(self, said: impl FnOnce(), pass: impl FnOnce() -> Answer) -> Answer {
        match &self {
            Self::First(act) => {
                act();
                said();
                return pass();
            }
            Self::Then(act) => {
                let answer = pass();
                act();
                said();
                return answer;
            }
            Self::HoldAfter | Self::FailAfter | Self::CloseAfter => drop(pass()),
            _ => {}
        }
        said();
        match self {
            Self::Refuse(status) => message(status, "made to fail"),
            Self::DiskIsFull => message(500, "mkdir /var/lib/x: no space left on device"),
            Self::FailAfter => message(500, "made to fail, but it was done"),
            Self::CloseBefore | Self::CloseAfter => Answer::Close,
            Self::HoldBefore | Self::HoldAfter => Answer::silence(),
            Self::First(_) | Self::Then(_) => unreachable!("carried out above"),
        }
    }
}

type OnCall = Box<dyn FnOnce(String) + Send>;

#[derive(Default)]
struct Calls {
    lines: Vec<String>,
    /// Ids in the order in which they came up, for lines that are the same in every run.
    ids: Vec<String>,
    plan: Option<(Place, Action, OnCall)>,
    /// What is refused whenever it comes, and how.
    barred: Option<(String, u16)>,
    /// Whether a test has numbered ids before the first call.
    is_numbered: bool,
    /// Whether calls wait for an Engine that is away.
    waits: bool,
}

/// The socket. It ends with the test.
pub(crate) struct EngineProxy {
    calls: Arc<Mutex<Calls>>,
    folder: Folder,
    _server: Server,
}

impl EngineProxy {
    /// The whole Engine.
    pub(crate) fn whole(docker: &Docker) -> Self {
        Self::new(docker, "", false)
    }

    /// The same, and its services.
    pub(crate) fn with_services(docker: &Docker) -> Self {
        Self::new(docker, "", true)
    }

    /// An Engine on which there are only containers whose names begin with `prefix`, and a claim
    /// of their own; so what several programs do side by side stays apart.
    pub(crate) fn part(docker: &Docker, prefix: &str) -> Self {
        Self::new(docker, prefix, false)
    }

    fn new(docker: &Docker, prefix: &str, shows_services: bool) -> Self {
        let folder = Folder::within(docker.folder());
        let calls = Arc::new(Mutex::new(Calls::default()));
        let (docker, prefix, known) = (docker.clone(), prefix.to_owned(), Arc::clone(&calls));
        let server = Server::unix(&folder.path().join("s"), move |seen| {
            let waits = || known.lock().unwrap_or_else(PoisonError::into_inner).waits;
            let pass = || {
                while waits() && docker.is_away() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                forward(&docker, seen, &prefix, &known)
            };
            let mut calls = known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_shown = shows_services && seen.is_list_of_services();
            if seen.is_preflight() && !is_shown {
                return match calls.barred(seen) {
                    Some(status) => message(status, "made to fail"),
                    None => message(404, "No such container"),
                };
            }
            let due = calls.due(seen, &prefix);
            drop(calls);
            let answer = || match due {
                None => pass(),
                Some((line, action, on_call)) => action.carry_out(|| on_call(line), pass),
            };
            // An Engine that goes away in the middle of a call is what some tests are about.
            catch_unwind(AssertUnwindSafe(answer)).unwrap_or(Answer::Close)
        })
        .with_preflight();
        Self {
            calls,
            folder,
            _server: server,
        }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("s").display())
    }

    /// Chooses a call; `on_call` hears its line when it has come.
    pub(crate) fn at(
        &self,
        place: Place,
        action: Action,
        on_call: impl FnOnce(String) + Send + 'static,
    ) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.plan = Some((place, action, Box::new(on_call)));
    }

    /// Gives these ids the first numbers, because some runs name them early and some late.
    pub(crate) fn number_first(&self, ids: &[&Value]) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.is_numbered = true;
        for id in ids.iter().filter_map(|id| id.as_str()) {
            calls.number(id.trim_start_matches("sha256:"));
        }
    }

    /// From now on no call whose path holds this gets through.
    pub(crate) fn bar(&self, path: Option<String>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.barred = path.map(|path| (path, 409));
    }

    /// The same, as somebody before the Engine forbids it.
    pub(crate) fn deny(&self, path: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.barred = Some((path.to_owned(), 403));
    }

    /// From now on what comes while the Engine is away waits until it is back.
    pub(crate) fn wait_for_engine(&self) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.waits = true;
    }

    /// `METHOD path` of every call so far, with ids as `#1`, `#2`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.lines.clone()
    }
}

impl Calls {
    /// Enters a call, and answers what is to be done if it is the chosen one.
    fn due(&mut self, seen: &Seen, prefix: &str) -> Option<(String, Action, OnCall)> {
        let line = self.normalised(&seen.line(), prefix);
        let barred = self.barred(seen);
        if self.lines.last() == Some(&line) && barred.is_none() {
            return None;
        }
        self.lines.push(line.clone());
        if let Some(status) = barred {
            return Some((line, Action::Refuse(status), Box::new(drop)));
        }
        if !self.plan.as_ref()?.0.is_here(&self.lines) {
            return None;
        }
        let (_, action, on_call) = self.plan.take()?;
        Some((line, action, on_call))
    }

    fn barred(&self, seen: &Seen) -> Option<u16> {
        let barred = self.barred.as_ref();
        let barred = barred.filter(|(path, _)| seen.target.contains(path));
        barred.map(|(_, status)| *status)
    }

    /// Without version and prefix, each id by its number; a shortened id is the same id.
    fn normalised(&mut self, line: &str, prefix: &str) -> String {
        let (method, target) = line.split_once(' ').unwrap_or((line, ""));
        let target = match target.strip_prefix("/v1.") {
            Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => target,
        };
        // Other times in each run.
        let target = target
            .split_once('?')
            .filter(|(path, _)| *path == "/events")
            .map_or(target, |(path, _)| path);
        let mut normal = format!("{method} ");
        let mut rest = if prefix.is_empty() {
            target.to_owned()
        } else {
            target.replace(prefix, "")
        };
        while let Some(first) = rest.chars().next() {
            let hex = rest
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(rest.len());
            if matches!(hex, 8 | 12 | 64) {
                normal.push_str(&format!("#{}", self.number(&rest[..hex])));
                rest.drain(..hex);
            } else {
                let length = hex.max(first.len_utf8());
                normal.extend(rest.drain(..length));
            }
        }
        normal
    }

    fn number(&mut self, id: &str) -> usize {
        let known = self.ids.iter().position(|known| known.starts_with(id));
        known.unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        }) + 1
    }
}

fn message(status: u16, words: &str) -> Answer {
    Answer::json(status, &json!({"message": words}))
}

/// Has the Engine do it. An Engine that is gone closes the connection.
fn forward(docker: &Docker, seen: &Seen, prefix: &str, calls: &Mutex<Calls>) -> Answer {
    let mut target = seen.target.clone();
    for name in COMMON {
        for before in ["name=", "/containers/"] {
            target = target.replace(
                &format!("{before}{name}"),
                &format!("{before}{prefix}{name}"),
            );
        }
    }
    let Ok(mut reply) = docker.forward(seen, &target) else {
        return Answer::Close;
    };
    let mut body = std::mem::take(&mut reply.body);
    if seen.method == "POST" && target.contains(&format!("name={prefix}{}", COMMON[0])) {
        // Some runs look at the claim and some do not, but all of them make it.
        let made: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.is_numbered {
            made["Id"].as_str().map(|id| calls.number(id));
        }
    }
    if !prefix.is_empty() && seen.target.contains("/containers/") {
        if let Ok(mut json) = serde_json::from_slice(&body) {
            narrow(&mut json, prefix);
            body = json.to_string().into_bytes();
        }
    }
    Reply { body, ..reply }.pass_on()
}

/// Takes the containers of others off a list, and gives the lock and the helper their names back.
fn narrow(json: &mut Value, prefix: &str) {
    let restore = |name: &mut Value| {
        for common in COMMON {
            if *name == format!("/{prefix}{common}") {
                *name = json!(format!("/{common}"));
            }
        }
    };
    if let Value::Array(list) = json {
        list.retain(|one| {
            // One that others link to has several.
            let names = one["Names"].as_array().into_iter().flatten();
            let mut names = names.filter_map(Value::as_str);
            names.any(|name| name.trim_start_matches('/').starts_with(prefix))
        });
        for one in list {
            restore(&mut one["Names"][0]);
        }
    } else if !json["Name"].is_null() {
        restore(&mut json["Name"]);
    }
}
