//! The containers of a storm and the tags they follow.

use super::super::lab::Lab;
use super::script::CHECKED;
use super::script::DEPENDENT;
use super::script::Image;
use super::script::PROVIDER;
use super::script::SOLO;
use super::script::Script;
use super::script::TAGS;
use super::script::TRIO;
use crate::support::images::ImageSpec;
use crate::support::images::agent;
use crate::support::images::archive;
use serde_json::Value;
use serde_json::json;

/// The label that says which member of the storm this is, whatever its name.
pub(super) const WHO: &str = "storm.who";
/// The label that tells what its owner made anew.
pub(super) const GENERATION: &str = "storm.generation";
/// The data in a volume begins so, and the container's name follows.
const DATA: &str = "precious data of ";

/// A tag, and every image it ever meant.
pub(super) struct Tag {
    number: usize,
    is_checked: bool,
    /// The last one is the newest.
    pub(super) published: Vec<Published>,
}

#[derive(Clone)]
pub(super) struct Published {
    pub(super) mark: String,
    pub(super) image: Image,
    /// The digest of its manifest.
    pub(super) digest: String,
    /// What an Engine may call it: that, or the digest of its configuration.
    pub(super) ids: [String; 2],
    spec: ImageSpec,
}

impl Tag {
    pub(super) fn reference(&self, lab: &Lab) -> String {
        lab.reference(TAGS[self.number])
    }

    pub(super) fn newest(&self) -> &Published {
        self.published.last().expect("an image")
    }

    /// The image with this id.
    pub(super) fn by_id(&self, id: &str) -> Option<&Published> {
        let mut all = self.published.iter();
        all.find(|one| one.ids.iter().any(|known| known == id))
    }

    /// Whether one of the images with this mark is good.
    pub(super) fn is_good(&self, mark: &str) -> bool {
        let mut all = self.published.iter();
        all.any(|one| one.mark == mark && one.image.is_good())
    }

    /// Moves the tag, and says where to.
    pub(super) fn publish(&mut self, lab: &Lab, image: Image, has_layer: bool) -> String {
        let mark = format!("{}-{}-{image:?}", TAGS[self.number], self.published.len());
        let mut spec = self.spec(&mark, image);
        if has_layer {
            let file = format!("etc/{mark}");
            spec.files.push((file, 0o644, mark.clone().into_bytes()));
        }
        self.put(lab, mark, image, spec)
    }

    /// Moves the tag back to the image before, and says which that is.
    pub(super) fn publish_previous(&mut self, lab: &Lab) -> String {
        let count = self.published.len();
        let before = self.published[count.saturating_sub(2)].clone();
        self.put(lab, before.mark, before.image, before.spec)
    }

    fn put(&mut self, lab: &Lab, mark: String, image: Image, spec: ImageSpec) -> String {
        let name = TAGS[self.number];
        let digest = lab.publish(name, &spec);
        let url = format!(
            "http://{}/v2/{}/manifests/{digest}",
            lab.registry.host(),
            Lab::repository(name)
        );
        let accept = "application/vnd.docker.distribution.manifest.v2+json";
        let answer = agent().get(url).header("Accept", accept).call();
        let text = answer.expect("an answer").body_mut().read_to_string();
        let manifest: Value = serde_json::from_str(&text.expect("a manifest")).expect("JSON");
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        self.published.push(Published {
            ids: [digest.clone(), config.to_owned()],
            mark: mark.clone(),
            image,
            digest,
            spec,
        });
        mark
    }

    fn spec(&self, mark: &str, image: Image) -> ImageSpec {
        let ready = match image {
            Image::Slow => "sleep 1.3 & wait $!; touch /tmp/ready",
            _ => "touch /tmp/ready",
        };
        let script = match image {
            Image::Ends => "exit 3".to_owned(),
            Image::EndsLater => format!("{ready}; sleep 0.4; exit 7"),
            _ => format!("trap 'exit 0' TERM; {ready}; while sleep 1 & wait $!; do :; done"),
        };
        let command = match image {
            Image::NeverStarts => json!(["/no/such"]),
            _ => json!([
                "/bin/busybox",
                "sh",
                "-c",
                format!("echo I am {mark}; {script}")
            ]),
        };
        let spec = ImageSpec::new(mark).with("Cmd", command);
        let check = |test: Value, retries: u32| {
            json!({"Test": test, "Interval": 500_000_000_u64, "Timeout": 5_000_000_000_u64,
                   "Retries": retries})
        };
        match image {
            Image::Unhealthy => spec.with("Healthcheck", check(json!(["CMD", "/bin/false"]), 1)),
            _ if self.is_checked => {
                let test = json!(["CMD", "/bin/busybox", "test", "-f", "/tmp/ready"]);
                spec.with("Healthcheck", check(test, 8))
            }
            _ => spec,
        }
    }
}

/// A container.
pub(super) struct Member {
    /// What it is in this storm.
    pub(super) who: &'static str,
    /// The name that must not be lost.
    pub(super) name: String,
    pub(super) tag: usize,
    pub(super) policy: &'static str,
    pub(super) has_data: bool,
    /// It shares this namespace of the provider's.
    pub(super) shares: Option<&'static str>,
    pub(super) is_stopped: bool,
    /// As it was made.
    pub(super) first: Value,
}

impl Member {
    /// What its owner runs.
    pub(super) fn body(&self, lab: &Lab, provider: &str, generation: &str) -> Value {
        let mut body = json!({
            "Image": lab.reference(TAGS[self.tag]), "StopTimeout": 2,
            "Labels": {WHO: self.who, GENERATION: generation},
            "HostConfig": {"RestartPolicy": {"Name": self.policy}},
        });
        if self.has_data {
            body["Volumes"] = json!({"/data": {}});
        }
        if self.tag == PROVIDER {
            body["HostConfig"]["IpcMode"] = json!("shareable");
        }
        if let Some(namespace) = self.shares {
            body["HostConfig"][namespace] = json!(format!("container:{provider}"));
        }
        body
    }

    fn make(&mut self, lab: &Lab, provider: &str) {
        let docker = &lab.docker;
        let id = docker.create(&self.name, &self.body(lab, provider, "1"));
        if self.has_data {
            let data = archive("marker", self.data().as_bytes());
            let path = format!("/containers/{id}/archive?path=/data");
            assert_eq!(docker.ask("PUT", &path, &data).0, 200, "{}", self.name);
        }
        if !self.is_stopped {
            docker.start(&id);
        }
        self.first = docker.inspect(&self.name);
    }

    fn data(&self) -> String {
        format!("{DATA}{}", self.who)
    }

    /// Whether the container with this id still has its data.
    pub(super) fn has_its_data(&self, lab: &Lab, id: &str) -> bool {
        let path = format!("/containers/{id}/archive?path=/data/marker");
        let (_, tar) = lab.docker.ask("GET", &path, b"");
        let data = self.data();
        tar.windows(data.len()).any(|part| part == data.as_bytes())
    }
}

/// Tags with a first image each, which the Engine has pulled.
pub(super) fn tags(lab: &Lab, script: &Script) -> Vec<Tag> {
    let tag = |number| {
        let mut tag = Tag {
            number,
            is_checked: number == CHECKED || (number == PROVIDER && script.is_provider_checked),
            published: Vec::new(),
        };
        tag.publish(lab, Image::Good, false);
        lab.pull(TAGS[number]);
        tag
    };
    (0..TAGS.len()).map(tag).collect()
}

/// The containers, made and started; their numbers are those of [`super::script::followers`].
pub(super) fn members(lab: &Lab, script: &Script) -> Vec<Member> {
    let member = |who, tag, policy| Member {
        name: lab.name(who),
        who,
        tag,
        policy,
        has_data: matches!(who, "solo" | "provider" | "first" | "stopped"),
        shares: None,
        is_stopped: who == "stopped",
        first: Value::Null,
    };
    let mut all = vec![
        member("solo", SOLO, script.policy),
        member("checked", CHECKED, "unless-stopped"),
        member("provider", PROVIDER, "always"),
        member("dependent", DEPENDENT, "always"),
        member("first", TRIO, "always"),
        member("middle", TRIO, "no"),
        member("last", TRIO, "unless-stopped"),
        member("stopped", script.stopped_follows, "no"),
    ];
    all[3].shares = Some("NetworkMode");
    if let Some(namespace) = script.second {
        let mut second = member("second", DEPENDENT, "always");
        second.shares = Some(namespace);
        all.push(second);
    }
    let make = |members: Vec<&mut Member>| {
        let provider = lab.name("provider");
        std::thread::scope(|scope| {
            for member in members {
                let provider = &provider;
                scope.spawn(move || member.make(lab, provider));
            }
        });
    };
    make(all.iter_mut().filter(|one| one.shares.is_none()).collect());
    make(all.iter_mut().filter(|one| one.shares.is_some()).collect());
    all
}
