//! The lock: only one imagewatch at a time changes containers on an Engine.
//!
//! The lock is a container that is never started. The Engine gives a name only once, so the process that
//! could create the container holds the lock. Its label names the holder for all others. A lock whose
//! holder is dead is removed *by id*, which only one of several processes can do, and created again.
//! The lock needs only the Engine, so it works across hosts and containers alike.

use super::itself;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;
use crate::json;
use crate::labels::LOCK;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// A lock younger than this is not checked for removal.
const JUST_TAKEN: Duration = Duration::from_millis(500);

/// The name of the container that is the lock.
pub(crate) const NAME: &str = "imagewatch.claim";
/// A holder counts as dead after this time, unless its process can be seen to live. One swap takes less. A long
/// update creates the lock again between two swaps.
const LEASE: Duration = Duration::from_secs(3600);
/// How often the lock is tried. A try is repeated only if the name was free, or its holder dead.
const TRIES: usize = 5;

/// The lock, given back when dropped.
#[derive(Debug)]
pub struct Lock<'a> {
    engine: &'a Engine,
    id: String,
    since: Instant,
}

/// The result of an attempt to get the lock.
#[derive(Debug)]
pub enum Attempt<'a> {
    /// This process holds the lock.
    Mine(Lock<'a>),
    /// A living process holds the lock. The text names it.
    Held(String),
}

impl<'a> Lock<'a> {
    /// Attempts to get the lock. Its container is created from the first of `images` that the Engine takes, and never
    /// run.
    ///
    /// # Errors
    /// When the Engine refuses, or the name belongs to a container that is no lock.
    #[cold]
    pub fn attempt(engine: &'a Engine, images: &[Image]) -> Result<Attempt<'a>> {
        let me = Holder::me(engine)?;
        let mine = |id: String| {
            Ok(Attempt::Mine(Lock {
                engine,
                id,
                since: Instant::now(),
            }))
        };
        let mut tries = 0;
        loop {
            let error = match create(engine, &me, images) {
                Ok(id) => return mine(id),
                Err(error) => error,
            };
            tries += 1;
            match engine.find(NAME)? {
                // The holder gave the lock back in the meantime. Another process may have been faster.
                None if error.is_conflict() && tries < TRIES => {}
                None if error.is_conflict() => {
                    return Ok(Attempt::Held("another imagewatch".to_owned()));
                }
                None => return Err(error),
                Some(found) => {
                    let Some(holder) = Holder::of(&found) else {
                        return Err(error);
                    };
                    if holder.is_same_process(&me) {
                        // The answer to our create was lost, or the lock could not be given back the last time.
                        return mine(found.id().to_owned());
                    }
                    if tries == TRIES || holder.is_alive(&me, engine) {
                        return Ok(Attempt::Held(holder.in_words()));
                    }
                    log::info!("taking over from {}, which is gone", holder.in_words());
                    release(engine, found.id())?;
                }
            }
        }
    }

    /// Whether the lock has to be taken again before the next swap: it is old, or somebody removed it, for example with
    /// a prune.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_removed = || match self.engine.find(&self.id) {
            Ok(found) => found.is_none_or(|found| found.name() != NAME),
            // The swap will meet the same error.
            Err(_) => false,
        };
        let age = self.since.elapsed();
        age > LEASE / 6 || age > JUST_TAKEN && is_removed()
    }

    /// Removes a lock whose holder is dead, or that this process could not give back. The caller holds no lock.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub fn sweep(engine: &Engine) -> Result<()> {
        let Some(found) = engine.find(NAME)? else {
            return Ok(());
        };
        let me = Holder::me(engine)?;
        match Holder::of(&found) {
            Some(holder) if holder.is_same_process(&me) || !holder.is_alive(&me, engine) => {
                release(engine, found.id())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let outcome = release(self.engine, &self.id).or_else(|_| release(self.engine, &self.id));
        if let Err(error) = outcome {
            log::warn!("the lock could not be given back yet: {error}");
        }
    }
}

fn release(engine: &Engine, id: &str) -> Result<()> {
    match engine.remove(id, Removal::ForceWithAnonymousVolumes) {
        // A conflict means that somebody else is removing it right now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        outcome => outcome,
    }
}

/// Creates the lock from the first image that the Engine takes. The Engine refuses some images.
fn create(engine: &Engine, holder: &Holder, images: &[Image]) -> Result<String> {
    let mut trouble = None;
    for image in images {
        let body = body(holder, image);
        let error = match engine.create(NAME, None, &body) {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        // An image for another platform has to be asked for with that platform.
        if matches!(error.status(), Some(400 | 404))
            && let Ok(id) = engine.create(NAME, Some(&image.platform()), &body)
        {
            return Ok(id);
        }
        if error.is_conflict() || error.is_ambiguous() {
            return Err(error);
        }
        trouble.get_or_insert(error);
    }
    Err(trouble.unwrap_or_else(|| {
        Error::malformed(
            format!("create {NAME}"),
            "there is no image to make it from",
        )
    }))
}

/// The body of the create call. Volumes of the image are covered, or the Engine would create and fill new ones.
fn body(holder: &Holder, image: &Image) -> Value {
    let volumes = image.config().get("Volumes").and_then(Value::as_object);
    let cover = |target: &str| json!({"Type": "tmpfs", "Target": target});
    let targets = volumes.into_iter().flat_map(|map| map.keys());
    // An image may name a volume twice (`/data` and `/data/`), or a path that cannot be covered.
    let mut covered: Vec<&str> = Vec::new();
    for target in targets.map(|target| target.trim_end_matches('/')) {
        if target.starts_with('/') && !covered.contains(&target) {
            covered.push(target);
        }
    }
    let covers: Vec<Value> = covered.into_iter().map(cover).collect();
    json!({
        "Image": image.id(),
        "Entrypoint": ["imagewatch"],
        "Cmd": ["claim"],
        // The image's own working directory may be no folder.
        "WorkingDir": "/",
        "Labels": { LOCK: json::print(&holder.0) },
        "HostConfig": { "NetworkMode": "none", "Mounts": covers },
    })
}

/// The holder of a lock, as JSON: `boot`, `ns` (PID namespace), `pid`, `start` (of the process, in clock
/// ticks) on Linux; `host`; `in` and `since` for a container; `at` (Unix seconds).
struct Holder(Value);

impl Holder {
    #[cold]
    fn me(engine: &Engine) -> Result<Self> {
        let read = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim().to_owned()
        };
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let mut me = json!({
            "boot": read("/proc/sys/kernel/random/boot_id"),
            "ns": namespace.to_string_lossy(),
            "pid": std::process::id(),
            "start": started(std::process::id()),
            "host": read("/proc/sys/kernel/hostname"),
            "at": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
        });
        if let Some(own) = itself::running(engine)? {
            me["in"] = json!(own.id());
            me["since"] = json!(own.started_at());
        }
        Ok(Self(me))
    }

    fn of(lock: &Container) -> Option<Self> {
        json::parse(lock.label(LOCK)?).ok().map(Self)
    }

    fn same(&self, other: &Self, keys: &[&str]) -> bool {
        keys.iter()
            .all(|key| self.0[*key] == other.0[*key] && self.0[*key] != "")
    }

    fn is_same_process(&self, other: &Self) -> bool {
        self.same(other, &["boot", "ns", "pid", "start"])
    }

    /// Whether the holder is alive. A holder that cannot be shown to be dead counts as alive.
    fn is_alive(&self, me: &Self, engine: &Engine) -> bool {
        if self.same(me, &["boot", "ns"]) {
            let pid = self.0["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok());
            return pid.is_some_and(|pid| json!(started(pid)) == self.0["start"]);
        }
        // The container may run on although the process is dead. Then the lease decides, below.
        if let Some(id) = self.0["in"].as_str() {
            let is_gone = match engine.find(id) {
                Ok(Some(found)) => {
                    found.state() != State::Running || self.0["since"] != found.started_at()
                }
                Ok(None) => true,
                Err(_) => false,
            };
            if is_gone {
                return false;
            }
        }
        // The host was booted since.
        if self.same(me, &["host"]) && !self.same(me, &["boot"]) && me.0["boot"] != "" {
            return false;
        }
        let age = (me.0["at"].as_u64()).zip(self.0["at"].as_u64());
        // A lock from the future was taken before a clock was set back.
        age.is_some_and(|(now, then)| now.abs_diff(then) < LEASE.as_secs())
    }

    fn in_words(&self) -> String {
        let place = self.0["in"].as_str().map_or_else(
            || format!("host {}", self.0["host"].as_str().unwrap_or("?")),
            |id| format!("container {}", id.get(..12).unwrap_or(id)),
        );
        format!("imagewatch (process {}, {place})", self.0["pid"])
    }
}

/// The start time of a process, in clock ticks since the boot (proc(5), `/proc/pid/stat` field 22). The second field,
/// the name, may contain any character. The result is empty if there is no such process.
fn started(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .nth(19)
        .unwrap_or_default()
        .to_owned()
}

/// The error in words, with a hint if the name is taken by a container that is no lock.
#[must_use]
pub fn explain(error: &Error) -> String {
    if error.is_conflict() {
        format!("{error} (the name {NAME} is imagewatch's own: remove or rename that container)")
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_that_got_its_number() {
        let own = started(std::process::id());
        assert!(own.parse::<u64>().is_ok(), "{own:?}");
        assert_eq!(started(u32::MAX), "");
    }
}
