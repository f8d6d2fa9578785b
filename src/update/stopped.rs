//! The warning for a stopped container that was recreated.

use crate::engine::Container;
use crate::engine::State;

/// Describes the loss when an exited container is recreated and stays stopped. Its successor was never started,
/// and no Engine call can set another state.
pub(super) fn lost_by(old: &Container) -> Option<String> {
    if old.state() != State::Exited {
        return None;
    }
    let code = old.exit_code();
    let mut lost = format!(
        "it counts as created now, and no longer as exited ({code}): a program that waits for its end, \
         such as `docker compose up`, waits until it is started"
    );
    if old.restart_policy()["Name"] == "always" {
        lost.push_str("; its restart policy `always` does not start it with the Engine any more");
    }
    Some(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_started_has_something_to_lose() {
        for (status, policy, expected) in [
            ("exited", "no", Some(false)),
            ("exited", "unless-stopped", Some(false)),
            ("exited", "always", Some(true)),
            ("created", "always", None),
            ("running", "always", None),
        ] {
            let old = Container::new(json!({
                "State": {"Status": status, "ExitCode": 0},
                "HostConfig": {"RestartPolicy": {"Name": policy}},
            }));
            let lost = lost_by(&old);
            let policy_too = lost.as_ref().map(|lost| lost.contains("`always`"));
            assert_eq!(policy_too, expected, "{status} {policy}: {lost:?}");
        }
    }
}
