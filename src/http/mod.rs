//! HTTP to registries, receivers of messages and Engines: connections, proxies, TLS, bodies.

mod address;
mod bodies;
mod certificates;
mod client;
mod connect;
mod proxy;
mod tls;
mod url;

pub use proxy::Proxies;

pub(crate) use url::authority;
pub(crate) use url::host_name;
pub(crate) use url::parse_uri;
pub(crate) use url::redacted;

pub(crate) use address::Place;

pub(crate) use client::Client;

pub(crate) use connect::NoResolver;
pub(crate) use connect::agent;
pub(crate) use connect::tls_agent;

pub use certificates::certificates;

pub(crate) use tls::TLS_FILES;

pub use tls::EngineTls;
pub use tls::client_certificate;

pub(crate) use bodies::PRIVATE_CA;
pub(crate) use bodies::agent_config;
pub(crate) use bodies::failure;
pub(crate) use bodies::parse_retry_after;
pub(crate) use bodies::percent_encode;
pub(crate) use bodies::read_body;
pub(crate) use bodies::read_failure;
pub(crate) use bodies::read_words;
pub(crate) use bodies::retry_after;
