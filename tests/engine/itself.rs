//! The program in a container that updates itself, for several tests.

use crate::engine::lab::Lab;
use crate::engine::program_in_container::image;
use crate::engine::program_in_container::process_of;
use crate::support::docker::Docker;
use crate::support::engine_proxy::EngineProxy;
use crate::support::free_port;
use crate::support::images::ImageSpec;
use crate::support::images::agent;
use crate::support::patiently;
use crate::support::tidy;
use serde_json::Value;
use serde_json::json;
use std::collections::HashSet;
use std::process::Command;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The runtime whose image the program is published as.
const IMAGE: &str = "itself";
pub(crate) const HELPER: &str = "imagewatch.helper";

/// The program in a container that nobody else's programs see.
pub(crate) struct Site<'l> {
    lab: &'l Lab,
    /// Begins the names of its containers, and is its repository too.
    key: String,
    pub(crate) between: EngineProxy,
    port: u16,
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["iw", HELPER] {
                println!("--- the log of {name} ---\n{}", self.log_of(name));
            }
            let lines = self.between.lines();
            let last = &lines[lines.len().saturating_sub(60)..];
            let (names, last) = (self.names(), last.join("\n"));
            println!("--- containers {names:?}, the last calls ---\n{last}");
        }
        // A hundred that look for a newer image every second take all of the machine.
        tidy(|| {
            let docker = &self.lab.docker;
            for name in docker.names(&self.key) {
                docker.remove(&name);
            }
        });
    }
}

impl<'l> Site<'l> {
    /// Starts the program of version `v1`, with these variables besides.
    pub(crate) fn start(lab: &'l Lab, number: usize, env: &[&str], config: &Value) -> Self {
        let site = Self::new(lab, number);
        let docker = &lab.docker;
        let id = docker.create(&site.name("iw"), &site.body(env, config));
        // Calls that are disturbed have the same numbers in each run.
        let image = docker.inspect(&id)["Image"].clone();
        site.between.number_first(&[&json!(id), &image]);
        docker.start(&id);
        site.await_start();
        site
    }

    /// Version `v1` is here, and nothing runs yet.
    pub(crate) fn new(lab: &'l Lab, number: usize) -> Self {
        Self::of(lab, number, image())
    }

    /// The same of another build.
    pub(crate) fn of(lab: &'l Lab, number: usize, first: ImageSpec) -> Self {
        let key = lab.name(&format!("{number}-"));
        let site = Self {
            between: EngineProxy::part(&lab.docker, &key),
            port: free_port(),
            lab,
            key,
        };
        site.publish(&site.labelled(first, "v1"));
        lab.pull(&site.runtime());
        site
    }

    /// What its container is created with.
    pub(crate) fn body(&self, env: &[&str], config: &Value) -> Value {
        let listen = format!("IMAGEWATCH_LISTEN=127.0.0.1:{}", self.port);
        let mut all = vec![
            &*listen,
            "IMAGE_AUTO_REFRESH=true",
            "IMAGEWATCH_INTERVAL=1s",
            "IMAGEWATCH_RUNTIMES=none",
            "IMAGEWATCH_SELECT=labelled",
            "IMAGEWATCH_SETTLE=1s",
            "IMAGEWATCH_LOG=debug",
        ];
        all.extend(env);
        let mut body = config.clone();
        body["Image"] = json!(self.lab.reference(&self.runtime()));
        body["Env"] = json!(all);
        body["Labels"]["imagewatch.enable"] = json!("true");
        let host = &mut body["HostConfig"];
        if host["Binds"].is_null() {
            let socket = self.between.host();
            let socket = socket.trim_start_matches("unix://");
            host["Binds"] = json!([format!("{socket}:/var/run/docker.sock")]);
        }
        host["NetworkMode"] = json!("host");
        host["RestartPolicy"] = json!({"Name": "unless-stopped"});
        body
    }

    /// From then on a tag that moves is followed.
    #[track_caller]
    pub(crate) fn await_start(&self) {
        self.await_log(": seeded with");
    }

    /// Begins with the key, so that calls that name its image look the same at each site.
    fn runtime(&self) -> String {
        self.name(IMAGE)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.key)
    }

    /// The program as an image that says its version.
    pub(crate) fn version(&self, mark: &str) -> ImageSpec {
        self.labelled(image(), mark)
    }

    /// The same of another build.
    pub(crate) fn labelled(&self, mut image: ImageSpec, mark: &str) -> ImageSpec {
        image.mark = mark.to_owned();
        image.with(
            "Labels",
            // Docker with containerd's store can lose an image whose names all move at the same time.
            json!({"version": mark, "org.opencontainers.image.version": mark, "site": self.key}),
        )
    }

    pub(crate) fn publish(&self, image: &ImageSpec) -> String {
        let digest = self.lab.publish(&self.runtime(), image);
        self.between.number_first(&[&json!(digest)]);
        digest
    }

    pub(crate) fn inspect(&self, name: &str) -> Value {
        self.lab.docker.inspect(&self.name(name))
    }

    pub(crate) fn runs(&self) -> String {
        let found = self.inspect("iw");
        let version = found["Config"]["Labels"]["version"].as_str();
        version.unwrap_or_default().to_owned()
    }

    /// The names of its containers.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.lab.docker.names(&self.key);
        let own = names.iter().map(|name| name[self.key.len()..].to_owned());
        own.collect()
    }

    pub(crate) fn log_of(&self, name: &str) -> String {
        let path = format!("/containers/{}/logs?stdout=1&stderr=1", self.name(name));
        let (_, log) = self.lab.docker.ask("GET", &path, b"");
        String::from_utf8_lossy(&log).into_owned()
    }

    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        patiently(&format!("{text:?} in the log"), || {
            self.log_of("iw").contains(text).then_some(())
        });
    }

    pub(crate) fn ask(&self, method: &str, target: &str) -> Option<(u16, Value)> {
        let url = format!("http://127.0.0.1:{}{target}", self.port);
        let mut answer = match method {
            "POST" => agent().post(url).send_empty(),
            _ => agent().get(url).call(),
        }
        .ok()?;
        let body = answer.body_mut().read_to_string().ok()?;
        Some((
            answer.status().as_u16(),
            serde_json::from_str(&body).unwrap_or_default(),
        ))
    }

    /// How many of its containers of this version were started, as far as the Engine remembers. The Engine starts
    /// each again as long as it is not rolled back.
    pub(crate) fn started(&self, version: &str, since: u64) -> usize {
        let filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%5D%7D";
        let path = format!(
            "/events?since={since}&until={}&filters={filters}",
            now() + 1
        );
        let (_, lines) = self.lab.docker.ask("GET", &path, b"");
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let id_of = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            let of = &event["Actor"]["Attributes"];
            let is_it = of["version"] == version && of["name"] == self.name("iw");
            let id = event["Actor"]["ID"].as_str().filter(|_| is_it)?;
            Some(id.to_owned())
        };
        let ids: HashSet<String> = lines.lines().filter_map(id_of).collect();
        ids.len()
    }

    /// Has its owner restart it.
    pub(crate) fn restart(&self) {
        let path = format!("/containers/{}/restart", self.name("iw"));
        assert_eq!(self.lab.docker.ask("POST", &path, b"").0, 204);
        patiently("it to be back", || self.ask("GET", "/health").map(drop));
    }

    /// The latest outcomes, the last first.
    pub(crate) fn history(&self) -> Vec<Value> {
        let (_, status) = self.ask("GET", "/admin/status").unwrap_or_default();
        status["history"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until this version serves under its name, and nothing is left over but what may stay.
    #[track_caller]
    pub(crate) fn await_end(&self, version: &str, stays: &[&str]) {
        patiently(
            &format!("{version}, and nothing else: {:?}", self.names()),
            || {
                let mut names = self.names();
                names.retain(|name| !stays.contains(&&**name));
                let is_healthy = self
                    .ask("GET", "/health")
                    .is_some_and(|(status, _)| status == 200);
                (names == ["iw"] && self.runs() == version && is_healthy).then_some(())
            },
        );
        let found = self.inspect("iw");
        assert_eq!(found["State"]["Running"], true);
        assert_eq!(
            found["HostConfig"]["RestartPolicy"]["Name"],
            "unless-stopped"
        );
    }
}

/// The time in seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// Kills the first process of a container, if it has one.
pub(crate) fn kill(docker: &Docker, name: &str) {
    if let Some(folder) = process_of(docker, name) {
        let pid = folder.file_name().expect("a number").to_owned();
        let _ = Command::new("kill").arg("-9").arg(pid).status();
    }
}
