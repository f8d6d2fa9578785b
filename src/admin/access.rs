//! Who may ask for what.

use super::reply::Reply;
use super::route::Asked;
use crate::secret::Secret;
use std::net::IpAddr;

/// The tokens that callers show.
#[derive(Debug, Default)]
pub struct Tokens {
    /// `ADMIN_TOKEN`: for everything. Without it, this box may ask for everything, and nobody else for anything.
    pub admin: Option<Secret>,
    /// `IMAGEWATCH_READ_TOKEN`: for reading only.
    pub read: Option<Secret>,
}

/// What a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    Read,
}

pub(super) fn authorise(asked: &Asked, tokens: &Tokens) -> Result<Rights, Reply> {
    let Some(admin) = &tokens.admin else {
        return same_box(asked).map(|()| Rights::All);
    };
    let shown = asked.authorization.and_then(|value| {
        let (scheme, rest) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
    });
    let is = |shown: &str, token: &Secret| is_equal(shown, token.reveal());
    match shown {
        None | Some("") => Err(Reply::error(401, &"admin auth required")),
        Some(shown) if is(shown, admin) => Ok(Rights::All),
        Some(shown) if tokens.read.as_ref().is_some_and(|read| is(shown, read)) => Ok(Rights::Read),
        Some(_) => Err(Reply::error(401, &"invalid admin auth token")),
    }
}

/// Without a token, only this box may ask. A browser on this box may show a foreign page, and that page
/// must not act through the browser. `Origin` reveals a request of such a page. `Host` reveals a foreign
/// name that was made to resolve to this box.
fn same_box(asked: &Asked) -> Result<(), Reply> {
    let host = asked.host.unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    let same_origin = asked.origin.is_none_or(|origin| {
        let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        authority.eq_ignore_ascii_case(host)
    });
    if (local || host.is_empty()) && same_origin {
        return Ok(());
    }
    Err(Reply::error(
        403,
        &"without ADMIN_TOKEN only localhost may ask, and no page from elsewhere",
    ))
}

/// Compares digests instead of the texts, so that the duration reveals nothing about the texts.
pub(super) fn is_equal(shown: &str, token: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let (shown, token) = (digest(shown), digest(token));
    let differing = shown.as_ref().iter().zip(token.as_ref());
    differing.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
