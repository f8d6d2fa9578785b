//! A Docker Engine on the network that demands a certificate (`dockerd --tlsverify`).

use crate::engine::commands::json_of;
use crate::engine::commands::run_with;
use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use serde_json::json;
use std::path::PathBuf;

#[test]
fn a_container_is_updated_over_tls_and_nothing_without_a_certificate() {
    let Some(lab) = Lab::new() else { return };
    if lab.leaves_out("has no --tlsverify") {
        return;
    }
    let files = PathBuf::from(std::env::var_os("LAB_TLS").expect("scripts/test.sh sets it"));
    let address = std::env::var("LAB_TLS_ADDRESS").expect("scripts/test.sh sets it");
    let host = format!("tcp://{address}:2376");
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    lab.publish("hermes", &good(&lab.name("v2")));
    let client = files.join("client").display().to_string();
    let ask = |folder: &str, arguments: &[&str]| {
        let vars = [
            ("DOCKER_HOST", &*host),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", folder),
        ];
        run_with(&lab, "hermes", &vars, arguments)
    };
    // With the right authority, but no certificate.
    let bare = Folder::new();
    let ca = std::fs::read(files.join("ca.pem")).expect("the authority");
    bare.write("ca.pem", ca);
    let (code, text, complaint) = ask(&bare.path().display().to_string(), &["refresh"]);
    assert_eq!(code, Some(1), "{text}{complaint}");
    assert!(
        complaint.contains("does the Engine accept DOCKER_CERT_PATH/cert.pem?"),
        "{complaint}"
    );
    assert_eq!(lab.version("1"), lab.name("v1"));
    // With it, the whole update goes this way.
    let (code, text, complaint) = ask(&client, &["refresh", "--json"]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    assert_eq!(json_of(&text)["recreated"], json!([lab.name("1")]));
    assert_eq!(lab.version("1"), lab.name("v2"));
}
