//! The parts of a receiver's URL. `Uri` would refuse the URLs of some services: those with two colons in the
//! user's part, or with an `@` in the query.

use ureq::http::Uri;

/// The parts of a URL, still encoded.
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    /// The text before `@`.
    user: Option<&'a str>,
    /// `host[:port]`.
    pub(super) host: &'a str,
    /// The path, which begins with `/`, or is empty.
    pub(super) path: &'a str,
    /// The query without its `?`.
    pub(super) query: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn cut(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let rest = rest.split('#').next()?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        (!host.is_empty()).then_some(Self {
            scheme,
            user,
            host,
            path,
            query,
        })
    }

    /// The same URL with another query.
    pub(super) fn with_query(self, query: &'a str) -> Self {
        Self { query, ..self }
    }

    /// The decoded text before `@`; empty if there is none.
    pub(super) fn user(&self) -> Option<String> {
        decode(self.user.unwrap_or_default())
    }

    /// The decoded user name and password, if there are any. `None` if they cannot be decoded.
    pub(super) fn login(&self) -> Option<Option<(String, String)>> {
        let Some(user) = self.user else {
            return Some(None);
        };
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        Some(Some((decode(name)?, decode(password)?)))
    }

    /// The decoded parts of the path, without empty ones.
    pub(super) fn parts(&self) -> Option<Vec<String>> {
        let parts = self.path.split('/').filter(|part| !part.is_empty());
        parts.map(decode).collect()
    }

    /// The decoded pairs of the query. A `+` means a space.
    pub(super) fn pairs(&self) -> Option<Vec<(String, String)>> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let pair = pair.replace('+', " ");
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            Some((decode(key)?, decode(value)?))
        };
        pairs.map(pair).collect()
    }

    /// The pairs of the query as options, with their names in lower case.
    pub(super) fn options(&self) -> Option<Vec<(String, String)>> {
        let lower = |(key, value): (String, String)| (key.to_ascii_lowercase(), value);
        Some(self.pairs()?.into_iter().map(lower).collect())
    }
}

/// A URL that a request can be sent to.
pub(super) fn target(text: &str) -> Option<Uri> {
    let uri = text.parse::<Uri>().ok()?;
    // `Uri` accepts a port that is no number, so the port is checked here.
    let authority = uri.authority()?;
    let has_bad_port = authority.port_u16().is_none() && authority.as_str() != authority.host();
    (!authority.host().is_empty() && !has_bad_port).then_some(uri)
}

/// Undoes percent-encoding (RFC 3986 §2.1).
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}
