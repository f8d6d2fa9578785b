//! Reads who must have signed an image, the names that need it, and the secret of push hooks.

use super::Config;
use super::vars::Vars;
use crate::process;
use crate::secret::Secret;
use crate::trust::HAS_KEYLESS;
use crate::trust::Trust;

const KEYS: &str = "IMAGEWATCH_VERIFY";
const HOOK_SECRET: &str = "IMAGEWATCH_HOOK_SECRET";
pub(super) const READ_TOKEN: &str = "IMAGEWATCH_READ_TOKEN";
const NAMES: &str = "IMAGEWATCH_VERIFY_FOR";
const IDENTITIES: &str = "IMAGEWATCH_VERIFY_IDENTITY";
const ROOT: &str = "IMAGEWATCH_TRUSTED_ROOT";

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
        let mut trust = Trust::new(prefixes);
        if let Some(keys) = self.secret(KEYS)
            && let Err(reason) = trust.add_keys(&keys)
        {
            let words = format!(
                "PEM public keys of the kinds P-256, P-384, Ed25519 or RSA (2048 to 8192 bits), but {reason}"
            );
            self.problem(KEYS, "***", words);
        }
        self.identities(&mut trust);
        // A file that cannot be read has its problem already.
        if !trust.has_signers()
            && self.problems.len() == before
            && let Some(prefix) = self.list(NAMES).first()
        {
            self.problem(NAMES, prefix, "IMAGEWATCH_VERIFY to be set as well");
        }
        trust
    }

    /// Reads the workflows that may sign. A build without them would ignore the restriction, so it refuses it.
    fn identities(&mut self, trust: &mut Trust) {
        let root = self.given(ROOT);
        let Some(given) = self.given(IDENTITIES) else {
            if let Some(path) = root {
                self.problem(ROOT, &path, "IMAGEWATCH_VERIFY_IDENTITY to be set as well");
            }
            return;
        };
        if !HAS_KEYLESS {
            let words = "it to be unset: only imagewatch:keyless checks identities, this build IMAGEWATCH_VERIFY";
            return self.problem(IDENTITIES, &given, words);
        }
        let text = match root.as_deref().map(std::fs::read_to_string).transpose() {
            Ok(text) => text,
            Err(error) => {
                let words = format!("a readable file ({})", process::explain(&error));
                return self.problem(ROOT, &root.unwrap_or_default(), words);
            }
        };
        if let Err(words) = trust.add_identities(&self.list(IDENTITIES), text.as_deref()) {
            let is_root =
                root.is_some() && trust.add_identities(&self.list(IDENTITIES), None).is_ok();
            match root {
                Some(path) if is_root => self.problem(ROOT, &path, words),
                _ => self.problem(IDENTITIES, &given, words),
            }
        }
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
