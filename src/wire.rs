//! One request to one host: plain or TLS, which roots, which proxy. No authentication.
//!
//! `SSL_CERT_FILE` is trusted *besides* the built-in roots, but a TLS client takes one set of
//! roots, and the built-in ones cannot be joined with others. So there is an agent for each, the
//! given roots are tried first, and what worked for a host is remembered. In the same way a
//! loopback host, which may be spoken to over plain HTTP, is: plain first, TLS if it shows that it
//! wants that.

mod proxy;
mod tls;

use crate::config::Proxies;
use crate::credentials::Secret;
use crate::error::Result;
use crate::http;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use ureq::Agent;
use ureq::Body;
use ureq::http::Method;
use ureq::http::Response;
use ureq::http::Uri;
use ureq::tls::Certificate;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;

/// Reaching a host takes milliseconds, or it takes for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A registry answers a HEAD within a second; a silent one must not hold up the others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For the whole exchange, so that a body that trickles in ends too.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Hosts whose manner is remembered: redirects may lead to ever new ones.
const MOST_MANNERS: usize = 512;

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Plain,
    GivenRoots,
    BuiltInRoots,
}

/// Sends requests and remembers how each host wants to be spoken to.
#[derive(Debug)]
pub(crate) struct Wire {
    given_roots: Option<Agent>,
    built_in_roots: Agent,
    proxies: Proxies,
    insecure: Vec<String>,
    /// What worked, by `host[:port]`.
    manners: Mutex<HashMap<String, Manner>>,
}

impl Wire {
    pub(crate) fn new(
        certificates: Option<&[Certificate<'static>]>,
        proxies: Proxies,
        insecure: Vec<String>,
    ) -> Self {
        Self {
            given_roots: certificates.map(|found| agent(RootCerts::new_with_certs(found))),
            built_in_roots: agent(RootCerts::WebPki),
            proxies,
            insecure,
            manners: Mutex::new(HashMap::new()),
        }
    }

    /// The scheme to begin with when only the host is known.
    pub(crate) fn scheme(&self, host: &str) -> &'static str {
        match self
            .remembered(host)
            .or_else(|| self.candidates(host).first().copied())
        {
            Some(Manner::Plain) => "http",
            _ => "https",
        }
    }

    /// Whether `host` may be spoken to without TLS.
    pub(crate) fn may_be_plain(&self, host: &str) -> bool {
        is_loopback(host_name(host)) || self.is_listed(host)
    }

    /// Sends one request to a registry's host, in the manner it is known or found to like.
    pub(crate) fn ask_host(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Uri, Response<Body>)> {
        let candidates = match self.remembered(host) {
            Some(manner) => vec![manner],
            None => self.candidates(host),
        };
        let mut first_failure = None;
        for manner in candidates {
            let scheme = if manner == Manner::Plain {
                "http"
            } else {
                "https"
            };
            let uri = parse_uri(method, &format!("{scheme}://{host}{path}"))?;
            match self.send(manner, method, &uri, headers, None) {
                // A TLS port answers a plain request with 400, if it answers at all.
                Ok(answer)
                    if manner == Manner::Plain
                        && answer.status() == 400
                        && self.remembered(host).is_none() =>
                {
                    let request = format!("{method} {}", redacted(&uri));
                    first_failure.get_or_insert(refusal(request, answer));
                }
                Ok(answer) => {
                    if manner == Manner::Plain && answer.status() == 400 {
                        // It may have become a TLS port.
                        self.forget(host);
                    } else {
                        self.remember(host, manner);
                    }
                    return Ok((uri, answer));
                }
                Err(error) => {
                    self.forget(host);
                    let other_manner_may_work = manner_is_wrong(manner, &error);
                    let error = http::failure(&format!("{method} {}", redacted(&uri)), &error);
                    // The first failure is the one to report, unless a later manner got further.
                    let got_further = error.to_string().contains("certificate");
                    if first_failure.is_none() || got_further {
                        first_failure = Some(error);
                    }
                    if !other_manner_may_work {
                        break;
                    }
                }
            }
        }
        Err(first_failure.unwrap_or_else(|| unreachable_host(host)))
    }

    /// Sends one request to a URL that a peer named (a token endpoint, a redirect).
    pub(crate) fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>> {
        let request = format!("{method} {}", redacted(uri));
        self.exchange(&request, method, uri, headers, None)
    }

    /// Posts a form (`application/x-www-form-urlencoded`) to such a URL.
    pub(crate) fn post_form(&self, uri: &Uri, form: &Secret) -> Result<Response<Body>> {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let request = format!("POST {}", redacted(uri));
        self.exchange(&request, &Method::POST, uri, &headers, Some(form))
    }

    /// Posts a body to a URL that is itself a secret: an error names it `request`.
    pub(crate) fn post(
        &self,
        request: &str,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: &Secret,
    ) -> Result<Response<Body>> {
        self.exchange(request, &Method::POST, uri, headers, Some(body))
    }

    fn exchange(
        &self,
        request: &str,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: Option<&Secret>,
    ) -> Result<Response<Body>> {
        let host = authority(uri);
        if uri.scheme_str() == Some("http") {
            let sent = self.send(Manner::Plain, method, uri, headers, body);
            return sent.map_err(|error| http::failure(request, &error));
        }
        let tls = |manner: &Manner| *manner != Manner::Plain;
        let known = self.remembered(&host).filter(tls);
        let candidates = known.map_or_else(|| self.tls_candidates(), |manner| vec![manner]);
        let mut failure = None;
        for manner in candidates {
            match self.send(manner, method, uri, headers, body) {
                Ok(answer) => {
                    self.remember(&host, manner);
                    return Ok(answer);
                }
                Err(error) => {
                    self.forget(&host);
                    let go_on = manner_is_wrong(manner, &error);
                    failure = Some(http::failure(request, &error));
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| unreachable_host(&host)))
    }

    fn send(
        &self,
        manner: Manner,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: Option<&Secret>,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let agent = match manner {
            Manner::GivenRoots => self.given_roots.as_ref().unwrap_or(&self.built_in_roots),
            Manner::Plain | Manner::BuiltInRoots => &self.built_in_roots,
        };
        let mut builder = ureq::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let proxy = proxy::for_uri(&self.proxies, uri);
        let Some(body) = body else {
            let request = builder.body(()).map_err(ureq::Error::Http)?;
            return agent.run(agent.configure_request(request).proxy(proxy).build());
        };
        let body = body.reveal().to_owned();
        let request = builder.body(body).map_err(ureq::Error::Http)?;
        agent.run(agent.configure_request(request).proxy(proxy).build())
    }

    /// Whether the owner listed it as insecure, with its port or for all of them.
    fn is_listed(&self, host: &str) -> bool {
        let mut listed = self.insecure.iter();
        listed.any(|listed| listed == host || listed == host_name(host))
    }

    fn candidates(&self, host: &str) -> Vec<Manner> {
        if self.is_listed(host) {
            vec![Manner::Plain]
        } else if is_loopback(host_name(host)) {
            let plain_first = [Manner::Plain].into_iter();
            plain_first.chain(self.tls_candidates()).collect()
        } else {
            self.tls_candidates()
        }
    }

    fn tls_candidates(&self) -> Vec<Manner> {
        let given = self.given_roots.as_ref().map(|_| Manner::GivenRoots);
        given.into_iter().chain([Manner::BuiltInRoots]).collect()
    }

    fn remembered(&self, host: &str) -> Option<Manner> {
        let manners = self.manners.lock().unwrap_or_else(PoisonError::into_inner);
        manners.get(host).copied()
    }

    /// What worked no longer does: the next request tries everything again.
    fn forget(&self, host: &str) {
        let mut manners = self.manners.lock().unwrap_or_else(PoisonError::into_inner);
        manners.remove(host);
    }

    fn remember(&self, host: &str, manner: Manner) {
        let mut manners = self.manners.lock().unwrap_or_else(PoisonError::into_inner);
        if manners.len() >= MOST_MANNERS {
            manners.clear();
        }
        manners.insert(host.to_owned(), manner);
    }
}

fn agent(roots: RootCerts) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    http::agent_config()
        .tls_config(tls)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_global(Some(TOTAL_TIMEOUT))
        .max_idle_connections_per_host(1)
        .build()
        .new_agent()
}

/// Whether the failure says that the host was reached but wants to be spoken to differently.
fn manner_is_wrong(manner: Manner, error: &ureq::Error) -> bool {
    match manner {
        // A TLS server that reads plain HTTP sends an alert or hangs up.
        Manner::Plain => match error {
            ureq::Error::Protocol(_) => true,
            ureq::Error::Io(io) => matches!(
                io.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
            ),
            _ => false,
        },
        Manner::GivenRoots => error.to_string().contains("UnknownIssuer"),
        Manner::BuiltInRoots => false,
    }
}

fn refusal(request: String, answer: Response<Body>) -> crate::error::Error {
    let status = answer.status().as_u16();
    let message = crate::error::one_line(&http::read_words(answer));
    crate::error::Error::Refused {
        request,
        status,
        message,
        retry_after: None,
    }
}

fn unreachable_host(host: &str) -> crate::error::Error {
    crate::error::Error::Unreachable {
        request: host.to_owned(),
        reason: "no way to reach it".to_owned(),
    }
}

/// Parses a URL that we or a peer made.
pub(crate) fn parse_uri(method: &Method, text: &str) -> Result<Uri> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| uri.authority().is_some() && uri.scheme().is_some())
        .ok_or_else(|| crate::error::Error::Malformed {
            request: method.to_string(),
            reason: format!("not a URL: {:?}", crate::error::one_line(text)),
        })
}

/// The URL without user info and with only those query values that are no secrets, cut where it is
/// too long for a line: a peer may have made it.
pub(crate) fn redacted(uri: &Uri) -> String {
    let mut text = format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or_default(),
        authority(uri),
        uri.path()
    );
    let public = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        matches!(key, "scope" | "service" | "client_id")
    };
    let query: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(public)
        .collect();
    if !query.is_empty() {
        text.push('?');
        text.push_str(&query.join("&"));
    }
    crate::error::one_line(&text)
}

/// `host[:port]` without user info.
pub(crate) fn authority(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    host.to_owned()
}

/// The host without port and brackets.
pub(crate) fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

pub(crate) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the name is an address of this box or of its own network, where no public registry's
/// token endpoint or storage can be. Names are not resolved: this stops literal addresses such as
/// a cloud's metadata service.
pub(crate) fn is_local_address(name: &str) -> bool {
    if is_loopback(name) {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => is_local_v4(ip),
        Ok(IpAddr::V6(ip)) => is_local_v6(ip),
        Err(_) => false,
    }
}

fn is_local_v4(ip: std::net::Ipv4Addr) -> bool {
    ip.is_private() || ip.is_link_local() || ip.is_unspecified() || ip.is_loopback()
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || ip.to_ipv4_mapped().is_some_and(is_local_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_box_and_its_network_are_known() {
        for (name, local) in [
            ("localhost", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("169.254.169.254", true),
            ("10.0.0.1", true),
            ("192.168.1.1", true),
            ("0.0.0.0", true),
            ("fd00::1", true),
            ("::ffff:10.1.1.1", true),
            ("8.8.8.8", false),
            ("ghcr.io", false),
            ("2606:4700::1", false),
        ] {
            assert_eq!(is_local_address(name), local, "{name}");
        }
    }

    #[test]
    fn a_url_is_printed_without_secrets() {
        let uri: Uri = "https://me:pw@a.b:1/token?service=s&token=secret&scope=x"
            .parse()
            .expect("URL");
        assert_eq!(redacted(&uri), "https://a.b:1/token?service=s&scope=x");
    }

    #[test]
    fn a_long_url_is_cut_to_a_line() {
        let long = format!("https://a.b/{}", "x".repeat(10_000));
        assert!(redacted(&long.parse().expect("URL")).len() < 400);
    }

    #[test]
    fn ever_new_hosts_do_not_fill_memory() {
        let wire = Wire::new(None, Proxies::default(), Vec::new());
        for number in 0..3 * MOST_MANNERS {
            wire.remember(&number.to_string(), Manner::Plain);
        }
        let manners = wire.manners.lock().expect("no panic");
        assert!(manners.len() <= MOST_MANNERS);
    }

    #[test]
    fn names_are_cut_from_ports_and_brackets() {
        assert_eq!(host_name("[::1]:5000"), "::1");
        assert_eq!(host_name("a.b:5000"), "a.b");
        assert_eq!(host_name("a.b"), "a.b");
    }
}
