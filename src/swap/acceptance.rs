//! When a successor is accepted: with a health check, once it is healthy; without one, once it has
//! stayed up for a while.

use super::Blame;
use super::Failure;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::State;
use crate::error::one_line;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the Engine may be out of reach before the successor counts as failed.
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);
/// Added to what a health check can take at worst.
const HEALTH_SLACK: Duration = Duration::from_secs(5);
/// The Engine's defaults for a health check (Dockerfile reference, "HEALTHCHECK").
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;

/// What is asked of a successor.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance {
    /// How long one without a health check must stay up.
    pub settle: Duration,
    /// Longest wait for `healthy`; `None` derives it from the health check itself.
    pub health_timeout: Option<Duration>,
}

/// What one look at the successor says.
enum Look {
    Accepted,
    Wait,
    Failed(String),
}

impl Acceptance {
    /// Waits until the container, just started, is accepted.
    ///
    /// # Errors
    /// Why it is not. If the Engine was away in between, it may be the Engine that stopped it, so
    /// the image is not blamed.
    pub(super) fn await_acceptance(&self, engine: &Engine, id: &str) -> Result<(), Failure> {
        self.wait(engine, id, Some(0))
    }

    /// The same of one that was started long ago, and may have been again since.
    pub(super) fn await_standing(&self, engine: &Engine, id: &str) -> Result<(), Failure> {
        self.wait(engine, id, None)
    }

    /// `restarts` are those that there were before, if that matters.
    fn wait(&self, engine: &Engine, id: &str, restarts: Option<u64>) -> Result<(), Failure> {
        let mut begun = Instant::now();
        let mut last_answer = begun;
        let mut first_start = None;
        let mut restarts = restarts;
        let mut blame = Blame::Image;
        loop {
            match engine.container(id) {
                Ok(container) => {
                    last_answer = Instant::now();
                    let first =
                        first_start.get_or_insert_with(|| container.started_at().to_owned());
                    let restarts = *restarts.get_or_insert_with(|| container.restart_count());
                    match self.look(&container, first, restarts, begun.elapsed()) {
                        Look::Accepted => return Ok(()),
                        Look::Failed(reason) => return Err(Failure { reason, blame }),
                        Look::Wait => {}
                    }
                }
                Err(error) if error.is_not_found() => {
                    return Err(Failure {
                        reason: "somebody removed it".to_owned(),
                        blame: Blame::Circumstances,
                    });
                }
                Err(error) if last_answer.elapsed() > ENGINE_PATIENCE => {
                    return Err(Failure::of_engine(&error));
                }
                Err(_) => {
                    blame = Blame::Circumstances;
                    first_start = None;
                    begun = Instant::now();
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One look is never trusted alone: a crash loop is seen running between two crashes, but then
    /// it was started anew.
    fn look(&self, container: &Container, first_start: &str, restarts: u64, up: Duration) -> Look {
        let restarted =
            container.restart_count() > restarts || container.started_at() != first_start;
        // `docker commit` pauses it for a moment.
        let is_up = matches!(container.state(), State::Running | State::Paused);
        if !is_up || restarted {
            return Look::Failed(exit_reason(container, up));
        }
        match container.health() {
            Some("healthy") => Look::Accepted,
            Some("unhealthy") => Look::Failed(with_output("it is unhealthy", container)),
            Some(_) => {
                let limit = self
                    .health_timeout
                    .unwrap_or_else(|| longest_check(container));
                if up < limit {
                    return if never_checked(container, up) {
                        Look::Accepted
                    } else {
                        Look::Wait
                    };
                }
                let secs = limit.as_secs();
                Look::Failed(with_output(
                    &format!("not healthy after {secs} s"),
                    container,
                ))
            }
            None if up >= self.settle => Look::Accepted,
            None => Look::Wait,
        }
    }
}

fn exit_reason(container: &Container, up: Duration) -> String {
    let code = container.exit_code();
    let words = match container.error() {
        "" => String::new(),
        words => format!(" ({})", one_line(words)),
    };
    let within = up.as_secs() + 1;
    // Up again between two crashes; the code of the last one is not shown then.
    if container.state() == State::Running {
        return format!("it exited within {within} s and was started again{words}");
    }
    format!("it exited with code {code} within {within} s{words}")
}

fn with_output(text: &str, container: &Container) -> String {
    match one_line(container.health_output()) {
        output if output.is_empty() => text.to_owned(),
        output => format!("{text} (its check said: {output})"),
    }
}

/// Whether the Engine had the time for a check and did none. Podman needs systemd for them: without
/// it, its containers are `starting` for ever.
fn never_checked(container: &Container, up: Duration) -> bool {
    let never = !container.was_checked() && up > one_check(container) + HEALTH_SLACK;
    if never {
        log::warn!(
            "{}: accepted without its health check, because the Engine runs none (Podman does only under systemd)",
            container.name()
        );
    }
    never
}

/// The longest a health check can take to make up its mind: all its tries, each as late and as
/// slow as it may be, after the start period.
fn longest_check(container: &Container) -> Duration {
    let retries = match health_field(container, "Retries") {
        0 => DEFAULT_RETRIES,
        retries => u32::try_from(retries).unwrap_or(DEFAULT_RETRIES),
    };
    let tries = one_check(container).saturating_mul(retries.saturating_add(1));
    Duration::from_nanos(health_field(container, "StartPeriod"))
        .saturating_add(tries)
        .saturating_add(HEALTH_SLACK)
}

/// How long after the last one a check is done at the latest.
fn one_check(container: &Container) -> Duration {
    let time = |name: &str, default: Duration| match health_field(container, name) {
        0 => default,
        nanos => Duration::from_nanos(nanos),
    };
    time("Interval", DEFAULT_INTERVAL).saturating_add(time("Timeout", DEFAULT_TIMEOUT))
}

/// A number of its health check; 0, as for the Engine, is "not set".
fn health_field(container: &Container, name: &str) -> u64 {
    let check = container.config().get("Healthcheck");
    let value = check.and_then(|check| check.get(name));
    value.and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACCEPTANCE: Acceptance = Acceptance {
        settle: Duration::from_secs(10),
        health_timeout: None,
    };

    fn look(json: Value, up: u64) -> String {
        let container = Container::new(json);
        match ACCEPTANCE.look(&container, "t0", 0, Duration::from_secs(up)) {
            Look::Accepted => "accepted".to_owned(),
            Look::Wait => "wait".to_owned(),
            Look::Failed(reason) => reason,
        }
    }

    #[test]
    fn without_a_health_check_staying_up_is_enough() {
        let running = json!({"State": {"Status": "running", "StartedAt": "t0"}});
        assert_eq!(look(running.clone(), 9), "wait");
        assert_eq!(look(running, 10), "accepted");
    }

    #[test]
    fn exits_and_restarts_are_failures() {
        let exited = json!({"State": {"Status": "exited", "StartedAt": "t0", "ExitCode": 3}});
        assert_eq!(look(exited, 4), "it exited with code 3 within 5 s");
        let paused = json!({"State": {"Status": "paused", "StartedAt": "t0"}});
        assert_eq!(look(paused, 4), "wait");
        let again = json!({"State": {"Status": "running", "StartedAt": "t1", "ExitCode": 1}});
        assert!(look(again, 4).contains("exited"));
        let looping = json!({"RestartCount": 1, "State": {"Status": "running", "StartedAt": "t0"}});
        assert!(look(looping, 4).contains("exited"));
    }

    #[test]
    fn with_a_health_check_only_healthy_counts() {
        let state = |health: &str| {
            json!({"State": {"Status": "running", "StartedAt": "t0",
                             "Health": {"Status": health, "Log": [{"Output": "no\ndb"}]}},
                   "Config": {"Healthcheck": {"Interval": 1_000_000_000, "Timeout": 1_000_000_000,
                                              "Retries": 2, "StartPeriod": 3_000_000_000_u64}}})
        };
        assert_eq!(look(state("healthy"), 0), "accepted");
        assert_eq!(look(state("starting"), 13), "wait");
        assert_eq!(
            look(state("starting"), 14),
            "not healthy after 14 s (its check said: no db)"
        );
        let mut unchecked = state("starting");
        unchecked["State"]["Health"]["Log"] = json!([]);
        assert_eq!(look(unchecked.clone(), 7), "wait");
        assert_eq!(look(unchecked, 8), "accepted");
        assert_eq!(
            look(state("unhealthy"), 1),
            "it is unhealthy (its check said: no db)"
        );
    }
}
