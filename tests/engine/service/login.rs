//! A private registry: the nodes pull with the login that imagewatch hands over.

use super::Swarm;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::eventually;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

fn with_login(login: &Value) -> [(String, String); 2] {
    let header = |name: &str, value: String| (name.to_owned(), value);
    [
        header("Content-Type", "application/json".to_owned()),
        header("X-Registry-Auth", URL_SAFE.encode(login.to_string())),
    ]
}

/// Its owner's login has run out meanwhile, as those of cloud registries do after some hours.
#[test]
fn a_login_travels_to_the_nodes_if_its_owner_wants_that() {
    let Some(swarm) = Swarm::new() else { return };
    let lab = &swarm.lab;
    let tls = PathBuf::from(std::env::var_os("LAB_TLS").expect("scripts/test.sh sets it"));
    let address = std::env::var("LAB_TLS_ADDRESS").expect("scripts/test.sh sets it");
    let front = lab.registry.front(&tls, &address, lab.login);
    let (username, password) = lab.login;
    let first = lab.publish("private", &good("v1"));
    let reference = format!("{}/acme/private:latest", front.host());
    let spec = json!({
        "Name": lab.name("private"),
        "Labels": {"imagewatch.enable": "true"},
        "TaskTemplate": {
            "ContainerSpec": {"Image": format!("{reference}@{first}"), "StopGracePeriod": 1_000_000_000},
            "RestartPolicy": {"Condition": "any", "Delay": 1_000_000_000},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "UpdateConfig": {"Monitor": 1_000_000_000},
    });
    let login = json!({"username": username, "password": password, "serveraddress": front.host()});
    let headers = with_login(&login);
    let body = spec.to_string();
    let made = swarm
        .api
        .exchange("POST", "/services/create", &headers, body.as_bytes());
    assert_eq!(made.expect("an answer").status, 201);
    eventually("its task runs", || {
        (swarm.running("private", &first) == 1).then_some(())
    });
    // A wrong login replaces the right one, and the label alone starts no task.
    let mut service = swarm.service("private");
    service["Spec"]["Labels"]["other"] = json!("x");
    let path = format!(
        "/services/{}/update?version={}",
        service["ID"].as_str().expect("an id"),
        service["Version"]["Index"]
    );
    let wrong = json!({"username": username, "password": "old", "serveraddress": front.host()});
    let headers = with_login(&wrong);
    let body = service["Spec"].to_string();
    let made = swarm.api.exchange("POST", &path, &headers, body.as_bytes());
    assert_eq!(made.expect("an answer").status, 200);

    let folder = Folder::new();
    let auth = STANDARD.encode(format!("{username}:{password}"));
    let file = json!({"auths": {front.host(): {"auth": auth}}});
    folder.write("config.json", file.to_string());
    let config = folder.path().display().to_string();
    let ca = tls.join("ca.pem").display().to_string();
    let vars = [("DOCKER_CONFIG", &*config), ("SSL_CERT_FILE", &*ca)];
    let name = lab.name("private");
    // Without the variable the nodes keep the login that they have, and cannot pull.
    let mut program = swarm.watcher(&vars);
    let second = lab.publish("private", &good("v2"));
    program.await_line(&format!("rolled back container={name}"));
    assert!(program.has_said("No such image"), "{}", program.log());
    program.kill();
    let with = [vars[0], vars[1], ("IMAGEWATCH_SWARM_AUTH", "true")];
    let program = swarm.watcher(&with);
    let third = lab.publish("private", &good("v3"));
    program.await_line(&format!("updated service={name}"));
    assert_eq!(swarm.running("private", &third), 1);
    assert_ne!(second, third);
    assert!(!program.log().contains(password), "{}", program.log());
    // Nor is a login handed over that its registry refuses.
    let auth = STANDARD.encode(format!("{username}:wrong"));
    let file = json!({"auths": {front.host(): {"auth": auth}}});
    folder.write("config.json", file.to_string());
    drop(program);
    let writes = swarm.writes().len();
    let program = swarm.watcher(&with);
    lab.publish("private", &good("v4"));
    program.await_line("are they expired?");
    assert_eq!(swarm.writes().len(), writes, "{}", program.log());
    let service: Value = swarm.service("private");
    assert!(!service.to_string().contains(password), "{service}");
}
