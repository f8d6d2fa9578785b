//! The Engine calls of a swap, made sure of: whatever a call answers, or whether it answers at all,
//! what counts is what the Engine shows afterwards.

use super::record::Record;
use super::record::is_alive;
use super::record::is_up;
use crate::debug::debug;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;
use crate::replacement::is_between_runs;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

/// How long one step of an undo goes on trying: an Engine that is being restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a look at the real state goes on trying.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(20);
/// How long a stopped container may take to give its network back.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
/// How often a clear refusal is tried again.
const REFUSALS: u32 = 4;
/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// Calls to one Engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps<'a> {
    pub(super) engine: &'a Engine,
}

impl Steps<'_> {
    /// What is there. That it is not is believed only if the list says so too: one answer of a
    /// struggling Engine, or of a proxy before it, must not make us give a container up.
    fn find(&self, id: &str) -> Result<Option<Container>> {
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

    /// What is there, tried for a while.
    pub(super) fn look(&self, id: &str) -> Result<Option<Container>> {
        insist(LOOK_PATIENCE, || self.find(id))
    }

    /// The old container of a swap, unless there is no way back to it. One that the Engine began to remove and
    /// could not (`dead`) never runs again.
    pub(super) fn look_for_way_back(&self, record: &Record) -> Result<Option<Container>> {
        let found = self.look(&record.old)?;
        Ok(found.filter(|found| found.state() != State::Gone))
    }

    /// Who has a name now. The Engine takes one for the beginning of an id as well.
    pub(super) fn look_by_name(&self, name: &str) -> Result<Option<Container>> {
        let found = self.look(name)?;
        Ok(found.filter(|found| found.name() == name))
    }

    /// An error that did not keep the call from taking effect is none.
    fn unless_done(
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
                debug(format_args!("done all the same: {error}"));
                Ok(())
            }
            _ => Err(error),
        }
    }

    pub(super) fn stop(&self, container: &Container) -> Result<()> {
        let outcome = self.engine.stop(container);
        self.unless_done(outcome, container.id(), |seen| !is_alive(seen))
    }

    pub(super) fn rename(&self, id: &str, name: &str) -> Result<()> {
        let outcome = self.engine.rename(id, name);
        self.unless_done(outcome, id, |seen| seen.name() == name)
    }

    pub(super) fn start(&self, id: &str) -> Result<()> {
        let outcome = self.engine.start(id);
        self.unless_done(outcome, id, is_up)
    }

    /// Takes the restart policy away, where the Engine can do that (Podman 4.3 cannot).
    pub(super) fn disarm(&self, container: &Container) -> Result<()> {
        if !is_armed(container) {
            return Ok(());
        }
        match self.set_policy(container.id(), &json!({"Name": "no"})) {
            Err(error) if error.is_not_found() && self.look(container.id())?.is_some() => Ok(()),
            outcome => outcome,
        }
    }

    /// Now and then an Engine refuses this for a container that is just being restarted. One that says twice
    /// that it does not know the call will not know it the next time either.
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
        insist(LOOK_PATIENCE, set)?
    }

    /// Stops it for good. `Ok(false)` here and below: it does not exist.
    ///
    /// One that shows `exited` may be between two rounds of a crash loop; Podman starts it again even
    /// after a stop, unless its policy is taken away, and holds its network and ports for a moment
    /// longer. (Seen on Podman 5.8: ports given back late take the rules of the next holder along.)
    pub(super) fn ensure_stopped(&self, id: &str) -> Result<bool> {
        let may_come_back = |seen: &Container| is_armed(seen) && seen.was_started();
        let there = self.until(
            id,
            |seen| !is_up(seen) && !may_come_back(seen),
            |seen| {
                if let Err(error) = self.disarm(seen) {
                    debug(format_args!("{error}"));
                }
                self.engine.stop(seen)
            },
        )?;
        let begun = Instant::now();
        while there && begun.elapsed() < RELEASE_PATIENCE {
            match self.look(id)? {
                Some(seen) if seen.holds_network() => std::thread::sleep(PAUSE),
                _ => break,
            }
        }
        Ok(there)
    }

    pub(super) fn ensure_name(&self, id: &str, name: &str) -> Result<bool> {
        let rename = |_: &Container| self.engine.rename(id, name);
        self.until(id, |seen| seen.name() == name, rename)
    }

    pub(super) fn ensure_policy(&self, id: &str, policy: &Value) -> Result<bool> {
        let restore = |_: &Container| self.engine.set_restart_policy(id, policy);
        let outcome = self.until(
            id,
            |seen| same_policy(&seen.restart_policy(), policy),
            restore,
        );
        match outcome {
            // Nor was it taken away there.
            Err(error) if error.is_not_found() && self.look(id)?.is_some() => {
                log::warn!("a restart policy stays as it is: {error} (this Engine cannot set it)");
                Ok(true)
            }
            outcome => outcome,
        }
    }

    pub(super) fn ensure_running(&self, id: &str) -> Result<bool> {
        self.until(id, is_alive, |_| self.engine.start(id))
    }

    /// Whether what is shown as ended is in a crash loop, and runs again by now or in a moment, as only Podman
    /// itself tells.
    pub(super) fn is_between_runs(&self, container: &Container) -> Result<bool> {
        let libpod = self.engine.podman_container(container.id())?;
        Ok(is_between_runs(container, &libpod))
    }

    /// Removes it, running or not.
    pub(super) fn ensure_gone(&self, id: &str, how: Removal) -> Result<()> {
        insist(PATIENCE, || {
            let Some(seen) = self.find(id)? else {
                return Ok(());
            };
            if is_up(&seen) && how == Removal::KeepVolumes {
                self.engine.stop(&seen)?;
            }
            self.engine.remove(id, how)?;
            match self.engine.find(id)? {
                None => Ok(()),
                Some(_) => Err(Error::Malformed {
                    request: format!("remove {}", seen.name()),
                    reason: "it is still there".to_owned(),
                }),
            }
        })
    }

    /// Looks, and acts until what was wanted holds or the act was carried out.
    fn until(
        &self,
        id: &str,
        holds: impl Fn(&Container) -> bool,
        act: impl Fn(&Container) -> Result<()>,
    ) -> Result<bool> {
        insist(PATIENCE, || match self.find(id)? {
            None => Ok(false),
            Some(container) if holds(&container) => Ok(true),
            Some(container) => act(&container).map(|()| true),
        })
    }
}

/// Tries again while that may help: for as long as the Engine is away, busy or undecided, and a few
/// times after a clear refusal.
pub(super) fn insist<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let mut refusals = 0;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let clear = !error.is_ambiguous() && error.status().is_none_or(|status| status < 500);
        refusals += u32::from(clear);
        if refusals >= REFUSALS || begun.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether the Engine would start it by itself.
pub(super) fn is_armed(container: &Container) -> bool {
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

    fn refused(status: u16) -> Result<()> {
        Err(Error::Refused {
            request: "POST".into(),
            status,
            message: "no".into(),
            retry_after: None,
        })
    }

    #[test]
    fn a_clear_refusal_is_tried_a_few_times_only() {
        let mut tries = 0;
        let outcome = insist(Duration::from_secs(60), || {
            tries += 1;
            refused(409)
        });
        assert!(outcome.is_err());
        assert_eq!(tries, REFUSALS);
    }

    #[test]
    fn an_engine_in_trouble_is_tried_until_it_is_well() {
        let mut answers = [refused(500), refused(503), Ok(())].into_iter();
        let outcome = insist(Duration::from_secs(60), || {
            answers.next().expect("an answer")
        });
        assert_eq!(outcome, Ok(()));
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
