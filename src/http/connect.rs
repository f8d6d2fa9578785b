//! Connections: the name of a host is looked up only when a connection is made.
//!
//! ureq resolves a name before it looks for a kept connection, on a thread of its own. So each request would
//! cost two DNS packets and a thread. Here ureq's resolver resolves nothing, and the connector does it.

use super::tls::EngineTls;
use crate::thread::queue;
use crate::thread::start;
use std::io;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use ureq::Agent;
use ureq::Error;
use ureq::Timeout;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::ChainedConnector;
use ureq::unversioned::transport::ConnectProxyConnector;
use ureq::unversioned::transport::ConnectionDetails;
use ureq::unversioned::transport::Connector;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::RustlsConnector;
use ureq::unversioned::transport::TcpConnector;
use ureq::unversioned::transport::Transport;

/// The most addresses of a name that are tried. ureq has room for so many.
const MOST_ADDRESSES: usize = 16;

/// An agent over TCP and TLS.
pub(crate) fn agent(config: Config) -> Agent {
    Agent::with_parts(config, LateConnector::new(look_up), NoResolver)
}

/// The same over TLS with the trust and the certificate for an Engine.
#[cold]
pub(crate) fn tls_agent(tls: &EngineTls) -> Agent {
    agent(super::agent_config().tls_config(tls.config.clone()).build())
}

/// Resolves nothing.
#[derive(Debug)]
pub(crate) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        Ok(self.empty())
    }
}

/// Looks up `host:port`.
type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(host.to_socket_addrs()?.collect())
}

/// TCP or a proxy, and TLS if the scheme wants it. ureq's own chain has more links, for features that are off.
type Chain = ChainedConnector<
    (),
    ChainedConnector<(), ConnectProxyConnector, TcpConnector>,
    RustlsConnector,
>;

/// ureq's connectors, with the addresses of the host.
#[derive(Debug)]
struct LateConnector {
    inner: Chain,
    look_up: LookUp,
}

impl LateConnector {
    fn new(look_up: LookUp) -> Self {
        Self {
            inner: ConnectProxyConnector::default()
                .chain(TcpConnector::default())
                .chain(RustlsConnector::default()),
            look_up,
        }
    }

    /// The addresses of `host:port`. The system's resolver knows no deadline, so it gets a thread.
    fn addresses(&self, host: String, limit: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let look_up = self.look_up;
        let (inlet, found) = queue();
        start("resolve", Box::new(move || inlet.push(look_up(&host))))?;
        let found = found.pop_within(*limit.after);
        Ok(found.ok_or(Error::Timeout(Timeout::Resolve))??)
    }
}

impl Connector<()> for LateConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let mut addrs = NoResolver.empty();
        // A proxy resolves the name. Its own name comes here in a call of its own.
        if details.config.proxy().is_none() {
            let (scheme, authority) = (details.uri.scheme(), details.uri.authority());
            let host = scheme
                .zip(authority)
                .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
            let found = self.addresses(host.ok_or(Error::HostNotFound)?, details.timeout)?;
            for address in found.into_iter().take(MOST_ADDRESSES) {
                addrs.push(address);
            }
            if addrs.is_empty() {
                return Err(Error::HostNotFound);
            }
        }
        let details = ConnectionDetails {
            addrs,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
            ..*details
        };
        let transport = self.inner.connect(&details, chained)?;
        Ok(transport.map(Transport::boxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    /// Answers so many requests on one connection, and says with the last answer that the connection ends.
    fn serve(listener: &TcpListener, requests: usize) {
        let (mut stream, _) = listener.accept().expect("a connection");
        for left in (0..requests).rev() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                head.extend(byte);
            }
            let end = if left == 0 {
                "Connection: close\r\n"
            } else {
                ""
            };
            let answer = format!("HTTP/1.1 200 OK\r\n{end}Content-Length: 0\r\n\r\n");
            stream
                .write_all(answer.as_bytes())
                .expect("the answer is read");
        }
    }

    #[test]
    fn a_name_is_looked_up_once_for_each_connection_and_an_address_never() {
        static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let look_up = |host: &str| {
            LOOK_UPS.fetch_add(1, Ordering::SeqCst);
            let (name, port) = host.split_once(':').expect("a port");
            assert_eq!(name, "registry.test");
            format!("127.0.0.1:{port}")
                .to_socket_addrs()
                .map(Iterator::collect)
        };
        let agent = Agent::with_parts(
            crate::http::agent_config().build(),
            LateConnector::new(look_up),
            NoResolver,
        );
        let server = std::thread::spawn(move || {
            serve(&listener, 3);
            serve(&listener, 2);
            serve(&listener, 2);
        });
        let ask = |host: &str| {
            let answer = agent
                .get(format!("http://{host}:{}/", address.port()))
                .call();
            answer
                .expect("an answer")
                .into_body()
                .read_to_vec()
                .expect("a body");
        };
        for expected in [1, 1, 1, 2, 2] {
            ask("registry.test");
            assert_eq!(LOOK_UPS.load(Ordering::SeqCst), expected);
        }
        for _ in 0..2 {
            ask("127.0.0.1");
        }
        assert_eq!(LOOK_UPS.load(Ordering::SeqCst), 2);
        server.join().expect("no panic");
    }

    #[test]
    fn a_name_service_that_is_silent_or_knows_nothing_is_told_of() {
        let ask = |look_up: LookUp| {
            let limit = Some(std::time::Duration::from_millis(50));
            let config = crate::http::agent_config().timeout_connect(limit).build();
            let agent = Agent::with_parts(config, LateConnector::new(look_up), NoResolver);
            agent
                .get("http://registry.test/")
                .call()
                .expect_err("no address")
                .to_string()
        };
        let silent = ask(|_| {
            std::thread::sleep(std::time::Duration::from_secs(2));
            Ok(Vec::new())
        });
        assert_eq!(silent, "timeout: resolve");
        assert_eq!(ask(|_| Ok(Vec::new())), "host not found");
        assert_eq!(
            ask(|_| Err(io::Error::other("no such name"))),
            "io: no such name"
        );
    }
}
