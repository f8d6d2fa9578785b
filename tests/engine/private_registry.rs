//! A registry with a login, behind TLS of a private authority, and the whole box to look after: what
//! people bring along who come from Watchtower.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::images::Front;
use crate::support::program::Program;
use crate::support::tidy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// The lab with such a registry before it, and the Engine to itself.
struct Private {
    front: Front,
    lab: Lab,
    ca: String,
    /// With the login file.
    folder: Folder,
}

impl Private {
    /// `None`, said on the standard error, where there is no Engine, or no such certificates.
    fn new() -> Option<Self> {
        let lab = Lab::alone()?;
        let tls = std::env::var_os("LAB_TLS").map(PathBuf::from);
        let address = std::env::var("LAB_TLS_ADDRESS").ok();
        let (Some(tls), Some(address)) = (tls, address) else {
            panic!(
                "LAB_TLS and LAB_TLS_ADDRESS are not set: scripts/test.sh engine ENGINE does that"
            );
        };
        let front = lab.registry.front(&tls, &address, lab.login);
        let private = Self {
            front,
            ca: tls.join("ca.pem").display().to_string(),
            folder: Folder::new(),
            lab,
        };
        private.log_in(private.lab.login.1);
        Some(private)
    }

    /// Writes the login file as `docker login` does.
    fn log_in(&self, password: &str) {
        let auth = STANDARD.encode(format!("{}:{password}", self.lab.login.0));
        let file = json!({"auths": {self.front.host(): {"auth": auth}}});
        self.folder.write("config.json", file.to_string());
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/acme/{name}:latest", self.front.host())
    }

    /// Publishes an image and has the Engine pull it, as its owner did.
    fn install(&self, name: &str, mark: &str) {
        self.lab.publish(name, &good(mark));
        let (username, password) = self.lab.login;
        let login = json!({"username": username, "password": password,
                           "serveraddress": self.front.host()});
        let headers = [(
            "X-Registry-Auth".to_owned(),
            URL_SAFE.encode(login.to_string()),
        )];
        let repository = format!("{}/acme/{name}", self.front.host()).replace('/', "%2F");
        let path = format!("/images/create?fromImage={repository}&tag=latest");
        let reply = self.lab.docker.exchange("POST", &path, &headers, b"");
        let reply = reply.expect("the Engine answers");
        let words = String::from_utf8_lossy(&reply.body);
        assert!(
            reply.status == 200 && !words.contains("\"error\""),
            "{words}"
        );
    }

    fn run(&self, name: &str, image: &str, labels: &Value) -> String {
        let body = json!({"Image": self.reference(image), "Labels": labels});
        self.lab.docker.run(&self.lab.name(name), &body)
    }

    /// The program as the guide says, apart from what is of this place and its pace.
    fn program(&self, guide: &[(String, String)]) -> Program {
        let host = self.lab.whole_host();
        let folder = self.folder.path().to_str().expect("text");
        let mut vars: Vec<(&str, &str)> = guide
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !matches!(*name, "IMAGEWATCH_INTERVAL" | "DOCKER_CONFIG"))
            .collect();
        vars.extend([
            ("DOCKER_HOST", host.as_str()),
            ("DOCKER_CONFIG", folder),
            ("SSL_CERT_FILE", &self.ca),
            ("IMAGEWATCH_INTERVAL", "1s"),
            ("IMAGEWATCH_SETTLE", "1s"),
            ("IMAGEWATCH_PREFIX", "no-workspace-"),
        ]);
        Program::start(&vars)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        tidy(|| self.lab.docker.clean(&self.lab.prefix, self.front.host()));
    }
}

/// The variables in the column `now` of the guide's example.
fn guide() -> Vec<(String, String)> {
    let text = include_str!("../../docs/from-watchtower.md");
    let (_, block) = text.split_once("```yaml\n").expect("an example");
    let (block, _) = block.split_once("```").expect("its end");
    let column = block.find("# now").expect("two columns");
    let (_, block) = block.split_once("environment:").expect("variables");
    let (block, _) = block.split_once("volumes:").expect("their end");
    let now = block.lines().filter_map(|line| line.get(column..));
    let pairs = now.filter_map(|line| line.trim().split_once(": "));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[test]
fn a_watchtower_setup_moves_over_by_the_guide_alone() {
    let Some(private) = Private::new() else {
        return;
    };
    let lab = &private.lab;
    let guide = guide();
    for name in [
        "IMAGE_AUTO_REFRESH",
        "IMAGEWATCH_SELECT",
        "IMAGEWATCH_CLEANUP",
    ] {
        assert!(guide.iter().any(|(found, _)| found == name), "{guide:?}");
    }
    let mark = |what: &str| lab.name(what);
    for image in ["web", "db", "watched"] {
        private.install(image, &mark(&format!("{image}-1")));
    }
    let theirs = "com.centurylinklabs.watchtower";
    private.run("web", "web", &json!({}));
    private.run("web2", "web", &json!({}));
    let db = private.run("db", "db", &json!({format!("{theirs}.enable"): "false"}));
    let watched = private.run(
        "watched",
        "watched",
        &json!({format!("{theirs}.monitor-only"): "true"}),
    );
    let old = lab.inspect("web")["Image"].clone();
    let program = private.program(&guide);
    program.await_line(&format!("{}: seeded", private.reference("web")));
    program.await_line(&format!("{}: seeded", private.reference("watched")));
    for image in ["web", "db", "watched"] {
        lab.publish(image, &good(&mark(&format!("{image}-2"))));
    }
    program.await_line(&format!("behind container={}", mark("watched")));
    program.await_lines("INFO  recreated container=", 2);
    assert_eq!(lab.version("web"), mark("web-2"));
    assert_eq!(lab.version("web2"), mark("web-2"));
    // One earlier image is kept, until there is another one.
    lab.publish("web", &good(&mark("web-3")));
    program.await_lines("INFO  recreated container=", 4);
    program.await_line("which nothing uses any more");
    assert_eq!(lab.inspect("db")["Id"], json!(db));
    assert_eq!(lab.inspect("watched")["Id"], json!(watched));
    let image = lab.docker.image(old.as_str().expect("an id"));
    assert_eq!(image["Id"], Value::Null, "the old image is gone");
    // What is only watched is not pulled for that.
    let watched_image = lab.docker.image(&private.reference("watched"));
    assert_eq!(
        watched_image["Config"]["Labels"]["version"],
        mark("watched-1")
    );
    assert_eq!(lab.names(), ["db", "watched", "web", "web2"]);
    let (_, status) = program.ask("GET", "/admin/status");
    let states: Vec<(&str, &str)> = (status["references"].as_array().into_iter().flatten())
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            (text("reference"), text("state"))
        })
        .collect();
    let (web, watched) = (private.reference("web"), private.reference("watched"));
    assert_eq!(
        states,
        [(&*watched, "outdated"), (&*web, "current")],
        "{status:#}"
    );
    let (_, report) = program.ask("POST", "/v1/update");
    let skipped = &report["skipped"][0];
    assert_eq!(skipped["name"], json!(mark("watched")), "{report}");
    assert!(
        skipped["reason"]
            .as_str()
            .is_some_and(|r| r.contains("notify")),
        "{report}"
    );
    let said = program.log().matches("behind container=").count();
    assert_eq!(said, 1, "it is said once");
}

#[test]
fn a_wrong_password_is_shown_once_and_a_new_one_used_without_a_restart() {
    let Some(private) = Private::new() else {
        return;
    };
    let lab = &private.lab;
    private.install("web", &lab.name("web-1"));
    private.run("web", "web", &json!({}));
    private.log_in("wr0ng-one");
    let program = private.program(&guide());
    program.await_line("the credentials were refused");
    program.await_lines("401", 2);
    private.log_in(lab.login.1);
    program.await_line(&format!("{}: seeded", private.reference("web")));
    lab.publish("web", &good(&lab.name("web-2")));
    program.await_line("INFO  recreated container=");
    let log = program.log();
    assert_eq!(
        log.matches("the credentials were refused").count(),
        1,
        "{log}"
    );
    for secret in ["wr0ng-one", lab.login.1] {
        assert!(!log.contains(secret), "{log}");
    }
}
