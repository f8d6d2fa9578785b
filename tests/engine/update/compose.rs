//! A project of Docker Compose is updated, and Compose finds nothing to do afterwards.

use crate::engine::itself::Site;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::free_port;
use crate::support::images::ImageSpec;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;

/// Compose hashes the id of the container whose namespace or volumes these share.
const SHARING: [&str; 3] = ["tenant", "inspector", "borrower"];

/// A secret of its environment.
const TOKEN: &str = "s3cret";

/// A project, and Compose itself.
struct Project<'l> {
    lab: &'l Lab,
    name: String,
    folder: Folder,
}

impl<'l> Project<'l> {
    /// `None` where Compose is not at hand, or does not speak to the Engine.
    fn new(lab: &'l Lab) -> Option<Self> {
        let file = json!({
            "services": services(lab),
            "networks": {"front": {"ipam": {"config": [{"subnet": "10.87.0.0/24"}]}}, "back": {}},
            "volumes": {"data": {}},
        });
        Self::of(lab, &file)
    }

    fn of(lab: &'l Lab, file: &Value) -> Option<Self> {
        let binary = std::env::var_os("LAB_COMPOSE")?;
        let project = Self {
            name: lab.name("project"),
            folder: Folder::new(),
            lab,
        };
        assert!(
            std::path::Path::new(&binary).exists(),
            "scripts/lab/lab.sh installs it"
        );
        project.folder.write("more.env", "FROM_FILE=1\nBOTH=file\n");
        // JSON is YAML too.
        project.folder.write("compose.yaml", file.to_string());
        Some(project)
    }

    /// Has Compose do this, and answers what it said.
    #[track_caller]
    fn compose(&self, arguments: &[&str]) -> String {
        let output = Command::new(std::env::var_os("LAB_COMPOSE").expect("see `new`"))
            .args(["--project-name", &self.name, "--profile", "extra"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("DOCKER_HOST", self.lab.whole_host())
            .env("TOKEN", TOKEN)
            .output()
            .expect("Compose runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Of each container its id, by name.
    fn ids(&self) -> BTreeMap<String, String> {
        let docker = &self.lab.docker;
        let names = docker.names(&self.lab.prefix).into_iter();
        names
            .map(|name| {
                let id = docker.inspect(&name)["Id"].as_str().map(str::to_owned);
                (name, id.expect("an id"))
            })
            .collect()
    }

    /// Nothing but what shares something is another container than before.
    #[track_caller]
    fn assert_kept(&self, before: &BTreeMap<String, String>, after: &str) {
        let now = self.ids();
        let names = |ids: &BTreeMap<String, String>| ids.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(before), "{after}");
        let is_other = |name: &&String| now[*name] != before[*name];
        let others: Vec<&String> = before.keys().filter(is_other).collect();
        let shares = |name: &&&String| SHARING.iter().any(|one| name.contains(one));
        let wrong: Vec<_> = others.iter().filter(|name| !shares(name)).collect();
        assert!(wrong.is_empty(), "{after} made these anew: {wrong:?}");
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lab
                .docker
                .clean(&self.lab.prefix, &self.lab.proxy.host());
        }
    }
}

/// Of everything that people write, a bit.
fn services(lab: &Lab) -> Value {
    let app = lab.reference("app");
    let with = |mut service: Value| {
        service["image"] = json!(app);
        service["stop_grace_period"] = json!("2s");
        service
    };
    let check = json!({"test": ["CMD", "/bin/busybox", "true"], "interval": "1s", "retries": 10});
    json!({
        "plain": with(json!({})),
        "ports": with(json!({"ports": [format!("127.0.0.1:{}:8000", free_port()), "8001"], "expose": ["9000"]})),
        "env": with(json!({"env_file": "more.env", "environment": {"BOTH": "here", "EMPTY": ""}})),
        "volumes": with(json!({"volumes": ["data:/data", "/anonymous", "/tmp:/host:ro"]})),
        "borrower": with(json!({"volumes_from": ["volumes"]})),
        "nets": with(json!({"networks": {"front": {"aliases": ["a", "b"], "ipv4_address": "10.87.0.77"}, "back": {}},
                            "hostname": "box", "extra_hosts": ["other:10.0.0.1"], "dns_search": "example.org"})),
        "checked": with(json!({"healthcheck": check, "restart": "unless-stopped"})),
        "waiting": with(json!({"depends_on": {"checked": {"condition": "service_healthy", "restart": true}}})),
        "provider": with(json!({"restart": "always", "ipc": "shareable"})),
        "tenant": with(json!({"network_mode": "service:provider", "restart": "always"})),
        "inspector": with(json!({"pid": "service:provider", "ipc": "service:provider"})),
        "limited": with(json!({"restart": "on-failure:3", "deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "64M", "pids": 50}}}})),
        "hardened": with(json!({"init": true, "read_only": true, "tmpfs": ["/run", "/tmp:size=1m"], "cap_drop": ["ALL"],
                                "cap_add": ["KILL"], "security_opt": ["no-new-privileges:true"], "user": "1000:1000",
                                "working_dir": "/tmp", "ulimits": {"nofile": 512}, "sysctls": {"net.core.somaxconn": 1024},
                                "shm_size": "1m", "stop_signal": "SIGTERM", "labels": {"owner": "me"}})),
        "scaled": with(json!({"deploy": {"replicas": 2}})),
        "named": with(json!({"container_name": lab.name("named"), "logging": {"driver": "json-file", "options": {"max-size": "1m"}}})),
        "extra": with(json!({"profiles": ["extra"]})),
        "once": {"image": lab.reference("tool")},
        "after": with(json!({"depends_on": {"once": {"condition": "service_completed_successfully"}}})),
    })
}

/// Ends at once, with success.
fn tool() -> ImageSpec {
    good("tool").with("Cmd", json!(["/bin/busybox", "true"]))
}

#[test]
fn compose_finds_nothing_to_do_after_an_update() {
    let Some(lab) = Lab::new() else { return };
    if lab.leaves_out("is not what Compose is made for") {
        return;
    }
    let Some(project) = Project::new(&lab) else {
        return;
    };
    lab.publish("app", &good("v1"));
    lab.publish("tool", &tool());
    project.compose(&["up", "-d"]);
    let first = project.ids();
    assert_eq!(first.len(), 19, "{first:?}");
    project.compose(&["up", "-d"]);
    assert_eq!(
        project.ids(),
        first,
        "Compose leaves alone what is as it was"
    );

    lab.publish("app", &good("v2"));
    let program = lab.program("app,tool", &[]);
    let (status, report) = program.refresh("");
    assert_eq!(status, 200, "{report}");
    let recreated = report["recreated"].as_array().map_or(0, Vec::len);
    assert_eq!(recreated, 18, "{report}");
    let updated = project.ids();

    let said = project.compose(&["up", "-d"]);
    project.assert_kept(&updated, &said);
    let second = project.ids();
    let said = project.compose(&["pull"]) + &project.compose(&["up", "-d", "--wait"]);
    project.assert_kept(&second, &said);
    for name in second.keys().filter(|name| !name.contains("once")) {
        let now = lab.docker.inspect(name);
        assert_eq!(now["State"]["Running"], true, "{name}");
        assert_eq!(now["Config"]["Labels"]["version"], "v2", "{name}");
    }
    let listed = project.compose(&["ps", "--all", "--quiet"]);
    assert_eq!(listed.lines().count(), 19, "{listed}");
    project.compose(&["down", "--volumes"]);
    assert_eq!(project.ids(), BTreeMap::new());
}

#[test]
fn compose_finds_nothing_to_do_after_imagewatch_has_updated_itself() {
    let Some(lab) = Lab::parted() else { return };
    if lab.leaves_out("is not what Compose is made for") {
        return;
    }
    let site = Site::new(&lab, 1);
    let body = site.body(&[], &json!({}));
    let service = json!({
        "container_name": site.name("iw"), "image": body["Image"], "environment": body["Env"],
        "labels": body["Labels"], "volumes": body["HostConfig"]["Binds"], "network_mode": "host",
        "restart": "unless-stopped",
    });
    let file = json!({"services": {"imagewatch": service}});
    let Some(project) = Project::of(&lab, &file) else {
        return;
    };
    project.compose(&["up", "-d"]);
    site.await_start();
    site.publish(&site.version("v2"));
    site.await_end("v2", &[]);
    let updated = project.ids();
    let said = project.compose(&["up", "-d"]);
    assert_eq!(project.ids(), updated, "{said}");
    let said = project.compose(&["pull"]) + &project.compose(&["up", "-d", "--wait"]);
    assert_eq!(project.ids(), updated, "{said}");
    project.compose(&["down"]);
    assert_eq!(project.ids(), BTreeMap::new());
}

#[test]
fn inline_configs_and_secrets_are_in_the_successor() {
    let Some(lab) = Lab::shared() else { return };
    if lab.leaves_out("is not what Compose is made for") {
        return;
    }
    let service = json!({
        "image": lab.reference("app"), "container_name": lab.name("1"), "stop_grace_period": "2s",
        "configs": ["plain", {"source": "owned", "target": "/etc/app/own.conf", "uid": "7", "gid": "8", "mode": 0o640}],
        "secrets": ["token"],
    });
    let file = json!({
        "services": {"web": service},
        "configs": {"plain": {"content": "hello\n"}, "owned": {"content": "mine\n"}},
        "secrets": {"token": {"environment": "TOKEN"}},
    });
    let Some(project) = Project::of(&lab, &file) else {
        return;
    };
    lab.publish("app", &good("v1"));
    project.compose(&["up", "-d"]);
    let look = || {
        // One write, and so one frame of the answer.
        let script = "echo \"$(cat /plain /etc/app/own.conf /run/secrets/token
                      /bin/busybox stat -c '%n %a %u %g' /plain /etc/app/own.conf /run/secrets/token)\"";
        lab.docker
            .exec(&lab.name("1"), &["/bin/busybox", "sh", "-c", script])
    };
    let before = look();
    assert!(
        before.contains("hello") && before.contains(TOKEN),
        "{before}"
    );
    assert!(before.contains("/etc/app/own.conf 640 7 8"), "{before}");
    let program = lab.program("app", &[]);
    for mark in ["v2", "v3"] {
        lab.publish("app", &good(mark));
        let (_, report) = program.refresh("");
        assert_eq!(report["recreated"], json!([lab.name("1")]), "{report}");
        assert_eq!(lab.version("1"), mark);
        assert_eq!(look(), before);
        let ids = project.ids();
        let said = project.compose(&["up", "-d"]);
        project.assert_kept(&ids, &said);
    }
    project.compose(&["down", "--volumes"]);
}
