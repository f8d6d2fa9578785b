//! The health check of a container: how long it may take, and what it printed.

use crate::engine::Container;
use crate::error::block;
use serde_json::Value;
use std::time::Duration;

/// Added to the longest time that a health check can take.
const HEALTH_SLACK: Duration = Duration::from_secs(5);
/// The Engine's defaults for a health check (Dockerfile reference, "HEALTHCHECK").
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;

/// A failure in words, with the output of the last health check.
pub(super) fn with_output(text: &str, container: &Container) -> String {
    match block(container.health_output()) {
        output if output.is_empty() => text.to_owned(),
        output => format!("{text};\nits check said:\n{output}"),
    }
}

/// Whether the Engine had time for a health check and made none. Podman needs systemd for health checks:
/// without it, containers stay `starting` for ever.
pub(super) fn never_checked(container: &Container, up: Duration) -> bool {
    let never = !container.was_checked() && up > one_check(container) + HEALTH_SLACK;
    if never {
        log::warn!(
            "{}: accepted without its health check, because the Engine runs none (Podman does only under systemd)",
            container.name()
        );
    }
    never
}

/// The longest time until a health check decides: the start period, then all tries, each as late and as
/// slow as allowed.
pub(super) fn longest_check(container: &Container) -> Duration {
    let retries = match health_field(container, "Retries") {
        0 => DEFAULT_RETRIES,
        retries => u32::try_from(retries).unwrap_or(DEFAULT_RETRIES),
    };
    let tries = one_check(container).saturating_mul(retries.saturating_add(1));
    Duration::from_nanos(health_field(container, "StartPeriod"))
        .saturating_add(tries)
        .saturating_add(HEALTH_SLACK)
}

/// The longest time from one health check to the end of the next.
fn one_check(container: &Container) -> Duration {
    let time = |name: &str, default: Duration| match health_field(container, name) {
        0 => default,
        nanos => Duration::from_nanos(nanos),
    };
    time("Interval", DEFAULT_INTERVAL).saturating_add(time("Timeout", DEFAULT_TIMEOUT))
}

/// A number of the container's health check. 0 means "not set", as for the Engine.
fn health_field(container: &Container, name: &str) -> u64 {
    let check = container.config().get("Healthcheck");
    let value = check.and_then(|check| check.get(name));
    value.and_then(Value::as_u64).unwrap_or(0)
}
