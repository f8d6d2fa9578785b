//! The Engine calls of a swap, each with a check of its effect. Whatever the answer of a call is, the state
//! that the Engine shows afterwards counts.

use super::record::Record;
use super::record::is_alive;
use super::record::is_up;
use super::successor::is_between_runs;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Obstacle;
use crate::error::Result;
use crate::logging::debug;
use crate::thread::Shutdown;
use serde_json::Value;
use serde_json::json;
use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

/// How long one step of an undo is tried. An Engine that is being restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a look at the real state is tried.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(20);
/// How long a stopped container may take to give its network back.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a start is tried while an address or a port is still being given back.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long any call is tried once the program has to stop.
const STOPPING_PATIENCE: Duration = Duration::from_millis(500);
/// The advice about a container that the Engine can neither stop nor remove.
const LOST_PROCESS: &str = "the Engine has lost its process: restart the Engine";
/// The hint where the Engine refuses a name that no container has.
const KEPT_NAME: &str = "no container has this name: the Engine gives it free when it is restarted";
/// How often a clear refusal is tried again.
const REFUSALS: u32 = 4;
/// The time between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// Whether a container is stopped. Podman shows the same state between two runs of a crash loop, so Podman's own API
/// is asked too.
///
/// # Errors
/// When the Engine cannot be asked.
pub fn is_stopped(container: &Container, engine: &Engine) -> Result<bool> {
    let is_shown_so = container.is_stopped();
    if !is_shown_so || !container.starts_again() || !engine.about()?.is_podman() {
        return Ok(is_shown_so);
    }
    let libpod = engine.podman_container(container.id())?;
    Ok(!is_between_runs(container, &libpod))
}

/// The calls to one Engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<'a> {
    pub(super) engine: &'a Engine,
    /// Closed when the program stops.
    pub(super) shutdown: &'a Shutdown,
}

impl Steps<'_> {
    /// Finds a container. A container counts as gone only if the list agrees. One wrong answer of a struggling
    /// Engine, or of a proxy, must not lose a container.
    pub(super) fn find(&self, id: &str) -> Result<Option<Container>> {
        match self.engine.container(id) {
            Ok(container) => Ok(Some(container)),
            Err(error) if error.is_not_found() => {
                let list = self.engine.containers()?;
                if list.iter().any(|one| one.id() == id || one.name() == id) {
                    return Err(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Finds a container, and tries for a while.
    pub(super) fn look(&self, id: &str) -> Result<Option<Container>> {
        retry(self.shutdown, LOOK_PATIENCE, || self.find(id))
    }

    /// The old container of a swap, if it can run again. A container that the Engine began to remove and could not
    /// (`dead`) never runs again.
    pub(super) fn look_for_way_back(&self, record: &Record) -> Result<Option<Container>> {
        let found = self.look(&record.old)?;
        Ok(found.filter(|found| found.state() != State::Gone))
    }

    /// The container that has a name now. The Engine also takes a name for the beginning of an id.
    pub(super) fn look_by_name(&self, name: &str) -> Result<Option<Container>> {
        let found = self.look(name)?;
        Ok(found.filter(|found| found.name() == name))
    }

    /// Ignores the error of a call that took effect all the same.
    fn ignore_if_done(
        &self,
        outcome: Result<()>,
        id: &str,
        holds: impl Fn(&Container) -> bool,
    ) -> Result<()> {
        let Err(error) = outcome else {
            return Ok(());
        };
        match self.look(id) {
            Ok(Some(container)) if holds(&container) => {
                debug(format_args!(
                    "the call took effect although it failed: {error}"
                ));
                Ok(())
            }
            _ => Err(error),
        }
    }

    #[cold]
    pub(super) fn stop(&self, container: &Container) -> Result<()> {
        let outcome = self.engine.stop(container);
        self.ignore_if_done(outcome, container.id(), |seen| !is_alive(seen))
    }

    #[cold]
    pub(super) fn rename(&self, id: &str, name: &str) -> Result<()> {
        let outcome = self.engine.rename(id, name);
        self.ignore_if_done(outcome, id, |seen| seen.name() == name)
    }

    #[cold]
    pub(super) fn start(&self, id: &str) -> Result<()> {
        let outcome = self.engine.start(id);
        self.ignore_if_done(outcome, id, is_up)
    }

    /// Takes the restart policy away, if the Engine can do that (Podman 4.3 cannot).
    #[cold]
    pub(super) fn suspend_policy(&self, container: &Container) -> Result<()> {
        if !has_policy(container) {
            return Ok(());
        }
        match self.set_policy(container.id(), &json!({"Name": "no"})) {
            Err(error) if error.is_not_found() && self.look(container.id())?.is_some() => Ok(()),
            outcome => outcome,
        }
    }

    /// Sets a restart policy. An Engine sometimes refuses that while a container is being restarted, so the call is
    /// tried again. After two answers that the call is unknown, there is no further try.
    fn set_policy(&self, id: &str, policy: &Value) -> Result<()> {
        let mut unknown = 0;
        let set = || {
            let outcome = self.engine.set_restart_policy(id, policy);
            unknown += u32::from(outcome.as_ref().is_err_and(Error::is_not_found));
            match outcome {
                Err(error) if unknown == 2 => Ok(Err(error)),
                outcome => outcome.map(Ok),
            }
        };
        retry(self.shutdown, LOOK_PATIENCE, set)?
    }

    /// Stops a container for good. `Ok(false)` here and below: it does not exist.
    ///
    /// A container that shows `exited` may be between two runs of a crash loop. Podman starts it again even
    /// after a stop, unless its policy is taken away. Podman also holds the network and ports for a moment
    /// longer. (Seen on Podman 5.8: ports given back late take the rules of the next holder along.)
    #[cold]
    pub(super) fn ensure_stopped(&self, id: &str) -> Result<bool> {
        let may_come_back = |seen: &Container| has_policy(seen) && seen.was_started();
        let is_lost = Cell::new(false);
        let there = self.until(
            id,
            |seen| !is_up(seen) && !may_come_back(seen),
            |seen| {
                if let Err(error) = self.suspend_policy(seen) {
                    debug(format_args!("{error}"));
                }
                let outcome = self.engine.stop(seen);
                let is_stuck = || Ok(self.find(id)?.is_some_and(|now| has_lost_process(&now)));
                is_lost.set(outcome.is_err() && is_stuck()?);
                if is_lost.get() { Ok(()) } else { outcome }
            },
        )?;
        let begun = Instant::now();
        while there && begun.elapsed() < RELEASE_PATIENCE {
            match self.look(id)? {
                // Docker 20.10 may start a container in a crash loop once more after its stop.
                Some(_) if is_lost.get() => break,
                Some(seen) if is_up(&seen) => self.engine.stop(&seen)?,
                Some(seen) if seen.holds_network() => std::thread::sleep(PAUSE),
                _ => break,
            }
        }
        Ok(there)
    }

    #[cold]
    pub(super) fn ensure_name(&self, id: &str, name: &str) -> Result<bool> {
        let rename = |seen: &Container| {
            self.outlast_removal(seen)?;
            self.engine.rename(id, name)
        };
        match self.until(id, |seen| seen.name() == name, rename) {
            Err(error) if error.is_conflict() && self.find(name)?.is_none() => {
                Err(error.with_advice(KEPT_NAME))
            }
            outcome => outcome,
        }
    }

    /// Waits while somebody removes the container. Docker would refuse to rename the container then, and would keep its
    /// name reserved for good. (Seen on 28.5: Docker puts the name back after the removal gave it free.)
    fn outlast_removal(&self, seen: &Container) -> Result<()> {
        let begun = Instant::now();
        let mut is_going = seen.state() == State::Gone;
        while is_going && begun.elapsed() < RELEASE_PATIENCE {
            std::thread::sleep(PAUSE);
            let found = self.find(seen.id())?;
            is_going = found.is_some_and(|found| found.state() == State::Gone);
        }
        Ok(())
    }

    #[cold]
    pub(super) fn ensure_policy(&self, id: &str, policy: &Value) -> Result<bool> {
        let restore = |_: &Container| self.engine.set_restart_policy(id, policy);
        let outcome = self.until(
            id,
            |seen| same_policy(&seen.restart_policy(), policy),
            restore,
        );
        match outcome {
            // An Engine that cannot set a policy did not take it away either.
            Err(error) if error.is_not_found() && self.look(id)?.is_some() => {
                log::warn!("a restart policy stays as it is: {error} (this Engine cannot set it)");
                Ok(true)
            }
            outcome => outcome,
        }
    }

    #[cold]
    pub(super) fn ensure_running(&self, id: &str) -> Result<bool> {
        self.until(id, is_alive, |_| self.engine.start(id))
    }

    /// Whether a container that is shown as ended is in a crash loop, and runs again now or in a moment. Only
    /// Podman's own API tells.
    pub(super) fn is_between_runs(&self, container: &Container) -> Result<bool> {
        let libpod = self.engine.podman_container(container.id())?;
        Ok(is_between_runs(container, &libpod))
    }

    /// Whether a successor that was started has ended, even if it runs again. The Engine may need a moment to see the
    /// end.
    pub(super) fn has_ended(&self, new: &str) -> bool {
        let seen_to_end = || {
            let seen = self.look(new).ok().flatten();
            seen.is_some_and(|seen| seen.state() != State::Running || seen.restart_count() > 0)
        };
        seen_to_end() || {
            std::thread::sleep(PAUSE);
            seen_to_end()
        }
    }

    /// Removes a container, running or not.
    #[cold]
    pub(super) fn ensure_gone(&self, id: &str, how: Removal) -> Result<()> {
        retry(self.shutdown, PATIENCE, || {
            let Some(seen) = self.find(id)? else {
                return Ok(Ok(()));
            };
            if has_lost_process(&seen) {
                // Another try would fail as well.
                let outcome = self.engine.remove(id, how);
                return Ok(outcome.map_err(|error| error.with_advice(LOST_PROCESS)));
            }
            if is_up(&seen) && how == Removal::KeepVolumes {
                self.engine.stop(&seen)?;
            }
            self.engine.remove(id, how)?;
            match self.engine.find(id)? {
                None => Ok(Ok(())),
                Some(_) => Err(Error::malformed(
                    format!("remove {}", seen.name()),
                    "it is still there",
                )),
            }
        })?
    }

    /// Looks at the container, and acts until the wanted state holds or an action succeeded.
    fn until(
        &self,
        id: &str,
        holds: impl Fn(&Container) -> bool,
        act: impl Fn(&Container) -> Result<()>,
    ) -> Result<bool> {
        retry(self.shutdown, PATIENCE, || match self.find(id)? {
            None => Ok(false),
            Some(container) if holds(&container) => Ok(true),
            Some(container) => act(&container).map(|()| true),
        })
    }
}

/// Tries a call again while that may help: as long as the Engine is away or busy, or its answer ambiguous. After a
/// clear refusal, there are only a few tries. Once the program is stopping, there are hardly any: its next
/// start continues.
pub(super) fn retry<T>(
    shutdown: &Shutdown,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    let mut refusals = 0;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        refusals += u32::from(is_clear(&error));
        let is_taken = error.obstacle() == Some(Obstacle::Taken);
        let mut patience = if is_taken {
            patience.min(START_PATIENCE)
        } else {
            patience
        };
        if shutdown.is_closed() {
            patience = patience.min(STOPPING_PATIENCE);
        }
        if refusals >= REFUSALS || begun.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether an error is a clear refusal, which the next try would get as well. Docker answers nearly every failed start
/// with 500, so the obstacle counts first.
fn is_clear(error: &Error) -> bool {
    match error.obstacle() {
        Some(obstacle) => obstacle != Obstacle::Taken,
        None => !error.is_ambiguous() && error.status().is_none_or(|status| status < 500),
    }
}

/// Whether a container is shown as restarting for ever. A Docker that was killed in a crash loop has lost the process,
/// and can neither stop nor remove the container until it is restarted (seen on 28.5).
fn has_lost_process(seen: &Container) -> bool {
    seen.state() == State::Restarting && !seen.has_process() && !has_policy(seen)
}

/// Whether the Engine would start the container by itself.
pub(super) fn has_policy(container: &Container) -> bool {
    !is_no(&container.restart_policy())
}

fn is_no(policy: &Value) -> bool {
    matches!(policy["Name"].as_str(), None | Some("" | "no"))
}

pub(super) fn same_policy(a: &Value, b: &Value) -> bool {
    (is_no(a) && is_no(b)) || a == b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Endpoint;
    use std::io::BufRead;
    use std::io::BufReader;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    fn refused(status: u16) -> Result<()> {
        Err(Error::refused("POST", status, "no", None))
    }

    #[test]
    fn a_clear_refusal_is_tried_a_few_times_only() {
        let mut tries = 0;
        let outcome = retry(&Shutdown::default(), Duration::from_secs(60), || {
            tries += 1;
            refused(409)
        });
        assert!(outcome.is_err());
        assert_eq!(tries, REFUSALS);
    }

    #[test]
    fn so_is_a_start_that_is_refused_whatever_its_status() {
        let not_started = |obstacle| Err(Error::not_started("POST", 500, "no", obstacle));
        let mut tries = 0;
        let outcome: Result<()> = retry(&Shutdown::default(), Duration::from_secs(60), || {
            tries += 1;
            not_started(Obstacle::Surroundings)
        });
        assert!(outcome.is_err());
        assert_eq!(tries, REFUSALS);
        // A taken port is waited for, but not while the program stops.
        let shutdown = Shutdown::default();
        shutdown.close();
        let begun = Instant::now();
        let outcome: Result<()> = retry(&shutdown, Duration::from_secs(60), || {
            not_started(Obstacle::Taken)
        });
        assert!(outcome.is_err() && begun.elapsed() < START_PATIENCE / 2);
    }

    #[test]
    fn an_engine_in_trouble_is_tried_until_it_is_well() {
        let mut answers = [refused(500), refused(503), Ok(())].into_iter();
        let outcome = retry(&Shutdown::default(), Duration::from_secs(60), || {
            answers.next().expect("an answer")
        });
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn what_somebody_is_removing_is_not_renamed() {
        let path = std::env::temp_dir().join(format!("imagewatch-steps-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let engine = Engine::new(&Endpoint::Unix(path.clone()));
        let served = std::thread::spawn(move || {
            let removing = json!({"Id": "x", "State": {"Status": "removing"}}).to_string();
            let answers = [
                ("GET /_ping", "200 OK\r\nApi-Version: 1.41", String::new()),
                ("GET /v1.41/containers/x/json", "200 OK", removing.clone()),
                ("GET /v1.41/containers/x/json", "200 OK", removing),
                (
                    "GET /v1.41/containers/x/json",
                    "404 Not Found",
                    "{}".to_owned(),
                ),
                ("GET /v1.41/containers/json", "200 OK", "[]".to_owned()),
                (
                    "POST /v1.41/containers/x/rename",
                    "404 Not Found",
                    "{}".to_owned(),
                ),
                (
                    "GET /v1.41/containers/x/json",
                    "404 Not Found",
                    "{}".to_owned(),
                ),
                ("GET /v1.41/containers/json", "200 OK", "[]".to_owned()),
            ];
            for (expected, status, body) in answers {
                let (stream, _) = listener.accept().expect("a connection");
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).expect("a request");
                assert!(line.starts_with(expected), "{line} instead of {expected}");
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}");
                write!(stream.get_mut(), "{head}\r\n\r\n{body}").expect("to answer");
            }
        });
        let shutdown = Shutdown::default();
        let steps = Steps {
            engine: &engine,
            shutdown: &shutdown,
        };
        assert_eq!(steps.ensure_name("x", "aside"), Ok(false));
        served.join().expect("nothing else was asked");
        std::fs::remove_file(path).expect("ours");
    }

    #[test]
    fn a_policy_of_no_has_several_spellings() {
        assert!(same_policy(
            &json!({"Name": ""}),
            &json!({"Name": "no", "MaximumRetryCount": 0})
        ));
        assert!(same_policy(&Value::Null, &json!({"Name": "no"})));
        assert!(!same_policy(
            &json!({"Name": "always"}),
            &json!({"Name": "no"})
        ));
    }
}
