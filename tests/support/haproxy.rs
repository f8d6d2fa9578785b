//! A real proxy before the Engine: Debian's `haproxy`, which lets through what it is told to.

use super::Folder;
use super::images::await_port;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

const PROGRAM: &str = "/usr/sbin/haproxy";

/// What is let through: conditions of haproxy's, one for each kind of call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed(Vec<String>);

impl Allowed {
    /// Calls as `docs/security.md` lists them, and nothing besides.
    pub(crate) fn calls<'c>(calls: impl IntoIterator<Item = (&'c str, &'c str)>) -> Self {
        let mut allowed = Self::default();
        for (method, path) in calls {
            // An image's name has slashes.
            let id = if path.contains("images/") {
                ".+"
            } else {
                "[^/]+"
            };
            let path = path.replace("{id}", id);
            let version = if path == "/_ping" { "" } else { "/v1[.][0-9]+" };
            allowed.pattern(method, &format!("{version}{path}"));
        }
        allowed
    }

    /// Every path that such a pattern holds from end to end.
    pub(crate) fn pattern(&mut self, method: &str, pattern: &str) {
        self.condition(&format!(
            "{{ method {method} }} {{ path_reg '^({pattern})$' }}"
        ));
    }

    /// Anything for which this holds.
    pub(crate) fn condition(&mut self, condition: &str) {
        self.0.push(condition.to_owned());
    }
}

/// The proxy, on a loopback port. It ends with the test.
pub(crate) struct Haproxy {
    process: Child,
    address: String,
    _folder: Folder,
}

impl Haproxy {
    /// Before the Engine that listens on this socket.
    pub(crate) fn start(socket: &Path, allowed: &Allowed) -> Self {
        let rules = |address: &str| {
            let mut config = format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n\
                 frontend engine\n  bind {address}\n  default_backend engine\n"
            );
            for condition in &allowed.0 {
                config.push_str(&format!("  http-request allow if {condition}\n"));
            }
            config.push_str("  http-request deny\n");
            let socket = socket.display();
            config.push_str(&format!("backend engine\n  server engine unix@{socket}\n"));
            config
        };
        Self::run(rules)
    }

    /// With a configuration that binds this address.
    pub(crate) fn run(config: impl FnOnce(&str) -> String) -> Self {
        let folder = Folder::new();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port for the test").to_string();
        let path = folder.write("haproxy.cfg", config(&address));
        let process = Command::new(PROGRAM)
            .args(["-db", "-q", "-f", &path])
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy (scripts/lab/lab.sh installs it)");
        await_port(&address);
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    /// Whether there is one on this machine.
    pub(crate) fn is_here() -> bool {
        Path::new(PROGRAM).exists()
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
