//! What several looks at an update show together.

use super::CHANGED;
use super::Outcome;
use super::digest_of;
use super::judge::Tasks;
use crate::engine::Service;
use std::time::Duration;
use std::time::Instant;

/// What the looks so far have shown.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Since when Swarm calls the update ended.
    ended: Option<Instant>,
    /// Since when all tasks are well.
    well: Option<Instant>,
    /// How many tasks had failed when Swarm called the update ended.
    failed: usize,
}

/// What one look shows.
pub(super) enum Seen {
    Rolling(String),
    Failed(String),
    Over(Outcome),
}

impl Watch {
    pub(super) fn is_settling(&self, settle: Duration) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() < settle * 2)
    }

    pub(super) fn see(
        &mut self,
        service: &Service,
        tasks: &Tasks,
        to: &str,
        is_late: bool,
        settle: Duration,
    ) -> Seen {
        let state = service.state();
        let words = tasks.words.clone();
        let words = words.unwrap_or_else(|| format!("Swarm's state is {state:?}"));
        match state {
            "rollback_started" => return Seen::Rolling(words),
            "rollback_completed" | "rollback_paused" => {
                let how = match state {
                    "rollback_completed" => "Swarm rolled it back",
                    _ => "the roll-back is paused too",
                };
                return Seen::Over(Outcome::RolledBack(format!("{words} ({how})")));
            }
            _ if digest_of(service.image()) != Some(to) => {
                return Seen::Over(Outcome::Alone(CHANGED.to_owned()));
            }
            "completed" | "paused" => {}
            "" if is_late => {}
            _ => return Seen::Rolling(words),
        }
        let now = Instant::now();
        if self.ended.is_none() {
            (self.ended, self.failed) = (Some(now), tasks.failed);
        }
        let ended = self.ended.unwrap_or(now);
        if tasks.are_well {
            let since = *self.well.get_or_insert(now);
            if now.duration_since(since) >= settle && tasks.failed == self.failed {
                let is_paused = state == "paused";
                let note = is_paused
                    .then(|| "Swarm has paused the update, although all tasks run".to_owned());
                return Seen::Over(Outcome::Updated(note));
            }
        } else {
            self.well = None;
        }
        // A task that fails after the end, or is not well when the time is up, failed with the new image.
        let is_over = now.duration_since(ended) >= settle;
        if tasks.failed > self.failed || (is_over && !tasks.are_well && tasks.failed > 0) {
            return Seen::Failed(words);
        }
        if state == "paused" && tasks.failed > 0 && !tasks.are_well {
            return Seen::Failed(words);
        }
        Seen::Rolling(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn tasks(are_well: bool, failed: usize) -> Tasks {
        let words = (failed > 0).then(|| "a task is failed".to_owned());
        Tasks {
            are_well,
            failed,
            words,
        }
    }

    fn in_state(state: &str, image: &str) -> Service {
        Service::new(json!({
            "Spec": {"TaskTemplate": {"ContainerSpec": {"Image": format!("a:1@{image}")}}},
            "UpdateStatus": {"State": state},
        }))
    }

    /// What the last of some looks shows, with no time to settle.
    fn shown(looks: &[(&str, &str, Tasks)], is_late: bool) -> String {
        let mut watch = Watch::default();
        let mut last = String::new();
        for (state, image, tasks) in looks {
            last = match watch.see(&in_state(state, image), tasks, NEW, is_late, Duration::ZERO) {
                Seen::Rolling(_) => "rolling".to_owned(),
                Seen::Failed(_) => "failed".to_owned(),
                Seen::Over(outcome) => format!("{outcome:?}"),
            };
        }
        last
    }

    #[test]
    fn an_update_is_judged_by_its_tasks_and_not_by_swarms_word() {
        for (state, image, tasks, is_late, expected) in [
            ("updating", NEW, tasks(false, 0), false, "rolling"),
            ("updating", NEW, tasks(false, 2), false, "rolling"),
            ("", NEW, tasks(true, 0), false, "rolling"),
            ("", NEW, tasks(true, 0), true, "Updated(None)"),
            ("completed", NEW, tasks(true, 0), false, "Updated(None)"),
            ("completed", NEW, tasks(false, 3), false, "failed"),
            ("completed", NEW, tasks(false, 0), false, "rolling"),
            ("paused", NEW, tasks(false, 1), false, "failed"),
            ("paused", NEW, tasks(false, 0), false, "rolling"),
            (
                "paused",
                NEW,
                tasks(true, 1),
                false,
                r#"Updated(Some("Swarm has paused the update, although all tasks run"))"#,
            ),
            (
                "completed",
                OLD,
                tasks(false, 0),
                false,
                r#"Alone("its owner changed it in the meantime")"#,
            ),
            ("rollback_started", OLD, tasks(false, 1), false, "rolling"),
            (
                "rollback_completed",
                OLD,
                tasks(false, 1),
                false,
                r#"RolledBack("a task is failed (Swarm rolled it back)")"#,
            ),
        ] {
            let found = shown(&[(state, image, tasks)], is_late);
            assert_eq!(found, expected, "{state}");
        }
    }

    #[test]
    fn a_task_that_fails_after_the_end_is_a_failure() {
        let mut watch = Watch::default();
        let settle = Duration::from_secs(60);
        let mut see =
            |tasks: &Tasks| watch.see(&in_state("completed", NEW), tasks, NEW, false, settle);
        assert!(matches!(see(&tasks(true, 1)), Seen::Rolling(_)));
        assert!(matches!(see(&tasks(true, 1)), Seen::Rolling(_)));
        assert!(matches!(see(&tasks(true, 2)), Seen::Failed(_)));
    }
}
