//! TLS to the Engine, with a certificate of ours, as the Docker CLI reads the variables.

use crate::support::Folder;
use crate::support::program::run;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use crate::support::tls::Authority;
use imagewatch::config::Config;
use imagewatch::config::Problem;
use imagewatch::engine::Engine;

fn answer(seen: &Seen) -> Answer {
    match seen.target.as_str() {
        "/_ping" => Answer::new(200, &[("Api-Version", "1.45")], "OK"),
        other => panic!("unexpected: {other}"),
    }
}

/// The folder that `DOCKER_CERT_PATH` names.
fn folder(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    for (name, contents) in files {
        folder.write(name, contents);
    }
    folder
}

fn read(vars: &[(&str, &str)]) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let own = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
    Config::from_vars(vars.iter().map(own))
}

/// The Engine that these variables describe.
fn engine(server: &Server, folder: &Folder) -> Engine {
    let host = format!("tcp://{}", server.host());
    let path = folder.path().to_str().expect("UTF-8");
    let vars = [
        ("DOCKER_HOST", &*host),
        ("DOCKER_TLS_VERIFY", "0"),
        ("DOCKER_CERT_PATH", path),
    ];
    Engine::new(&read(&vars).expect("usable").0.engine)
}

#[test]
fn an_engine_that_asks_for_a_certificate_gets_ours_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = authority.issue(&["127.0.0.1"]);
    let server = Server::with_tls(authority.strict_server_config(&identity), answer);
    let ours = authority.issue(&["client"]);
    let (cert, key) = ours.pems();
    let ca = ("ca.pem", authority.pem());
    let files = [ca, ("cert.pem", cert), ("key.pem", key)];
    engine(&server, &folder(&files)).ping().expect("an answer");

    let error = engine(&server, &folder(&[ca]))
        .ping()
        .expect_err("no certificate");
    assert!(
        error
            .to_string()
            .contains("does the Engine accept DOCKER_CERT_PATH/cert.pem?"),
        "{error}"
    );
    let theirs = stranger.issue(&["client"]);
    let (cert, key) = theirs.pems();
    let files = [ca, ("cert.pem", cert), ("key.pem", key)];
    let error = engine(&server, &folder(&files))
        .ping()
        .expect_err("a stranger");
    assert!(
        error
            .to_string()
            .contains("does the Engine accept DOCKER_CERT_PATH/cert.pem?"),
        "{error}"
    );
    assert_eq!(server.lines(), ["GET /_ping"]);
}

#[test]
fn an_engine_is_trusted_for_the_given_authority_and_name_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ca = folder(&[("ca.pem", authority.pem())]);
    let server = Server::tls(&authority.issue(&["127.0.0.1"]), answer);
    engine(&server, &ca).ping().expect("an answer");
    let unknown = Server::tls(&stranger.issue(&["127.0.0.1"]), answer);
    let error = engine(&unknown, &ca)
        .ping()
        .expect_err("unknown")
        .to_string();
    assert!(
        error.contains("has the CA in DOCKER_CERT_PATH/ca.pem signed"),
        "{error}"
    );
    assert!(!error.contains("SSL_CERT_FILE"), "{error}");
    let other_name = Server::tls(&authority.issue(&["other.test"]), answer);
    let error = engine(&other_name, &ca).ping().expect_err("another name");
    assert!(error.is_unreachable(), "{error}");
    let plain = Server::tcp(answer);
    engine(&plain, &ca).ping().expect_err("plain text");
    assert_eq!(plain.lines(), [""; 0]);
}

#[test]
fn files_that_cannot_be_used_are_refused_with_what_was_expected() {
    let (authority, other) = (Authority::new(), Authority::new());
    let ours = authority.issue(&["client"]);
    let theirs = other.issue(&["client"]);
    let (ca, (cert, key)) = (authority.pem(), ours.pems());
    for (files, trouble) in [
        (&[][..], "ca.pem: No such file"),
        (&[("ca.pem", "rubbish")], "ca.pem holds no certificate"),
        (
            &[("ca.pem", ca), ("cert.pem", cert)],
            "key.pem: No such file",
        ),
        (
            &[("ca.pem", ca), ("key.pem", key)],
            "cert.pem: No such file",
        ),
        (
            &[("ca.pem", ca), ("cert.pem", key), ("key.pem", key)],
            "cert.pem holds no certificate",
        ),
        (
            &[("ca.pem", ca), ("cert.pem", cert), ("key.pem", cert)],
            "key.pem holds no private key",
        ),
        (
            &[
                ("ca.pem", ca),
                ("cert.pem", cert),
                ("key.pem", theirs.pems().1),
            ],
            "cert.pem and key.pem do not belong together",
        ),
    ] {
        let folder = folder(files);
        let path = folder.path().to_str().expect("UTF-8");
        // Without DOCKER_CERT_PATH the files lie beside config.json.
        for (name, host) in [("DOCKER_CERT_PATH", "tcp://e:2376"), ("DOCKER_CONFIG", "")] {
            let vars = [
                ("DOCKER_TLS_VERIFY", "1"),
                ("DOCKER_HOST", host),
                (name, path),
            ];
            let problems = read(&vars).expect_err("a problem");
            assert_eq!(problems.len(), 1);
            let words = problems[0].to_string();
            let start = format!("DOCKER_CERT_PATH={path:?}: expected a folder with ca.pem ");
            assert!(
                words.starts_with(&start) && words.contains(trouble),
                "{trouble}: {words}"
            );
            assert!(!words.contains("PRIVATE"), "{words}");
        }
    }
    let bad = folder(&[("ca.pem", ca), ("cert.pem", cert)]);
    let path = bad.path().to_str().expect("UTF-8");
    let vars = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)];
    for command in ["serve", "check", "refresh"] {
        let (code, _, complaint) = run(&[command], &vars);
        assert_eq!(code, Some(2), "{command}: {complaint}");
        assert!(complaint.contains("key.pem"), "{command}: {complaint}");
    }
    let good = folder(&[("ca.pem", ca), ("cert.pem", cert), ("key.pem", key)]);
    let path = good.path().to_str().expect("UTF-8");
    let vars = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)];
    let (config, _) = read(&vars).expect("usable");
    assert_eq!(config.engine.to_string(), "tcp://localhost:2376");
    assert!(!format!("{config:?}").contains("PRIVATE"));
}
