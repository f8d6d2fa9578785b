//! From strings to a [`Config`]: one method for each kind of value, and one for each variable that
//! is a kind of its own.

use super::Config;
use super::Endpoint;
use super::LogFormat;
use super::Problem;
use super::Proxies;
use super::Recreate;
use super::Runtime;
use super::Select;
use super::VARIABLES;
use crate::credentials::GhcrLogin;
use crate::credentials::Secret;
use crate::credentials::Source;
use crate::pem;
use crate::receiver::FORMS;
use crate::receiver::Receiver;
use crate::reference::Reference;
use crate::time::parse_duration;
use crate::user;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use ureq::tls::Certificate;

/// Reads every variable; the second part of the answer are warnings.
pub(super) fn read(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let mut vars = Vars::new(vars);
    vars.warn_of_unknown();
    let config = Config {
        auto_refresh: vars.auto_refresh(),
        interval: vars.duration("IMAGEWATCH_INTERVAL", Duration::from_secs(1)),
        runtimes: vars.runtimes(),
        prefix: vars.text("IMAGEWATCH_PREFIX"),
        select: vars.select(),
        recreate: vars.choice(
            "IMAGEWATCH_RECREATE",
            &[("swap", Recreate::Swap), ("remove", Recreate::Remove)],
        ),
        cleanup: vars.choice("IMAGEWATCH_CLEANUP", &[("true", true), ("false", false)]),
        catch_up: vars.choice("IMAGEWATCH_CATCH_UP", &[("true", true), ("false", false)]),
        settle: vars.duration("IMAGEWATCH_SETTLE", Duration::ZERO),
        health_timeout: Some(vars.duration("IMAGEWATCH_HEALTH_TIMEOUT", Duration::ZERO))
            .filter(|limit| !limit.is_zero()),
        admin_token: vars.admin_token(),
        listen: vars.listen(),
        ghcr: vars.ghcr(),
        receivers: vars.receivers(),
        login_files: vars.login_files(),
        engine: vars.engine(),
        platform: vars.platform(),
        insecure_registries: vars.list("IMAGEWATCH_INSECURE_REGISTRIES"),
        certificates: vars.certificates(),
        proxies: vars.proxies(),
        state: vars.state(),
        log_filter: vars.text("IMAGEWATCH_LOG"),
        log_format: vars.choice(
            "IMAGEWATCH_LOG_FORMAT",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        ),
    };
    if vars.problems.is_empty() {
        Ok((config, vars.warnings))
    } else {
        Err(vars.problems)
    }
}

/// The environment while it is read, and what was found wrong with it so far.
///
/// A getter that finds a problem notes it and answers any value: the configuration is thrown away
/// then.
struct Vars {
    values: BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Vars {
    fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all = Self {
            values: BTreeMap::new(),
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
                    // It may be a secret, or hold one.
                    all.problem(&name, "***", "UTF-8 text");
                }
                Err(_) => {}
            }
        }
        all
    }

    fn problem(&mut self, variable: &str, value: &str, expected: impl Into<String>) {
        self.problems.push(Problem {
            variable: variable.to_owned(),
            value: value.to_owned(),
            expected: expected.into(),
        });
    }

    /// The value, unless unset or empty.
    fn given(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// The value or the table's default.
    fn text(&self, name: &str) -> String {
        let default = || VARIABLES.iter().find(|row| row.name == name);
        self.given(name)
            .unwrap_or_else(|| default().map_or("", |row| row.default).to_owned())
    }

    fn list(&self, name: &str) -> Vec<String> {
        let mut items: Vec<String> = Vec::new();
        for item in self.text(name).split(',') {
            let item = item.trim().to_owned();
            if !item.is_empty() && !items.contains(&item) {
                items.push(item);
            }
        }
        items
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let value = self.text(name);
        let lower = value.trim().to_ascii_lowercase();
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == lower) {
            return *choice;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, &value, words.join(" or "));
        choices[0].1
    }

    fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let value = self.text(name);
        match parse_duration(value.trim()) {
            Some(duration) if duration >= least => duration,
            _ => {
                let floor = match least.as_secs() {
                    0 => String::new(),
                    secs => format!(", at least {secs}s"),
                };
                self.problem(name, &value, format!("a time such as 30s, 5m or 1h{floor}"));
                least
            }
        }
    }

    /// `X`, or what the file named by `X_FILE` holds, without white space around it.
    fn secret(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let given = self.given(name);
        let Some(path) = self.given(&file_name) else {
            return given.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        };
        if given.is_some() {
            self.problem(
                &file_name,
                &path,
                format!("only one of {name} and {file_name}"),
            );
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned())
                .filter(|v| !v.is_empty())
                .or_else(|| {
                    self.problem(&file_name, &path, "a file that is not empty");
                    None
                }),
            Err(error) => {
                self.problem(
                    &file_name,
                    &path,
                    format!("a readable file ({})", user::explain(&error)),
                );
                None
            }
        }
    }

    /// It has to arrive in a header.
    fn admin_token(&mut self) -> Option<Secret> {
        let token = self.secret("ADMIN_TOKEN")?;
        if !token
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            self.problem("ADMIN_TOKEN", "***", "printable ASCII characters");
        }
        Some(Secret::new(token))
    }

    fn certificates(&mut self) -> Option<Vec<Certificate<'static>>> {
        const NAME: &str = "SSL_CERT_FILE";
        let path = self.given(NAME)?;
        let read = std::fs::read(&path).map_err(|error| user::explain(&error));
        match read.and_then(|bundle| pem::certificates(&bundle)) {
            Ok(found) => Some(found),
            Err(trouble) => {
                self.problem(NAME, &path, format!("a PEM bundle ({trouble})"));
                None
            }
        }
    }

    fn state(&mut self) -> Option<PathBuf> {
        const NAME: &str = "IMAGEWATCH_STATE";
        let path = self.given(NAME)?;
        if let Err(error) = std::fs::read_dir(&path) {
            let words = format!("a folder that is there ({})", user::explain(&error));
            self.problem(NAME, &path, words);
        }
        Some(PathBuf::from(path))
    }

    /// As the platform always had it, anything but `true` is false; a likely slip is pointed out.
    fn auto_refresh(&mut self) -> bool {
        let value = self.text("IMAGE_AUTO_REFRESH");
        let lower = value.trim().to_ascii_lowercase();
        if lower != "true" && lower != "false" {
            self.warnings.push(format!(
                "IMAGE_AUTO_REFRESH={value:?} is neither true nor false: the watcher stays off"
            ));
        }
        lower == "true"
    }

    fn runtimes(&mut self) -> Vec<Runtime> {
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
                    runtimes.push(Runtime { name, reference });
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

    /// Whoever reaches the admin endpoint can replace containers; the network needs the token.
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

    /// The same, to be read again later if it is in a file.
    fn source(&mut self, name: &str) -> Option<Source> {
        let text = self.secret(name)?;
        let file = self.given(&format!("{name}_FILE")).map(PathBuf::from);
        Some(file.map_or_else(|| Source::Given(Secret::new(text)), Source::File))
    }

    fn ghcr(&mut self) -> Option<GhcrLogin> {
        match (self.source("GHCR_USER"), self.source("GHCR_TOKEN")) {
            (Some(user), Some(token)) => Some(GhcrLogin { user, token }),
            (None, None) => None,
            _ => {
                self.warnings.push(
                    "GHCR_USER and GHCR_TOKEN only count together: ghcr.io is asked anonymously"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// Where `docker login` and `podman login` write (docker CLI; containers-auth.json(5)).
    fn login_files(&self) -> Vec<PathBuf> {
        let folder = |name: &str| self.given(name).map(PathBuf::from);
        let in_home = |path: &str| folder("HOME").map(|home| home.join(path));
        let docker = folder("DOCKER_CONFIG").or_else(|| in_home(".docker"));
        let run = folder("XDG_RUNTIME_DIR");
        let config = folder("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
        let podman = |folder: PathBuf| folder.join("containers/auth.json");
        [
            folder("REGISTRY_AUTH_FILE"),
            docker.map(|folder| folder.join("config.json")),
            run.map(podman),
            config.map(podman),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn engine(&mut self) -> Endpoint {
        let value = self.text("DOCKER_HOST");
        match value.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Endpoint::Unix(PathBuf::from(path)),
            Some(("tcp", address)) if is_authority(address.trim_end_matches('/')) => {
                Endpoint::Tcp(address.trim_end_matches('/').to_owned())
            }
            _ => {
                let shown = if value.contains('@') { "***" } else { &value };
                self.problem(
                    "DOCKER_HOST",
                    shown,
                    "unix:///path/to/socket or tcp://host:port",
                );
                Endpoint::Unix(PathBuf::new())
            }
        }
    }

    /// The one variable for which empty is not unset: it means "never force one".
    fn platform(&mut self) -> Option<String> {
        const NAME: &str = "MOLECULE_IMAGE_PLATFORM";
        let Some(value) = self.values.get(NAME).cloned() else {
            let apple = cfg!(all(target_os = "macos", target_arch = "aarch64"));
            return apple.then(|| "linux/amd64".to_owned());
        };
        let value = value.trim().to_owned();
        let parts: Vec<&str> = value.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        };
        if value.is_empty() {
            None
        } else if (2..=3).contains(&parts.len()) && parts.iter().all(word) {
            Some(value)
        } else {
            self.problem(NAME, &value, "os/architecture such as linux/amd64");
            None
        }
    }

    /// The value is a secret from end to end, so what is wrong with it is said by number.
    fn receivers(&mut self) -> Vec<Receiver> {
        const NAME: &str = "IMAGEWATCH_NOTIFY";
        let text = self.secret(NAME).unwrap_or_default();
        let mut receivers = Vec::new();
        for (index, url) in text.split_whitespace().enumerate() {
            match Receiver::parse(url) {
                Ok(found) => receivers.extend(found),
                Err(form) => {
                    let number = index + 1;
                    let words = if form == FORMS {
                        format!(
                            "URLs that begin with {FORMS}, separated by spaces (URL {number} does not)"
                        )
                    } else {
                        format!("URL {number} as {form}")
                    };
                    self.problem(NAME, "***", words);
                }
            }
        }
        receivers
    }

    /// As everybody does: the lower-case name wins.
    fn proxies(&mut self) -> Proxies {
        let pick = |vars: &Self, name: &str| {
            vars.given(&name.to_ascii_lowercase())
                .or_else(|| vars.given(name))
        };
        let mut proxy = |name: &str| {
            let value = pick(self, name)?;
            if ureq::Proxy::new(&value).is_err() || value.starts_with("socks") {
                self.problem(name, "***", "http://[user:password@]host:port");
            }
            Some(value)
        };
        let https = proxy("HTTPS_PROXY");
        let http = proxy("HTTP_PROXY");
        let exceptions = pick(self, "NO_PROXY").unwrap_or_default();
        Proxies {
            https,
            http,
            exceptions: exceptions
                .split([',', ' '])
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// A misspelt variable would otherwise be a default that nobody asked for.
    fn warn_of_unknown(&mut self) {
        for name in self.values.keys() {
            if name.starts_with("IMAGEWATCH_") && !known(name) {
                self.warnings.push(match nearest(name) {
                    Some(near) => format!("unknown variable {name}: did you mean {near}?"),
                    None => format!("unknown variable {name}"),
                });
            }
        }
    }
}

fn known(name: &str) -> bool {
    VARIABLES
        .iter()
        .any(|row| row.name == name || row.secret && name.strip_suffix("_FILE") == Some(row.name))
}

/// The variable whose name takes the fewest edits to reach.
fn nearest(name: &str) -> Option<&'static str> {
    VARIABLES
        .iter()
        .map(|row| (edits(name, row.name), row.name))
        .min()
        .map(|(_, near)| near)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
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

fn is_authority(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => {
            !host.is_empty()
                && !host.contains(['/', '@', ' ', '?', '#'])
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn only_true_starts_the_watcher() {
        for (value, expected) in [("true", true), ("TRUE", true), ("1", false), ("", false)] {
            assert_eq!(
                good(&[("IMAGE_AUTO_REFRESH", value)]).auto_refresh,
                expected
            );
        }
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
                r#"IMAGEWATCH_NOTIFY="***": expected URLs that begin with https://, http://, ntfy://, gotify://, discord://, slack:// or telegram://, separated by spaces (URL 3 does not)"#,
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
