//! The acceptance of a successor. With a health check, a successor is accepted once it is healthy. Without one, it is
//! accepted once it has stayed up for a while.
//!
//! The image is not blamed for the acts of others. If somebody restarts the successor, or the Engine was away, the wait
//! starts over. If somebody stops the successor, it stays stopped.

use super::Blame;
use super::Failure;
use super::ending::Ending;
use super::health::longest_check;
use super::health::never_checked;
use super::health::with_output;
use super::steps::Steps;
use super::undo::Pair;
use crate::engine::Container;
use crate::engine::State;
use crate::error::one_line;
use crate::logging::debug;
use std::time::Duration;
use std::time::Instant;

/// The time between two looks at the successor.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the Engine may be out of reach before the successor counts as failed.
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);
/// How long after an end a busy Docker may tell of it.
const LATE_EVENT: Duration = Duration::from_secs(10);
/// How late Podman records that somebody stopped a container.
const LATE_NOTE: Duration = Duration::from_secs(2);
/// How long a restart by hand may leave the successor stopped.
const LONGEST_RESTART: Duration = Duration::from_secs(3);
/// How long the successor may be paused before that counts as its owner's wish.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often the wait may start over.
const MOST_BEGINNINGS: u32 = 10;

/// When a successor counts as accepted.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance {
    /// How long a successor without a health check must stay up.
    pub settle: Duration,
    /// Longest wait for `healthy`; `None` derives it from the health check itself.
    pub health_timeout: Option<Duration>,
}

/// A successor that is accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) standing: Standing,
    /// The successor at the last look.
    pub(super) seen: Container,
}

/// The state of a successor that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The successor is up.
    Up,
    /// The owner stopped or paused the successor meanwhile, so it stays stopped or paused.
    StoppedByOwner,
}

/// Waits for the successors of a swap with `accept`, one after the other. An error comes with the place of its
/// successor. If a dependent ends together with its provider, the provider's result counts for both.
#[cold]
pub(super) fn accept_all(
    steps: Steps,
    pairs: &[Pair],
    accept: &dyn Fn(&Pair) -> Result<Standing, Failure>,
) -> Result<(), (usize, Failure)> {
    let started = pairs.iter().enumerate();
    for (index, pair) in started.filter(|(_, pair)| pair.record.was_running) {
        let failure = match accept(pair) {
            Ok(Standing::StoppedByOwner) if index == 0 => return Ok(()),
            Ok(_) => continue,
            Err(failure) => failure,
        };
        let provider = &pairs[0];
        if index == 0 || !steps.has_ended(&provider.new) {
            return Err((index, failure));
        }
        return match accept(provider) {
            Ok(Standing::Up) => Err((index, failure)),
            Ok(Standing::StoppedByOwner) => Ok(()),
            Err(failure) => Err((0, failure)),
        };
    }
    Ok(())
}

/// The result of one look at the successor.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Accepted,
    Wait,
    /// The owner stopped or paused the successor, and left it so.
    Left,
    /// The successor does not run, and the cause of its end is not known yet.
    Ended,
    /// The successor does not come up.
    Failed(String),
    /// Somebody else interfered.
    Disturbed(String),
}

/// The time between two looks after a successor has been up for some seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One start of the watched container. After an error of the Engine a new one begins, because nothing is known of
/// the time in between.
#[derive(Debug)]
struct Start {
    at: String,
    /// The time of the first answer that showed this start, moved forward by the time of pauses.
    since: Instant,
    looks: u32,
}

/// Everything seen of a successor so far.
#[derive(Debug)]
struct Watch {
    begun: Instant,
    /// How often the restart policy had started the successor when the watch began, if that is known.
    restarts: Option<u64>,
    start: Option<Start>,
    /// Whether the Engine was away, or somebody restarted the successor. Then a failure is not blamed on the image.
    is_disturbed: bool,
    /// Whether this process started the successor again, because a restarted Engine had not.
    is_started_again: bool,
    beginnings: u32,
    last_look: Instant,
    /// Since when the owner has left the successor paused.
    paused: Option<Instant>,
    /// Since when the owner has left the successor stopped.
    stopped: Option<Instant>,
    /// Since when the successor seems to have ended by itself.
    ended: Option<Instant>,
}

impl Acceptance {
    /// Waits until a container that was just started is accepted.
    ///
    /// # Errors
    /// The error says why the container is not accepted. If the Engine was away in between, or somebody restarted the
    /// container, the image is not blamed.
    #[cold]
    pub(super) fn await_acceptance(&self, steps: Steps, id: &str) -> Result<Accepted, Failure> {
        self.wait(steps, id, Some(0))
    }

    /// The same for a container that was started long ago, and that its policy may have restarted since.
    pub(super) fn await_standing(&self, steps: Steps, id: &str) -> Result<Accepted, Failure> {
        self.wait(steps, id, None)
    }

    /// `restarts` is the number of restarts before the wait, or `None` if it does not matter.
    #[cold]
    fn wait(&self, steps: Steps, id: &str, restarts: Option<u64>) -> Result<Accepted, Failure> {
        let mut watch = Watch::new(restarts, Instant::now());
        let mut last_answer = Instant::now();
        loop {
            let asked = Instant::now();
            match steps.engine.container(id) {
                Ok(container) => {
                    last_answer = Instant::now();
                    match watch.look(self, &container, asked, last_answer) {
                        Look::Wait => {}
                        Look::Accepted => {
                            let (standing, seen) = (Standing::Up, container);
                            return Ok(Accepted { standing, seen });
                        }
                        Look::Left => {
                            let (name, state) = (container.name(), container.state_name());
                            log::info!(
                                "{name}: its owner left it {state} before it was accepted, so it stays so"
                            );
                            let (standing, seen) = (Standing::StoppedByOwner, container);
                            return Ok(Accepted { standing, seen });
                        }
                        Look::Ended => watch.end(steps, &container)?,
                        Look::Failed(reason) => return Err(watch.failure(reason)),
                        Look::Disturbed(reason) => return Err(disturbed(reason)),
                    }
                }
                Err(error) if error.is_not_found() => {
                    return Err(disturbed("somebody removed it".to_owned()));
                }
                Err(error) if last_answer.elapsed() > ENGINE_PATIENCE => {
                    return Err(Failure::of_engine(&error));
                }
                Err(_) => watch.start_over(),
            }
            let pause = watch.begun.elapsed() / 8;
            std::thread::sleep(pause.clamp(PAUSE, LONGEST_WAIT));
        }
    }

    /// Decides on a container that is up: by its health check, or without one by the time that it has been up.
    fn check_health(&self, container: &Container, up: Duration) -> Look {
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

impl Watch {
    fn new(restarts: Option<u64>, now: Instant) -> Self {
        Self {
            begun: now,
            restarts,
            start: None,
            is_disturbed: false,
            is_started_again: false,
            beginnings: 0,
            last_look: now,
            paused: None,
            stopped: None,
            ended: None,
        }
    }

    /// Handles one look at the container, with the times of request and answer. One look alone is never trusted: a
    /// container in a crash loop is seen running between two crashes.
    fn look(
        &mut self,
        acceptance: &Acceptance,
        container: &Container,
        asked: Instant,
        answered: Instant,
    ) -> Look {
        let since_last = answered.saturating_duration_since(self.last_look);
        self.last_look = answered;
        let restarts = container.restart_count();
        if restarts > *self.restarts.get_or_insert(restarts) {
            return Look::Failed(self.exit_reason(container));
        }
        // The counter has not moved, so the policy did not start the container again. Somebody did, or an Engine that
        // came back.
        if (self.start.as_ref()).is_some_and(|start| start.at != container.started_at()) {
            self.start_over();
        }
        self.restarts = Some(restarts);
        if self.beginnings > MOST_BEGINNINGS {
            return Look::Disturbed("it was restarted by others again and again".to_owned());
        }
        let is_paused = match container.state() {
            State::Running => false,
            // `docker commit` pauses a container for a moment.
            State::Paused => true,
            State::Restarting => return Look::Failed(self.exit_reason(container)),
            State::Gone => return Look::Disturbed("somebody is removing it".to_owned()),
            State::Created | State::Exited if container.was_out_of_memory() => {
                return Look::Failed(self.exit_reason(container));
            }
            State::Created | State::Exited => return self.while_stopped(answered),
        };
        let start = self.start.get_or_insert_with(|| Start {
            at: container.started_at().to_owned(),
            since: answered,
            looks: 0,
        });
        if is_paused {
            start.since += since_last;
            let paused = *self.paused.get_or_insert(answered);
            let is_left = answered.saturating_duration_since(paused) > LONGEST_PAUSE;
            return if is_left { Look::Left } else { Look::Wait };
        }
        self.paused = None;
        start.looks += 1;
        if start.looks < 2 {
            return Look::Wait;
        }
        acceptance.check_health(container, asked.saturating_duration_since(start.since))
    }

    /// Handles a stopped container. `docker restart` stops a container too, for a moment.
    fn while_stopped(&self, now: Instant) -> Look {
        match self.stopped {
            None => Look::Ended,
            Some(since) if now.saturating_duration_since(since) > LONGEST_RESTART => Look::Left,
            Some(_) => Look::Wait,
        }
    }

    /// Forgets everything seen so far.
    fn start_over(&mut self) {
        self.is_disturbed = true;
        (self.paused, self.stopped, self.ended) = (None, None, None);
        // An Engine that is away for long counts as one disturbance.
        if self.start.take().is_some() {
            self.beginnings += 1;
        }
    }

    /// Finds out who ended the container, and acts on that.
    fn end(&mut self, steps: Steps, container: &Container) -> Result<(), Failure> {
        match Ending::of(steps.engine, container) {
            Ok(Ending::ItselfSoFar) if self.is_ended_for_less_than(LATE_NOTE) => Ok(()),
            Ok(Ending::Itself | Ending::ItselfSoFar) => {
                Err(self.failure(self.exit_reason(container)))
            }
            Ok(Ending::Owner) => {
                self.stopped = Some(Instant::now());
                Ok(())
            }
            Ok(Ending::Engine) if !self.is_started_again => {
                debug(format_args!(
                    "{}: the Engine was restarted and left it stopped, so it is started again",
                    container.name()
                ));
                self.is_started_again = true;
                self.start_over();
                let started = steps.start(container.id());
                started.map_err(|error| Failure::of_engine(&error))
            }
            Ok(Ending::NotToldYet) if self.is_ended_for_less_than(LATE_EVENT) => Ok(()),
            Ok(Ending::Engine | Ending::NotToldYet | Ending::Unknown) => {
                let reason = self.exit_reason(container);
                Err(disturbed(format!(
                    "{reason}, and it is not known by whose hand"
                )))
            }
            Err(error) => {
                debug(format_args!("{error}"));
                self.start_over();
                Ok(())
            }
        }
    }

    fn is_ended_for_less_than(&mut self, time: Duration) -> bool {
        let since = *self.ended.get_or_insert_with(Instant::now);
        since.elapsed() < time
    }

    fn failure(&self, reason: String) -> Failure {
        let blame = if self.is_disturbed {
            Blame::Circumstances
        } else {
            Blame::Image
        };
        Failure { reason, blame }
    }

    fn exit_reason(&self, container: &Container) -> String {
        let since = self.start.as_ref().map_or(self.begun, |start| start.since);
        exit_reason(container, self.last_look.saturating_duration_since(since))
    }
}

fn disturbed(reason: String) -> Failure {
    Failure {
        reason,
        blame: Blame::Circumstances,
    }
}

fn exit_reason(container: &Container, up: Duration) -> String {
    let code = container.exit_code();
    let words = match container.error() {
        "" => String::new(),
        words => format!(" ({})", one_line(words)),
    };
    let within = up.as_secs() + 1;
    // Between two crashes the container runs, and the Engine does not show the last exit code.
    if container.state() == State::Running {
        return format!("it exited within {within} s and was started again{words}");
    }
    format!("it exited with code {code} within {within} s{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use serde_json::json;

    const ACCEPTANCE: Acceptance = Acceptance {
        settle: Duration::from_secs(10),
        health_timeout: None,
    };

    /// The result of the last of some looks, each at its second after the start. A look without an answer is an error
    /// of the Engine.
    fn looks(acceptance: &Acceptance, looks: &[(u64, Option<Value>)]) -> (String, Blame) {
        let begun = Instant::now();
        let mut watch = Watch::new(Some(0), begun);
        let mut last = "wait".to_owned();
        for (second, seen) in looks {
            assert_eq!(last, "wait", "before {second} s");
            let Some(json) = seen else {
                watch.start_over();
                continue;
            };
            let now = begun + Duration::from_secs(*second);
            let look = watch.look(acceptance, &Container::new(json.clone()), now, now);
            last = match look {
                Look::Failed(reason) | Look::Disturbed(reason) => reason,
                other => format!("{other:?}").to_lowercase(),
            };
        }
        let Failure { blame, .. } = watch.failure(String::new());
        (last, blame)
    }

    fn look(json: &Value, up: u64) -> String {
        looks(
            &ACCEPTANCE,
            &[(0, Some(running("t0"))), (up, Some(json.clone()))],
        )
        .0
    }

    fn running(start: &str) -> Value {
        json!({"State": {"Status": "running", "StartedAt": start}})
    }

    fn state(status: &str, start: &str) -> Value {
        json!({"State": {"Status": status, "StartedAt": start, "ExitCode": 3}})
    }

    #[test]
    fn without_a_health_check_staying_up_is_enough() {
        assert_eq!(look(&running("t0"), 9), "wait");
        assert_eq!(look(&running("t0"), 10), "accepted");
    }

    #[test]
    fn one_look_is_never_enough() {
        for secs in [0, 1] {
            let acceptance = Acceptance {
                settle: Duration::from_secs(secs),
                ..ACCEPTANCE
            };
            let mut healthy = running("t0");
            healthy["State"]["Health"] = json!({"Status": "healthy"});
            for seen in [running("t0"), healthy] {
                let one = [(9, Some(seen.clone()))];
                assert_eq!(looks(&acceptance, &one).0, "wait", "{seen}");
                let two = [(9, Some(seen.clone())), (9 + secs, Some(seen.clone()))];
                assert_eq!(looks(&acceptance, &two).0, "accepted", "{seen}");
                let broken = [(0, Some(seen.clone())), (1, None), (11, Some(seen.clone()))];
                assert_eq!(looks(&acceptance, &broken).0, "wait", "{seen}");
            }
        }
    }

    #[test]
    fn time_counts_from_the_first_look_at_this_start() {
        for (what, seen, expected) in [
            (
                "an error of the Engine",
                vec![(8, None), (9, Some("t0")), (18, Some("t0"))],
                "wait",
            ),
            (
                "… that is long over",
                vec![(8, None), (9, Some("t0")), (19, Some("t0"))],
                "accepted",
            ),
            (
                "a restart by hand",
                vec![(8, Some("t1")), (17, Some("t1"))],
                "wait",
            ),
            (
                "… that is long over",
                vec![(8, Some("t1")), (18, Some("t1"))],
                "accepted",
            ),
        ] {
            let seen = seen.into_iter().map(|(at, start)| (at, start.map(running)));
            let all: Vec<_> = [(0, Some(running("t0")))].into_iter().chain(seen).collect();
            assert_eq!(
                looks(&ACCEPTANCE, &all),
                (expected.to_owned(), Blame::Circumstances),
                "{what}"
            );
        }
    }

    #[test]
    fn a_pause_does_not_count_and_ends_the_wait_when_it_is_long() {
        let paused = || Some(state("paused", "t0"));
        let begin = [
            (0, Some(running("t0"))),
            (2, Some(running("t0"))),
            (3, paused()),
            (12, paused()),
        ];
        let with =
            |more: &[(u64, Option<Value>)]| looks(&ACCEPTANCE, &[&begin[..], more].concat()).0;
        assert_eq!(
            with(&[(13, Some(running("t0"))), (19, Some(running("t0")))]),
            "wait"
        );
        assert_eq!(
            with(&[(13, Some(running("t0"))), (20, Some(running("t0")))]),
            "accepted"
        );
        assert_eq!(with(&[(34, paused())]), "left");
        assert_eq!(with(&[(16, Some(state("exited", "t0")))]), "ended");
    }

    #[test]
    fn exits_and_restarts_are_failures() {
        assert_eq!(look(&state("exited", "t0"), 4), "ended");
        let killed = json!({"State": {"Status": "exited", "StartedAt": "t0", "ExitCode": 137, "OOMKilled": true}});
        assert_eq!(look(&killed, 4), "it exited with code 137 within 5 s");
        assert_eq!(
            look(&state("restarting", "t0"), 4),
            "it exited with code 3 within 5 s"
        );
        assert_eq!(look(&state("removing", "t0"), 4), "somebody is removing it");
        for start in ["t0", "t1"] {
            let mut looping = running(start);
            looping["RestartCount"] = json!(1);
            assert!(look(&looping, 4).contains("exited"));
        }
        let again = |number: u64| (number, Some(running(&format!("t{number}"))));
        let others: Vec<_> = (0..=MOST_BEGINNINGS.into()).map(again).collect();
        assert_eq!(looks(&ACCEPTANCE, &others).0, "wait");
        let others: Vec<_> = (0..=1 + u64::from(MOST_BEGINNINGS)).map(again).collect();
        assert!(looks(&ACCEPTANCE, &others).0.contains("again and again"));
    }

    #[test]
    fn a_stop_by_its_owner_is_left_once_it_is_no_restart() {
        let now = Instant::now();
        let mut watch = Watch::new(Some(0), now);
        let mut look = |at: u64, seen: Value, by_owner: bool| {
            if by_owner {
                watch.stopped = Some(now + Duration::from_secs(at));
            }
            let at = now + Duration::from_secs(at);
            watch.look(&ACCEPTANCE, &Container::new(seen), at, at)
        };
        assert_eq!(look(0, running("t0"), false), Look::Wait);
        assert_eq!(look(2, state("exited", "t0"), true), Look::Wait);
        assert_eq!(look(4, running("t1"), false), Look::Wait);
        assert_eq!(look(8, running("t1"), false), Look::Wait);
        assert_eq!(look(9, state("exited", "t1"), true), Look::Wait);
        assert_eq!(look(13, state("exited", "t1"), false), Look::Left);
    }

    #[test]
    fn with_a_health_check_only_healthy_counts() {
        let state = |health: &str| {
            json!({"State": {"Status": "running", "StartedAt": "t0",
                             "Health": {"Status": health, "Log": [{"Output": "no\ndb"}]}},
                   "Config": {"Healthcheck": {"Interval": 1_000_000_000, "Timeout": 1_000_000_000,
                                              "Retries": 2, "StartPeriod": 3_000_000_000_u64}}})
        };
        assert_eq!(look(&state("healthy"), 0), "accepted");
        assert_eq!(look(&state("starting"), 13), "wait");
        assert_eq!(
            look(&state("starting"), 14),
            "not healthy after 14 s;\nits check said:\nno\ndb"
        );
        let mut unchecked = state("starting");
        unchecked["State"]["Health"]["Log"] = json!([]);
        assert_eq!(look(&unchecked, 7), "wait");
        assert_eq!(look(&unchecked, 8), "accepted");
        assert_eq!(
            look(&state("unhealthy"), 1),
            "it is unhealthy;\nits check said:\nno\ndb"
        );
    }
}
