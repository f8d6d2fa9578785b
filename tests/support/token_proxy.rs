//! GHCR's manners before a real registry: a 401 with a Bearer challenge, `/token`, tokens that last
//! until they are revoked and carry no `expires_in`, private repositories. Manifests, blobs and
//! digests stay the real registry's.

use super::images::agent;
use super::server::Answer;
use super::server::Seen;
use super::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// What the proxy knows besides what the registry holds.
pub(crate) struct Rules {
    upstream: String,
    /// How clients reach the proxy, for the realm it names.
    realm: Mutex<String>,
    /// Repositories that only `login` may read.
    private: Mutex<HashSet<String>>,
    login: (String, String),
    /// Valid tokens begin with this; changing it revokes them all.
    generation: AtomicU64,
    /// Answered to every manifest request while set.
    trouble: Mutex<Option<Answer>>,
    /// Whether layers are kept back.
    holds_blobs: Mutex<bool>,
    blobs_let_go: Condvar,
    /// Nothing is answered to anybody.
    is_cut_off: AtomicBool,
    /// How many more requests about a repository come before its tag `latest` moves to what `next` is.
    moves_in: Mutex<Option<usize>>,
    /// What everybody but the program finds behind the tag `latest`: a mirror of long ago.
    mirrored: Mutex<Option<String>>,
}

impl Rules {
    pub(crate) fn new(upstream: &str, login: (&str, &str)) -> Arc<Self> {
        Arc::new(Self {
            upstream: upstream.to_owned(),
            realm: Mutex::default(),
            private: Mutex::default(),
            login: (login.0.to_owned(), login.1.to_owned()),
            generation: AtomicU64::new(1),
            trouble: Mutex::default(),
            holds_blobs: Mutex::default(),
            blobs_let_go: Condvar::new(),
            is_cut_off: AtomicBool::new(false),
            moves_in: Mutex::default(),
            mirrored: Mutex::default(),
        })
    }

    pub(crate) fn make_private(&self, repository: &str) {
        self.private
            .lock()
            .expect("no panic")
            .insert(repository.to_owned());
    }

    pub(crate) fn revoke_tokens(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn set_trouble(&self, answer: Option<Answer>) {
        *self.trouble.lock().expect("no panic") = answer;
    }

    /// From now on layers are asked for and do not come, until they are let go.
    pub(crate) fn hold_blobs(&self) {
        *self.holds_blobs.lock().expect("no panic") = true;
    }

    pub(crate) fn let_blobs_go(&self) {
        *self.holds_blobs.lock().expect("no panic") = false;
        self.blobs_let_go.notify_all();
    }

    /// From now on every connection is closed without an answer, or not any more.
    pub(crate) fn set_cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::SeqCst);
    }

    /// From now on the Engine finds this digest behind the tag `latest`, or what is there.
    pub(crate) fn mirror(&self, digest: Option<String>) {
        *self.mirrored.lock().expect("no panic") = digest;
    }

    /// The tag `latest` moves to what `next` is, just before the request with this number, counted from 1.
    pub(crate) fn move_before(&self, request: usize) {
        *self.moves_in.lock().expect("no panic") = Some(request);
    }

    /// Whether the tag has moved since [`Self::move_before`].
    pub(crate) fn has_moved(&self) -> bool {
        self.moves_in.lock().expect("no panic").is_none()
    }

    fn move_tag(&self, repository: &str) {
        let mut left = self.moves_in.lock().expect("no panic");
        let Some(requests) = left.as_mut() else {
            return;
        };
        *requests -= 1;
        if *requests > 0 {
            return;
        }
        let manifest =
            |tag: &str| format!("http://{}/v2/{repository}/manifests/{tag}", self.upstream);
        const KIND: &str = "application/vnd.docker.distribution.manifest.v2+json";
        let next = agent().get(manifest("next")).header("Accept", KIND).call();
        let next = next.expect("a manifest").into_body().read_to_vec();
        let put = agent().put(manifest("latest")).header("Content-Type", KIND);
        put.send(&next.expect("a body")[..]).expect("it moves");
        *left = None;
    }

    /// On a free loopback port over plain HTTP.
    pub(crate) fn serve(self: &Arc<Self>) -> Server {
        let rules = Arc::clone(self);
        let server = Server::tcp(move |seen| rules.answer(seen));
        *self.realm.lock().expect("no panic") = format!("http://{}/token", server.host());
        server
    }

    fn answer(&self, seen: &Seen) -> Answer {
        if self.is_cut_off.load(Ordering::SeqCst) {
            return Answer::Close;
        }
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        if path == "/token" && seen.method != "GET" {
            // containerd tries the OAuth2 form first when it has credentials.
            return Answer::new(405, &[("Allow", "GET")], "");
        }
        if path == "/token" {
            return self.token(query, seen.header("authorization"));
        }
        let repository = repository_of(path);
        if !self.is_valid(seen.header("authorization"), repository) {
            return self.challenge(repository);
        }
        self.move_tag(repository);
        if path.contains("/blobs/") {
            let holds = self.holds_blobs.lock().expect("no panic");
            drop(self.blobs_let_go.wait_while(holds, |holds| *holds));
        }
        let trouble = self.trouble.lock().expect("no panic").clone();
        match trouble {
            Some(answer) if path.contains("/manifests/") => answer,
            _ => self.forward(seen),
        }
    }

    fn token(&self, query: &str, authorization: Option<&str>) -> Answer {
        let scope = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("scope="));
        let scope = scope
            .unwrap_or_default()
            .replace("%3A", ":")
            .replace("%2F", "/");
        let repository = scope.split(':').nth(1).unwrap_or_default();
        let pair = authorization
            .and_then(|value| value.strip_prefix("Basic "))
            .map(|encoded| {
                String::from_utf8(STANDARD.decode(encoded).expect("base64")).expect("text")
            });
        let known = format!("{}:{}", self.login.0, self.login.1);
        let denied = || {
            let words = "requested access to the resource is denied";
            Answer::json(
                403,
                &json!({"errors": [{"code": "DENIED", "message": words}]}),
            )
        };
        match pair {
            Some(pair) if pair != known => denied(),
            None if self.private.lock().expect("no panic").contains(repository) => {
                let words = "authentication required";
                let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": words}]});
                Answer::json(401, &body)
            }
            _ => Answer::json(200, &json!({"token": self.token_for(repository)})),
        }
    }

    fn token_for(&self, repository: &str) -> String {
        let generation = self.generation.load(Ordering::SeqCst);
        STANDARD.encode(format!("tok-{generation}-{repository}"))
    }

    fn is_valid(&self, authorization: Option<&str>, repository: &str) -> bool {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        token == Some(self.token_for(repository).as_str())
    }

    fn challenge(&self, repository: &str) -> Answer {
        let realm = self.realm.lock().expect("no panic").clone();
        // GHCR names a placeholder when it is not asked for a repository.
        let repository = if repository.is_empty() {
            "user/image"
        } else {
            repository
        };
        let value = format!(
            "Bearer realm=\"{realm}\",service=\"ghcr.io\",scope=\"repository:{repository}:pull\""
        );
        let words = "authentication required";
        let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": words}]});
        Answer::new(401, &[("WWW-Authenticate", &value)], body.to_string())
    }

    fn forward(&self, seen: &Seen) -> Answer {
        let is_program = seen
            .header("user-agent")
            .is_some_and(|agent| agent.starts_with("imagewatch/"));
        let mirrored = self.mirrored.lock().expect("no panic").clone();
        let target = match (seen.target.strip_suffix("/manifests/latest"), mirrored) {
            (Some(repository), Some(digest)) if !is_program => {
                format!("{repository}/manifests/{digest}")
            }
            _ => seen.target.clone(),
        };
        let mut request = ureq::http::Request::builder()
            .method(seen.method.as_str())
            .uri(format!("http://{}{target}", self.upstream));
        for name in ["accept", "range"] {
            for (_, value) in seen
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            {
                request = request.header(name, value);
            }
        }
        let answer = agent().run(request.body(()).expect("a request"));
        let mut answer = answer.expect("the registry answers");
        let mut headers = Vec::new();
        for name in [
            "content-type",
            "docker-content-digest",
            "content-length",
            "etag",
        ] {
            if let Some(value) = answer.headers().get(name) {
                headers.push((name.to_owned(), value.to_str().expect("text").to_owned()));
            }
        }
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .with_config()
            .limit(64 * 1024 * 1024)
            .read_to_vec();
        Answer::Reply(status, headers, body.expect("a body"))
    }
}

/// `/v2/a/b/manifests/latest` → `a/b`.
fn repository_of(path: &str) -> &str {
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    let kinds = ["/manifests/", "/blobs/", "/tags/"];
    let end = kinds.iter().find_map(|kind| rest.find(kind));
    &rest[..end.unwrap_or(0)]
}
