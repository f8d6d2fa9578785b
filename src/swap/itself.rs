//! The container in which this process runs, if it can be known.
//!
//! Several traces show the container. Each of them may be missing, or belong to another container:
//!
//! | trace | shows |
//! |---|---|
//! | the path of the control group | the own id; nothing in a namespace of its own, the default on version 2 |
//! | the source of the mount at `/run/.containerenv` (Podman) | the own id |
//! | the sources of the mounts at `/etc/hostname`, `hosts` and `resolv.conf` | the id of the container that owns the network |
//! | the time of `/.dockerenv`, here and in a container (Docker) | to the nanosecond, whether the container is this one |
//! | the command | little: other containers may run the same command, and a script hides it |

use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::State;
use crate::engine::Summary;
use crate::error::Result;
use crate::logging::debug;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::SystemTime;

const DOCKERENV: &str = "/.dockerenv";
const CONTAINERENV: &str = "/run/.containerenv";
/// Docker takes these from the container whose network it is.
const OF_NETWORK: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
/// How long an Engine may take to show that it started this container.
const START_PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The facts about the own container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Itself {
    id: Option<String>,
    /// Containers one of which is the own container, if it is not known which.
    candidates: Vec<String>,
    /// The containers whose network this process uses.
    network_owners: Vec<String>,
}

impl Itself {
    /// The id of the own container, if it is known.
    #[must_use]
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether a container may be this process's own.
    #[must_use]
    pub(super) fn may_be(&self, id: &str) -> bool {
        self.id() == Some(id) || self.candidates.iter().any(|one| one == id)
    }

    /// Whether this process uses the network of another container.
    #[must_use]
    pub(super) fn uses_network_of(&self, id: &str) -> bool {
        !self.may_be(id) && self.network_owners.iter().any(|one| one == id)
    }
}

/// Looks for the own container on an Engine. A process has one Engine and stays in its container, so a certain
/// result is kept.
///
/// # Errors
/// When the Engine cannot be asked.
pub(super) fn find(engine: &Engine) -> Result<Itself> {
    static TRACES: OnceLock<Traces> = OnceLock::new();
    static CERTAIN: OnceLock<Itself> = OnceLock::new();
    let traces = TRACES.get_or_init(Traces::read);
    if traces.is_outside() {
        return Ok(Itself::default());
    }
    if let Some(itself) = CERTAIN.get() {
        return Ok(itself.clone());
    }
    let itself = traces.look(engine)?;
    debug(format_args!("the own container: {itself:?}"));
    if itself.id.is_some() {
        let _ = CERTAIN.set(itself.clone());
    }
    Ok(itself)
}

/// The own container, if it is known, once the Engine shows it as running.
///
/// # Errors
/// When the Engine cannot be asked.
pub(super) fn running(engine: &Engine) -> Result<Option<Container>> {
    let itself = find(engine)?;
    let Some(id) = itself.id() else {
        return Ok(None);
    };
    // The program may be faster than the Engine, which shows the start a moment later.
    let begun = std::time::Instant::now();
    loop {
        let found = engine.find(id)?;
        let is_noted = found
            .as_ref()
            .is_none_or(|own| own.state() == State::Running);
        if is_noted || begun.elapsed() > START_PATIENCE {
            return Ok(found);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The traces of the own container that this process sees.
#[derive(Debug, Default)]
struct Traces {
    /// The own id, if a trace shows it for certain.
    own: Option<String>,
    /// The ids of containers whose network this process uses.
    network_owners: Vec<String>,
    /// The time of `/.dockerenv`.
    made: Option<SystemTime>,
    /// Whether the root was made for a container. A machine that was made from an image has `/.dockerenv` too.
    is_contained: bool,
    /// The commands of this process and of the first one in its process namespace.
    commands: Vec<Vec<String>>,
}

impl Traces {
    fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let made = std::fs::metadata(DOCKERENV).and_then(|found| found.modified());
        let words = |path: &str| {
            let line = read(path);
            let words = line.trim_end_matches('\0').split('\0');
            words.map(str::to_owned).collect()
        };
        Self {
            made: made.ok(),
            commands: vec![words("/proc/self/cmdline"), words("/proc/1/cmdline")],
            ..Self::within(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
        }
    }

    /// Reads control groups and mounts (proc(5): a mount's fourth word is its source folder, the fifth its place).
    fn within(cgroup: &str, mounts: &str) -> Self {
        // The last id counts. The ids before it belong to an Engine in a container.
        let id = |text: &str| {
            let words = text.rsplit(|c: char| !c.is_ascii_alphanumeric());
            let is_id =
                |part: &&str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let mut ids = words.filter(is_id);
            ids.next().map(str::to_owned)
        };
        let mounted = |at: &str| {
            let mut lines = mounts.lines().map(|line| line.split(' '));
            let mut line = lines.find(|line| line.clone().nth(4) == Some(at))?;
            id(line.nth(3)?)
        };
        let mut network_owners: Vec<String> = OF_NETWORK.into_iter().filter_map(mounted).collect();
        network_owners.dedup();
        let mut fields = mounts.lines().map(|line| line.split(' '));
        let root = fields.find(|line| line.clone().nth(4) == Some("/"));
        let is_contained = root.is_some_and(|mut line| {
            line.clone().any(|word| word == "overlay") || line.nth(3) != Some("/")
        });
        Self {
            is_contained,
            own: cgroup
                .lines()
                .find_map(id)
                .or_else(|| mounted(CONTAINERENV)),
            network_owners,
            ..Self::default()
        }
    }

    /// Whether no trace shows a container.
    fn is_outside(&self) -> bool {
        let is_docker = self.is_contained && self.made.is_some();
        self.own.is_none() && self.network_owners.is_empty() && !is_docker
    }

    fn look(&self, engine: &Engine) -> Result<Itself> {
        let list = engine.containers()?;
        let certain = |id: &str| Itself {
            id: Some(id.to_owned()),
            candidates: Vec::new(),
            network_owners: self.network_owners.clone(),
        };
        if let Some(own) = &self.own {
            // An id that the list does not have belongs to another Engine.
            let is_there = list.iter().any(|one| one.id() == own);
            return Ok(if is_there {
                certain(own)
            } else {
                Itself::default()
            });
        }
        let candidates = self.candidates(&list);
        if let ([only], false) = (&*candidates, self.network_owners.is_empty()) {
            return Ok(certain(only.id()));
        }
        for one in &candidates {
            match engine.path_stat(one.id(), DOCKERENV) {
                Ok(Some(stat)) if Some(stat.modified) == self.made => return Ok(certain(one.id())),
                Ok(_) => {}
                Err(error) => debug(format_args!("{error}")),
            }
        }
        let mut alike = Vec::new();
        for one in &candidates {
            let found = engine.find(one.id())?;
            if found.is_some_and(|found| self.runs_the_same(&found)) {
                alike.push(one.id().to_owned());
            }
        }
        if self.network_owners.is_empty() {
            // Any container could be the own one.
            return Ok(Itself {
                candidates: alike,
                ..Itself::default()
            });
        }
        Ok(Itself {
            id: match &*alike {
                [only] => Some(only.clone()),
                _ => None,
            },
            candidates: candidates.iter().map(|one| one.id().to_owned()).collect(),
            network_owners: self.network_owners.clone(),
        })
    }

    /// The containers that own the network of this process, and those that use it. If no trace shows the network, all
    /// containers.
    fn candidates<'l>(&self, list: &'l [Summary]) -> Vec<&'l Summary> {
        let is_owner = |one: &Summary| self.network_owners.iter().any(|owner| owner == one.id());
        let network_owners: Vec<&Summary> = list.iter().filter(|one| is_owner(one)).collect();
        let shares = |one: &Summary| {
            let of = one
                .network_mode()
                .and_then(|mode| mode.strip_prefix("container:"));
            let of = of.map(|of| of.trim_start_matches('/'));
            let is = |owner: &&Summary, of: &str| {
                owner.name() == of || of.len() >= 12 && owner.id().starts_with(of)
            };
            of.is_some_and(|of| network_owners.iter().any(|owner| is(owner, of)))
        };
        let may_be =
            |one: &&Summary| self.network_owners.is_empty() || is_owner(one) || shares(one);
        list.iter().filter(may_be).collect()
    }

    fn runs_the_same(&self, container: &Container) -> bool {
        let same =
            |command: &Vec<String>| container.command().eq(command.iter().map(String::as_str));
        self.commands.iter().any(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_shows_a_container_is_told_from_what_shows_its_network() {
        let [own, other, volume] = ["a", "b", "c"].map(|digit| digit.repeat(64));
        let mount = |root: String, at: &str| format!("1 2 8:1 {root} {at} rw - ext4 /dev/x rw\n");
        let docker = format!("/var/lib/docker/containers/{other}");
        let home = mount(format!("{docker}/hostname"), "/etc/hostname");
        let podman = format!("/containers/storage/overlay-containers/{own}/userdata");
        let podman = mount(format!("{podman}/.containerenv"), "/run/.containerenv");
        let nested = format!("/var/lib/docker/volumes/{volume}/_data/containers/{other}");
        for (cgroup, mounts, expected, network_owners) in [
            // Control groups of version 1 and of version 2, with one driver each, in the host's namespace.
            (
                format!("12:memory:/docker/{own}\n0::/system.slice\n"),
                home.clone(),
                Some(&own),
                vec![&other],
            ),
            (
                format!("0::/system.slice/docker-{own}.scope\n"),
                home.clone(),
                Some(&own),
                vec![&other],
            ),
            (
                format!("0::/docker/{other}/docker/{own}\n"),
                String::new(),
                Some(&own),
                vec![],
            ),
            (
                format!("0::/machine.slice/libpod-{own}.scope/container\n"),
                podman.clone(),
                Some(&own),
                vec![],
            ),
            // Control groups in a namespace of their own.
            ("0::/\n".to_owned(), home.clone(), None, vec![&other]),
            (
                "0::/\n".to_owned(),
                podman + &home,
                Some(&own),
                vec![&other],
            ),
            (
                "0::/\n".to_owned(),
                mount(format!("{nested}/hosts"), "/etc/hosts"),
                None,
                vec![&other],
            ),
            // The owner mounted the host's files.
            (
                "0::/\n".to_owned(),
                mount("/etc/hostname".to_owned(), "/etc/hostname"),
                None,
                vec![],
            ),
            (
                "0::/\n".to_owned(),
                mount("/etc/hostname".to_owned(), "/etc/hostname")
                    + &mount(format!("{docker}/resolv.conf"), "/etc/resolv.conf"),
                None,
                vec![&other],
            ),
            // A process outside of any container.
            (
                "0::/user.slice\n".to_owned(),
                mount("/".to_owned(), "/"),
                None,
                vec![],
            ),
        ] {
            let traces = Traces::within(&cgroup, &mounts);
            assert_eq!(traces.own.as_ref(), expected, "{cgroup}{mounts}");
            assert_eq!(
                traces.network_owners.iter().collect::<Vec<_>>(),
                network_owners,
                "{cgroup}{mounts}"
            );
        }
    }

    #[test]
    fn candidates_are_the_network_and_all_that_use_it() {
        let [home, other] = ["a", "b"].map(|digit| digit.repeat(64));
        let list = json!([
            {"Id": home, "Names": ["/vpn"]},
            {"Id": "by-id", "HostConfig": {"NetworkMode": format!("container:{home}")}},
            {"Id": "by-short-id", "HostConfig": {"NetworkMode": format!("container:{}", &home[..12])}},
            {"Id": "by-name", "HostConfig": {"NetworkMode": "container:vpn"}},
            {"Id": "another's", "HostConfig": {"NetworkMode": format!("container:{other}")}},
            {"Id": "own", "HostConfig": {"NetworkMode": "bridge"}},
            {"Id": "unsaid", "HostConfig": null},
        ]);
        let list: Vec<Summary> = serde_json::from_value(list).expect("a list");
        let mut traces = Traces {
            network_owners: vec![home.clone()],
            ..Traces::default()
        };
        let ids = |traces: &Traces| -> Vec<String> {
            traces
                .candidates(&list)
                .iter()
                .map(|one| one.id().to_owned())
                .collect()
        };
        assert_eq!(ids(&traces), [&home, "by-id", "by-short-id", "by-name"]);
        traces.network_owners.clear();
        assert_eq!(ids(&traces).len(), list.len());
    }

    #[test]
    fn who_may_be_it_is_not_who_lends_it_a_network() {
        let itself = Itself {
            id: Some("own".to_owned()),
            candidates: vec!["maybe".to_owned()],
            network_owners: vec!["own".to_owned(), "vpn".to_owned()],
        };
        assert!(itself.may_be("own") && itself.may_be("maybe") && !itself.may_be("vpn"));
        assert!(itself.uses_network_of("vpn") && !itself.uses_network_of("own"));
    }
}
