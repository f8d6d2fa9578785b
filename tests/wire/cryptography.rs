//! The cryptography of the program itself: every kind of key, key exchange and signature, over real sockets.
//!
//! With `LAB_BINARY` the program is the static binary, whose ring is built with small tables (`.cargo/config.toml`).

use crate::support::Folder;
use crate::support::images::sha256;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::tls::Authority;
use crate::support::tls::Only;
use rcgen::KeyPair;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rcgen::PKCS_ECDSA_P384_SHA384;
use rcgen::PKCS_ED25519;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::kx_group::SECP256R1;
use rustls::crypto::ring::kx_group::SECP384R1;
use rustls::crypto::ring::kx_group::X25519;
use rustls::version::TLS12;
use rustls::version::TLS13;
use serde_json::Value;
use serde_json::json;

/// A new key of each kind that servers have. The RSA key is always the same.
fn keys() -> [(&'static str, KeyPair); 4] {
    let rsa = include_str!("../support/rsa.pem");
    let new = |kind| KeyPair::generate_for(kind).expect("a key");
    [
        ("P-256", new(&PKCS_ECDSA_P256_SHA256)),
        ("P-384", new(&PKCS_ECDSA_P384_SHA384)),
        ("Ed25519", new(&PKCS_ED25519)),
        ("RSA", KeyPair::from_pem(rsa).expect("a key")),
    ]
}

fn engine(seen: &Seen, containers: &Value) -> Answer {
    let path = seen.target.split('?').next().unwrap_or_default();
    match path.strip_prefix("/v1.41").unwrap_or(path) {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.41")], "OK"),
        "/version" => Answer::json(200, &json!({"Version": "20.10.24", "Arch": "amd64"})),
        "/containers/json" => Answer::json(200, containers),
        other if other.starts_with("/images/") => {
            Answer::json(404, &json!({"message": "No such image"}))
        }
        other => panic!("unexpected: {other}"),
    }
}

/// What `imagewatch check` says of a registry and an Engine that take one kind of key and one key exchange.
fn check_over_tls(key: &KeyPair, only: &Only) -> (Option<i32>, String) {
    let authority = Authority::new();
    let identity = authority.issue_for(&["127.0.0.1"], key);
    let digest = format!("sha256:{}", "d".repeat(64));
    let answer = digest.clone();
    let registry = Server::with_tls(only.server_config(&identity), move |seen| {
        assert_eq!(seen.line(), "HEAD /v2/acme/hermes/manifests/latest");
        Answer::new(200, &[("Docker-Content-Digest", &answer)], "")
    });
    let config = only.strict_server_config(&authority, &identity);
    let server = Server::with_tls(config, |seen| engine(seen, &json!([])));
    let client = authority.issue_for(&["client"], key);
    let (cert, own) = client.pems();
    let files = Folder::new();
    let ca = files.write("ca.pem", authority.pem());
    files.write("cert.pem", cert);
    files.write("key.pem", own);
    let host = format!("tcp://{}", server.host());
    let image = format!("{}/acme/{{runtime}}:latest", registry.host());
    let vars = [
        ("DOCKER_HOST", &*host),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", files.path().to_str().expect("UTF-8")),
        ("SSL_CERT_FILE", &ca),
        ("IMAGEWATCH_RUNTIMES", "hermes"),
        ("IMAGEWATCH_IMAGE", &image),
    ];
    let (code, text, complaint) = run(&["check", "--json"], &vars);
    assert!(text.contains(&digest), "{text}{complaint}");
    (code, complaint)
}

#[test]
fn each_kind_of_key_and_key_exchange_is_understood_and_answered() {
    let groups: [&'static dyn SupportedKxGroup; 3] = [X25519, SECP256R1, SECP384R1];
    for (name, key) in keys() {
        for group in groups {
            for version in [&TLS12, &TLS13] {
                let only = Only { group, version };
                let (code, complaint) = check_over_tls(&key, &only);
                assert!(
                    code == Some(0) && !complaint.contains("TLS"),
                    "{name} {group:?} {version:?}: {code:?} {complaint}"
                );
            }
        }
    }
}

/// A wrong sum shows only with some numbers, so there are many handshakes, each with other ones.
#[test]
fn no_numbers_of_an_exchange_come_out_wrong() {
    for group in [X25519, SECP256R1] {
        for _ in 0..12 {
            let key = KeyPair::generate().expect("a key");
            let only = Only {
                group,
                version: &TLS13,
            };
            check_over_tls(&key, &only);
        }
    }
}

/// The signatures were made by another program.
#[test]
fn each_signature_is_judged_as_it_deserves() {
    let file: Value =
        serde_json::from_str(include_str!("../support/trust_vectors.json")).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors").iter();
    let mut judged = 0;
    for vector in vectors.filter(|one| one["kind"] == "legacy" && one["want"].is_boolean()) {
        let text = |name: &str| vector[name].as_str().expect("a text").to_owned();
        let (digest, payload) = (text("digest"), text("payload"));
        let blob = sha256(payload.as_bytes());
        let manifest = json!({"schemaVersion": 2, "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": blob, "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": text("signature")},
        }]});
        let known = digest.clone();
        let registry = Server::tcp(move |seen| match seen.target.as_str() {
            "/v2/acme/app/manifests/latest" => {
                Answer::new(200, &[("Docker-Content-Digest", &known)], "")
            }
            path if path.ends_with(".sig") => Answer::json(200, &manifest),
            path if path.ends_with(&blob) => Answer::new(200, &[], payload.as_str()),
            _ => Answer::new(404, &[], "404 page not found"),
        });
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let image = format!("{}/acme/app:latest", registry.host());
        let container = json!([{"Id": "c1", "Names": ["/app"], "Image": image,
            "ImageID": format!("sha256:{}", "0".repeat(64)), "State": "running", "Labels": {}}]);
        let _engine = Server::unix(&socket, move |seen| engine(seen, &container));
        let host = format!("unix://{}", socket.display());
        let key = file["keys"][&*text("key")].as_str().expect("a key");
        let vars = [
            ("DOCKER_HOST", &*host),
            ("IMAGEWATCH_RUNTIMES", "none"),
            ("IMAGEWATCH_SELECT", "all"),
            ("IMAGEWATCH_VERIFY", key),
        ];
        let (_, found, complaint) = run(&["check", "--json"], &vars);
        let table: Value = serde_json::from_str(&found).expect(&complaint);
        let state = &table["references"][0]["state"];
        let is_bad = state == "badly_signed";
        assert_eq!(!is_bad, vector["want"] == true, "{}: {table}", text("name"));
        assert!(is_bad || state == "outdated", "{}: {table}", text("name"));
        judged += 1;
    }
    assert!(judged >= 10, "{judged}");
}
