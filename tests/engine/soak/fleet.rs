//! The containers, what each must not lose, and a look at all of them.

use super::super::lab::Lab;
use super::tags::Tag;
use crate::support::docker::Docker;
use crate::support::images::archive;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// The data in a volume begins so, and the container's name follows.
const DATA: &str = "precious data of ";

/// What a container is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With a restart policy, and nothing else.
    Plain(&'static str),
    /// With data in an anonymous volume.
    Data(&'static str),
    /// Another one lives in its network.
    Provider,
    /// It lives in the network of the one before it.
    Tenant,
    /// Its image has a health check.
    Checked,
    /// Stopped, with data in an anonymous volume.
    Stopped,
    /// With data in a volume of a name, in a network of its owner's, under an alias.
    Named,
    /// Without a restart policy.
    Bare,
    /// With one that counts no restart of the Engine as a failure.
    OnFailure,
}

/// One of each, over and over.
const KINDS: [Kind; 10] = [
    Kind::Plain("always"),
    Kind::Data("unless-stopped"),
    Kind::Provider,
    Kind::Tenant,
    Kind::Checked,
    Kind::Stopped,
    Kind::Named,
    Kind::Bare,
    Kind::OnFailure,
    Kind::Data("always"),
];

/// A container.
pub(super) struct Member {
    /// The name that must not be lost.
    pub(super) name: String,
    pub(super) tag: usize,
    kind: Kind,
    provider: Option<String>,
    /// As it was made.
    first: Value,
    /// The image it ran when all was well last, and its mark.
    pub(super) image: String,
    mark: String,
}

/// All of them, and the tags they follow.
pub(super) struct Fleet<'l> {
    lab: &'l Lab,
    pub(super) tags: Vec<Tag>,
    pub(super) members: Vec<Member>,
    network: String,
    /// Volumes that no container has, before anything happened.
    dangling: BTreeSet<String>,
    networks: BTreeSet<String>,
}

impl<'l> Fleet<'l> {
    /// `tags` with a first image each, and `count` containers that run them.
    pub(super) fn new(lab: &'l Lab, tags: usize, count: usize) -> Self {
        // The last two are for those with a health check, and for tenants.
        let tags = (0..tags).map(|number| Tag::new(number, number + 2 == tags));
        let mut fleet = Self {
            lab,
            tags: tags.collect(),
            members: Vec::new(),
            network: lab.name("net"),
            dangling: BTreeSet::new(),
            networks: BTreeSet::new(),
        };
        let body = json!({"Name": fleet.network});
        let (status, answer) = lab.docker.json("POST", "/networks/create", &body);
        assert_eq!(status, 201, "{answer}");
        let mut random = crate::fuzz::generator::Random::new(0);
        for tag in &mut fleet.tags {
            tag.publish(lab, super::plan::Move::Good, &mut random);
            tag.settle();
            lab.pull(&tag.runtime);
        }
        for number in 0..count {
            fleet.make(number);
        }
        let is_used = |tag| fleet.members.iter().any(|one| one.tag == tag);
        assert!((0..fleet.tags.len()).all(is_used), "a tag nobody follows");
        fleet.dangling = dangling_volumes(&lab.docker);
        fleet.networks = networks(&lab.docker);
        fleet
    }

    fn make(&mut self, number: usize) {
        let kind = KINDS[number % KINDS.len()];
        let shared = self.tags.len() - 2;
        let tag = match kind {
            Kind::Tenant => shared + 1,
            Kind::Checked => shared,
            // One that is stopped tries no image: it is with one that runs.
            Kind::Stopped => self.members[number - 3].tag,
            _ => {
                let others = self
                    .members
                    .iter()
                    .filter(|one| one.tag < shared && one.kind != Kind::Stopped);
                others.count() % shared
            }
        };
        let docker = &self.lab.docker;
        let name = self.lab.name(&format!("c{number}"));
        let provider = (kind == Kind::Tenant).then(|| self.lab.name(&format!("c{}", number - 1)));
        let image = self.tags[tag].reference(self.lab);
        let body = self.body(kind, &name, &image, provider.as_deref());
        let id = docker.create(&name, &body);
        if kind.has_data() {
            let data = archive("marker", format!("{DATA}{name}").as_bytes());
            let path = format!("/containers/{id}/archive?path=/data");
            assert_eq!(docker.ask("PUT", &path, &data).0, 200, "{name}");
        }
        if kind != Kind::Stopped {
            docker.start(&id);
        }
        let first = docker.inspect(&name);
        self.members.push(Member {
            tag,
            kind,
            provider,
            image: text(&first, "/Image"),
            mark: text(&first, "/Config/Labels/version"),
            first,
            name,
        });
    }

    fn body(&self, kind: Kind, name: &str, image: &str, provider: Option<&str>) -> Value {
        let mut body = json!({"Image": image, "Labels": {"owner": name}, "StopTimeout": 2,
                              "HostConfig": {"RestartPolicy": {"Name": kind.policy()}}});
        match kind {
            Kind::Data(_) | Kind::Stopped => body["Volumes"] = json!({"/data": {}}),
            Kind::Named => {
                body["HostConfig"]["Binds"] = json!([format!("{name}-volume:/data")]);
                body["HostConfig"]["NetworkMode"] = json!(self.network);
                body["NetworkingConfig"] =
                    json!({"EndpointsConfig": {&self.network: {"Aliases": ["agent"]}}});
            }
            Kind::OnFailure => body["HostConfig"]["RestartPolicy"]["MaximumRetryCount"] = json!(5),
            _ => {}
        }
        if let Some(provider) = provider {
            body["HostConfig"]["NetworkMode"] = json!(format!("container:{provider}"));
        }
        body
    }

    /// Starts what the Engine does not bring back after a restart, as its owner would.
    pub(super) fn start_what_stays_down(&self) {
        for member in &self.members {
            let docker = &self.lab.docker;
            if member.kind.stays_down() && docker.inspect(&member.name)["State"]["Running"] == false
            {
                docker.start(&member.name);
            }
        }
    }

    /// The tags whose containers an Engine that is restarted brings back. What stays down gets its new
    /// image untried.
    pub(super) fn tags_that_come_back(&self) -> Vec<usize> {
        let comes_back = |tag: &usize| {
            let mut own = self.members.iter().filter(|one| one.tag == *tag);
            own.all(|one| !one.kind.stays_down())
        };
        (0..self.tags.len()).filter(comes_back).collect()
    }

    /// Whether anything of a swap, or the lock, is there now.
    pub(super) fn is_in_mid_swap(&self) -> bool {
        let names = self.lab.docker.names("");
        names.iter().any(|name| name.contains(".iw-"))
    }

    /// What is not as it should be, if anything.
    pub(super) fn look(&self) -> Result<(), String> {
        let docker = &self.lab.docker;
        let mut expected: Vec<&str> = self.members.iter().map(|one| &*one.name).collect();
        expected.sort_unstable();
        let names = docker.names("");
        expect(names == expected, || {
            format!("the containers are {names:?}")
        })?;
        for member in &self.members {
            self.look_at(member)
                .map_err(|trouble| format!("{}: {trouble}", member.name))?;
        }
        let dangling = dangling_volumes(docker);
        let left: Vec<_> = dangling.difference(&self.dangling).collect();
        expect(left.is_empty(), || {
            format!("volumes are left over: {left:?}")
        })?;
        let networks = networks(docker);
        expect(networks == self.networks, || {
            format!("the networks are {networks:?}")
        })
    }

    fn look_at(&self, member: &Member) -> Result<(), String> {
        let now = self.lab.docker.inspect(&member.name);
        let is_up = now["State"]["Running"] == true && now["State"]["Restarting"] != true;
        let should_run = member.kind != Kind::Stopped;
        expect(is_up == should_run, || {
            format!("its state is {}", now["State"])
        })?;
        for path in ["/HostConfig/RestartPolicy", "/Config/Labels/owner"] {
            let (old, new) = (member.first.pointer(path), now.pointer(path));
            expect(old == new, || format!("{path} was {old:?} and is {new:?}"))?;
        }
        let mark = text(&now, "/Config/Labels/version");
        let tag = &self.tags[member.tag];
        expect(tag.may_run(&member.mark, &mark, should_run), || {
            format!("it ran {} and runs {mark}", member.mark)
        })?;
        if tag.is_good() {
            let newest = self.lab.docker.image(&tag.reference(self.lab));
            expect(now["Image"] == newest["Id"], || {
                format!("it runs {} and its tag is {}", now["Image"], newest["Id"])
            })?;
        }
        let mode = text(&now, "/HostConfig/NetworkMode");
        let wanted = match &member.provider {
            Some(provider) => format!(
                "container:{}",
                text(&self.lab.docker.inspect(provider), "/Id")
            ),
            None => text(&member.first, "/HostConfig/NetworkMode"),
        };
        expect(mode == wanted, || {
            format!("its network is {mode}, not {wanted}")
        })?;
        let (old, new) = (volumes(&member.first), volumes(&now));
        expect(old == new, || {
            format!("its volumes were {old:?} and are {new:?}")
        })?;
        if member.kind.has_data() {
            let path = format!("/containers/{}/archive?path=/data/marker", member.name);
            let (status, tar) = self.lab.docker.ask("GET", &path, b"");
            let data = format!("{DATA}{}", member.name);
            let is_there = tar.windows(data.len()).any(|part| part == data.as_bytes());
            expect(is_there, || format!("its data is gone ({status})"))?;
        }
        Ok(())
    }

    /// All is well: from here on this is how things were.
    pub(super) fn settle(&mut self) {
        for tag in &mut self.tags {
            tag.settle();
        }
        for member in &mut self.members {
            let now = self.lab.docker.inspect(&member.name);
            member.image = text(&now, "/Image");
            member.mark = text(&now, "/Config/Labels/version");
        }
    }

    /// Which images are there that no tag names and no container runs.
    pub(super) fn images_in_words(&self) -> String {
        let docker = &self.lab.docker;
        let used: Vec<String> = self.members.iter().map(|one| self.image_now(one)).collect();
        let (_, list) = docker.json("GET", "/images/json", &Value::Null);
        let list = list.as_array().cloned().unwrap_or_default();
        let is_left = |image: &&Value| {
            let tags = image["RepoTags"].as_array().into_iter().flatten();
            let is_tagged = tags
                .filter_map(Value::as_str)
                .any(|tag| !tag.contains("<none>"));
            !is_tagged && used.iter().all(|id| image["Id"] != **id)
        };
        let left: Vec<&Value> = list.iter().filter(is_left).collect();
        let bad = left.iter().filter(|image| {
            let mark = text(image, "/Labels/version");
            mark.contains("-bad")
        });
        let (left, bad) = (left.len(), bad.count());
        format!(
            "{} images, {left} of them unused and without a tag, {bad} of these bad",
            list.len()
        )
    }

    /// The image a container runs now, by id.
    pub(super) fn image_now(&self, member: &Member) -> String {
        text(&self.lab.docker.inspect(&member.name), "/Image")
    }
}

impl Kind {
    fn has_data(self) -> bool {
        matches!(self, Self::Data(_) | Self::Stopped | Self::Named)
    }

    /// Whether a restart of the Engine stops it. A tenant may be started before its provider.
    fn stays_down(self) -> bool {
        matches!(self, Self::Bare | Self::OnFailure | Self::Tenant)
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Plain(policy) | Self::Data(policy) => policy,
            Self::Bare | Self::Stopped => "no",
            Self::OnFailure => "on-failure",
            Self::Checked | Self::Provider | Self::Tenant | Self::Named => "always",
        }
    }
}

fn expect(right: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(what()) }
}

fn text(json: &Value, path: &str) -> String {
    let found = json.pointer(path).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// Name and target of each volume.
fn volumes(inspect: &Value) -> BTreeSet<(String, String)> {
    let mounts = inspect["Mounts"].as_array().into_iter().flatten();
    mounts
        .map(|mount| (text(mount, "/Name"), text(mount, "/Destination")))
        .collect()
}

/// Volumes that no container has.
fn dangling_volumes(docker: &Docker) -> BTreeSet<String> {
    let path = "/volumes?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
    let (_, answer) = docker.json("GET", path, &Value::Null);
    let list = answer["Volumes"].as_array();
    let names = list.into_iter().flatten().map(|one| one["Name"].as_str());
    names.flatten().map(str::to_owned).collect()
}

fn networks(docker: &Docker) -> BTreeSet<String> {
    let (_, answer) = docker.json("GET", "/networks", &Value::Null);
    let list = answer.as_array().into_iter().flatten();
    list.map(|one| text(one, "/Name")).collect()
}
