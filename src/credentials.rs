//! Who we are to each registry. The only holder of secrets.
//!
//! Sources, first match wins: `GHCR_USER` with `GHCR_TOKEN` for `ghcr.io`, then the login files of
//! the Docker CLI and of Podman. All of them are read afresh for every question, so a rotated
//! password needs no restart; questions are rare, because tokens are cached by who asks.
//!
//! What a registry refused is not offered again for a while: some (GitLab) lock out whoever tries
//! too often.

mod file;
mod helper;

use crate::reference::DOCKER_HUB;
use crate::reference::Reference;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::general_purpose::URL_SAFE;
use helper::Helpers;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The key under which the Docker CLI keeps Docker Hub's login.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The registry `GHCR_USER` and `GHCR_TOKEN` are for.
pub const GHCR: &str = "ghcr.io";
/// How long a refused login is not offered again, unless it changes.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
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

/// The text without any of the secrets: whoever was told one may repeat it.
#[must_use]
pub fn without(secrets: &[Secret], text: &str) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.0.is_empty()) {
        text = text.replace(&secret.0, "***");
    }
    text
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What proves who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name, and a password or an access token.
    Password {
        /// The user name; not a secret, but nobody's business either.
        username: String,
        /// What goes with it.
        password: Secret,
    },
    /// A refresh token, to be exchanged for one that lets us in (distribution spec, "OAuth2").
    IdentityToken(Secret),
}

impl Login {
    /// The value of an `Authorization: Basic` header (RFC 7617), where that is possible.
    #[must_use]
    pub fn basic(&self) -> Option<Secret> {
        let Self::Password { username, password } = self else {
            return None;
        };
        let pair = format!("{username}:{}", password.reveal());
        Some(Secret(format!("Basic {}", BASE64.encode(pair))))
    }

    /// What of it must not be seen anywhere, in each form that it is sent in.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let itself = match self {
            Self::Password { password, .. } => password,
            Self::IdentityToken(token) => token,
        };
        let basic = self.basic();
        let basic =
            basic.and_then(|header| header.reveal().strip_prefix("Basic ").map(Secret::new));
        [itself.clone()].into_iter().chain(basic).collect()
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
        let document = match self {
            Self::Password { username, password } => serde_json::json!({
                "username": username,
                "password": password.reveal(),
                "serveraddress": address,
            }),
            Self::IdentityToken(token) => serde_json::json!({
                "identitytoken": token.reveal(),
                "serveraddress": address,
            }),
        };
        Secret(URL_SAFE.encode(document.to_string()))
    }
}

/// A secret that is given as such, or in a file that may be replaced at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The secret itself.
    Given(Secret),
    /// Where to read it, white space around it aside.
    File(PathBuf),
}

impl Source {
    fn read(&self) -> Option<Secret> {
        match self {
            Self::Given(secret) => Some(secret.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).ok()?;
                Some(Secret::new(text.trim())).filter(|secret| !secret.reveal().is_empty())
            }
        }
    }
}

/// `GHCR_USER` and `GHCR_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhcrLogin {
    /// The user name.
    pub user: Source,
    /// The access token.
    pub token: Source,
}

/// How far a refusal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The login is not known there.
    Everywhere,
    /// It is, but may not read this repository.
    Here,
}

/// All logins we know of. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    ghcr: Option<GhcrLogin>,
    files: Vec<PathBuf>,
    helpers: Helpers,
    /// By registry, or registry and repository: there may be several logins for one.
    refused: Mutex<HashMap<String, Vec<(Login, Instant)>>>,
    /// What was last said about a file.
    complaints: Mutex<HashMap<PathBuf, String>>,
}

impl Credentials {
    /// `ghcr` is for `ghcr.io`; `files` are asked in this order, and need not exist.
    #[must_use]
    pub fn new(ghcr: Option<GhcrLogin>, files: Vec<PathBuf>) -> Self {
        Self {
            known: Arc::new(Known {
                ghcr,
                files,
                ..Known::default()
            }),
        }
    }

    /// The login for an image, unless it was refused lately.
    ///
    /// A file that cannot be read or understood counts as empty; the reason is logged once,
    /// because what follows is an anonymous request that may well be refused.
    #[must_use]
    pub fn login(&self, reference: &Reference) -> Option<Login> {
        let login = self.find(reference)?;
        Some(login).filter(|login| !self.was_refused(reference, login))
    }

    /// Notes that a registry refused a login.
    pub fn refuse(&self, reference: &Reference, login: Login, how_far: Refused) {
        let [registry, repository] = keys(reference);
        let key = match how_far {
            Refused::Everywhere => registry,
            Refused::Here => repository,
        };
        self.known.helpers.forget();
        log::warn!(
            "{key}: the credentials were refused (are they expired?): not used again before they change or an hour has passed"
        );
        let mut refused = lock(&self.known.refused);
        let all = refused.entry(key).or_default();
        all.retain(|(bad, at)| *bad != login && at.elapsed() < REFUSED_FOR);
        all.push((login, Instant::now()));
    }

    /// Whether there is a login, and it was refused lately.
    #[must_use]
    pub fn is_refused(&self, reference: &Reference) -> bool {
        let login = self.find(reference);
        login.is_some_and(|login| self.was_refused(reference, &login))
    }

    fn was_refused(&self, reference: &Reference, login: &Login) -> bool {
        let refused = lock(&self.known.refused);
        let keys = keys(reference);
        let mut all = keys.iter().filter_map(|key| refused.get(key)).flatten();
        all.any(|(bad, at)| bad == login && at.elapsed() < REFUSED_FOR)
    }

    fn find(&self, reference: &Reference) -> Option<Login> {
        if let (GHCR, Some(ghcr)) = (reference.registry(), &self.known.ghcr) {
            if let (Some(user), Some(password)) = (ghcr.user.read(), ghcr.token.read()) {
                let username = user.reveal().to_owned();
                return Some(Login::Password { username, password });
            }
        }
        let mut files = self.known.files.iter();
        files.find_map(|path| self.find_in(path, reference))
    }

    /// Complains of files that cannot be read or understood now, and not when one is needed.
    pub fn look_over(&self) {
        for path in &self.known.files {
            self.or_complain(path, file::read(path).map(|_| None));
        }
    }

    fn find_in(&self, path: &Path, reference: &Reference) -> Option<Login> {
        let outcome = file::read(path).and_then(|file| file.login(reference, &self.known.helpers));
        self.or_complain(path, outcome)
    }

    fn or_complain(&self, path: &Path, outcome: Result<Option<Login>, String>) -> Option<Login> {
        let mut complaints = lock(&self.known.complaints);
        match outcome {
            Ok(login) => {
                complaints.remove(path);
                login
            }
            Err(reason) => {
                if complaints.get(path) != Some(&reason) {
                    log::warn!("{}: {reason} (going on without it)", path.display());
                    complaints.insert(path.to_owned(), reason);
                }
                None
            }
        }
    }
}

/// What a refusal is noted under: the registry, and the repository.
fn keys(reference: &Reference) -> [String; 2] {
    let registry = reference.registry();
    [
        registry.to_owned(),
        format!("{registry}/{}", reference.repository()),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str, password: &str) -> Login {
        Login::Password {
            username: username.into(),
            password: Secret::new(password),
        }
    }

    fn reference(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    #[test]
    fn registry_auth_is_base64url_with_padding() {
        // moby's authconfig does not mind the order of the keys; the document is compared decoded.
        let decoded = |login: &Login, registry: &str| {
            let header = login.registry_auth(registry);
            assert_eq!(header.reveal().len() % 4, 0);
            let bytes = URL_SAFE.decode(header.reveal()).expect("base64url");
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON")
        };
        assert_eq!(
            decoded(&login("testuser", "testpassword"), "example.com"),
            serde_json::json!({
                "username": "testuser",
                "password": "testpassword",
                "serveraddress": "example.com"
            })
        );
        assert_eq!(
            decoded(&Login::IdentityToken(Secret::new("t")), DOCKER_HUB),
            serde_json::json!({"identitytoken": "t", "serveraddress": DOCKER_HUB_KEY})
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
    fn the_environment_wins_for_ghcr_only_and_its_files_are_read_each_time() {
        let path = std::env::temp_dir().join(format!("imagewatch-pat-{}", std::process::id()));
        std::fs::write(&path, " pat \n").expect("written");
        let ghcr = GhcrLogin {
            user: Source::Given(Secret::new("me")),
            token: Source::File(path.clone()),
        };
        let credentials = Credentials::new(Some(ghcr), Vec::new());
        let image = reference("ghcr.io/acme/a");
        assert_eq!(credentials.login(&image), Some(login("me", "pat")));
        assert_eq!(credentials.login(&reference("quay.io/acme/a")), None);
        std::fs::write(&path, "new").expect("written");
        assert_eq!(credentials.login(&image), Some(login("me", "new")));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(credentials.login(&image), None);
    }

    #[test]
    fn what_was_refused_is_offered_again_once_it_changes() {
        let with = |token: &str| {
            Credentials::new(
                Some(GhcrLogin {
                    user: Source::Given(Secret::new("me")),
                    token: Source::Given(Secret::new(token)),
                }),
                Vec::new(),
            )
        };
        let (one, other) = (reference("ghcr.io/acme/a"), reference("ghcr.io/acme/b"));
        let credentials = with("old");
        credentials.refuse(&one, login("me", "old"), Refused::Here);
        assert_eq!(credentials.login(&one), None);
        assert!(credentials.is_refused(&one) && !credentials.is_refused(&other));
        assert!(credentials.login(&other).is_some());
        credentials.refuse(&other, login("me", "old"), Refused::Everywhere);
        assert_eq!(credentials.login(&other), None);
        let credentials = with("new");
        credentials.refuse(&one, login("me", "old"), Refused::Everywhere);
        assert_eq!(credentials.login(&one), Some(login("me", "new")));
        assert!(!credentials.is_refused(&one));
    }
}
