//! What others do to the Engine's containers, and what came of it.

use super::super::lab::Lab;
use super::members::Member;
use super::script::Deed;
use super::timeline::Timeline;
use serde_json::Value;
use std::time::Duration;
use std::time::Instant;

/// How long an owner tries who finds nothing under the name, or a name that is taken.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// What an owner did to a container.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) deed: Deed,
    pub(super) member: usize,
    /// What he found under the name just before.
    pub(super) before: Value,
    pub(super) from: Instant,
    pub(super) to: Instant,
    /// Something of a swap was there.
    pub(super) is_in_swap: bool,
    /// The Engine did it, and there was something to do.
    pub(super) is_effective: bool,
}

/// What a prune took.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    pub(super) containers: Vec<String>,
    pub(super) volumes: Vec<String>,
    pub(super) networks: Vec<String>,
}

/// The name after [`Deed::Rename`].
pub(super) fn renamed(name: &str) -> String {
    format!("{name}-renamed")
}

/// Does it, as somebody at a terminal would: by name, and again if there is nothing under it.
pub(super) fn act(
    lab: &Lab,
    timeline: &Timeline,
    members: &[Member],
    (deed, member): (Deed, usize),
) -> Done {
    let one = &members[member];
    let provider = &members[super::script::followers(super::script::PROVIDER)[0]].name;
    let transient = format!("{}.iw-", one.name);
    let mut done = Done {
        deed,
        member,
        before: Value::Null,
        from: Instant::now(),
        to: Instant::now(),
        is_in_swap: false,
        is_effective: false,
    };
    timeline.note(format!("{deed:?} {}", one.who));
    loop {
        let names = lab.docker.names(&one.name);
        done.is_in_swap |= names.iter().any(|name| name.starts_with(&transient));
        done.before = lab.docker.inspect(&one.name);
        let status = attempt(lab, one, provider, deed);
        timeline.note(format!("{deed:?} {}: {status}", one.who));
        done.to = Instant::now();
        done.is_effective = matches!(status, 200 | 201 | 204);
        let again = matches!(status, 404 | 409 | 500);
        if !again || done.from.elapsed() > PATIENCE {
            return done;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Once, and answers the status of what counts.
fn attempt(lab: &Lab, one: &Member, provider: &str, deed: Deed) -> u16 {
    let name = &one.name;
    let post = |path: String| lab.docker.ask("POST", &path, b"").0;
    match deed {
        Deed::Stop => post(format!("/containers/{name}/stop?t=2")),
        Deed::Kill => match post(format!("/containers/{name}/kill")) {
            // It does not run: for whoever wants it down there is nothing to do.
            409 => 304,
            status => status,
        },
        Deed::Start => post(format!("/containers/{name}/start")),
        Deed::Restart => post(format!("/containers/{name}/restart?t=2")),
        Deed::Remove => {
            lab.docker
                .ask("DELETE", &format!("/containers/{name}?force=1"), b"")
                .0
        }
        Deed::Rename => post(format!("/containers/{name}/rename?name={}", renamed(name))),
        Deed::Recreate => {
            lab.docker
                .ask("DELETE", &format!("/containers/{name}?force=1"), b"");
            let body = one.body(lab, provider, "2");
            let path = format!("/containers/create?name={name}");
            let (status, answer) = lab.docker.json("POST", &path, &body);
            match answer["Id"].as_str() {
                Some(id) => {
                    post(format!("/containers/{id}/start"));
                    201
                }
                // The image has just lost its tag, or the name is taken again.
                None => status,
            }
        }
    }
}

/// `docker container prune`, or `docker system prune --all --volumes`.
pub(super) fn prune(lab: &Lab, timeline: &Timeline, everything: bool) -> Pruned {
    let mut pruned = Pruned::default();
    let list = |answer: &Value, key: &str| {
        let all = answer.get(key).unwrap_or(answer);
        let all = all.as_array().cloned().unwrap_or_default();
        let id = |one: &Value| {
            one.as_str()
                .or_else(|| one["Id"].as_str())
                .map(str::to_owned)
        };
        all.iter().filter_map(id).collect::<Vec<String>>()
    };
    let ask = |what: &str| {
        let (status, answer) = lab.docker.json("POST", &format!("/{what}"), &Value::Null);
        timeline.note(format!("POST /{what}: {status} {answer}"));
        (status, answer)
    };
    let ids = || {
        list(
            &lab.docker
                .json("GET", "/containers/json?all=1", &Value::Null)
                .1,
            "",
        )
    };
    let before = ids();
    let (status, answer) = ask("containers/prune");
    pruned.containers = if status == 200 {
        list(&answer, "ContainersDeleted")
    } else {
        // Podman stops halfway at what others live in, and does not say what it took.
        let after = ids();
        before
            .into_iter()
            .filter(|id| !after.contains(id))
            .collect()
    };
    if everything {
        pruned.networks = list(&ask("networks/prune").1, "NetworksDeleted");
        pruned.volumes = list(&ask("volumes/prune").1, "VolumesDeleted");
        ask("images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D");
    }
    pruned
}
