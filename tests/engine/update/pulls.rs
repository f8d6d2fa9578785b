//! The pulls of one refresh.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::support::engine_proxy::Action;
use crate::support::engine_proxy::EngineProxy;
use crate::support::engine_proxy::Place;
use crate::support::eventually;

#[test]
fn an_image_that_is_here_is_not_pulled_again() {
    let Some(lab) = Lab::parted() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        lab.workspace(runtime, runtime);
    }
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let program = lab.program("hermes,crewai", &[("DOCKER_HOST", &between.host())]);
    lab.publish("crewai", &good("v2"));
    let pulls = || {
        let lines = between.lines().into_iter();
        let pulls = lines.filter(|line| line.contains("/images/create?"));
        pulls.collect::<Vec<_>>()
    };
    for query in ["", "?force=false", "?recreate=false"] {
        let (_, report) = program.refresh(query);
        // The list has the meaning that it always had.
        assert_eq!(names(&report, "pulled"), ["hermes", "crewai"], "{report}");
        assert!(
            matches!(&*pulls(), [only] if only.contains("crewai")),
            "{:?}",
            pulls()
        );
    }
    assert_eq!(lab.version("crewai"), "v2");
    assert_eq!(lab.version("hermes"), "v1");
}

#[test]
fn a_pull_that_hangs_holds_up_only_who_needs_it() {
    let Some(lab) = Lab::parted() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
        lab.workspace(runtime, runtime);
        lab.publish(runtime, &good("v2"));
    }
    let between = EngineProxy::part(&lab.docker, &lab.name(""));
    let hangs = Place::Holding("acme%2Fhermes", 1);
    between.at(hangs, Action::HoldBefore, drop);
    let program = lab.program("hermes,crewai", &[("DOCKER_HOST", &between.host())]);
    let (status, _) = program.ask("POST", "/admin/workspace-images/refresh?wait=false");
    assert_eq!(status, 202);
    eventually("the other one is updated", || {
        (lab.version("crewai") == "v2").then_some(())
    });
    assert_eq!(lab.version("hermes"), "v1");
}
