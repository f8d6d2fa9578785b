//! Who we are to each registry. The only holder of secrets.
//!
//! Sources, first match wins: `GHCR_USER` with `GHCR_TOKEN` for `ghcr.io`, then the `auths` of the
//! Docker CLI's `config.json`. The file is read afresh for every question, so a rotated password
//! needs no restart; questions are rare, because tokens are cached by who asks.

use crate::reference::DOCKER_HUB;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// The key under which the Docker CLI keeps Docker Hub's login.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Other spellings of that key, as Podman and older tools write them.
const DOCKER_HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The registry `GHCR_USER` and `GHCR_TOKEN` are for.
pub const GHCR: &str = "ghcr.io";
/// Tools disagree on padding in `auth`; both are read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text that must never be printed. Its `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send or compare it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A user name and what proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name; not a secret, but nobody's business either.
    pub username: String,
    /// The password or access token.
    pub password: Secret,
}

impl Login {
    /// The value of an `Authorization: Basic` header (RFC 7617).
    #[must_use]
    pub fn basic(&self) -> Secret {
        let pair = format!("{}:{}", self.username, self.password.reveal());
        Secret(format!("Basic {}", BASE64.encode(pair)))
    }

    /// The value of the Engine API's `X-Registry-Auth` header for an image of `registry`:
    /// base64url **with** padding of a JSON document. The Engine ignores anything it cannot
    /// decode and goes on anonymously, so this has to be exact.
    #[must_use]
    pub fn registry_auth(&self, registry: &str) -> Secret {
        let address = if registry == DOCKER_HUB {
            DOCKER_HUB_KEY
        } else {
            registry
        };
        let document = serde_json::json!({
            "username": self.username,
            "password": self.password.reveal(),
            "serveraddress": address,
        });
        Secret(URL_SAFE.encode(document.to_string()))
    }
}

/// All logins we know of.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    ghcr: Option<Login>,
    config_json: Option<PathBuf>,
}

impl Credentials {
    /// `ghcr` is for `ghcr.io`; `docker_config` is the folder of `config.json`, if there is one.
    #[must_use]
    pub fn new(ghcr: Option<Login>, docker_config: Option<&Path>) -> Self {
        Self {
            ghcr,
            config_json: docker_config.map(|folder| folder.join("config.json")),
        }
    }

    /// The login for `registry` (a reference's host), if there is one.
    ///
    /// A `config.json` that cannot be read or understood counts as empty; the reason is logged,
    /// because what follows is an anonymous request that may well be refused.
    #[must_use]
    pub fn for_registry(&self, registry: &str) -> Option<Login> {
        if registry == GHCR && self.ghcr.is_some() {
            return self.ghcr.clone();
        }
        let path = self.config_json.as_deref()?;
        match read(path).and_then(|file| file.login(registry)) {
            Ok(login) => login,
            Err(reason) => {
                log::warn!("{}: {reason} (going on without it)", path.display());
                None
            }
        }
    }
}

/// `config.json`.
struct ConfigJson(Value);

/// One login of it. `{}` is a helper's marker and means "not here".
struct Entry<'a>(&'a Value);

/// What is wrong with the file, in words that hold none of its contents.
type Reading<T> = std::result::Result<T, &'static str>;

fn read(path: &Path) -> Reading<ConfigJson> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(ConfigJson)
            .map_err(|_| "is not valid JSON"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigJson(Value::Null)),
        Err(_) => Err("cannot be read"),
    }
}

impl ConfigJson {
    fn login(&self, registry: &str) -> Reading<Option<Login>> {
        if let Some(login) = self
            .entry(registry)
            .map_or(Ok(None), |entry| entry.login())?
        {
            return Ok(Some(login));
        }
        let store = self.0["credsStore"].as_str().unwrap_or_default();
        if !store.is_empty() || self.0["credHelpers"].get(registry).is_some() {
            return Err("keeps this login in a credential helper, which is not supported yet");
        }
        Ok(None)
    }

    /// The exact key first, then any key whose URL reduces to the host.
    fn entry(&self, registry: &str) -> Option<Entry<'_>> {
        let auths = self.0["auths"].as_object()?;
        if registry == DOCKER_HUB {
            let mut keys = std::iter::once(DOCKER_HUB_KEY).chain(DOCKER_HUB_ALIASES);
            return keys.find_map(|key| auths.get(key)).map(Entry);
        }
        let by_url = || auths.iter().find(|(key, _)| host_of(key) == registry);
        let exact = auths.get(registry);
        exact
            .or_else(|| by_url().map(|(_, entry)| entry))
            .map(Entry)
    }
}

impl Entry<'_> {
    fn login(&self) -> Reading<Option<Login>> {
        let field = |name: &str| self.0[name].as_str().unwrap_or_default();
        let (username, password) = match field("auth").trim() {
            "" => (field("username").to_owned(), field("password").to_owned()),
            auth => {
                let bytes = BASE64.decode(auth).ok();
                let pair = bytes
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or("has an `auth` that is not base64 of text")?;
                let pair = pair
                    .split_once(':')
                    .ok_or("has an `auth` without a colon")?;
                (pair.0.to_owned(), pair.1.trim_end_matches('\0').to_owned())
            }
        };
        Ok((!username.is_empty()).then_some(Login {
            username,
            password: Secret(password),
        }))
    }
}

/// `https://host:port/v1/` → `host:port`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str, password: &str) -> Login {
        Login {
            username: username.into(),
            password: Secret::new(password),
        }
    }

    fn config_json(text: &str) -> ConfigJson {
        ConfigJson(serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn registry_auth_is_base64url_with_padding() {
        // moby's authconfig keeps the order of the document's keys irrelevant; ours is fixed by
        // serde_json, so the document is compared after decoding and the alphabet by its length.
        let header = login("testuser", "testpassword").registry_auth("example.com");
        assert_eq!(header.reveal().len() % 4, 0);
        let bytes = URL_SAFE.decode(header.reveal()).expect("base64url");
        let document: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(
            document,
            serde_json::json!({
                "username": "testuser",
                "password": "testpassword",
                "serveraddress": "example.com"
            })
        );
        let odd = login("ü?~", "ÿÿ>>??").registry_auth(DOCKER_HUB);
        assert!(!odd.reveal().contains(['+', '/']), "{}", odd.reveal());
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let text = format!("{:?}", login("me", "hunter2"));
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn logins_are_found_under_every_usual_key() {
        let file = config_json(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
                "https://reg.example:5000/v1/":{"auth":"dTpwOnE"},
                "plain.example":{"username":"u","password":"p"},
                "marker.example":{}}}"#,
        );
        for (registry, expected) in [
            ("docker.io", Some(login("hub", "pw"))),
            ("reg.example:5000", Some(login("u", "p:q"))),
            ("plain.example", Some(login("u", "p"))),
            ("marker.example", None),
            ("other.example", None),
        ] {
            assert_eq!(file.login(registry), Ok(expected), "{registry}");
        }
    }

    #[test]
    fn a_broken_entry_is_named_without_its_contents() {
        let file = config_json(r#"{"auths":{"a.b":{"auth":"!!secret!!"}}}"#);
        let reason = file.login("a.b").expect_err("not base64");
        assert!(!reason.contains("secret"), "{reason}");
    }

    #[test]
    fn the_environment_wins_for_ghcr_only() {
        let credentials = Credentials::new(Some(login("me", "pat")), None);
        assert_eq!(
            credentials.for_registry("ghcr.io"),
            Some(login("me", "pat"))
        );
        assert_eq!(credentials.for_registry("quay.io"), None);
    }
}
