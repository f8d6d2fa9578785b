//! One request to one host: plain HTTP or TLS, the roots, and the proxy. No authentication.
//!
//! `SSL_CERT_FILE` is trusted *besides* the built-in roots. But a TLS client takes one set of roots, and the
//! built-in ones cannot be joined with others. So there is an agent for each set. The given roots are tried
//! first, and the transport that worked for a host is remembered. A loopback host may use plain HTTP, so
//! plain HTTP is tried first there, and then TLS.

use super::bodies;
use super::connect;
use super::proxy;
use super::proxy::Proxies;
use super::tls;
use super::url::authority;
use super::url::host_name;
use super::url::is_loopback;
use super::url::parse_uri;
use super::url::redacted;
use crate::error::Error;
use crate::error::Result;
use crate::secret::Secret;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use ureq::Agent;
use ureq::AsSendBody;
use ureq::Body;
use ureq::Proxy;
use ureq::http::Method;
use ureq::http::Request;
use ureq::http::Response;
use ureq::http::Uri;
use ureq::tls::Certificate;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;

/// The limit for a connection, with the look-up of its name. A host is reached within milliseconds, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit for an answer. A registry answers a HEAD within a second; a silent one must not delay the
/// others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit for the whole exchange, so that a body that trickles in ends too.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);

/// The most hosts whose transport is remembered. Redirects may lead to ever new hosts.
const MOST_HOSTS: usize = 512;

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    GivenRoots,
    BuiltInRoots,
}

/// Sends requests, and remembers the transport of each host.
#[derive(Debug)]
pub(crate) struct Client {
    given_roots: Option<Agent>,
    built_in_roots: Agent,
    proxies: Proxies,
    insecure: Vec<String>,
    /// The transport that worked, by `host[:port]`.
    transports: Mutex<HashMap<String, Transport>>,
}

impl Client {
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
            transports: Mutex::new(HashMap::new()),
        }
    }

    /// The scheme that is tried first, if only the host is known.
    pub(crate) fn scheme(&self, host: &str) -> &'static str {
        match self
            .remembered(host)
            .or_else(|| self.candidates(host).first().copied())
        {
            Some(Transport::Plain) => "http",
            _ => "https",
        }
    }

    /// Whether `host` may be reached without TLS.
    pub(crate) fn may_be_plain(&self, host: &str) -> bool {
        is_loopback(host_name(host)) || self.is_listed(host)
    }

    /// Sends one request to a registry's host. If its transport is not known, tries each candidate.
    pub(crate) fn ask_host(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Uri, Response<Body>)> {
        let candidates = match self.remembered(host) {
            Some(transport) => vec![transport],
            None => self.candidates(host),
        };
        let mut first_failure = None;
        for transport in candidates {
            let scheme = if transport == Transport::Plain {
                "http"
            } else {
                "https"
            };
            let uri = parse_uri(method, &format!("{scheme}://{host}{path}"))?;
            match self.send(transport, method, &uri, headers, None) {
                // A TLS port answers a plain request with 400, or not at all.
                Ok(answer)
                    if transport == Transport::Plain
                        && answer.status() == 400
                        && self.remembered(host).is_none() =>
                {
                    let request = format!("{method} {}", redacted(&uri));
                    first_failure.get_or_insert(refusal(request, answer));
                }
                Ok(answer) => {
                    if transport == Transport::Plain && answer.status() == 400 {
                        // The port may speak TLS by now.
                        self.forget(host);
                    } else {
                        self.remember(host, transport);
                    }
                    return Ok((uri, answer));
                }
                Err(error) => {
                    self.forget(host);
                    let other_transport_may_work = transport_is_wrong(transport, &error);
                    let error = self.failure(&format!("{method} {}", redacted(&uri)), &uri, &error);
                    // The first failure is reported, unless a later transport got further.
                    let got_further = error.to_string().contains("certificate");
                    if first_failure.is_none() || got_further {
                        first_failure = Some(error);
                    }
                    if !other_transport_may_work {
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

    /// Posts a form (`application/x-www-form-urlencoded`) to a URL that a peer named.
    pub(crate) fn post_form(&self, uri: &Uri, form: &Secret) -> Result<Response<Body>> {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let request = format!("POST {}", redacted(uri));
        self.exchange(&request, &Method::POST, uri, &headers, Some(form))
    }

    /// Posts a body to a URL that is a secret. An error names the URL as `request` says.
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
            let sent = self.send(Transport::Plain, method, uri, headers, body);
            return sent.map_err(|error| self.failure(request, uri, &error));
        }
        let tls = |transport: &Transport| *transport != Transport::Plain;
        let known = self.remembered(&host).filter(tls);
        let candidates = known.map_or_else(|| self.tls_candidates(), |transport| vec![transport]);
        let mut failure = None;
        for transport in candidates {
            match self.send(transport, method, uri, headers, body) {
                Ok(answer) => {
                    self.remember(&host, transport);
                    return Ok(answer);
                }
                Err(error) => {
                    self.forget(&host);
                    let go_on = transport_is_wrong(transport, &error);
                    failure = Some(self.failure(request, uri, &error));
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
        transport: Transport,
        method: &Method,
        uri: &Uri,
        headers: &[(&str, &str)],
        body: Option<&Secret>,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let agent = match transport {
            Transport::GivenRoots => self.given_roots.as_ref().unwrap_or(&self.built_in_roots),
            Transport::Plain | Transport::BuiltInRoots => &self.built_in_roots,
        };
        let mut builder = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let proxy = proxy::for_uri(&self.proxies, uri);
        let Some(body) = body else {
            return run(agent, builder.body(())?, proxy);
        };
        run(agent, builder.body(body.reveal().to_owned())?, proxy)
    }

    /// Explains a failure. The text names the proxy, if there is one, because the proxy may be the cause.
    fn failure(&self, request: &str, uri: &Uri, error: &ureq::Error) -> Error {
        let mut failure = bodies::failure(request, error);
        if failure.is_ambiguous() {
            if let Some(proxy) = proxy::shown(&self.proxies, uri) {
                let through = format!(", through the proxy {proxy}");
                failure.words_mut().push_str(&through);
            }
        }
        failure
    }

    /// Whether the owner listed the host as insecure, with its port or for all ports.
    pub(crate) fn is_listed(&self, host: &str) -> bool {
        let mut listed = self.insecure.iter();
        let is = |listed: &str, host: &str| listed.eq_ignore_ascii_case(host);
        listed.any(|listed| is(listed, host) || is(listed, host_name(host)))
    }

    fn candidates(&self, host: &str) -> Vec<Transport> {
        if self.is_listed(host) {
            vec![Transport::Plain]
        } else if is_loopback(host_name(host)) {
            let plain_first = [Transport::Plain].into_iter();
            plain_first.chain(self.tls_candidates()).collect()
        } else {
            self.tls_candidates()
        }
    }

    fn tls_candidates(&self) -> Vec<Transport> {
        let given = self.given_roots.as_ref().map(|_| Transport::GivenRoots);
        given.into_iter().chain([Transport::BuiltInRoots]).collect()
    }

    fn remembered(&self, host: &str) -> Option<Transport> {
        let transports = self
            .transports
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transports.get(host).copied()
    }

    /// Forgets the transport of a host, so that the next request tries every candidate again.
    fn forget(&self, host: &str) {
        let mut transports = self
            .transports
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        transports.remove(host);
    }

    fn remember(&self, host: &str, transport: Transport) {
        let mut transports = self
            .transports
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if transports.len() >= MOST_HOSTS {
            transports.clear();
        }
        transports.insert(host.to_owned(), transport);
    }
}

/// Runs a request. Settings of its own cost a copy of all the agent's settings.
fn run(
    agent: &Agent,
    request: Request<impl AsSendBody>,
    proxy: Option<Proxy>,
) -> std::result::Result<Response<Body>, ureq::Error> {
    match proxy {
        None => agent.run(request),
        proxy => agent.run(agent.configure_request(request).proxy(proxy).build()),
    }
}

fn agent(roots: RootCerts) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    let config = bodies::agent_config()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_global(Some(TOTAL_TIMEOUT))
        .max_idle_connections_per_host(2)
        .build();
    connect::agent(config)
}

/// Whether the failure shows that the host was reached, but expects another transport.
fn transport_is_wrong(transport: Transport, error: &ureq::Error) -> bool {
    match transport {
        // A TLS server answers plain HTTP with an alert, or closes the connection.
        Transport::Plain => match error {
            ureq::Error::Protocol(_) => true,
            ureq::Error::Io(io) => matches!(
                io.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
            ),
            _ => false,
        },
        Transport::GivenRoots => error.to_string().contains("UnknownIssuer"),
        Transport::BuiltInRoots => false,
    }
}

fn refusal(request: String, answer: Response<Body>) -> Error {
    let status = answer.status().as_u16();
    let message = crate::error::one_line(&bodies::read_words(answer));
    Error::refused(request, status, message, None)
}

fn unreachable_host(host: &str) -> Error {
    Error::unreachable(host, "no way to reach it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_new_hosts_do_not_fill_memory() {
        let client = Client::new(None, Proxies::default(), Vec::new());
        for number in 0..3 * MOST_HOSTS {
            client.remember(&number.to_string(), Transport::Plain);
        }
        let transports = client.transports.lock().expect("no panic");
        assert!(transports.len() <= MOST_HOSTS);
    }
}
