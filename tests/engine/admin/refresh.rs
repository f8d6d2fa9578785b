//! `POST /admin/workspace-images/refresh`.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

/// The names in one of a report's lists.
#[track_caller]
fn list(report: &Value, name: &str) -> Vec<String> {
    let entries = report[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} in {report}"));
    let text = |entry: &Value| {
        let text = entry.as_str().or_else(|| entry["name"].as_str());
        text.expect("a name").to_owned()
    };
    entries.iter().map(text).collect()
}

#[test]
fn an_older_container_is_recreated_and_a_newest_one_is_untouched() {
    let Some(lab) = Lab::new() else { return };
    let old = lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    lab.pull("hermes");
    let newest = lab.workspace("2", "hermes");
    let program = lab.program("hermes", &[]);
    let (status, report) = program.refresh("");
    assert_eq!(status, 200);
    assert_eq!(list(&report, "pulled"), ["hermes"]);
    assert_eq!(list(&report, "recreated"), [lab.name("1")]);
    assert_eq!(list(&report, "unchanged"), [lab.name("2")]);
    for empty in ["failed", "rolled_back", "skipped"] {
        assert!(list(&report, empty).is_empty(), "{report}");
    }
    assert_ne!(lab.inspect("1")["Id"], json!(old));
    assert_eq!(lab.inspect("1")["State"]["Running"], true);
    assert_eq!(lab.version("1"), "v2");
    assert_eq!(lab.inspect("2")["Id"], json!(newest));
    assert_eq!(lab.names(), ["1", "2"], "nothing is left over");
}

#[test]
fn force_recreates_the_newest_and_recreate_false_only_pulls() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    let program = lab.program("hermes", &[]);
    let (status, report) = program.refresh("?recreate=false");
    assert_eq!(
        (status, list(&report, "pulled")),
        (200, vec!["hermes".to_owned()])
    );
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    let v2 = lab.docker.image(&lab.reference("hermes"));
    assert_eq!(v2["Config"]["Labels"]["version"], "v2");
    let (_, report) = program.refresh("?runtime=hermes");
    assert_eq!(list(&report, "recreated"), [lab.name("1")]);
    let id = lab.inspect("1")["Id"].clone();
    let (_, report) = program.refresh("?force=true");
    assert_eq!(list(&report, "recreated"), [lab.name("1")]);
    assert_ne!(lab.inspect("1")["Id"], id);
}

#[test]
fn an_unknown_runtime_is_refused_and_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.program("hermes,crewai", &[]);
    let (status, answer) = program.refresh("?runtime=x");
    assert_eq!(status, 400);
    assert_eq!(
        answer,
        json!({"error": "unknown runtime: x", "known_runtimes": ["hermes", "crewai"]})
    );
}

#[test]
fn only_the_prefix_and_the_exact_image_make_a_workspace() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["hermes", "hermes-x"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    lab.workspace("ws-1", "hermes");
    let others = [
        ("my-ws-1", "hermes"),
        ("ws-2", "hermes-x"),
        ("xws-3", "hermes"),
    ];
    let before: Vec<String> = others
        .iter()
        .map(|(name, runtime)| lab.workspace(name, runtime))
        .collect();
    for runtime in ["hermes", "hermes-x"] {
        lab.publish(runtime, &good("v2"));
    }
    let prefix = lab.name("ws-");
    let program = lab.program("hermes", &[("IMAGEWATCH_PREFIX", &prefix)]);
    let (_, report) = program.refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("ws-1")]);
    for ((name, _), id) in others.iter().zip(before) {
        assert_eq!(lab.inspect(name)["Id"], json!(id), "{name}");
    }
}

#[test]
fn the_old_container_is_back_when_the_new_command_does_not_exist() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let host = json!({"RestartPolicy": {"Name": "unless-stopped"}, "Binds": []});
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": host});
    let ids = [
        lab.docker.run(&lab.name("1"), &body),
        lab.docker.run(&lab.name("2"), &body),
    ];
    lab.publish(
        "hermes",
        &good("v2").with("Cmd", json!(["/no/such/command"])),
    );
    let program = lab.program("hermes", &[]);
    let (status, report) = program.refresh("");
    assert_eq!(status, 200);
    assert_eq!(list(&report, "rolled_back"), [lab.name("1")]);
    let reason = report["rolled_back"][0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(reason.contains("/no/such/command"), "{reason}");
    assert_eq!(
        list(&report, "skipped"),
        [lab.name("2")],
        "the first roll-back ends it"
    );
    assert!(list(&report, "recreated").is_empty());
    for (name, id) in ["1", "2"].iter().zip(&ids) {
        let inspect = lab.inspect(name);
        assert_eq!(inspect["Id"], json!(id));
        assert_eq!(inspect["State"]["Running"], true);
        assert_eq!(
            inspect["HostConfig"]["RestartPolicy"]["Name"],
            "unless-stopped"
        );
    }
    assert_eq!(lab.names(), ["1", "2"], "nothing is left over");

    // The image is rejected now: nobody is stopped for it again, until somebody forces it.
    let (_, report) = program.refresh("");
    assert_eq!(list(&report, "skipped"), [lab.name("1"), lab.name("2")]);
    assert!(list(&report, "rolled_back").is_empty());
    let (_, report) = program.refresh("?force=true");
    assert_eq!(list(&report, "rolled_back"), [lab.name("1")]);

    // The tag moves on: the verdict is gone.
    lab.publish("hermes", &good("v3"));
    let (_, report) = program.refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("1"), lab.name("2")]);
}

#[test]
fn images_that_do_not_stay_up_are_rolled_back_with_their_last_words() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.first_workspace("hermes");
    let program = lab.program("hermes", &[("IMAGEWATCH_SETTLE", "3s")]);
    let shell = |script: &str| json!(["/bin/busybox", "sh", "-c", script]);
    for (mark, script, words) in [
        (
            "at-once",
            r"printf 'no database\n  at line 3\342\200\256\n\n'; exit 3",
            "no database\n  at line 3",
        ),
        ("later", "sleep 1; echo gave up; exit 4", "gave up"),
    ] {
        lab.publish("hermes", &good(mark).with("Cmd", shell(script)));
        let (_, report) = program.refresh("");
        assert_eq!(
            list(&report, "rolled_back"),
            [lab.name("1")],
            "{mark}: {report}"
        );
        let reason = report["rolled_back"][0]["reason"]
            .as_str()
            .expect("a reason");
        assert!(
            reason.contains("exited with code")
                && reason.ends_with(&format!(";\nit said:\n{words}")),
            "{reason}"
        );
        let log = program.log();
        let mut lines = (log.lines()).filter(|line| line.contains("rolled back container="));
        let said = lines.next_back().expect("a line of the log");
        assert!(
            said.ends_with(&format!(": it said: {}", words.replace('\n', " "))),
            "{said}"
        );
        let why = lines.next_back().expect("a line before it");
        assert!(why.contains("ERROR") && !why.contains("it said"), "{why}");
        assert_eq!(lab.inspect("1")["Id"], json!(id));
        assert_eq!(lab.inspect("1")["State"]["Running"], true);
        assert_eq!(lab.names(), ["1"]);
    }
}

#[test]
fn health_decides_where_there_is_a_health_check() {
    let Some(lab) = Lab::new() else { return };
    let check = |test: &str| {
        json!({"Test": ["CMD-SHELL", test], "Interval": 1_000_000_000_u64,
               "Timeout": 2_000_000_000_u64, "Retries": 2})
    };
    let id = lab.first_workspace("hermes");
    let program = lab.program("hermes", &[]);
    let sick = check("echo not ready; exit 1");
    lab.publish("hermes", &good("sick").with("Healthcheck", sick));
    let (_, report) = program.refresh("");
    if lab.is_podman {
        // Here without systemd, and so without health checks.
        assert_eq!(list(&report, "recreated"), [lab.name("1")], "{report}");
        let words = "accepted without its health check";
        assert!(program.log().contains(words), "{}", program.log());
        return;
    }
    assert_eq!(list(&report, "rolled_back"), [lab.name("1")]);
    let reason = report["rolled_back"][0]["reason"]
        .as_str()
        .expect("a reason");
    assert!(
        reason.contains("unhealthy") && reason.contains("not ready"),
        "{reason}"
    );
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    lab.publish("hermes", &good("well").with("Healthcheck", check("true")));
    let (_, report) = program.refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("1")], "{report}");
    assert_eq!(lab.inspect("1")["State"]["Health"]["Status"], "healthy");
}

#[test]
fn what_the_owner_set_survives_with_the_data_of_anonymous_volumes() {
    let Some(lab) = Lab::new() else { return };
    let image = good("v1").with("Volumes", json!({"/data": {}}));
    lab.publish("hermes", &image);
    lab.pull("hermes");
    let network = lab.name("net");
    // Other tests have the networks below.
    let subnet = format!("10.250.{}.0/24", std::process::id() % 250);
    let address = subnet.replace(".0/24", ".50");
    let config = json!({"Name": network, "IPAM": {"Config": [{"Subnet": subnet}]}});
    let (status, answer) = lab.docker.json("POST", "/networks/create", &config);
    assert_eq!(status, 201, "{answer}");
    let body = json!({
        "Image": lab.reference("hermes"), "Env": ["MINE=1"], "Labels": {"owner": "me"},
        "HostConfig": {"Memory": 67_108_864, "NetworkMode": network, "CapDrop": ["ALL"],
                       "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
                       "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
        "ExposedPorts": {"80/tcp": {}},
        "NetworkingConfig": {"EndpointsConfig": {&network: {
            "Aliases": ["agent"], "IPAMConfig": {"IPv4Address": address}}}},
    });
    lab.docker.run(&lab.name("1"), &body);
    let file = "echo precious > /data/file";
    lab.docker
        .exec(&lab.name("1"), &["/bin/busybox", "sh", "-c", file]);
    let before = lab.inspect("1");

    lab.publish("hermes", &image.clone().with("Env", json!(["V=2"])));
    let (_, report) = lab.program("hermes", &[]).refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("1")], "{report}");
    let after = lab.inspect("1");
    for path in [
        "/HostConfig/Memory",
        "/HostConfig/CapDrop",
        "/HostConfig/RestartPolicy",
        "/HostConfig/PortBindings",
        "/HostConfig/NetworkMode",
        "/Config/Labels/owner",
        "/Mounts/0/Name",
    ] {
        assert_eq!(after.pointer(path), before.pointer(path), "{path}");
    }
    let env = after["Config"]["Env"].as_array().expect("a list");
    assert!(
        env.contains(&json!("MINE=1")) && env.contains(&json!("V=2")),
        "{env:?}"
    );
    let endpoint = &after["NetworkSettings"]["Networks"][&network];
    if !lab.leaves_out("does not tell an address that was asked for from another") {
        assert_eq!(endpoint["IPAddress"], json!(address));
    }
    assert!(
        endpoint["Aliases"]
            .as_array()
            .expect("a list")
            .contains(&json!("agent"))
    );
    assert_ne!(after["Config"]["Hostname"], before["Config"]["Hostname"]);
    let data = lab
        .docker
        .exec(&lab.name("1"), &["/bin/busybox", "cat", "/data/file"]);
    assert!(data.contains("precious"), "{data:?}");
    lab.docker.remove(&lab.name("1"));
    lab.docker
        .ask("DELETE", &format!("/networks/{network}"), b"");
}

#[test]
fn remove_mode_only_removes() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    let program = lab.program("hermes", &[("IMAGEWATCH_RECREATE", "remove")]);
    let (_, report) = program.refresh("");
    assert_eq!(list(&report, "recreated"), [lab.name("1")]);
    assert!(lab.names().is_empty());
}

#[test]
fn a_failed_pull_is_reported_and_does_not_stop_the_others() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    let (status, report) = lab.program("missing,hermes", &[]).refresh("");
    assert_eq!(status, 200);
    assert_eq!(list(&report, "failed"), ["missing"]);
    assert_eq!(list(&report, "pulled"), ["hermes"]);
    assert_eq!(list(&report, "recreated"), [lab.name("1")]);
}

#[test]
fn a_private_image_wants_the_right_credentials_and_no_token_shows() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    lab.rules.make_private("acme/hermes");
    for (user, password, pulled) in [
        (lab.login.0, lab.login.1, true),
        (lab.login.0, "wr0ng-pat", false),
        ("", "", false),
    ] {
        let folder = Folder::new();
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let auths = if user.is_empty() {
            json!({})
        } else {
            json!({lab.proxy.host(): {"auth": auth}})
        };
        folder.write("config.json", json!({"auths": auths}).to_string());
        let path = folder.path().to_str().expect("UTF-8");
        let vars = [("DOCKER_CONFIG", path), ("ADMIN_TOKEN", "adm1n-token")];
        let program = lab.watcher("hermes", &vars);
        let (status, report) = program.refresh("");
        assert_eq!(status, 200);
        let expected = if pulled { "pulled" } else { "failed" };
        assert_eq!(
            list(&report, expected),
            ["hermes"],
            "{user}:{password} {report}"
        );
        let (_, state) = program.ask("GET", "/admin/status");
        let last_error = state["references"][0]["last_error"].to_string();
        if !pulled {
            assert!(last_error.contains("credentials"), "{last_error}");
        }
        let said = format!("{}{report}{state}", program.log());
        for secret in [
            lab.login.1,
            "wr0ng-pat",
            auth.as_str(),
            "adm1n-token",
            "Bearer ",
            "tok-",
        ] {
            let hidden = !said.contains(secret) || secret == "Bearer ";
            assert!(hidden, "{secret} shows in {said}");
        }
    }
}

#[test]
fn a_list_that_cannot_be_had_is_an_error_with_the_partial_result() {
    let Some(lab) = Lab::new() else { return };
    lab.publish("hermes", &good("v1"));
    // Between the program and the Engine: everything passes but the list.
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let docker = lab.seen();
    let _between = Server::unix(&socket, move |seen| {
        if seen.target.contains("/containers/json") {
            return Answer::json(500, &json!({"message": "netns is broken"}));
        }
        docker.pass(seen)
    });
    let host = format!("unix://{}", socket.display());
    let program = lab.program("hermes", &[("DOCKER_HOST", &host)]);
    let (status, answer) = program.refresh("");
    assert_eq!(status, 500);
    let error = answer["error"].as_str().expect("an error");
    assert!(
        error.starts_with("container list: ") && error.contains("netns is broken"),
        "{error}"
    );
    assert_eq!(list(&answer["partial_result"], "pulled"), ["hermes"]);
}

#[test]
fn three_callers_and_the_watcher_at_once_give_one_outcome() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.workspace("2", "hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    lab.publish("hermes", &good("v2"));
    let reports: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| program.refresh("")))
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("an answer"))
            .collect()
    });
    for (status, report) in &reports {
        assert_eq!(*status, 200);
        assert!(list(report, "rolled_back").is_empty() && list(report, "failed").is_empty());
        let done = list(report, "recreated").len() + list(report, "unchanged").len();
        assert_eq!(done, 2, "{report}");
    }
    program.await_line("digest moved");
    crate::support::eventually("the watcher is at rest", || {
        let (_, status) = program.ask("GET", "/admin/status");
        (status["references"][0]["state"] == "current").then_some(())
    });
    assert_eq!(
        program.log().matches("recreated container=").count(),
        2,
        "each just once"
    );
    assert_eq!(
        (lab.version("1"), lab.version("2")),
        ("v2".into(), "v2".into())
    );
    assert_eq!(lab.names(), ["1", "2"]);
}
