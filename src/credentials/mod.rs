//! The logins for registries. This room is the only holder of their secrets.
//!
//! The first source with a login wins: `GHCR_USER` with `GHCR_TOKEN` for `ghcr.io`, then the login files of
//! the Docker CLI and of Podman. A file that has changed is read again, so a rotated password needs no restart.
//!
//! A refused login is not offered again for a while: some registries (GitLab) lock out a client that tries
//! too often.

mod file;
mod helper;
mod kept;

use crate::reference::DOCKER_HUB;
use crate::reference::Reference;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::general_purpose::URL_SAFE;
use file::LoginFile;
use helper::Helpers;
use kept::Kept;
use kept::Reading;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The key under which the Docker CLI keeps Docker Hub's login.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The registry of `GHCR_USER` and `GHCR_TOKEN`.
pub const GHCR: &str = "ghcr.io";
/// How long a refused login is not offered again, unless it changes.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
/// Tools disagree on padding in `auth`, so both forms are read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// One login for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user name, and a password or an access token.
    Password {
        /// The user name. It is no secret, but is not shown either.
        username: String,
        /// The password or the access token.
        password: Secret,
    },
    /// User name and password that are not UTF-8: base64 of the bytes, with a colon between.
    Bytes(Secret),
    /// A refresh token, which is exchanged for an access token (distribution spec, "OAuth2").
    IdentityToken(Secret),
}

impl Login {
    /// Reads `user:password`, which need not be UTF-8; `None` without a colon.
    fn of_pair(pair: &[u8]) -> Option<Self> {
        let colon = pair.iter().position(|byte| *byte == b':')?;
        Some(match std::str::from_utf8(pair) {
            Ok(text) => Self::Password {
                username: text[..colon].to_owned(),
                password: Secret::new(&text[colon + 1..]),
            },
            Err(_) => Self::Bytes(Secret::new(BASE64.encode(pair))),
        })
    }

    /// Whether the login has a user name. An identity token needs none.
    fn has_user(&self) -> bool {
        match self {
            Self::Password { username, .. } => !username.is_empty(),
            Self::Bytes(_) => self
                .text()
                .is_some_and(|(username, _)| !username.is_empty()),
            Self::IdentityToken(_) => true,
        }
    }

    /// The value of an `Authorization: Basic` header (RFC 7617); `None` for an identity token.
    #[must_use]
    pub fn basic(&self) -> Option<Secret> {
        let encoded = match self {
            Self::Password { username, password } => {
                BASE64.encode(format!("{username}:{}", password.reveal()))
            }
            Self::Bytes(encoded) => encoded.reveal().to_owned(),
            Self::IdentityToken(_) => return None,
        };
        Some(Secret::new(format!("Basic {encoded}")))
    }

    /// User name and password as text. Bytes that are not UTF-8 become U+FFFD, as in the requests of the Docker
    /// CLI.
    fn text(&self) -> Option<(String, String)> {
        match self {
            Self::Password { username, password } => {
                Some((username.clone(), password.reveal().to_owned()))
            }
            Self::Bytes(encoded) => {
                let bytes = BASE64.decode(encoded.reveal()).ok()?;
                let text = String::from_utf8_lossy(&bytes);
                let (username, password) = text.split_once(':')?;
                Some((username.to_owned(), password.to_owned()))
            }
            Self::IdentityToken(_) => None,
        }
    }

    /// The secrets of this login, in each form in which they are sent.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let itself = match (self, self.text()) {
            (Self::IdentityToken(token), _) => Some(token.clone()),
            (_, text) => text.map(|(_, password)| Secret::new(password)),
        };
        let basic = self.basic();
        let basic =
            basic.and_then(|header| header.reveal().strip_prefix("Basic ").map(Secret::new));
        itself.into_iter().chain(basic).collect()
    }

    /// The value of the Engine API's `X-Registry-Auth` header for an image of `registry`: a JSON document in
    /// base64url **with** padding. The form has to be exact: if the Engine cannot decode the value, it pulls
    /// anonymously.
    #[must_use]
    pub fn registry_auth(&self, registry: &str) -> Secret {
        let address = if registry == DOCKER_HUB {
            DOCKER_HUB_KEY
        } else {
            registry
        };
        let document = if let Self::IdentityToken(token) = self {
            serde_json::json!({
                "identitytoken": token.reveal(),
                "serveraddress": address,
            })
        } else {
            let (username, password) = self.text().unwrap_or_default();
            serde_json::json!({
                "username": username,
                "password": password,
                "serveraddress": address,
            })
        };
        Secret::new(URL_SAFE.encode(document.to_string()))
    }
}

/// The source of a secret: the text itself, or a file that may be replaced at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The secret itself.
    Given(Secret),
    /// The file with the secret. White space around the secret does not count.
    File(PathBuf),
}

/// A [`Source`], and what it held when it was read last.
#[derive(Debug)]
enum Held {
    Given(Secret),
    File(Kept<Secret>),
}

impl Held {
    fn of(source: Source) -> Self {
        match source {
            Source::Given(secret) => Self::Given(secret),
            Source::File(path) => Self::File(Kept::new(path, |bytes| {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                Ok(Secret::new(text.trim()))
            })),
        }
    }

    fn renew(&self) {
        if let Self::File(file) = self {
            file.renew();
        }
    }

    fn secret(&self) -> Option<Secret> {
        match self {
            Self::Given(secret) => Some(secret.clone()),
            Self::File(file) => {
                let secret = file.contents().ok()?;
                (!secret.reveal().is_empty()).then(|| Secret::clone(&secret))
            }
        }
    }
}

/// The login of `GHCR_USER` and `GHCR_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GhcrLogin {
    /// The source of the user name.
    pub user: Source,
    /// The source of the access token.
    pub token: Source,
}

/// The extent of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The registry does not know the login.
    Everywhere,
    /// The registry knows the login, but does not let it read this repository.
    Here,
}

/// All sources of logins. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The user and the token for `ghcr.io`.
    ghcr: Option<[Held; 2]>,
    files: Vec<Kept<LoginFile>>,
    helpers: Helpers,
    /// The refused logins, by registry, or by registry and repository. One key may have several.
    refused: Mutex<HashMap<String, Vec<(Login, Instant)>>>,
    /// The last warning about each file.
    warnings: Mutex<HashMap<PathBuf, String>>,
}

impl Credentials {
    /// `ghcr` is the login for `ghcr.io`. `files` are read in this order, and need not exist.
    #[must_use]
    pub fn new(ghcr: Option<GhcrLogin>, files: Vec<PathBuf>) -> Self {
        Self {
            known: Arc::new(Known {
                ghcr: ghcr.map(|ghcr| [ghcr.user, ghcr.token].map(Held::of)),
                files: files
                    .into_iter()
                    .map(|path| Kept::new(path, file::parse))
                    .collect(),
                ..Known::default()
            }),
        }
    }

    /// The login for an image, unless that login was refused lately.
    #[must_use]
    pub fn login(&self, reference: &Reference) -> Option<Login> {
        self.renew();
        self.kept_login(reference)
    }

    /// Reads the files that have changed.
    pub(crate) fn renew(&self) {
        self.known.files.iter().for_each(Kept::renew);
        self.known.ghcr.iter().flatten().for_each(Held::renew);
    }

    /// The same as [`Credentials::login`], as of the last renewal. So the look-ups of a round can share one
    /// renewal.
    ///
    /// A file that cannot be read or understood counts as empty. The reason is logged once, because the
    /// request is anonymous then, and may be refused.
    pub(crate) fn kept_login(&self, reference: &Reference) -> Option<Login> {
        let login = self.find(reference)?;
        Some(login).filter(|login| !self.was_refused(reference, login))
    }

    /// Remembers that a registry refused a login.
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

    /// Whether the image's login was refused lately.
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
        if let (GHCR, Some([user, token])) = (reference.registry(), &self.known.ghcr) {
            if let (Some(user), Some(password)) = (user.secret(), token.secret()) {
                let username = user.reveal().to_owned();
                return Some(Login::Password { username, password });
            }
        }
        let mut files = self.known.files.iter();
        files.find_map(|file| self.find_in(file, reference))
    }

    /// Warns now about files that cannot be read or understood, and not only when a login is needed.
    pub fn look_over(&self) {
        for file in &self.known.files {
            self.or_warn(file, file.contents().map(|_| None));
        }
    }

    fn find_in(&self, file: &Kept<LoginFile>, reference: &Reference) -> Option<Login> {
        let contents = file.contents();
        let outcome = contents.and_then(|found| found.login(reference, &self.known.helpers));
        self.or_warn(file, outcome)
    }

    fn or_warn(&self, file: &Kept<LoginFile>, outcome: Reading<Option<Login>>) -> Option<Login> {
        let (path, mut warnings) = (file.path(), lock(&self.known.warnings));
        match outcome {
            Ok(login) => {
                warnings.remove(path);
                login
            }
            Err(reason) => {
                if warnings.get(path) != Some(&reason) {
                    log::warn!("{}: {reason} (going on without it)", path.display());
                    warnings.insert(path.to_owned(), reason);
                }
                None
            }
        }
    }
}

/// The keys of a refusal: the registry, and the repository.
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
        // moby's authconfig accepts the keys in any order, so the document is compared decoded.
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
        let latin = Login::of_pair(b"me:p\xe9:s").expect("a login");
        assert_eq!(
            decoded(&latin, "example.com"),
            serde_json::json!({
                "username": "me",
                "password": "p\u{fffd}:s",
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
        let latin = Login::of_pair(b"me:hunter2\xe9").expect("a login");
        assert_eq!(format!("{latin:?}"), "Bytes(***)");
        let secrets = latin.secrets();
        assert_eq!(
            crate::secret::without(&secrets, "no hunter2\u{fffd} here"),
            "no *** here"
        );
        assert_eq!(
            crate::secret::without(&secrets, "no bWU6aHVudGVyMuk= here"),
            "no *** here"
        );
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
