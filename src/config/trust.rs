//! Reads the keys that must have signed an image, the names that they are for, and the secret of push hooks.

use super::Config;
use super::vars::Vars;
use crate::secret::Secret;
use crate::trust::Trust;

const KEYS: &str = "IMAGEWATCH_VERIFY";
const HOOK_SECRET: &str = "IMAGEWATCH_HOOK_SECRET";
pub(super) const READ_TOKEN: &str = "IMAGEWATCH_READ_TOKEN";
const NAMES: &str = "IMAGEWATCH_VERIFY_FOR";

/// The shortest secret of push hooks, in bytes.
const SHORTEST: usize = 16;

impl Vars {
    pub(super) fn hook_secret(&mut self) -> Option<Secret> {
        let secret = self.secret(HOOK_SECRET)?;
        let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
        if secret.len() < SHORTEST || !is_plain {
            let words = "at least 16 printable ASCII characters";
            self.problem(HOOK_SECRET, "***", words);
        }
        Some(Secret::new(secret))
    }

    /// The secret of hooks may stand in a URL, and so in the log of a proxy. And whoever may read must not be able to do
    /// more.
    pub(super) fn compare_secrets(&mut self, config: &Config) {
        let Config {
            admin_token: admin,
            read_token: read,
            hook_secret: hook,
            ..
        } = config;
        let is_equal = |one: &Option<Secret>, other| one.is_some() && one == other;
        if is_equal(hook, admin) {
            let words = "another value than ADMIN_TOKEN, because it may stand in URLs";
            self.problem(HOOK_SECRET, "***", words);
        }
        if is_equal(read, admin) || is_equal(read, hook) {
            let words = "another value than ADMIN_TOKEN and IMAGEWATCH_HOOK_SECRET";
            self.problem(READ_TOKEN, "***", words);
        }
        if read.is_some() && admin.is_none() {
            let words = "ADMIN_TOKEN to be set as well, because without it nobody needs a token";
            self.problem(READ_TOKEN, "***", words);
        }
    }

    #[cold]
    pub(super) fn trust(&mut self) -> Trust {
        let prefixes = self.list(NAMES);
        for prefix in &prefixes {
            if !is_prefix(prefix) {
                let words = "beginnings of names with their registry, such as ghcr.io/acme/ or docker.io/library/nginx:";
                self.problem(NAMES, prefix, words);
            }
        }
        let before = self.problems.len();
        match self.secret(KEYS) {
            Some(keys) => match Trust::new(&keys, prefixes) {
                Ok(trust) => return trust,
                Err(reason) => {
                    let words = format!(
                        "PEM public keys of the kinds P-256, P-384, Ed25519 or RSA (2048 to 8192 bits), but {reason}"
                    );
                    self.problem(KEYS, "***", words);
                }
            },
            // A file that cannot be read has its problem already.
            None if !prefixes.is_empty() && self.problems.len() == before => {
                self.problem(NAMES, &prefixes[0], "IMAGEWATCH_VERIFY to be set as well");
            }
            None => {}
        }
        Trust::default()
    }
}

/// Whether a full name can begin so. A beginning that fits no name would verify nothing, unnoticed.
fn is_prefix(text: &str) -> bool {
    let Some((host, rest)) = text.split_once('/') else {
        return false;
    };
    let is_host = host == "localhost" || host.contains(['.', ':']);
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:/[]".contains(&byte);
    is_host && host != "index.docker.io" && text.bytes().all(fits) && !rest.starts_with('/')
}
