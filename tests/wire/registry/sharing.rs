//! One token for several repositories: used where the registry grants that, given up where it does not, and never
//! shown for a repository that it was not requested for.

use crate::support::Folder;
use crate::support::server::Answer;
use crate::support::server::Seen;
use crate::support::server::Server;
use imagewatch::credentials::Credentials;
use imagewatch::http::Proxies;
use imagewatch::reference::Reference;
use imagewatch::registry::Registry;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

/// What the token endpoint does about the repositories that one request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grants {
    All,
    First,
    Last,
    /// The token of several is good for none, and such a look-up is answered so. 0 closes the connection.
    NoneOfSeveral(u16),
    /// The token of several is longer than a header may be.
    TooLong,
    /// Several are refused with this status.
    RefusesSeveral(u16),
    /// The connection is closed if there are several.
    HangsUpOnSeveral,
    /// The same if there are more than two.
    HangsUpOnMany,
    /// Every request is answered so.
    Nothing(u16),
}

struct State {
    grants: Grants,
    /// What `expires_in` says, if anything.
    life: Option<u32>,
    /// Repositories that nobody may read, and the answer about them.
    closed: HashMap<String, u16>,
    /// Each token with the repositories that it was requested for, and those that it is good for.
    tokens: HashMap<String, (Vec<String>, Vec<String>)>,
    issued: usize,
    own: String,
}

/// A registry that wants a token for each repository.
struct Fake {
    server: Server,
    state: Arc<Mutex<State>>,
    /// How many requests were told of so far.
    told: Mutex<usize>,
}

impl Fake {
    fn new(grants: Grants) -> Self {
        let state = Arc::new(Mutex::new(State {
            grants,
            life: None,
            closed: HashMap::new(),
            tokens: HashMap::new(),
            issued: 0,
            own: String::new(),
        }));
        let for_handler = Arc::clone(&state);
        let server = Server::tcp(move |seen| for_handler.lock().expect("no panic").answer(seen));
        state.lock().expect("no panic").own = server.host();
        Self {
            server,
            state,
            told: Mutex::new(0),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no panic"));
    }

    /// From now on no token that was given out is good for anything.
    fn expire(&self) {
        self.change(|state| state.tokens.values_mut().for_each(|token| token.1.clear()));
    }

    fn images(&self, count: usize) -> Vec<Reference> {
        let image = |number: usize| format!("{}/acme/app{number}:latest", self.server.host());
        (0..count)
            .map(|number| image(number).parse().expect("a reference"))
            .collect()
    }

    /// The requests since the last call: `H3` is a look-up of `app3`, `T3+4` a request for a token for both.
    fn requests(&self) -> Vec<String> {
        let mut told = self.told.lock().expect("no panic");
        let seen = self.server.seen().split_off(*told);
        *told += seen.len();
        let short = |name: &String| name.replace("acme/app", "");
        let line = |seen: &Seen| match repository(seen) {
            Some(name) => format!("H{}", short(&name)),
            None => format!(
                "T{}",
                scopes(seen).iter().map(short).collect::<Vec<_>>().join("+")
            ),
        };
        seen.iter().map(line).collect()
    }

    /// One round. Returns its requests, and the look-ups that failed.
    fn round(&self, registry: &Registry, images: &[Reference]) -> (Vec<String>, Vec<String>) {
        let mut failed = Vec::new();
        registry.digests(images, |reference, outcome| {
            if let Err(error) = outcome {
                failed.push(format!("{}: {error}", reference.repository()));
            }
        });
        (self.requests(), failed)
    }

    /// One round that finds every digest.
    #[track_caller]
    fn good_round(&self, registry: &Registry, images: &[Reference]) -> Vec<String> {
        let (requests, failed) = self.round(registry, images);
        assert!(failed.is_empty(), "{failed:#?} {requests:?}");
        requests
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Answer {
        let Some(name) = repository(seen) else {
            return self.token(scopes(seen));
        };
        let shown = seen.header("authorization");
        let token = shown.map(|shown| {
            let token = shown
                .strip_prefix("Bearer ")
                .and_then(|token| self.tokens.get(token));
            token.unwrap_or_else(|| panic!("{shown} was never given out"))
        });
        if let Some((requested, _)) = token {
            assert!(
                requested.contains(&name),
                "{name} shows a token for {requested:?}"
            );
        }
        let is_shared = token.is_some_and(|(requested, _)| requested.len() > 1);
        match self.grants {
            Grants::NoneOfSeveral(0) if is_shared => return Answer::Close,
            Grants::NoneOfSeveral(status) if is_shared && status != 401 => {
                return Answer::new(status, &[], "");
            }
            _ => {}
        }
        let is_good = token.is_some_and(|(_, good)| good.contains(&name));
        match self.closed.get(&name) {
            None if is_good => {
                let digest = format!("sha256:{}", "a".repeat(64));
                Answer::new(200, &[("Docker-Content-Digest", &digest)], "")
            }
            Some(status) if shown.is_some() && *status != 401 => Answer::new(*status, &[], ""),
            _ => {
                let value = format!("Bearer realm=\"http://{}/token\",service=\"s\"", self.own);
                Answer::new(401, &[("WWW-Authenticate", &value)], "")
            }
        }
    }

    fn token(&mut self, requested: Vec<String>) -> Answer {
        assert!((1..=20).contains(&requested.len()), "{requested:?}");
        let is_one = requested.len() == 1;
        let good = match self.grants {
            Grants::Nothing(status) => return Answer::new(status, &[], ""),
            Grants::RefusesSeveral(status) if !is_one => return Answer::new(status, &[], ""),
            Grants::HangsUpOnSeveral if !is_one => return Answer::Close,
            Grants::HangsUpOnMany if requested.len() > 2 => return Answer::Close,
            Grants::First => vec![requested[0].clone()],
            Grants::Last => requested.last().cloned().into_iter().collect(),
            Grants::NoneOfSeveral(_) if !is_one => Vec::new(),
            _ => requested.clone(),
        };
        self.issued += 1;
        let mut token = format!("t{}-{}", self.issued, self.own.replace([':', '.'], "-"));
        if self.grants == Grants::TooLong && !is_one {
            token.push_str(&"x".repeat(5000));
        }
        self.tokens.insert(token.clone(), (requested, good));
        let mut answer = json!({"token": token});
        if let Some(life) = self.life {
            answer["expires_in"] = json!(life);
        }
        Answer::json(200, &answer)
    }
}

/// The repository of a look-up. `None` for a request for a token.
fn repository(seen: &Seen) -> Option<String> {
    if seen.target.starts_with("/token") {
        return None;
    }
    let name = seen.target.strip_prefix("/v2/").expect("a look-up");
    Some(
        name.strip_suffix("/manifests/latest")
            .expect("a tag")
            .to_owned(),
    )
}

/// The repositories that a request for a token names, in a URL or in a form.
fn scopes(seen: &Seen) -> Vec<String> {
    let form = String::from_utf8_lossy(&seen.body).into_owned();
    let (_, query) = seen.target.split_once('?').unwrap_or(("", &form));
    let values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="));
    let values = values.map(|value| {
        value
            .replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%20", " ")
    });
    let scopes: Vec<String> = values
        .flat_map(|value| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let name = |scope: &String| {
        let name = scope
            .strip_prefix("repository:")
            .and_then(|rest| rest.strip_suffix(":pull"));
        name.unwrap_or_else(|| panic!("{scope}")).to_owned()
    };
    scopes.iter().map(name).collect()
}

fn registry() -> Registry {
    Registry::new(Credentials::default(), None, Proxies::default(), Vec::new())
}

/// A registry of four images whose tokens have all ended, after a first round.
fn second_round(grants: Grants) -> (Fake, Registry, Vec<Reference>) {
    let fake = Fake::new(Grants::All);
    let (registry, images) = (registry(), fake.images(4));
    let first = fake.good_round(&registry, &images);
    let alone = ["H0", "T0", "H0", "T1", "H1", "T2", "H2", "T3", "H3"];
    assert_eq!(first, alone, "nothing is known of any repository");
    fake.expire();
    fake.change(|state| state.grants = grants);
    (fake, registry, images)
}

/// The round of four images whose tokens have ended, and which share none.
const ALONE: [&str; 12] = [
    "H0", "T0", "H0", "H1", "T1", "H1", "H2", "T2", "H2", "H3", "T3", "H3",
];
/// A round with tokens that are good.
const WARM: [&str; 4] = ["H0", "H1", "H2", "H3"];

#[test]
fn where_all_scopes_are_granted_twenty_repositories_share_a_token() {
    let fake = Fake::new(Grants::All);
    let (registry, images) = (registry(), fake.images(45));
    let tokens = |requests: &[String]| {
        let tokens = requests.iter().filter(|line| line.starts_with('T'));
        tokens
            .map(|line| line.split('+').count())
            .collect::<Vec<_>>()
    };
    let first = fake.good_round(&registry, &images);
    assert_eq!((first.len(), tokens(&first)), (91, vec![1; 45]));
    assert_eq!(fake.good_round(&registry, &images).len(), 45);
    fake.expire();
    // The first token is for two, to try it. Each end of a token is noticed by one refusal.
    let second = fake.good_round(&registry, &images);
    assert_eq!((second.len(), tokens(&second)), (53, vec![2, 20, 20, 3]));
    fake.expire();
    let third = fake.good_round(&registry, &images);
    assert_eq!((third.len(), tokens(&third)), (51, vec![20, 20, 5]));
    assert_eq!(fake.good_round(&registry, &images).len(), 45);
}

#[test]
fn where_only_some_scopes_are_granted_that_is_tried_once() {
    for (grants, second) in [
        (
            Grants::First,
            vec![
                "H0", "T0+1", "H0", "H1", "T1", "H1", "H2", "T2", "H2", "H3", "T3", "H3",
            ],
        ),
        (
            Grants::Last,
            vec![
                "H0", "T0+1", "H0", "T0", "H0", "T1", "H1", "H2", "T2", "H2", "H3", "T3", "H3",
            ],
        ),
    ] {
        let (fake, registry, images) = second_round(grants);
        assert_eq!(fake.good_round(&registry, &images), second, "{grants:?}");
        assert_eq!(fake.good_round(&registry, &images), WARM, "{grants:?}");
        for _ in 0..2 {
            fake.expire();
            assert_eq!(fake.good_round(&registry, &images), ALONE, "{grants:?}");
        }
    }
}

#[test]
fn where_a_token_for_several_is_good_for_none_that_is_tried_once() {
    for status in [401, 403, 404, 431, 500, 0] {
        let grants = Grants::NoneOfSeveral(status);
        let (fake, registry, images) = second_round(grants);
        let second = fake.good_round(&registry, &images);
        assert_eq!(second[..5], ["H0", "T0+1", "H0", "T0", "H0"], "{grants:?}");
        assert_eq!(second[5..7], ["T1", "H1"], "{grants:?}");
        assert_eq!(second[7..], ALONE[6..], "{grants:?}");
        fake.expire();
        assert_eq!(fake.good_round(&registry, &images), ALONE, "{grants:?}");
    }
}

#[test]
fn where_several_scopes_are_refused_that_is_tried_once() {
    let refusals = [400, 401, 403, 414, 500].map(Grants::RefusesSeveral);
    let others = [Grants::HangsUpOnSeveral, Grants::TooLong];
    for grants in refusals.into_iter().chain(others) {
        let (fake, registry, images) = second_round(grants);
        let second = fake.good_round(&registry, &images);
        assert_eq!(second[..4], ["H0", "T0+1", "T0", "H0"], "{grants:?}");
        assert_eq!(second[4..], ALONE[3..], "{grants:?}");
        fake.expire();
        assert_eq!(fake.good_round(&registry, &images), ALONE, "{grants:?}");
    }
}

#[test]
fn a_registry_that_grants_two_scopes_but_not_more_is_asked_for_one_from_then_on() {
    let (fake, registry, images) = second_round(Grants::HangsUpOnMany);
    let second = fake.good_round(&registry, &images);
    assert_eq!(second, ["H0", "T0+1", "H0", "H1", "H2", "T2+3", "H2", "H3"]);
    fake.expire();
    let third = fake.good_round(&registry, &images);
    assert_eq!(third[..4], ["H0", "T0+1+2+3", "T0", "H0"]);
    assert_eq!(third[4..], ALONE[3..]);
    fake.expire();
    assert_eq!(fake.good_round(&registry, &images), ALONE);
}

#[test]
fn a_repository_that_may_not_be_read_any_more_keeps_no_other_from_sharing() {
    for status in [401, 403, 404] {
        let (fake, registry, images) = second_round(Grants::All);
        let second = fake.good_round(&registry, &images);
        assert_eq!(second, ["H0", "T0+1", "H0", "H1", "H2", "T2+3", "H2", "H3"]);
        fake.expire();
        fake.change(|state| {
            state.closed.insert("acme/app2".to_owned(), status);
        });
        let (third, failed) = fake.round(&registry, &images);
        let expected = ["H0", "T0+1+2+3", "H0", "H1", "H2", "T2", "H2", "H3"];
        assert_eq!(third, expected, "{status}");
        assert!(
            failed.len() == 1 && failed[0].contains(&status.to_string()),
            "{failed:?}"
        );
        fake.expire();
        // It does not take part before it can be read again.
        let (fourth, failed) = fake.round(&registry, &images);
        assert!(
            fourth.contains(&"T0+1+3".to_owned()),
            "{status}: {fourth:?}"
        );
        assert_eq!(failed.len(), 1);
        fake.expire();
        fake.change(|state| state.closed.clear());
        let fifth = fake.good_round(&registry, &images);
        assert!(fifth.contains(&"T0+1+3".to_owned()), "{status}: {fifth:?}");
        fake.expire();
        let sixth = fake.good_round(&registry, &images);
        assert_eq!(
            sixth,
            ["H0", "T0+1+2+3", "H0", "H1", "H2", "H3"],
            "{status}"
        );
    }
}

#[test]
fn tokens_that_name_their_end_are_renewed_together_without_a_refusal() {
    let fake = Fake::new(Grants::All);
    fake.change(|state| state.life = Some(60));
    let (registry, images) = (registry(), fake.images(4));
    assert_eq!(fake.good_round(&registry, &images).len(), 9);
    assert_eq!(fake.good_round(&registry, &images), WARM);
    std::thread::sleep(Duration::from_secs(56));
    fake.expire();
    let second = fake.good_round(&registry, &images);
    assert_eq!(second, ["T0+1", "H0", "H1", "T2+3", "H2", "H3"]);
    assert_eq!(fake.good_round(&registry, &images), WARM);
}

#[test]
fn a_token_endpoint_in_trouble_is_not_asked_twice_for_each_repository() {
    for (status, expected) in [
        (500, vec!["H0", "T0+1", "T0", "H1", "T1", "H2", "T2"]),
        // The host is put off at once.
        (429, vec!["H0", "T0+1"]),
    ] {
        let (fake, registry, mut images) = second_round(Grants::Nothing(status));
        images.truncate(3);
        let (requests, failed) = fake.round(&registry, &images);
        assert_eq!(
            (requests, failed.len()),
            (expected.iter().map(ToString::to_string).collect(), 3)
        );
        if status == 500 {
            fake.change(|state| state.grants = Grants::All);
            fake.good_round(&registry, &images);
            fake.expire();
            let later = fake.good_round(&registry, &images);
            assert_eq!(later, ["H0", "T0+1", "H0", "H1", "H2", "T2", "H2"]);
        }
    }
}

/// A client with logins, and the folder of its file.
fn with_logins(auths: &Value) -> (Registry, Folder) {
    let folder = Folder::new();
    let file = folder.write("config.json", json!({ "auths": auths }).to_string());
    let credentials = Credentials::new(None, vec![file.into()]);
    let registry = Registry::new(credentials, None, Proxies::default(), Vec::new());
    (registry, folder)
}

#[test]
fn only_repositories_of_one_login_share_a_token() {
    let fake = Fake::new(Grants::All);
    let host = fake.server.host();
    let (registry, _folder) = with_logins(&json!({
        host.clone(): {"auth": "bWU6cHc="},
        format!("{host}/acme/app1"): {"auth": "eW91OnB3"},
        format!("{host}/acme/app2"): {"identitytoken": "refresh"},
        format!("{host}/acme/app4"): {"identitytoken": "refresh"},
    }));
    let images = fake.images(6);
    fake.good_round(&registry, &images);
    for expected in [["T0+3", "T1", "T2+4", "T5"], ["T0+3+5", "T1", "T2+4", ""]] {
        fake.expire();
        let mut requests = fake.good_round(&registry, &images);
        requests.retain(|line| line.starts_with('T'));
        let expected: Vec<&str> = expected.into_iter().filter(|one| !one.is_empty()).collect();
        assert_eq!(requests, expected);
    }
    for seen in fake.server.seen() {
        let login = match scopes(&seen).first().map(String::as_str) {
            Some("acme/app1") => Some("Basic eW91OnB3"),
            Some("acme/app2" | "acme/app4") => None,
            Some(_) => Some("Basic bWU6cHc="),
            None => continue,
        };
        assert_eq!(seen.header("authorization"), login, "{}", seen.target);
    }
}

#[test]
fn hosts_share_nothing_and_several_tags_need_one_token() {
    let (one, other) = (Fake::new(Grants::All), Fake::new(Grants::First));
    let registry = registry();
    let mut images = one.images(2);
    images.extend(other.images(2));
    images.extend(one.images(2));
    // Each fake refuses a token that it did not give out itself.
    for round in 0..4 {
        let mut failed = Vec::new();
        registry.digests(&images, |_, outcome| failed.extend(outcome.err()));
        assert!(failed.is_empty(), "{failed:?}");
        let (of_one, of_other) = (one.requests(), other.requests());
        match round {
            0 => assert_eq!(of_one, ["H0", "T0", "H0", "T1", "H1", "H0", "H1"]),
            _ => assert_eq!(of_one, ["H0", "T0+1", "H0", "H1", "H0", "H1"]),
        }
        if round > 1 {
            assert_eq!(of_other, ALONE[..6]);
        }
        one.expire();
        other.expire();
    }
}

#[test]
fn a_token_for_several_that_is_refused_later_is_renewed_and_not_judged() {
    let (fake, registry, images) = second_round(Grants::All);
    fake.good_round(&registry, &images);
    for _ in 0..3 {
        fake.expire();
        let round = fake.good_round(&registry, &images);
        assert_eq!(round, ["H0", "T0+1+2+3", "H0", "H1", "H2", "H3"]);
    }
    // One look-up alone asks for one repository.
    fake.expire();
    registry.digest(&images[2]).expect("a digest");
    assert_eq!(fake.requests(), ["H2", "T2", "H2"]);
}
