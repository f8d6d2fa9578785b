//! A draft: a URL, and the parts of the receiver that are known so far.

use super::Receiver;
use super::Service;
use super::url::Url;
use super::url::target;
use crate::credentials::Login;
use crate::json;
use crate::secret::Secret;
use serde_json::Map;
use serde_json::Value;

/// Options of shoutrrr without an effect here: the look of a message, its size, the place of a token, and a
/// fixed date. Here, a token is always a header. A fixed date would be wrong for later messages.
const IGNORED: &[&str] = &[
    "avatar",
    "avatarurl",
    "cache",
    "color",
    "colordebug",
    "colorerror",
    "colorinfo",
    "colorwarn",
    "date",
    "firebase",
    "icon",
    "parsemode",
    "preview",
    "splitlines",
    "useheader",
];

/// The reason why a URL cannot be used. Of the URL, a fault holds only names of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The URL does not have its service's form.
    Form,
    /// The option is unknown.
    Unknown(String),
    /// The value of this option is wrong.
    Value(&'static str),
    /// The option takes only these values.
    Takes(&'static str, String),
    /// The option turns the check of certificates off.
    Unverified(&'static str),
}

impl Fault {
    /// The fault in words; `None` if the expected form says enough.
    pub(super) fn words(&self) -> Option<String> {
        match self {
            Self::Form => None,
            Self::Unknown(option) => Some(format!("the option `{option}` is not known")),
            Self::Value(option) => Some(format!("the value of `{option}` cannot be used")),
            Self::Takes(option, values) => Some(format!("`{option}` takes {values}")),
            Self::Unverified(option) => Some(format!(
                "certificates are always checked: leave `{option}` out, SSL_CERT_FILE takes a private CA"
            )),
        }
    }
}

/// The result of a service's function.
pub(super) struct Route {
    /// The printed form of the receiver, without secrets.
    pub(super) shown: String,
    /// The URL that messages are posted to.
    pub(super) uri: String,
    /// The name and value of the header with the login.
    pub(super) login: Option<(&'static str, String)>,
}

/// A URL, and the parts of its receiver that are known so far.
pub(super) struct Draft<'a> {
    pub(super) url: Url<'a>,
    /// The decoded text before `@`.
    pub(super) user: String,
    /// The decoded parts of the path.
    pub(super) parts: Vec<String>,
    /// The options that are not used yet.
    pub(super) options: Vec<(String, String)>,
    /// The fields of every body.
    pub(super) fixed: Map<String, Value>,
    /// The headers besides the login, their names in lower case.
    pub(super) headers: Vec<(String, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn of(url: Url<'a>) -> Result<Self, Fault> {
        Ok(Self {
            user: url.user().ok_or(Fault::Form)?,
            parts: url.parts().ok_or(Fault::Form)?,
            options: url.options().ok_or(Fault::Form)?,
            url,
            fixed: Map::new(),
            headers: Vec::new(),
        })
    }

    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.fixed.insert(key.to_owned(), value);
    }

    pub(super) fn take(&mut self, option: &str) -> Option<String> {
        let index = self.options.iter().position(|(found, _)| found == option)?;
        Some(self.options.swap_remove(index).1).filter(|value| !value.is_empty())
    }

    /// Copies an option into the body.
    pub(super) fn pass(&mut self, option: &str, key: &str) {
        if let Some(value) = self.take(option) {
            self.put(key, Value::from(value));
        }
    }

    /// Parses an option as JSON, and puts it into the body.
    pub(super) fn pass_json(
        &mut self,
        option: &'static str,
        fits: fn(&Value) -> bool,
    ) -> Result<(), Fault> {
        if let Some(text) = self.take(option) {
            let json = json::parse(&text).ok().filter(fits);
            self.put(option, json.ok_or(Fault::Value(option))?);
        }
        Ok(())
    }

    /// Reads an option that is yes or no.
    pub(super) fn flag(&mut self, option: &'static str, default: bool) -> Result<bool, Fault> {
        match self
            .take(option)
            .map(|value| value.to_ascii_lowercase())
            .as_deref()
        {
            None => Ok(default),
            Some("yes" | "true" | "1") => Ok(true),
            Some("no" | "false" | "0") => Ok(false),
            Some(_) => Err(Fault::Value(option)),
        }
    }

    /// Refuses an option that turns the check of certificates off.
    pub(super) fn verified(&mut self, option: &'static str) -> Result<(), Fault> {
        match self.flag(option, false)? {
            true => Err(Fault::Unverified(option)),
            false => Ok(()),
        }
    }

    /// `http` if TLS is turned off, else `https`.
    pub(super) fn scheme(&mut self) -> Result<&'static str, Fault> {
        let is_plain = self.flag("disabletls", false)?;
        Ok(if is_plain { "http" } else { "https" })
    }

    /// The header for `user:password@`, if the URL has a login.
    pub(super) fn basic(&self) -> Result<Option<(&'static str, String)>, Fault> {
        let Some((username, password)) = self.url.login().ok_or(Fault::Form)? else {
            return Ok(None);
        };
        let password = Secret::new(password);
        let basic = Login::Password { username, password }.basic();
        let basic = basic.ok_or(Fault::Form)?;
        Ok(Some(("Authorization", basic.reveal().to_owned())))
    }

    /// Makes the receiver. Fails if a header cannot be sent, or if an unknown option is left.
    #[cold]
    pub(super) fn finish(mut self, service: Service, route: Route) -> Result<Vec<Receiver>, Fault> {
        let title = self.take("title");
        let is_known = |(key, _): &&(String, String)| IGNORED.contains(&key.as_str());
        if let Some(left) = self.options.iter().find(|one| !is_known(one)) {
            return Err(Fault::Unknown(nameable(left).to_owned()));
        }
        let login = route.login.map(|(name, value)| (name.to_owned(), value));
        let mut headers = Vec::new();
        for (name, value) in login.into_iter().chain(self.headers) {
            if !is_header(&value) {
                return Err(Fault::Form);
            }
            headers.push((name, Secret::new(value)));
        }
        let has_type = headers.iter().any(|(name, _)| name == "content-type");
        if !has_type {
            let json = Secret::new("application/json");
            headers.push(("content-type".to_owned(), json));
        }
        Ok(vec![Receiver {
            shown: route.shown,
            uri: target(&route.uri).ok_or(Fault::Form)?,
            headers,
            service,
            fixed: self.fixed,
            title,
            events: Vec::new(),
            is_daily: false,
        }])
    }
}

/// The name of an option, for an error text. A text without a value, or with other characters, may be a
/// misplaced secret, so it is not shown.
fn nameable((key, value): &(String, String)) -> &str {
    let is_word = key
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || b"_-".contains(&b));
    if is_word && !value.is_empty() && key.len() <= 24 {
        key
    } else {
        "…"
    }
}

/// Whether the text can be a header's value (RFC 9110 §5.5).
fn is_header(text: &str) -> bool {
    let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !text.is_empty() && text.bytes().all(fits)
}
