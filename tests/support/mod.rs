//! What all tests share: servers that do as they are told, a registry's and an Engine's other
//! side, a browser, attackers, and the real program with its log.

pub(crate) mod attack;
pub(crate) mod browser;
pub(crate) mod crowd;
pub(crate) mod docker;
pub(crate) mod engine_proxy;
#[cfg(feature = "keyless")]
pub(crate) mod fulcio;
pub(crate) mod haproxy;
pub(crate) mod images;
pub(crate) mod program;
pub(crate) mod server;
pub(crate) mod signer;
pub(crate) mod tls;
pub(crate) mod token_proxy;
pub(crate) mod under_attack;

use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// A text no other test of any run uses at the same time.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

/// A folder that is removed at the end, also after a failure.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    pub(crate) fn within(folder: &Path) -> Self {
        let path = folder.join(format!("iw-{}", unique()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and answers its path as text.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, contents).expect("a file for the test");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Leaves nothing behind. After a failure, what fails here as well is only told: a second panic would
/// end all tests at once.
pub(crate) fn tidy(up: impl FnOnce()) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(up));
    if let Err(panic) = outcome
        && !std::thread::panicking()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Looks again and again until there is something to see; for things that send no event.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(60), what, look)
}

/// The same for what takes a loaded machine minutes.
#[track_caller]
#[allow(dead_code, reason = "for tests with an Engine")]
pub(crate) fn patiently<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(240), what, look)
}

#[track_caller]
fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A proxy whose every CONNECT ends at one loopback port, whatever it names; so a test can be
/// `ghcr.io`. It lives as long as the tests do.
pub(crate) fn connect_proxy(port: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the test");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || relay(client, port));
        }
    });
    address.to_string()
}

fn relay(mut client: TcpStream, port: u16) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let mut server = server;
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    Some(())
}

/// What an Engine shows of an image that it pulled, and was asked for by this path.
pub(crate) fn pulled_image(id: &str, path: &str) -> Value {
    let name = path.split("/images/").nth(1).unwrap_or_default();
    let name = name.trim_end_matches("/json");
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    let digest = format!("sha256:{}", "0123".repeat(16));
    json!({"Id": id, "RepoDigests": [format!("{name}@{digest}")]})
}

/// A free loopback port below those that the kernel gives to whoever asks for any. Whoever connects gets such a port
/// too.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = (std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let port = u16::try_from(20_000 + offset).expect("below 32,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
