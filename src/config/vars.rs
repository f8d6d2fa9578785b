//! Makes a [`Config`] of strings: one method for each kind of value, and one for each variable with rules of its own.

use super::Config;
use super::Problem;
use super::VARIABLES;
use super::filter;
use super::trust::READ_TOKEN;
use crate::labels::Consent;
use crate::logging::LogFormat;
use crate::process;
use crate::reference::Reference;
use crate::reference::Target;
use crate::secret::Secret;
use crate::sort::sort;
use crate::text::nearest;
use crate::update::Recreate;
use crate::update::Select;
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The largest `IMAGEWATCH_PARALLEL`. Each container that waits has a thread.
const MOST_PARALLEL: usize = 64;

/// The largest `IMAGEWATCH_KEEP`.
const MOST_KEPT: usize = 20;

/// Reads every variable. The second part of the result holds warnings.
pub(super) fn read(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let mut vars = Vars::new(vars);
    vars.warn_of_unknown();
    vars.warn_of_others();
    let config = Config {
        auto_refresh: vars.switch("IMAGE_AUTO_REFRESH"),
        interval: vars.duration("IMAGEWATCH_INTERVAL", Duration::from_secs(1)),
        runtimes: vars.runtimes(),
        built_in: vars.built_in(),
        prefix: vars.text("IMAGEWATCH_PREFIX"),
        select: vars.select(),
        recreate: vars.choice(
            "IMAGEWATCH_RECREATE",
            &[("swap", Recreate::Swap), ("remove", Recreate::Remove)],
        ),
        rules: vars.rules(),
        trust: Arc::new(vars.trust()),
        window_pull: vars.switch("IMAGEWATCH_WINDOW_PULL"),
        zone: vars.zone(),
        cleanup: vars.switch("IMAGEWATCH_CLEANUP"),
        keep: vars.count("IMAGEWATCH_KEEP", 0..=MOST_KEPT),
        catch_up: vars.switch("IMAGEWATCH_CATCH_UP"),
        mode: vars.choice(
            "IMAGEWATCH_MODE",
            &[("update", Consent::Update), ("notify", Consent::Notify)],
        ),
        include_stopped: vars.switch("IMAGEWATCH_INCLUDE_STOPPED"),
        parallel: vars.count("IMAGEWATCH_PARALLEL", 1..=MOST_PARALLEL),
        settle: vars.duration("IMAGEWATCH_SETTLE", Duration::ZERO),
        health_timeout: vars.health_timeout(),
        admin_token: vars.token("ADMIN_TOKEN"),
        read_token: vars.token(READ_TOKEN),
        hook_secret: vars.hook_secret(),
        listen: vars.listen(),
        ghcr: vars.ghcr(),
        receivers: vars.receivers(),
        login_files: vars.login_files(),
        engine: vars.engine(),
        swarm_auth: vars.switch("IMAGEWATCH_SWARM_AUTH"),
        platform: vars.platform(),
        insecure_registries: vars.insecure_registries(),
        certificates: vars.certificates(),
        proxies: vars.proxies(),
        state: vars.state(),
        log_filter: vars.log_filter(),
        log_format: vars.choice(
            "IMAGEWATCH_LOG_FORMAT",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        ),
    };
    vars.compare_secrets(&config);
    if vars.problems.is_empty() {
        Ok((config, vars.warnings))
    } else {
        Err(vars.problems)
    }
}

/// The environment, and the problems and warnings found so far.
///
/// A method that finds a problem adds it to the list and returns any value, because the configuration is thrown away
/// then.
pub(super) struct Vars {
    pub(super) values: HashMap<String, String>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Vars {
    fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all = Self {
            values: HashMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, value) in vars {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(all.values.insert(name, value)),
                Err(_) if known(&name) => {
                    // The value may hold a secret.
                    all.problem(&name, "***", "UTF-8 text");
                }
                Err(_) => {}
            }
        }
        all
    }

    /// Reads a token. The characters must fit into a header.
    fn token(&mut self, name: &str) -> Option<Secret> {
        let token = self.secret(name)?;
        if !token
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            self.problem(name, "***", "printable ASCII characters");
        }
        Some(Secret::new(token))
    }

    fn state(&mut self) -> Option<PathBuf> {
        const NAME: &str = "IMAGEWATCH_STATE";
        let path = self.given(NAME)?;
        if let Err(error) = std::fs::read_dir(&path) {
            let words = format!("a folder that is there ({})", process::explain(&error));
            self.problem(NAME, &path, words);
        }
        Some(PathBuf::from(path))
    }

    fn log_filter(&mut self) -> String {
        const NAME: &str = "IMAGEWATCH_LOG";
        let value = self.text(NAME);
        filter::parse(&value).unwrap_or_else(|| {
            self.problem(NAME, &value, filter::EXPECTED);
            String::new()
        })
    }

    fn health_timeout(&mut self) -> Option<Duration> {
        let limit = self.duration("IMAGEWATCH_HEALTH_TIMEOUT", Duration::ZERO);
        Some(limit).filter(|limit| !limit.is_zero())
    }

    fn runtimes(&mut self) -> Vec<Target> {
        let names = self.list("IMAGEWATCH_RUNTIMES");
        if names == ["none"] {
            return Vec::new();
        }
        let template = self.text("IMAGEWATCH_IMAGE");
        if names.len() > 1 && !template.contains("{runtime}") {
            self.problem(
                "IMAGEWATCH_IMAGE",
                &template,
                "a reference with {runtime} in it",
            );
            return Vec::new();
        }
        let mut runtimes = Vec::new();
        for name in names {
            match template.replace("{runtime}", &name).parse::<Reference>() {
                Ok(reference) if reference.digest().is_none() => {
                    runtimes.push(Target { name, reference });
                }
                Ok(_) => {
                    self.problem(
                        "IMAGEWATCH_IMAGE",
                        &template,
                        "a tag, not a digest, to watch",
                    );
                    break;
                }
                Err(error) => {
                    self.problem(
                        "IMAGEWATCH_IMAGE",
                        &template,
                        format!("a reference for each of IMAGEWATCH_RUNTIMES ({error})"),
                    );
                    break;
                }
            }
        }
        runtimes
    }

    /// The Engine shows no host for Docker Hub.
    fn built_in(&self) -> Option<String> {
        let pattern = self.text("IMAGEWATCH_IMAGE").replace("{runtime}", "*");
        let is_named = self.given("IMAGEWATCH_RUNTIMES").is_some();
        (!is_named).then(|| pattern.trim_start_matches("docker.io/").to_owned())
    }

    fn select(&mut self) -> Select {
        let mut select = Select {
            workspaces: false,
            labelled: false,
            all: false,
        };
        for word in self.list("IMAGEWATCH_SELECT") {
            match word.as_str() {
                "workspaces" => select.workspaces = true,
                "labelled" => select.labelled = true,
                "all" => select.all = true,
                _ => {
                    self.problem(
                        "IMAGEWATCH_SELECT",
                        &word,
                        "a list of workspaces, labelled, all",
                    );
                }
            }
        }
        select
    }

    /// Reads the address of the admin endpoint. A caller of the endpoint can replace containers, so an address that the
    /// network can reach needs a token.
    fn listen(&mut self) -> Option<SocketAddr> {
        let value = self.text("IMAGEWATCH_LISTEN");
        if value.eq_ignore_ascii_case("off") {
            return None;
        }
        let Some(address) = parse_listen(value.trim()) else {
            self.problem(
                "IMAGEWATCH_LISTEN",
                &value,
                "IP:PORT such as 127.0.0.1:8080, or off",
            );
            return None;
        };
        let has_token = self
            .given("ADMIN_TOKEN")
            .is_some_and(|v| !v.trim().is_empty())
            || self.given("ADMIN_TOKEN_FILE").is_some();
        if !address.ip().is_loopback() && !has_token {
            self.problem(
                "IMAGEWATCH_LISTEN",
                &value,
                "a loopback address, or ADMIN_TOKEN to be set as well",
            );
        }
        Some(address)
    }

    /// The names that begin so, in their order.
    fn names(&self, start: &str) -> Vec<String> {
        let names = self.values.keys();
        let names = names.filter(|name| name.starts_with(start));
        let mut names: Vec<String> = names.cloned().collect();
        sort(&mut names, |one, other| one < other);
        names
    }

    /// Warns of unknown variables. Without the warning, a misspelt name would silently leave the default.
    fn warn_of_unknown(&mut self) {
        for name in &self.names("IMAGEWATCH_") {
            if !known(name) {
                self.warnings
                    .push(match nearest(name, VARIABLES.iter().map(|row| row.name)) {
                        Some(near) => format!("unknown variable {name}: did you mean {near}?"),
                        None => format!("unknown variable {name}"),
                    });
            }
        }
    }

    /// Warns of Watchtower's variables, which have no effect here although their owner may expect one.
    fn warn_of_others(&mut self) {
        let names = self.names("WATCHTOWER_");
        if !names.is_empty() {
            self.warnings.push(format!(
                "{}: Watchtower's, without effect here; docs/from-watchtower.md says what to set instead",
                names.join(", ")
            ));
        }
    }
}

fn known(name: &str) -> bool {
    VARIABLES
        .iter()
        .any(|row| row.name == name || row.secret && name.strip_suffix("_FILE") == Some(row.name))
}

fn parse_listen(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some((IpAddr::from(Ipv4Addr::LOCALHOST), port.parse().ok()?).into());
    }
    if let Some(port) = text.strip_prefix(':') {
        return Some((IpAddr::from(Ipv4Addr::UNSPECIFIED), port.parse().ok()?).into());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::host;
    use crate::credentials::GhcrLogin;
    use crate::credentials::Source;
    use crate::time::Zone;

    type Outcome = Result<(Config, Vec<String>), Vec<Problem>>;

    fn read(pairs: &[(&str, &str)]) -> Outcome {
        Config::from_vars(pairs.iter().map(|(k, v)| (k.into(), v.into())))
    }

    #[track_caller]
    fn good(pairs: &[(&str, &str)]) -> Config {
        read(pairs).expect("a usable configuration").0
    }

    #[track_caller]
    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let problems = read(pairs).expect_err("problems");
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn an_empty_environment_is_the_platforms_default() {
        let config = good(&[]);
        assert!(!config.auto_refresh);
        assert_eq!(config.interval, Duration::from_secs(300));
        assert_eq!(config.runtimes.len(), 8);
        assert_eq!(
            config.runtimes[0].reference.to_string(),
            "ghcr.io/molecule-ai/workspace-template-claude-code:latest"
        );
        assert_eq!(config.listen, "127.0.0.1:8080".parse().ok());
        assert_eq!(config.engine.to_string(), "unix:///var/run/docker.sock");
        assert_eq!(config.settle, Duration::from_secs(10));
        assert_eq!(config.health_timeout, None);
        assert_eq!(config.platform, None);
    }

    #[test]
    fn empty_means_unset_except_for_the_platform() {
        let config = good(&[
            ("IMAGEWATCH_INTERVAL", ""),
            ("IMAGEWATCH_PREFIX", ""),
            ("ADMIN_TOKEN", ""),
            ("MOLECULE_IMAGE_PLATFORM", ""),
        ]);
        assert_eq!(config.interval, Duration::from_secs(300));
        assert_eq!(config.prefix, "ws-");
        assert_eq!(config.admin_token, None);
        assert_eq!(config.platform, None);
    }

    #[test]
    fn all_problems_are_reported_together_with_value_and_expectation() {
        assert_eq!(
            problems(&[
                ("IMAGEWATCH_INTERVAL", "500ms"),
                ("IMAGEWATCH_RECREATE", "maybe"),
                ("IMAGEWATCH_LISTEN", "0.0.0.0:8080"),
                ("DOCKER_HOST", "ssh://box"),
                ("IMAGEWATCH_IMAGE", "Not A Reference {runtime}"),
                ("IMAGEWATCH_SELECT", "workspaces,some"),
                ("MOLECULE_IMAGE_PLATFORM", "amd64"),
            ]),
            [
                r#"IMAGEWATCH_INTERVAL="500ms": expected a time such as 30s, 5m or 1h, at least 1s"#,
                r#"IMAGEWATCH_IMAGE="Not A Reference {runtime}": expected a reference for each of IMAGEWATCH_RUNTIMES (image reference "Not A Reference claude-code": repository: must be lower case)"#,
                r#"IMAGEWATCH_SELECT="some": expected a list of workspaces, labelled, all"#,
                r#"IMAGEWATCH_RECREATE="maybe": expected swap or remove"#,
                r#"IMAGEWATCH_LISTEN="0.0.0.0:8080": expected a loopback address, or ADMIN_TOKEN to be set as well"#,
                r#"DOCKER_HOST="ssh://box": expected unix:///path/to/socket or tcp://host:port"#,
                r#"MOLECULE_IMAGE_PLATFORM="amd64": expected os/architecture such as linux/amd64"#,
            ]
        );
    }

    #[test]
    fn what_may_hold_a_secret_is_not_shown() {
        use std::os::unix::ffi::OsStringExt;
        for name in ["ADMIN_TOKEN", "HTTPS_PROXY"] {
            let value = OsString::from_vec(b"hunter2\xff".to_vec());
            let problems = super::read([(OsString::from(name), value)]).expect_err("no UTF-8");
            let words = problems[0].to_string();
            assert_eq!(words, format!("{name}=\"***\": expected UTF-8 text"));
        }
        for (name, value) in [
            ("ADMIN_TOKEN", "hünter2"),
            ("DOCKER_HOST", "tcp://me:hunter2@proxy:2375"),
        ] {
            let words = problems(&[(name, value)]).join(" ");
            assert!(words.contains("***") && !words.contains("nter2"), "{words}");
        }
    }

    #[test]
    fn a_secret_may_live_in_a_file_and_never_shows() {
        let file = std::env::temp_dir().join(format!("imagewatch-secret-{}", std::process::id()));
        std::fs::write(&file, "s3cret \n\n").expect("writable");
        let path = file.to_str().expect("UTF-8");
        let config = good(&[("ADMIN_TOKEN_FILE", path), ("IMAGEWATCH_LISTEN", ":9")]);
        assert_eq!(config.admin_token, Some(Secret::new("s3cret")));
        assert!(!format!("{config:?}").contains("s3cret"));
        let both = problems(&[("ADMIN_TOKEN", "hush"), ("ADMIN_TOKEN_FILE", path)]);
        assert!(
            both[0].contains("only one of") && !both[0].contains("hush"),
            "{both:?}"
        );
        std::fs::remove_file(&file).expect("removable");
        let missing = problems(&[("GHCR_TOKEN_FILE", path)]);
        assert!(missing[0].contains("readable file"), "{missing:?}");
    }

    #[test]
    fn a_switch_is_read_or_refused() {
        for (value, expected) in [
            ("true", true),
            ("TRUE", true),
            (" \"true\" ", true),
            ("1", true),
            ("yes", true),
            ("on", true),
            ("false", false),
            ("0", false),
            ("off", false),
            ("", false),
        ] {
            let config = good(&[
                ("IMAGE_AUTO_REFRESH", value),
                ("IMAGEWATCH_CATCH_UP", value),
                ("IMAGEWATCH_CLEANUP", value),
            ]);
            let found = [config.auto_refresh, config.catch_up, config.cleanup];
            assert_eq!(found, [expected; 3], "{value:?}");
        }
        for name in [
            "IMAGE_AUTO_REFRESH",
            "IMAGEWATCH_CATCH_UP",
            "IMAGEWATCH_CLEANUP",
        ] {
            let words = format!("{name}=\"ture\": expected true or false");
            assert_eq!(problems(&[(name, "ture")]), [words]);
        }
    }

    #[test]
    fn an_unknown_word_for_the_log_is_refused_and_not_silence() {
        for value in ["verbose", "imagewatch=loud"] {
            let words = format!("IMAGEWATCH_LOG={value:?}: expected {}", filter::EXPECTED);
            assert_eq!(problems(&[("IMAGEWATCH_LOG", value)]), [words]);
        }
        assert_eq!(good(&[("IMAGEWATCH_LOG", "Warning")]).log_filter, "warn");
        assert_eq!(good(&[("IMAGEWATCH_LOG", "")]).log_filter, "info");
    }

    #[test]
    fn what_looks_like_tls_to_the_engine_is_never_ignored_without_a_word() {
        let tcp = ("DOCKER_HOST", "tcp://e:2376");
        let unix = ("DOCKER_HOST", "unix:///e");
        for (name, does) in [
            ("DOCKER_TLS", "asks for TLS that verifies nothing"),
            ("DOCKER_CERT_PATH", "alone asks for no TLS"),
        ] {
            let words = format!(
                "{name}=\"1\": expected DOCKER_TLS_VERIFY=1 besides, or it to be unset: it {does}"
            );
            assert_eq!(problems(&[tcp, (name, "1")]), [words]);
            let warning = format!("{name} has no effect on a unix socket");
            for vars in [&[unix, (name, "1")][..], &[(name, "1")]] {
                assert_eq!(read(vars).expect("usable").1, [&*warning], "{vars:?}");
            }
        }
        for vars in [&[tcp][..], &[tcp, ("DOCKER_TLS_VERIFY", "")]] {
            assert_eq!(read(vars).expect("usable").1, [""; 0], "{vars:?}");
        }
        let (_, warnings) = read(&[unix, ("DOCKER_TLS_VERIFY", "0")]).expect("usable");
        assert_eq!(
            warnings,
            ["DOCKER_TLS_VERIFY has no effect on a unix socket"]
        );
        for vars in [
            &[("DOCKER_TLS_VERIFY", "0"), tcp][..],
            &[("DOCKER_TLS_VERIFY", "1")],
        ] {
            let words = problems(vars).join("\n");
            assert!(
                words.starts_with("DOCKER_CERT_PATH=\"\": expected a folder with ca.pem "),
                "{words}"
            );
        }
    }

    #[test]
    fn insecure_registries_are_hosts_or_refused() {
        let name = "IMAGEWATCH_INSECURE_REGISTRIES";
        let config = good(&[(name, "http://A.lan:5000/, b.lan")]);
        assert_eq!(config.insecure_registries, ["a.lan:5000", "b.lan"]);
        let words = problems(&[(name, "a.lan, 10.0.0.0/8, https://u:hunter2@b")]).join("\n");
        let first = format!("{name}=\"10.0.0.0/8\": expected {}", host::EXPECTED);
        assert!(
            words.starts_with(&first) && !words.contains("hunter2"),
            "{words}"
        );
    }

    #[test]
    fn what_watchtower_left_is_one_warning() {
        let (_, warnings) = read(&[
            ("WATCHTOWER_POLL_INTERVAL", "30"),
            ("WATCHTOWER_HTTP_API_TOKEN", "s3cret"),
        ])
        .expect("usable");
        let expected = "WATCHTOWER_HTTP_API_TOKEN, WATCHTOWER_POLL_INTERVAL: Watchtower's, without effect here; \
                        docs/from-watchtower.md says what to set instead";
        assert_eq!(warnings, [expected]);
    }

    #[test]
    fn ghcr_credentials_are_trimmed_and_only_count_together() {
        let login = good(&[("GHCR_USER", " me\n"), ("GHCR_TOKEN", "\tpat ")]).ghcr;
        let given = |text: &str| Source::Given(Secret::new(text));
        let expected = GhcrLogin {
            user: given("me"),
            token: given("pat"),
        };
        assert_eq!(login, Some(expected));
        let (config, warnings) = read(&[("GHCR_TOKEN", "pat")]).expect("usable");
        assert_eq!(config.ghcr, None);
        assert!(warnings[0].contains("only count together"), "{warnings:?}");
    }

    #[test]
    fn a_receiver_that_cannot_be_used_is_named_by_its_number() {
        let config = good(&[(
            "IMAGEWATCH_NOTIFY",
            "https://h/s3cr3t\n discord://s3cr3t@1 ",
        )]);
        assert_eq!(
            format!("{:?}", config.receivers),
            "[https://h/***, discord://***@1]"
        );
        assert!(!format!("{config:?}").contains("s3cr3t"));
        assert_eq!(
            problems(&[(
                "IMAGEWATCH_NOTIFY",
                "https://h/s3cr3t discord://s3cr3t mailto:s3cr3t"
            )]),
            [
                r#"IMAGEWATCH_NOTIFY="***": expected URL 2 as discord://token@webhookid[?thread_id=…&username=…&title=…]"#,
                r#"IMAGEWATCH_NOTIFY="***": expected URLs that begin with https://, http://, ntfy://, gotify://, discord://, slack://, telegram:// or generic://, separated by spaces (URL 3 does not)"#,
            ]
        );
    }

    #[test]
    fn an_unknown_variable_is_a_warning_that_names_the_nearest() {
        let (_, warnings) = read(&[("IMAGEWATCH_INTERVALL", "5m")]).expect("usable");
        assert_eq!(
            warnings,
            ["unknown variable IMAGEWATCH_INTERVALL: did you mean IMAGEWATCH_INTERVAL?"]
        );
    }

    /// The name of one workflow.
    const WORKFLOW: &str =
        "https://github.com/acme/app/.github/workflows/publish.yml@refs/heads/main";

    #[cfg(not(feature = "keyless"))]
    #[test]
    fn a_restriction_that_cannot_be_kept_is_refused() {
        const NAME: &str = "IMAGEWATCH_VERIFY_IDENTITY";
        let words = "expected it to be unset: only imagewatch:keyless checks identities, this build IMAGEWATCH_VERIFY";
        for value in [WORKFLOW, "x"] {
            let given = (NAME, value);
            let refused = format!("{NAME}={value:?}: {words}");
            assert_eq!(problems(&[given]), [&*refused]);
            assert_eq!(
                problems(&[given, ("IMAGEWATCH_TRUSTED_ROOT", "/x")]),
                [refused]
            );
        }
        assert!(!good(&[(NAME, "")]).trust.has_signers());
    }

    #[cfg(feature = "keyless")]
    #[test]
    fn identities_and_their_root_are_read_or_refused_by_name() {
        const NAME: &str = "IMAGEWATCH_VERIFY_IDENTITY";
        const ROOT: &str = "IMAGEWATCH_TRUSTED_ROOT";
        let config = good(&[(NAME, WORKFLOW), ("IMAGEWATCH_VERIFY_FOR", "ghcr.io/acme/")]);
        assert!(config.trust.has_signers());
        assert!(
            config
                .trust
                .concerns(&"ghcr.io/acme/app".parse().expect("valid"))
        );
        good(&[(NAME, &*format!("{WORKFLOW}, https://github.com/acme/"))]);
        for bad in ["x", "https://github.com/acme", &*format!("{WORKFLOW},x")] {
            let words = problems(&[(NAME, bad)]);
            let start = format!("{NAME}={bad:?}: expected names of workflows such as");
            assert!(
                words.len() == 1 && words[0].starts_with(&start),
                "{words:?}"
            );
        }
        let file = std::env::temp_dir().join(format!("imagewatch-root-{}", std::process::id()));
        let path = file.to_str().expect("UTF-8");
        for (text, reason) in [
            ("", "a trusted root in JSON, but the file is empty"),
            ("{", "a trusted root in JSON (EOF"),
            (
                "{\"mediaType\":\"x\"}",
                "a trusted root with certificateAuthorities",
            ),
        ] {
            std::fs::write(&file, text).expect("writable");
            let words = problems(&[(NAME, WORKFLOW), (ROOT, path)]);
            let start = format!("{ROOT}={path:?}: expected {reason}");
            assert!(
                words.len() == 1 && words[0].starts_with(&start),
                "{words:?}"
            );
        }
        std::fs::remove_file(&file).expect("removable");
        let words = problems(&[(NAME, WORKFLOW), (ROOT, path)]);
        assert!(words[0].contains("expected a readable file"), "{words:?}");
    }

    #[test]
    fn a_trusted_root_is_for_identities() {
        let words = problems(&[("IMAGEWATCH_TRUSTED_ROOT", "/x")]);
        let expected =
            "IMAGEWATCH_TRUSTED_ROOT=\"/x\": expected IMAGEWATCH_VERIFY_IDENTITY to be set as well";
        assert_eq!(words, [expected]);
    }

    #[test]
    fn the_mode_is_read() {
        assert_eq!(good(&[("IMAGEWATCH_MODE", "notify")]).mode, Consent::Notify);
        assert_eq!(good(&[]).mode, Consent::Update);
    }

    #[test]
    fn a_key_that_cannot_be_used_is_a_problem_and_not_shown() {
        let vectors = include_str!("../../tests/support/trust_vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
        let key = |name: &str| vectors["keys"][name].as_str().expect("a key").to_owned();
        let (good_key, p521) = (key("ed25519"), key("p521"));
        let given = ("IMAGEWATCH_VERIFY", &*good_key);
        let names = "IMAGEWATCH_VERIFY_FOR";
        let config = good(&[given, (names, "ghcr.io/acme/, localhost:5000/x")]);
        let concerns = |name: &str| config.trust.concerns(&name.parse().expect("valid"));
        assert!(concerns("ghcr.io/acme/app") && concerns("localhost:5000/xy"));
        assert!(!concerns("nginx"));
        assert!(!good(&[]).trust.has_signers());
        let file = std::env::temp_dir().join(format!("imagewatch-key-{}", std::process::id()));
        std::fs::write(&file, &good_key).expect("writable");
        let path = file.to_str().expect("UTF-8");
        assert!(
            good(&[("IMAGEWATCH_VERIFY_FILE", path)])
                .trust
                .has_signers()
        );
        std::fs::remove_file(&file).expect("removable");
        for (vars, expected) in [
            (
                vec![("IMAGEWATCH_VERIFY", &*p521)],
                "IMAGEWATCH_VERIFY=\"***\": expected PEM public keys of the kinds P-256, P-384, Ed25519 or RSA (2048 to \
                 8192 bits), but key 1 is damaged, or of another kind",
            ),
            (
                vec![(names, "ghcr.io/acme/")],
                "IMAGEWATCH_VERIFY_FOR=\"ghcr.io/acme/\": expected IMAGEWATCH_VERIFY to be set as well",
            ),
        ] {
            assert_eq!(problems(&vars), [expected]);
        }
        for prefix in [
            "acme/app",
            "nginx",
            "ghcr.io",
            "ghcr.io/Acme/",
            "index.docker.io/x",
            "ghcr.io/*",
        ] {
            let words = problems(&[given, (names, prefix)]);
            let start =
                format!("{names}={prefix:?}: expected beginnings of names with their registry");
            assert!(
                words.len() == 1 && words[0].starts_with(&start),
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_secret_of_hooks_is_long_and_a_secret_of_its_own() {
        const NAME: &str = "IMAGEWATCH_HOOK_SECRET";
        let secret = "0123456789abcdef";
        let token = ("ADMIN_TOKEN", "fedcba9876543210");
        assert!(good(&[]).hook_secret.is_none());
        let config = good(&[(NAME, secret), token]);
        assert_eq!(
            config.hook_secret.as_ref().map(Secret::reveal),
            Some(secret)
        );
        let refused = |words: &str| format!("{NAME}=\"***\": expected {words}");
        let short = refused("at least 16 printable ASCII characters");
        for bad in [&secret[1..], "0123456789abcde f", "0123456789abcdefé"] {
            assert_eq!(problems(&[(NAME, bad), token]), [&*short], "{bad}");
        }
        let same = refused("another value than ADMIN_TOKEN, because it may stand in URLs");
        assert_eq!(problems(&[(NAME, token.1), token]), [same]);
    }

    #[test]
    fn a_token_for_reading_is_another_one_than_each_other_secret() {
        let (read, admin) = ("IMAGEWATCH_READ_TOKEN", ("ADMIN_TOKEN", "fedcba9876543210"));
        let hook = ("IMAGEWATCH_HOOK_SECRET", "0123456789abcdef");
        let config = good(&[(read, "r3ad"), admin, hook]);
        assert_eq!(config.read_token, Some(Secret::new("r3ad")));
        let refused = |words: &str| vec![format!("{read}=\"***\": expected {words}")];
        let other = refused("another value than ADMIN_TOKEN and IMAGEWATCH_HOOK_SECRET");
        assert_eq!(problems(&[(read, admin.1), admin]), other);
        assert_eq!(problems(&[(read, hook.1), admin, hook]), other);
        let alone =
            refused("ADMIN_TOKEN to be set as well, because without it nobody needs a token");
        assert_eq!(problems(&[(read, "r3ad")]), alone);
        assert_eq!(
            problems(&[(read, "ré"), admin]),
            refused("printable ASCII characters")
        );
    }

    #[test]
    fn a_window_needs_a_zone_that_can_be_read() {
        let window = ("IMAGEWATCH_WINDOW", "Mon-Fri 02:00-05:00");
        let nowhere = ("TZ", "Nowhere/Atlantis");
        let words = problems(&[window, nowhere]).join("\n");
        let help = "add -v /usr/share/zoneinfo:/usr/share/zoneinfo:ro, or write the rule";
        assert!(
            words.starts_with("TZ=\"Nowhere/Atlantis\": expected ") && words.contains(help),
            "{words}"
        );
        let (config, warnings) = read(&[nowhere]).expect("usable");
        assert_eq!(config.zone, Zone::utc());
        assert!(
            warnings[0].contains("times are UTC") && warnings[0].contains(help),
            "{warnings:?}"
        );
        let config = good(&[window, ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")]);
        assert_eq!(config.zone.name(), "CET");
        assert!(config.summary().ends_with(" min_age=0s zone=CET"));
        let words = format!(
            "IMAGEWATCH_WINDOW=\"Sat\": expected {}",
            "a time after the days, such as Sat 00:00-24:00"
        );
        assert_eq!(problems(&[("IMAGEWATCH_WINDOW", "Sat")]), [words]);
    }

    #[test]
    fn an_age_without_a_memory_is_a_warning() {
        let (config, warnings) = read(&[("IMAGEWATCH_MIN_AGE", "3d")]).expect("usable");
        assert_eq!(config.rules.min_age, Duration::from_secs(3 * 86_400));
        assert_eq!(
            warnings,
            ["IMAGEWATCH_MIN_AGE without IMAGEWATCH_STATE: each start begins to count anew"]
        );
        let folder = std::env::temp_dir();
        let state = ("IMAGEWATCH_STATE", folder.to_str().expect("UTF-8"));
        assert_eq!(
            read(&[("IMAGEWATCH_MIN_AGE", "3d"), state])
                .expect("usable")
                .1,
            [""; 0]
        );
        assert_eq!(
            read(&[("IMAGEWATCH_MIN_AGE", "0")]).expect("usable").1,
            [""; 0]
        );
    }

    #[test]
    fn a_count_is_a_number_within_its_bounds() {
        assert_eq!(good(&[]).parallel, 8);
        assert_eq!(good(&[("IMAGEWATCH_PARALLEL", " 1 ")]).parallel, 1);
        for bad in ["0", "-1", "65", "many", "1.5"] {
            let refused = format!("IMAGEWATCH_PARALLEL=\"{bad}\": expected a number from 1 to 64");
            assert_eq!(problems(&[("IMAGEWATCH_PARALLEL", bad)]), [refused]);
        }
    }

    #[test]
    fn runtimes_are_a_trimmed_list_without_doubles() {
        let config = good(&[("IMAGEWATCH_RUNTIMES", " hermes, ,hermes,crewai ")]);
        let names: Vec<&str> = config.runtimes.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["hermes", "crewai"]);
        assert!(good(&[("IMAGEWATCH_RUNTIMES", "none")]).runtimes.is_empty());
        let fixed = problems(&[("IMAGEWATCH_IMAGE", "a.b/c:d")]);
        assert!(fixed[0].contains("{runtime}"), "{fixed:?}");
    }

    #[test]
    fn listening_addresses_are_read_as_people_write_them() {
        let token = ("ADMIN_TOKEN", "t");
        for (text, expected) in [
            ("localhost:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            (":80", Some("0.0.0.0:80")),
            ("OFF", None),
        ] {
            let listen = good(&[("IMAGEWATCH_LISTEN", text), token]).listen;
            assert_eq!(
                listen,
                expected.map(|a| a.parse().expect("address")),
                "{text}"
            );
        }
    }
}
