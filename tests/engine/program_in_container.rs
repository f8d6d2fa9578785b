//! The program in a container of its own.

use crate::engine::lab::Lab;
use crate::engine::unprivileged::field;
use crate::support::Folder;
use crate::support::docker::Docker;
use crate::support::eventually;
use crate::support::images::ImageSpec;
use crate::support::images::agent;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// The runtime whose image it is published as.
pub(crate) const IMAGE: &str = "least";

/// An image with the program and what that cannot do without: nothing if it is static, else the loader
/// and libraries of this machine.
pub(crate) fn image() -> ImageSpec {
    let built = std::env::var("LAB_BINARY");
    image_of(&built.unwrap_or_else(|_| env!("CARGO_BIN_EXE_imagewatch").to_owned()))
}

/// The same of another build.
pub(crate) fn image_of(built: &str) -> ImageSpec {
    let folder = Folder::new();
    let stripped = folder.path().join("imagewatch");
    let status = Command::new("strip")
        .arg("-o")
        .args([&stripped, Path::new(built)])
        .status();
    assert!(status.expect("strip").success());
    let ldd = Command::new("ldd").arg(built).output().expect("ldd");
    let libraries = String::from_utf8(ldd.stdout).expect("UTF-8");
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/') && *word != built);
    let file = |path: &Path, to: &str| {
        let contents = std::fs::read(path).unwrap_or_else(|error| panic!("{to}: {error}"));
        (to.trim_start_matches('/').to_owned(), 0o755, contents)
    };
    let mut files = vec![file(&stripped, "imagewatch")];
    files.extend(libraries.map(|library| file(Path::new(library), library)));
    ImageSpec::bare(IMAGE, files).with("Entrypoint", json!(["/imagewatch"]))
}

/// The program in a container.
pub(crate) struct Contained<'l> {
    lab: &'l Lab,
    pub(crate) name: String,
}

impl<'l> Contained<'l> {
    /// Makes and starts it. `config` is what it is created with, besides its image and the Engine's socket.
    pub(crate) fn run(lab: &'l Lab, name: &str, env: &[&str], config: &Value) -> Self {
        let one = Self::create(lab, name, env, config);
        lab.docker.start(&one.name);
        one
    }

    /// The same without the start.
    pub(crate) fn create(lab: &'l Lab, name: &str, env: &[&str], config: &Value) -> Self {
        let name = lab.name(name);
        let image = format!(
            "IMAGEWATCH_IMAGE={}/acme/{{runtime}}:latest",
            lab.proxy.host()
        );
        let mut all = vec![
            &*image,
            "IMAGEWATCH_RUNTIMES=hermes",
            "IMAGEWATCH_SETTLE=1s",
            "IMAGEWATCH_LISTEN=127.0.0.1:0",
            "IMAGEWATCH_LOG=debug",
        ];
        all.extend(env);
        let mut body = config.clone();
        body["Image"] = json!(lab.reference(IMAGE));
        body["Env"] = json!(all);
        // Without one the log comes in frames.
        body["Tty"] = json!(true);
        let socket = std::env::var("LAB_ENGINE").expect("an Engine");
        let mut binds = vec![json!(format!("{socket}:/var/run/docker.sock"))];
        binds.extend(
            config["HostConfig"]["Binds"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        body["HostConfig"]["Binds"] = json!(binds);
        lab.docker.create(&name, &body);
        Self { lab, name }
    }

    pub(crate) fn log(&self) -> String {
        let path = format!("/containers/{}/logs?stdout=1&stderr=1", self.name);
        let (_, log) = self.lab.docker.ask("GET", &path, b"");
        String::from_utf8_lossy(&log).replace('\r', "")
    }

    /// The last line that holds `text`, as soon as there is one.
    #[track_caller]
    pub(crate) fn await_line(&self, text: &str) -> String {
        let found = eventually(&format!("{text:?} in the log"), || {
            let log = self.log();
            let ended = self.lab.docker.inspect(&self.name)["State"]["Status"] == "exited";
            assert!(!ended, "it ended:\n{log}");
            let line = log.lines().rfind(|line| line.contains(text));
            line.map(str::to_owned)
        });
        println!("{found}");
        found
    }

    /// Asks the admin endpoint.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Value {
        let line = self.await_line("listening on http://");
        let (_, host) = line.rsplit_once("http://").expect("an address");
        let url = format!("http://{host}{target}");
        let mut answer = match method {
            "POST" => agent().post(url).send_empty(),
            _ => agent().get(url).call(),
        }
        .expect("the program answers");
        let body = answer.body_mut().read_to_string().expect("a body");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    pub(crate) fn refresh(&self) -> Value {
        self.ask("POST", "/admin/workspace-images/refresh")
    }

    /// Its folder in the host's `/proc`: the Engine counts processes in a namespace of its own.
    pub(crate) fn process(&self) -> PathBuf {
        process_of(&self.lab.docker, &self.name).expect("its process")
    }
}

/// The folder in the host's `/proc` of a container's first process.
pub(crate) fn process_of(docker: &Docker, name: &str) -> Option<PathBuf> {
    let inside = docker.inspect(name)["State"]["Pid"].to_string();
    let is_it = |folder: &PathBuf| {
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let numbers = field(&status, "NSpid");
        numbers.ends_with(&[inside.clone(), "1".to_owned()])
    };
    let all = std::fs::read_dir("/proc").expect("processes");
    let mut all = all.flatten().map(|entry| entry.path());
    all.find(is_it)
}
