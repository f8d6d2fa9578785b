//! The kind and version of an Engine, and the version of its API that is spoken with it.

use super::Engine;
use super::request::Call;
use super::transport::ANSWER_LIMIT;
use crate::http;
use ureq::http::Method;

/// The newest API version that this program speaks. From 1.52 on, inspect no longer shows a MAC address that the
/// owner set.
pub(super) const NEWEST_API: ApiVersion = ApiVersion(1, 51);

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u32, pub u32);

impl ApiVersion {
    /// The first version that takes a signal with a stop.
    pub const STOP_SIGNAL: Self = Self(1, 42);
    /// The first version that takes all networks at creation, and the MAC address with its network.
    pub const MANY_NETWORKS: Self = Self(1, 44);

    /// The first version that shows the origin of an image.
    pub(super) const IDENTITY: Self = Self(1, 53);

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The answers of `/_ping` and `/version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// E.g. `Docker Engine` or `Podman Engine`.
    pub name: String,
    /// E.g. `28.5.2`.
    pub version: String,
    /// The API version that is spoken with the Engine.
    pub api: ApiVersion,
    /// The architecture of the Engine's host, in Go's word, e.g. `amd64`.
    pub arch: String,
}

impl About {
    /// Whether the Engine is Podman.
    #[must_use]
    pub fn is_podman(&self) -> bool {
        self.name == "Podman Engine"
    }
}

impl Engine {
    /// The name of the Engine's host (`GET /info`); `None` if it is not told. Nothing depends on this call, so the
    /// health of the Engine does not either.
    #[must_use]
    pub fn host_name(&self) -> Option<String> {
        let call = Call::new(Method::GET, "/info", self.deadlines.ping);
        let answer = self.call(&call).ok()?;
        let request = self.named(&call.method, call.path);
        let bytes = http::read_body(&request, answer, ANSWER_LIMIT).ok()?;
        let json = self.parse(&call.method, call.path, &bytes).ok()?;
        json["Name"].as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_compare_as_numbers() {
        let parse = |text| ApiVersion::parse(text).expect("a version");
        assert!(parse("1.9") < parse("1.41"));
        assert_eq!(parse("1.55").min(NEWEST_API), NEWEST_API);
        assert_eq!(ApiVersion::parse("latest"), None);
    }
}
