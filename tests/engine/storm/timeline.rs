//! What happened when: what the storm did, and what the Engine tells of its containers.

use crate::support::docker::Docker;
use serde_json::Value;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// Between two tries to hear from an Engine that is away.
const PAUSE: Duration = Duration::from_millis(50);

/// One thing that happened.
#[derive(Debug, Clone)]
struct Happened {
    at: Instant,
    who: &'static str,
    words: String,
}

/// All of it, in its order.
pub(super) struct Timeline {
    begun: Instant,
    all: Mutex<Vec<Happened>>,
    grown: Condvar,
}

impl Timeline {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            all: Mutex::default(),
            grown: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Happened>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the storm does.
    pub(super) fn note(&self, words: impl Into<String>) {
        self.add("storm", words.into());
    }

    fn add(&self, who: &'static str, words: String) {
        let at = Instant::now();
        self.lock().push(Happened { at, who, words });
        self.grown.notify_all();
    }

    /// When the first successor was created, if that is in time.
    pub(super) fn await_swap(&self, patience: Duration) -> Option<Instant> {
        let begun = Instant::now();
        let mut all = self.lock();
        loop {
            let swap = |one: &&Happened| one.who == "engine" && one.words.contains(".iw-new-");
            if let Some(first) = all.iter().find(swap) {
                return Some(first.at);
            }
            let left = patience.checked_sub(begun.elapsed())?;
            let waited = self.grown.wait_timeout(all, left);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether a container of this name was being renewed between these moments.
    pub(super) fn has_swap(&self, name: &str, from: Instant, to: Instant) -> bool {
        let transient = format!("{name}.iw-");
        let all = self.lock();
        all.iter()
            .filter(|one| one.who == "engine" && from <= one.at && one.at <= to)
            .any(|one| one.words.contains(&transient))
    }

    /// Whether a swap of this container was over by then.
    pub(super) fn was_swap_over(&self, name: &str, by: Instant) -> bool {
        // Podman has a word of its own.
        let over = ["destroy", "remove"].map(|what| format!("{what} {name}.iw-"));
        let all = self.lock();
        let mut engine = all.iter().filter(|one| one.who == "engine");
        engine.any(|one| one.at < by && over.iter().any(|over| one.words.starts_with(over)))
    }

    /// Whether there was anything of a swap of this container.
    pub(super) fn was_renewed(&self, name: &str) -> bool {
        self.has_swap(name, self.begun, Instant::now())
    }

    /// Whether the container with this id had this name, or was the other half of a swap of it.
    pub(super) fn is_of(&self, id: &str, name: &str) -> bool {
        let id = &id[..id.len().min(12)];
        let (own, transient) = (format!(" {name} {id}"), format!(" {name}.iw-"));
        let all = self.lock();
        let mut engine = all.iter().filter(|one| one.who == "engine");
        engine.any(|one| {
            let words = &one.words;
            words.contains(&own) || (words.contains(&transient) && words.contains(id))
        })
    }

    /// For people, with the lines of the programs' logs where they belong.
    pub(super) fn text(&self, logs: &[(Instant, String)]) -> String {
        let mut all = self.lock().clone();
        all.extend(logs.iter().map(|(at, line)| Happened {
            at: *at,
            who: "log",
            words: line.clone(),
        }));
        all.sort_by_key(|one| one.at);
        let mut text = String::new();
        for one in all {
            let at = one.at.saturating_duration_since(self.begun);
            text.push_str(&format!(
                "{:>8.3} {:<6} {}\n",
                at.as_secs_f64(),
                one.who,
                one.words
            ));
        }
        text
    }
}

/// Listens to the Engine until it is dropped.
pub(super) struct Listener {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn new(docker: &Docker, timeline: &Arc<Timeline>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (docker, timeline, over) = (docker.clone(), Arc::clone(timeline), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let heard = docker.events(&mut |event| {
                    if let Some(words) = in_words(event) {
                        timeline.add("engine", words);
                    }
                    !over.load(Ordering::SeqCst)
                });
                if heard.is_err() {
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `None` for what says nothing about how a container fares: a health check that runs, a file that is read.
fn in_words(event: &Value) -> Option<String> {
    let action = event["Action"].as_str()?;
    let is_fare = !action.starts_with("exec_") && action != "archive-path";
    if !is_fare || event["Type"] != "container" {
        return None;
    }
    let attributes = &event["Actor"]["Attributes"];
    let name = attributes["name"].as_str().unwrap_or_default();
    let id = event["Actor"]["ID"].as_str().unwrap_or_default();
    let mut words = format!("{action} {name} {}", &id[..id.len().min(12)]);
    for key in ["oldName", "exitCode", "signal"] {
        if let Some(value) = attributes[key].as_str() {
            words.push_str(&format!(" {key}={value}"));
        }
    }
    Some(words)
}
