//! The claim: only one imagewatch at a time changes containers on an Engine.
//!
//! The claim is a container that is never started. The Engine gives a name once, so whoever could
//! create it holds the claim; whoever could not reads in its label who does. A claim whose holder
//! is dead is taken over: it is removed *by id*, which only one of several takers can do, and made
//! anew. Nothing but the Engine is needed for that, so it holds across hosts and containers alike.

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The name of the container that is the claim.
pub const NAME: &str = "imagewatch.claim";
/// Its label says who holds it.
const LABEL: &str = "io.imagewatch.claim";
/// A holder of whom nothing can be learned (a process on another host) counts as dead after this
/// long. Longer than one swap takes; in a long refresh the claim is made anew between two.
const LEASE: Duration = Duration::from_secs(3600);
/// Each try finds the name free, or a dead holder, or ends.
const TRIES: usize = 5;

/// The claim, given back when dropped.
#[derive(Debug)]
pub struct Claim<'a> {
    engine: &'a Engine,
    id: String,
    since: Instant,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Attempt<'a> {
    /// It is ours.
    Mine(Claim<'a>),
    /// Somebody who lives holds it; who, in words.
    Held(String),
}

impl<'a> Claim<'a> {
    /// Attempts to get the claim. `image`, any that is here, is what the container is made from; it is never run.
    ///
    /// # Errors
    /// When the Engine refuses, or the name belongs to a container that is no claim.
    pub fn attempt(engine: &'a Engine, image: &Image) -> Result<Attempt<'a>> {
        let me = Holder::me(engine)?;
        let mine = |id: String| {
            Ok(Attempt::Mine(Claim {
                engine,
                id,
                since: Instant::now(),
            }))
        };
        let mut tries = 0;
        loop {
            let body = body(&me, image);
            let error = match engine.create(NAME, None, &body) {
                Ok(id) => return mine(id),
                Err(error) => error,
            };
            // An image for another platform wants to be asked for as such.
            if matches!(error.status(), Some(400 | 404)) {
                if let Ok(id) = engine.create(NAME, Some(&image.platform()), &body) {
                    return mine(id);
                }
            }
            tries += 1;
            match engine.find(NAME)? {
                // Given back in the meantime; the next one may have been faster.
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
                        // The answer was lost, or it could not be given back the last time.
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

    /// Whether it is time to make it anew.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.since.elapsed() > LEASE / 6
    }

    /// Removes a claim whose holder is dead, if there is one; or that this process could not give back.
    /// The caller holds none.
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

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let outcome = release(self.engine, &self.id).or_else(|_| release(self.engine, &self.id));
        if let Err(error) = outcome {
            log::warn!("the claim could not be given back yet: {error}");
        }
    }
}

fn release(engine: &Engine, id: &str) -> Result<()> {
    match engine.remove(id, Removal::ForceWithAnonymousVolumes) {
        // A conflict is that somebody else is removing it right now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        outcome => outcome,
    }
}

/// Volumes of the image are covered, or the Engine would make and fill new ones.
fn body(holder: &Holder, image: &Image) -> Value {
    let volumes = image.config().get("Volumes").and_then(Value::as_object);
    let cover = |target: &String| json!({"Type": "tmpfs", "Target": target});
    let covers: Vec<Value> = volumes
        .into_iter()
        .flat_map(|map| map.keys().map(cover))
        .collect();
    json!({
        "Image": image.id(),
        "Entrypoint": ["imagewatch"],
        "Cmd": ["claim"],
        "Labels": { LABEL: holder.0.to_string() },
        "HostConfig": { "NetworkMode": "none", "Mounts": covers },
    })
}

/// Who holds a claim, as JSON: `boot`, `ns` (PID namespace), `pid`, `start` (of the process, in clock
/// ticks) on Linux; `host`; `in` and `since` for a container; `at` (Unix seconds).
struct Holder(Value);

impl Holder {
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
        if let Some(id) = own_container() {
            if let Some(own) = engine.find(id)? {
                me["in"] = json!(id);
                me["since"] = json!(own.started_at());
            }
        }
        Ok(Self(me))
    }

    fn of(claim: &Container) -> Option<Self> {
        serde_json::from_str(claim.label(LABEL)?).ok().map(Self)
    }

    fn same(&self, other: &Self, keys: &[&str]) -> bool {
        keys.iter()
            .all(|key| self.0[*key] == other.0[*key] && self.0[*key] != "")
    }

    fn is_same_process(&self, other: &Self) -> bool {
        self.same(other, &["boot", "ns", "pid", "start"])
    }

    /// Whoever cannot be shown to be dead is alive.
    fn is_alive(&self, me: &Self, engine: &Engine) -> bool {
        if self.same(me, &["boot", "ns"]) {
            let pid = self.0["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok());
            return pid.is_some_and(|pid| json!(started(pid)) == self.0["start"]);
        }
        if let Some(id) = self.0["in"].as_str() {
            return match engine.find(id) {
                Ok(Some(container)) => {
                    container.state() == State::Running && self.0["since"] == container.started_at()
                }
                Ok(None) => false,
                Err(_) => true,
            };
        }
        // The same host, booted since.
        if self.same(me, &["host"]) && !self.same(me, &["boot"]) && me.0["boot"] != "" {
            return false;
        }
        let age = (me.0["at"].as_u64()).zip(self.0["at"].as_u64());
        // A claim from the future is one from before a clock was set back.
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

/// When a process started, in clock ticks since the boot (proc(5), `/proc/pid/stat` field 22; the
/// second, the name, may hold anything). Empty if there is no such process.
fn started(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .nth(19)
        .unwrap_or_default()
        .to_owned()
}

/// The id of the container this process runs in.
#[must_use]
pub fn own_container() -> Option<&'static str> {
    static OWN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let find = || id_within(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    OWN.get_or_init(find).as_deref()
}

/// From the control groups, where they show it (version 1, or the host's name space); else from what Docker mounts,
/// which is another container's where the network is.
fn id_within(cgroup: &str, mounts: &str) -> Option<String> {
    let id = |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let words = |c: char| !c.is_ascii_alphanumeric();
    let own = cgroup.lines().find_map(|line| line.rsplit(words).find(id));
    let mounted = || {
        let mut lines = mounts.lines();
        let line = lines.find(|line| line.contains(" /etc/hostname "))?;
        line.split('/').find(id)
    };
    own.or_else(mounted).map(str::to_owned)
}

/// What to say when the name is taken by a container that is no claim.
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
    fn the_own_container_is_that_of_the_control_group() {
        let (own, other) = ("a".repeat(64), "b".repeat(64));
        let mounts = format!(
            "1 2 8:1 /var/lib/docker/containers/{other}/hostname /etc/hostname rw - ext4 x rw\n"
        );
        for (cgroup, mounts, expected) in [
            (
                format!("12:memory:/docker/{own}\n0::/system.slice\n"),
                &*mounts,
                Some(&own),
            ),
            (
                format!("0::/system.slice/docker-{own}.scope\n"),
                &*mounts,
                Some(&own),
            ),
            ("0::/\n".to_owned(), &*mounts, Some(&other)),
            (
                "0::/user.slice\n".to_owned(),
                "1 2 8:1 / / rw - ext4 x rw\n",
                None,
            ),
        ] {
            assert_eq!(id_within(&cgroup, mounts).as_ref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn a_process_is_told_from_another_that_got_its_number() {
        let own = started(std::process::id());
        assert!(own.parse::<u64>().is_ok(), "{own:?}");
        assert_eq!(started(u32::MAX), "");
    }
}
