//! Login files: the Docker CLI's `config.json`, and Podman's `auth.json` (containers-auth.json(5)). Both
//! have the same form.

use super::BASE64;
use super::DOCKER_HUB_KEY;
use super::Login;
use super::Secret;
use super::helper::Helpers;
use super::kept::Reading;
use crate::json;
use crate::reference::DOCKER_HUB;
use crate::reference::Reference;
use base64::Engine as _;
use serde_json::Value;

/// Other keys for Docker Hub, as Podman and older tools write them.
const DOCKER_HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The contents of a login file.
pub(super) struct LoginFile(Value);

/// One login of a file. An empty object is the marker of a helper, and holds no login.
struct Entry<'a>(&'a Value);

/// Parses a file as the Docker CLI does: an empty file has no logins, and text that is not UTF-8 does not hide
/// the other logins.
pub(super) fn parse(bytes: &[u8]) -> Reading<LoginFile> {
    let text = String::from_utf8_lossy(bytes);
    if text.trim().is_empty() {
        return Ok(LoginFile(Value::Null));
    }
    let json = json::parse(&text);
    json.map(LoginFile)
        .map_err(|_| "is not valid JSON".to_owned())
}

impl LoginFile {
    /// The login for an image. As with the Docker CLI, a helper's login comes before one in the file.
    pub(super) fn login(&self, reference: &Reference, helpers: &Helpers) -> Reading<Option<Login>> {
        let helped = match self.helper(reference.registry()) {
            None => Ok(None),
            Some((name, key)) => helpers.ask(name, key),
        };
        if let Ok(Some(_)) = helped {
            return helped;
        }
        match self.entry(reference).map(|entry| entry.login()) {
            Some(Ok(Some(login))) => Ok(Some(login)),
            Some(Err(reason)) => Err(reason.to_owned()),
            Some(Ok(None)) | None => helped,
        }
    }

    /// The helper that keeps a registry's login, and the key that it keeps the login under.
    fn helper<'s>(&'s self, registry: &'s str) -> Option<(&'s str, &'s str)> {
        let keys = if registry == DOCKER_HUB {
            [DOCKER_HUB_KEY, DOCKER_HUB]
        } else {
            [registry, registry]
        };
        let own = keys
            .iter()
            .find_map(|key| self.0["credHelpers"][*key].as_str());
        let name = own.or_else(|| self.0["credsStore"].as_str())?;
        (!name.is_empty()).then_some((name, keys[0]))
    }

    /// Finds the entry for an image. The most specific key comes first (`host/namespace/name`, …, `host`), then
    /// any key that is a URL of the host.
    fn entry(&self, reference: &Reference) -> Option<Entry<'_>> {
        let auths = self.0["auths"].as_object()?;
        let registry = reference.registry();
        let full = format!("{registry}/{}", reference.repository());
        let mut key = full.as_str();
        loop {
            if let Some(entry) = auths.get(key) {
                return Some(Entry(entry));
            }
            match key.rsplit_once('/') {
                Some((shorter, _)) => key = shorter,
                None => break,
            }
        }
        if registry == DOCKER_HUB {
            let mut keys = std::iter::once(DOCKER_HUB_KEY).chain(DOCKER_HUB_ALIASES);
            return keys.find_map(|key| auths.get(key)).map(Entry);
        }
        let mut by_url = auths
            .iter()
            .filter(|(key, _)| host_of(key) == Some(registry));
        by_url.next().map(|(_, entry)| Entry(entry))
    }
}

impl Entry<'_> {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        let field = |name: &str| self.0[name].as_str().unwrap_or_default();
        if !field("identitytoken").is_empty() {
            let token = Secret::new(field("identitytoken"));
            return Ok(Some(Login::IdentityToken(token)));
        }
        // `base64` and `openssl` break long lines, and the Docker CLI accepts that.
        let auth: String = field("auth").split_ascii_whitespace().collect();
        let login = if auth.is_empty() {
            Login::Password {
                username: field("username").to_owned(),
                password: Secret::new(field("password")),
            }
        } else {
            let pair = BASE64.decode(auth).ok();
            let pair = pair.ok_or("has an `auth` that is not base64")?;
            let end = pair.iter().rposition(|byte| *byte != 0);
            let pair = &pair[..end.map_or(0, |end| end + 1)];
            Login::of_pair(pair).ok_or("has an `auth` without a colon")?
        };
        Ok(Some(login).filter(Login::has_user))
    }
}

/// The host of a key: `https://host:port/v1/` → `host:port`. `None` if the key is a namespace's.
fn host_of(key: &str) -> Option<&str> {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2").then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str, password: &str) -> Login {
        Login::Password {
            username: username.into(),
            password: Secret::new(password),
        }
    }

    fn look_up(text: &str, image: &str) -> Reading<Option<Login>> {
        let file = LoginFile(serde_json::from_str(text).expect("JSON"));
        file.login(&image.parse().expect("a reference"), &Helpers::default())
    }

    #[test]
    fn logins_are_found_under_every_usual_key() {
        let file = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
            "https://reg.example:5000/v1/":{"auth":"dTpwOnE"},
            "plain.example":{"username":"u","password":"p"},
            "token.example":{"auth":"dTo=","identitytoken":"refresh"},
            "marker.example":{}}}"#;
        for (image, expected) in [
            ("redis", Some(password("hub", "pw"))),
            ("reg.example:5000/a", Some(password("u", "p:q"))),
            ("plain.example/a", Some(password("u", "p"))),
            (
                "token.example/a",
                Some(Login::IdentityToken(Secret::new("refresh"))),
            ),
            ("marker.example/a", None),
            ("other.example/a", None),
        ] {
            assert_eq!(look_up(file, image), Ok(expected), "{image}");
        }
    }

    #[test]
    fn an_auth_is_read_as_the_docker_cli_reads_it() {
        let latin = Login::of_pair(b"me:p\xe9ss");
        for (auth, expected) in [
            ("bWU6cGFzc3dvcmQ=", Some(password("me", "password"))),
            ("bWU6cGFzc3dvcmQ", Some(password("me", "password"))),
            ("bWU6\r\ncGFz\nc3dvcmQ=\n", Some(password("me", "password"))),
            (" bWU6cGFzc3dvcmQ= ", Some(password("me", "password"))),
            ("bWU6cGFzc3dvcmR=", Some(password("me", "password"))),
            ("bWU6cDpxAAA=", Some(password("me", "p:q"))),
            ("bWU6", Some(password("me", ""))),
            ("bWU6cOlzcw==", latin),
            ("OnB3", None),
            ("\n", None),
        ] {
            let file = serde_json::json!({"auths": {"a.b": {"auth": auth}}}).to_string();
            assert_eq!(look_up(&file, "a.b/c"), Ok(expected), "{auth:?}");
        }
        let latin = look_up(r#"{"auths":{"a.b":{"auth":"bWU6cOlzcw=="}}}"#, "a.b/c");
        let basic = latin.expect("read").expect("a login").basic();
        assert_eq!(basic, Some(Secret::new("Basic bWU6cOlzcw==")));
    }

    #[test]
    fn one_bad_byte_or_an_empty_file_keeps_no_other_login_away() {
        assert!(parse(b" \n").expect("empty").0.is_null());
        assert!(parse(b"{").is_err());
        let file = b"{\"auths\":{\"a.b\":{\"auth\":\"dTpw\"},\"c.d\":{\"username\":\"\xe9\"}}}";
        let file = parse(file).expect("JSON");
        let image = "a.b/x".parse().expect("a reference");
        let login = file.login(&image, &Helpers::default());
        assert_eq!(login, Ok(Some(password("u", "p"))));
    }

    #[test]
    fn the_most_specific_namespace_wins() {
        let file = r#"{"auths":{
            "ghcr.io/acme/tools/cli":{"username":"cli","password":"x"},
            "ghcr.io/acme":{"username":"acme","password":"x"},
            "quay.io/acme":{"username":"quay","password":"x"},
            "ghcr.io":{"username":"any","password":"x"}}}"#;
        for (image, expected) in [
            ("ghcr.io/acme/tools/cli", Some("cli")),
            ("ghcr.io/acme/tools/gui", Some("acme")),
            ("ghcr.io/acmeous/a", Some("any")),
            ("quay.io/other/a", None),
        ] {
            let expected = expected.map(|username| password(username, "x"));
            assert_eq!(look_up(file, image), Ok(expected), "{image}");
        }
    }

    #[test]
    fn a_broken_entry_is_named_without_its_contents() {
        let file = r#"{"auths":{"a.b":{"auth":"!!secret!!"}}}"#;
        let reason = look_up(file, "a.b/c").expect_err("not base64");
        assert!(!reason.contains("secret"), "{reason}");
    }

    #[test]
    fn a_helper_that_is_missing_is_named_unless_the_file_has_the_login() {
        let file = r#"{"credsStore":"iw-no-such","auths":{"a.b":{"auth":"dTpw"},"c.d":{}}}"#;
        assert_eq!(look_up(file, "a.b/x"), Ok(Some(password("u", "p"))));
        let reason = look_up(file, "c.d/x").expect_err("no helper");
        assert!(reason.contains("docker-credential-iw-no-such"), "{reason}");
    }

    #[test]
    fn no_login_file_panics() {
        const WORDS: &[&str] = &[
            "{",
            "}",
            "\"",
            ":",
            ",",
            "null",
            "[]",
            "\"auths\":{",
            "\"ghcr.io\":",
            "\"auth\":",
            "Og==",
            "\"identitytoken\":",
            "https://",
            "/v1/",
            "://",
            "=",
            "é",
        ];
        crate::fuzz::fuzz("logins", WORDS, |input| {
            let Ok(json) = serde_json::from_slice(input) else {
                return;
            };
            // Only logins in the file count: a changed name of a helper must not run a program.
            let file = LoginFile(json);
            for image in [
                "redis",
                "ghcr.io/acme/api",
                "reg.lan:5000/a",
                "[::1]:5000/a",
            ] {
                let reference = image.parse().expect("a reference");
                let _ = file.entry(&reference).map(|entry| entry.login());
                let _ = file.helper(reference.registry());
            }
        });
    }
}
