//! A real registry, and images put into it without any Engine: a layer with a static busybox, a
//! configuration, a manifest.

use super::Folder;
use ring::digest::SHA256;
use ring::digest::digest;
use serde_json::Value;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Debian's `docker-registry` on a free port, ended when dropped.
struct Distribution {
    process: Child,
    host: String,
}

impl Distribution {
    /// `more` is the end of its configuration, from inside `http` on.
    fn start(folder: &Folder, name: &str, data: &Path, address: &str, more: &str) -> Self {
        let config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}:0\n{more}",
            data.display()
        );
        let config = folder.write(name, config);
        let mut process = Command::new("docker-registry")
            .args(["serve", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry (scripts/lab/lab.sh installs it)");
        let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
        let host = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on ")?;
                Some(rest.split(['"', ' ', ',']).next()?.to_owned())
            })
            .expect("the registry's address");
        // Somebody has to go on reading, or the registry blocks on its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, host }
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A registry on a free loopback port, with a folder of its own, to which anybody may publish.
pub(crate) struct Registry {
    server: Distribution,
    /// Of all its images.
    author: String,
    folder: Folder,
}

/// The same images behind TLS and a login.
pub(crate) struct Front(Distribution);

impl Front {
    /// `ADDRESS:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.0.host
    }
}

impl Registry {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let data = folder.path().join("data");
        Self {
            server: Distribution::start(&folder, "config.yml", &data, "127.0.0.1", ""),
            author: super::unique(),
            folder,
        }
    }

    /// `tls` holds `cert.pem` and `key.pem` of a server at `address`.
    pub(crate) fn front(&self, tls: &Path, address: &str, login: (&str, &str)) -> Front {
        let made = Command::new("htpasswd")
            .args(["-Bbn", login.0, login.1])
            .output()
            .expect("htpasswd (scripts/lab/lab.sh installs it)");
        let users = self.folder.write("htpasswd", made.stdout);
        let tls = tls.display();
        let more = format!(
            "  tls:\n    certificate: {tls}/cert.pem\n    key: {tls}/key.pem\n\
             auth:\n  htpasswd:\n    realm: lab\n    path: {users}\n"
        );
        let data = self.folder.path().join("data");
        let server = Distribution::start(&self.folder, "front.yml", &data, address, &more);
        Front(server)
    }

    /// Another registry with the same images, which tells of each event as the page about hooks says.
    pub(crate) fn telling(&self, url: &str, secret: &str) -> Self {
        let page = include_str!("../../docs/hooks.md");
        let (_, more) = page.split_once("```yaml\n").expect("a recipe");
        let (more, _) = more.split_once("```").expect("its end");
        let more = more
            .replace("http://127.0.0.1:8080/hooks/push", url)
            .replace("SECRET", secret);
        let data = self.folder.path().join("data");
        let folder = Folder::new();
        Self {
            server: Distribution::start(&folder, "telling.yml", &data, "127.0.0.1", &more),
            author: self.author.clone(),
            folder,
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> &str {
        &self.server.host
    }

    /// Publishes an image under `repository:tag` and answers the manifest's digest.
    pub(crate) fn publish(&self, repository: &str, tag: &str, image: &ImageSpec) -> String {
        let manifest = self.put_image(repository, image);
        self.put_manifest(repository, tag, MANIFEST, &manifest)
    }

    /// Publishes an index of images for several architectures and answers its digest.
    pub(crate) fn publish_index(&self, repository: &str, tag: &str, all: &[ImageSpec]) -> String {
        let entry = |image: &ImageSpec| {
            let manifest = self.put_image(repository, image);
            let digest = sha256(manifest.as_bytes());
            self.put_manifest(repository, &digest, MANIFEST, &manifest);
            json!({"mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
                   "platform": {"architecture": image.arch, "os": "linux"}})
        };
        let entries: Vec<Value> = all.iter().map(entry).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        self.put_manifest(repository, tag, INDEX, &index.to_string())
    }

    /// Uploads all of an image but its manifest, which it answers.
    fn put_image(&self, repository: &str, image: &ImageSpec) -> String {
        let layer = image.layer();
        let layer_digest = self.put_blob(repository, &layer);
        let config = json!({
            "architecture": image.arch, "os": "linux", "config": image.config,
            "created": "2026-01-01T00:00:00Z",
            // An Engine keeps an image that a test's containers run only while nobody else who has the
            // same one removes it.
            "author": self.author,
            "history": [{"created_by": image.mark}],
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        })
        .to_string();
        let config_digest = self.put_blob(repository, config.as_bytes());
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                       "size": config.len(), "digest": config_digest},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                        "size": layer.len(), "digest": layer_digest}],
        })
        .to_string()
    }

    pub(super) fn put_manifest(
        &self,
        repository: &str,
        name: &str,
        kind: &str,
        manifest: &str,
    ) -> String {
        let answer = agent()
            .put(format!(
                "http://{}/v2/{repository}/manifests/{name}",
                self.host()
            ))
            .header("Content-Type", kind)
            .send(manifest.as_bytes())
            .expect("the registry answers");
        assert_eq!(answer.status(), 201, "publish {repository}:{name}");
        sha256(manifest.as_bytes())
    }

    pub(super) fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let name = sha256(bytes);
        let base = format!("http://{}", self.host());
        let known = agent()
            .head(format!("{base}/v2/{repository}/blobs/{name}"))
            .call();
        if known.expect("the registry answers").status() == 200 {
            return name;
        }
        let begun = agent()
            .post(format!("{base}/v2/{repository}/blobs/uploads/"))
            .send_empty()
            .expect("the registry answers");
        let location = begun.headers()["location"]
            .to_str()
            .expect("text")
            .to_owned();
        let location = if location.starts_with('/') {
            format!("{base}{location}")
        } else {
            location
        };
        let separator = if location.contains('?') { '&' } else { '?' };
        let answer = agent()
            .put(format!("{location}{separator}digest={name}"))
            .header("Content-Type", "application/octet-stream")
            .send(bytes)
            .expect("the registry answers");
        assert_eq!(answer.status(), 201, "blob {name}");
        name
    }
}

/// What an image is like. Two specs with different marks have different digests.
#[derive(Clone)]
pub(crate) struct ImageSpec {
    pub(crate) mark: String,
    /// What it claims to be for; its busybox is always this machine's.
    pub(crate) arch: &'static str,
    pub(crate) config: Value,
    /// Files besides busybox: path, mode, contents.
    pub(crate) files: Vec<(String, u32, Vec<u8>)>,
    /// Whether there is nothing but these.
    pub(crate) is_bare: bool,
}

impl ImageSpec {
    /// An image that runs until it is stopped, and stops at once. It ends as well when its files are
    /// gone: should an Engine lose track of it, it would otherwise be busy for ever.
    pub(crate) fn new(mark: &str) -> Self {
        let wait = "trap 'exit 0' TERM; while sleep 1 & wait $!; do :; done";
        Self {
            mark: mark.to_owned(),
            arch: "amd64",
            config: json!({
                "Cmd": ["/bin/busybox", "sh", "-c", format!("echo I am {mark}; {wait}")],
                "Env": ["PATH=/bin", format!("VERSION={mark}")],
                "Labels": {"version": mark},
            }),
            files: Vec::new(),
            is_bare: false,
        }
    }

    /// An image of these files and nothing else.
    pub(crate) fn bare(mark: &str, files: Vec<(String, u32, Vec<u8>)>) -> Self {
        Self {
            files,
            is_bare: true,
            ..Self::new(mark)
                .with("Cmd", Value::Null)
                .with("Env", json!([]))
        }
    }

    /// The same with something else in its configuration.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// The same with one more file, which can be executed or not.
    pub(crate) fn with_file(mut self, path: &str, mode: u32, contents: &[u8]) -> Self {
        self.files.push((path.to_owned(), mode, contents.to_vec()));
        self
    }

    /// A tar with busybox and what else is asked for.
    pub(crate) fn layer(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        if !self.is_bare {
            put_busybox(&mut tar);
        }
        for (path, mode, contents) in &self.files {
            tar_entry(&mut tar, path, *mode, b'0', contents);
        }
        tar.extend([0; 1024]);
        tar
    }
}

fn put_busybox(tar: &mut Vec<u8>) {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static (scripts/lab/lab.sh)");
    for folder in ["bin/", "tmp/", "etc/", "proc/", "sys/", "dev/"] {
        tar_entry(tar, folder, 0o755, b'5', &[]);
    }
    tar_entry(tar, "bin/busybox", 0o755, b'0', &busybox);
    for applet in [
        "sh", "sleep", "cat", "ls", "true", "false", "httpd", "touch",
    ] {
        tar_link(tar, &format!("bin/{applet}"), "busybox");
    }
}

/// A tar with one file, as the Engine takes it for a container.
pub(crate) fn archive(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    tar_entry(&mut tar, path, 0o644, b'0', contents);
    tar.extend([0; 1024]);
    tar
}

/// The same with its mode, its owner and its time.
pub(crate) fn archive_of(path: &str, contents: &[u8], mode: u32, owner: u32, time: u64) -> Vec<u8> {
    let mut header = tar_header(path, mode, b'0', contents.len());
    header[108..115].copy_from_slice(format!("{owner:07o}").as_bytes());
    header[116..123].copy_from_slice(format!("{owner:07o}").as_bytes());
    header[136..147].copy_from_slice(format!("{time:011o}").as_bytes());
    let mut tar = Vec::new();
    push_header(&mut tar, header);
    tar.extend_from_slice(contents);
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

fn tar_link(tar: &mut Vec<u8>, path: &str, target: &str) {
    let mut header = tar_header(path, 0o777, b'2', 0);
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    push_header(tar, header);
}

fn tar_entry(tar: &mut Vec<u8>, path: &str, mode: u32, kind: u8, contents: &[u8]) {
    push_header(tar, tar_header(path, mode, kind, contents.len()));
    tar.extend_from_slice(contents);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A header of the ustar format (POSIX.1-2001, pax).
fn tar_header(path: &str, mode: u32, kind: u8, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    for (at, text) in [
        (100, format!("{mode:07o}")),
        (108, "0000000".to_owned()),
        (116, "0000000".to_owned()),
        (124, format!("{size:011o}")),
        (136, "00000000000".to_owned()),
    ] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

fn push_header(tar: &mut Vec<u8>, mut header: [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(text.as_bytes());
    tar.extend_from_slice(&header);
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .build()
        .new_agent()
}

/// Waits until something answers on `host`.
#[allow(dead_code, reason = "for tests that restart a server")]
pub(crate) fn await_port(host: &str) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(host).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{host} does not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
