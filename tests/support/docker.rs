//! The Engine, spoken to without our own client: a second opinion on what it did.

use super::server::Answer;
use super::server::Seen;
use serde_json::Value;
use serde_json::json;
use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// For how long an Engine may be silent: one that hangs for good must not have a test wait for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// A client of one Engine, one connection a request.
#[derive(Clone)]
pub(crate) struct Docker {
    socket: PathBuf,
}

impl Docker {
    pub(crate) fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The folder of its socket, which its containers can mount.
    pub(crate) fn folder(&self) -> &Path {
        self.socket.parent().expect("a folder")
    }

    /// Whether nobody takes connections.
    pub(crate) fn is_away(&self) -> bool {
        UnixStream::connect(&self.socket).is_err()
    }

    /// Sends a request and answers status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let kind = if body.first() == Some(&b'{') {
            "application/json"
        } else {
            "application/x-tar"
        };
        let headers = [("Content-Type".to_owned(), kind.to_owned())];
        let reply = self.exchange(method, path, &headers, body);
        let reply = reply.expect("the Engine answers");
        (reply.status, reply.body)
    }

    /// The same with headers both ways.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        // In one piece: Podman closes the connection of a call it does not know after its head.
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Does what a program asked a server for that stands between it and the Engine.
    pub(crate) fn pass(&self, seen: &Seen) -> Answer {
        let reply = self.forward(seen, &seen.target);
        reply.map_or(Answer::Close, Reply::pass_on)
    }

    /// The same, with another target and the answer as it came.
    pub(crate) fn forward(&self, seen: &Seen, target: &str) -> io::Result<Reply> {
        let kept = |(name, _): &&(String, String)| {
            ["content-type", "x-registry-auth"].contains(&&*name.to_ascii_lowercase())
        };
        let headers: Vec<_> = seen.headers.iter().filter(kept).cloned().collect();
        self.exchange(&seen.method, target, &headers, &seen.body)
    }

    /// The same with JSON both ways.
    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, bytes) = self.ask(method, path, body.as_bytes());
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    /// Hands over what the Engine tells of its containers, until `on_event` answers no. It is also asked,
    /// with `null`, when there is nothing to tell.
    pub(crate) fn events(&self, on_event: &mut dyn FnMut(&Value) -> bool) -> io::Result<()> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
        let head = format!("GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut reader = io::BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // The head, and the lengths of chunks, are no JSON objects.
                Ok(_) => {
                    let event = match line.first() {
                        Some(b'{') => serde_json::from_slice(&line).unwrap_or(Value::Null),
                        _ => Value::Null,
                    };
                    line.clear();
                    if !on_event(&event) {
                        return Ok(());
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    if !on_event(&Value::Null) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates a container and answers its id.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, body: &Value) -> String {
        let (status, json) = self.json("POST", &format!("/containers/create?name={name}"), body);
        assert_eq!(status, 201, "create {name}: {json}");
        json["Id"].as_str().expect("an id").to_owned()
    }

    #[track_caller]
    pub(crate) fn start(&self, id: &str) {
        let (status, json) = self.json("POST", &format!("/containers/{id}/start"), &Value::Null);
        assert!(matches!(status, 204 | 304), "start {id}: {status} {json}");
    }

    /// Creates and starts a container.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, body: &Value) -> String {
        let id = self.create(name, body);
        self.start(&id);
        id
    }

    /// Runs a command in a container and waits for its end.
    pub(crate) fn exec(&self, id: &str, command: &[&str]) -> String {
        let path = format!("/containers/{id}/exec");
        let (_, exec) = self.json(
            "POST",
            &path,
            &json!({"Cmd": command, "AttachStdout": true}),
        );
        let start = format!("/exec/{}/start", exec["Id"].as_str().expect("an id"));
        let body = json!({"Detach": false}).to_string();
        let (_, output) = self.ask("POST", &start, body.as_bytes());
        String::from_utf8_lossy(&output).into_owned()
    }

    /// `null` if there is none.
    pub(crate) fn inspect(&self, id: &str) -> Value {
        let (status, json) = self.json("GET", &format!("/containers/{id}/json"), &Value::Null);
        if status == 200 { json } else { Value::Null }
    }

    pub(crate) fn image(&self, name: &str) -> Value {
        self.json("GET", &format!("/images/{name}/json"), &Value::Null)
            .1
    }

    pub(crate) fn remove(&self, id: &str) {
        self.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), b"");
    }

    pub(crate) fn stop(&self, id: &str) {
        self.ask("POST", &format!("/containers/{id}/stop?t=1"), b"");
    }

    /// Names of all containers that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let (_, list) = self.json("GET", "/containers/json?all=1", &Value::Null);
        let all = list.as_array().cloned().unwrap_or_default();
        // Links to a container are listed as names of it too, as `/consumer/alias`.
        let own = |one: &Value| {
            let names = one["Names"].as_array()?.iter();
            let mut names = names.filter_map(|name| Some(name.as_str()?.trim_start_matches('/')));
            names.find(|name| !name.contains('/')).map(str::to_owned)
        };
        let mut names: Vec<String> = all
            .iter()
            .filter_map(own)
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names
    }

    /// Removes every container, network and volume whose name begins so, the volumes these
    /// containers used, and the images of these repositories.
    pub(crate) fn clean(&self, prefix: &str, repository_mark: &str) {
        let mut volumes = Vec::new();
        // Podman removes none that another one lives in.
        for _ in 0..3 {
            for name in self.names(prefix) {
                let inspect = self.inspect(&name);
                let mounts = inspect["Mounts"].as_array().into_iter().flatten();
                volumes
                    .extend(mounts.filter_map(|mount| mount["Name"].as_str().map(str::to_owned)));
                self.remove(&name);
            }
        }
        let (_, all) = self.json("GET", "/volumes", &Value::Null);
        let all = all["Volumes"].as_array().into_iter().flatten();
        let own = all.filter_map(|volume| volume["Name"].as_str());
        volumes.extend(
            own.filter(|name| name.starts_with(prefix))
                .map(str::to_owned),
        );
        for name in volumes {
            self.ask("DELETE", &format!("/volumes/{name}"), b"");
        }
        let (_, all) = self.json("GET", "/networks", &Value::Null);
        let all = all.as_array().into_iter().flatten();
        for name in all.filter_map(|network| network["Name"].as_str()) {
            if name.starts_with(prefix) {
                self.ask("DELETE", &format!("/networks/{name}"), b"");
            }
        }
        let (_, list) = self.json("GET", "/images/json", &json!(null));
        for image in list.as_array().into_iter().flatten() {
            for field in ["RepoTags", "RepoDigests"] {
                for name in image[field].as_array().into_iter().flatten() {
                    let name = name.as_str().unwrap_or_default();
                    if name.contains(repository_mark) {
                        self.ask("DELETE", &format!("/images/{name}?force=1"), b"");
                    }
                }
            }
        }
    }
}

/// A whole answer, chunks put together.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The answer for a program that asked a server between it and the Engine.
    pub(crate) fn pass_on(self) -> Answer {
        let kept = |(name, _): &(String, String)| {
            let kept = [
                "content-type",
                "api-version",
                "x-docker-container-path-stat",
            ];
            kept.contains(&&*name.to_ascii_lowercase())
        };
        let headers = self.headers.into_iter().filter(kept).collect();
        Answer::Reply(self.status, headers, self.body)
    }
}

/// `None` if it was cut off.
fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let mut reply = Reply {
        status,
        headers: headers.collect(),
        body: Vec::new(),
    };
    let mut body = &bytes[end..];
    let lower = head.to_ascii_lowercase();
    if !lower.contains("transfer-encoding: chunked") {
        reply.body = body.to_vec();
        return Some(reply);
    }
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&body[..line]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(reply);
        }
        reply
            .body
            .extend_from_slice(body.get(line + 2..line + 2 + size)?);
        body = body.get(line + 2 + size + 2..)?;
    }
}
