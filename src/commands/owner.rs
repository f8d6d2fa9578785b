//! `imagewatch rollback`, `hold`, `release` and `skip`: ask the running server to take a decision of its owner.

use super::server;
use crate::error::headline;
use crate::http::percent_encode;
use crate::secret::Secret;
use crate::time::parse_duration;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// A roll-back may pull an image first, and then wait for other updates and for each container.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The decision that a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Roll a container back, alone or with those that were updated with it.
    RollBack(String, bool),
    /// Hold a container, for a time or without an end.
    Hold(String, Option<String>),
    /// End the hold of a container.
    Release(String),
    /// Never apply the newest image of a reference, or forget that.
    Skip(String, bool),
}

/// The command line of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnersLine {
    /// The decision.
    pub decision: Decision,
    /// Whether the answer is printed as the server gave it.
    pub as_json: bool,
}

impl OwnersLine {
    /// Reads the arguments of a command. Returns `None` if they cannot be used.
    #[must_use]
    pub fn parse(command: &str, arguments: &[&str]) -> Option<Self> {
        let (mut is_marked, mut as_json) = (false, false);
        let (mut lasting, mut name) = (None, None);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match (*word, command) {
                ("--json", _) => as_json = true,
                ("--only", "rollback") | ("--undo", "skip") => is_marked = true,
                ("--for", "hold") => {
                    let time = parse_duration(words.next()?).filter(|time| !time.is_zero());
                    lasting = time.map(|time| Some(time.as_secs().max(1)))?;
                }
                (other, _) if other.starts_with('-') || other.is_empty() || name.is_some() => {
                    return None;
                }
                (other, _) => name = Some(other.to_owned()),
            }
        }
        let name = name?;
        let decision = match command {
            "rollback" => Decision::RollBack(name, is_marked),
            "hold" => Decision::Hold(name, lasting.map(|seconds| format!("{seconds}s"))),
            "release" => Decision::Release(name),
            _ => Decision::Skip(name, is_marked),
        };
        Some(Self { decision, as_json })
    }
}

impl Decision {
    /// The method and the target of the request.
    fn request(&self) -> (&'static str, String) {
        let of = |name: &str, rest: &str| {
            let name = percent_encode(name.trim_start_matches('/'), "");
            format!("/admin/containers/{name}/{rest}")
        };
        match self {
            Self::RollBack(name, false) => ("POST", of(name, "rollback")),
            Self::RollBack(name, true) => ("POST", of(name, "rollback?only=true")),
            Self::Hold(name, None) => ("POST", of(name, "hold")),
            Self::Hold(name, Some(time)) => ("POST", of(name, &format!("hold?for={time}"))),
            Self::Release(name) => ("DELETE", of(name, "hold")),
            Self::Skip(image, undo) => {
                let method = if *undo { "DELETE" } else { "POST" };
                let image = percent_encode(image, "");
                (method, format!("/admin/images/skip?image={image}"))
            }
        }
    }

    /// Asks the server that listens on `address`. Returns its answer.
    ///
    /// # Errors
    /// Why the server has not taken the decision, on one line.
    #[cold]
    pub fn ask(&self, address: SocketAddr, token: Option<&Secret>) -> Result<Value, String> {
        let (method, target) = self.request();
        let answer = server::ask(address, method, &target, token, DEADLINE)?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status == 200 && body.is_object() {
            return Ok(body);
        }
        Err(match body["error"].as_str() {
            Some(error) if answer.status == 401 => format!("{error} (is ADMIN_TOKEN right?)"),
            Some(error) => error.to_owned(),
            None => format!("{}: {}", answer.request, answer.status),
        })
    }

    /// Whether an answer says that everything was done.
    #[must_use]
    pub fn is_done(&self, answer: &Value) -> bool {
        let some = |key: &str| answer[key].as_array().is_some_and(|list| !list.is_empty());
        !matches!(self, Self::RollBack(..))
            || some("recreated") && !["failed", "rolled_back", "skipped"].into_iter().any(some)
    }

    /// Puts an answer into words: one line, or a line for each container of a roll-back.
    #[must_use]
    pub fn in_words(&self, answer: &Value) -> String {
        let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let words = match self {
            Self::RollBack(name, _) => return roll_back_in_words(name, answer),
            Self::Hold(..) => {
                let until = answer["held"]["until"].as_str();
                let until = until.map(|until| format!(" until {until}"));
                format!(
                    "{} is held{}",
                    text(&answer["container"]),
                    until.unwrap_or_default()
                )
            }
            Self::Release(_) => format!("{} is not held", text(&answer["container"])),
            Self::Skip(_, false) => format!(
                "{}: {} is skipped until the tag moves on",
                text(&answer["image"]),
                text(&answer["skipped"]["digest"])
            ),
            Self::Skip(_, true) => format!("{}: no image is skipped", text(&answer["image"])),
        };
        match answer["note"].as_str() {
            Some(note) => format!("{words} ({note})\n"),
            None => format!("{words}\n"),
        }
    }
}

fn roll_back_in_words(name: &str, answer: &Value) -> String {
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    for one in list("recreated") {
        let container = one.as_str().unwrap_or(name);
        text.push_str(&format!(
            "{container} runs the image again that it ran before\n"
        ));
    }
    for key in ["failed", "rolled_back", "skipped", "warnings"] {
        for one in list(key) {
            let name = one["name"].as_str().or(one.as_str()).unwrap_or(name);
            let reason = one["reason"].as_str().unwrap_or("the image is not there");
            let kind = if key == "warnings" {
                "warning"
            } else {
                "not rolled back"
            };
            text.push_str(&format!("{name}: {kind}: {}\n", headline(reason).0));
        }
    }
    if text.is_empty() {
        text = format!("{name}: nothing was rolled back\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(words: &[&str]) -> Option<Decision> {
        let (command, arguments) = words.split_first().expect("a command");
        OwnersLine::parse(command, arguments).map(|line| line.decision)
    }

    #[test]
    fn a_command_becomes_the_request_of_the_api() {
        for (words, method, target) in [
            (
                &["rollback", "web"][..],
                "POST",
                "/admin/containers/web/rollback",
            ),
            (
                &["rollback", "--only", "/web"],
                "POST",
                "/admin/containers/web/rollback?only=true",
            ),
            (&["hold", "web"], "POST", "/admin/containers/web/hold"),
            (
                &["hold", "a b", "--for", "7d"],
                "POST",
                "/admin/containers/a%20b/hold?for=604800s",
            ),
            (
                &["release", "--json", "web"],
                "DELETE",
                "/admin/containers/web/hold",
            ),
            (
                &["skip", "a.b/c:1"],
                "POST",
                "/admin/images/skip?image=a.b%2Fc%3A1",
            ),
            (
                &["skip", "c", "--undo"],
                "DELETE",
                "/admin/images/skip?image=c",
            ),
        ] {
            let decision = parse(words).expect("a decision");
            assert_eq!(decision.request(), (method, target.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn a_wrong_command_line_asks_for_nothing() {
        for words in [
            &["hold"][..],
            &["hold", ""],
            &["hold", "a", "b"],
            &["hold", "a", "--for"],
            &["hold", "a", "--for", "soon"],
            &["hold", "a", "--for", "0"],
            &["hold", "a", "--only"],
            &["release", "a", "--for", "1d"],
            &["rollback", "a", "--undo"],
            &["skip", "a", "--force"],
        ] {
            assert_eq!(parse(words), None, "{words:?}");
        }
    }

    #[test]
    fn an_answer_is_put_into_words() {
        let held = json!({"container": "web", "held": {"until": "2026-03-01T09:00:00Z"}});
        let forgotten = json!({"container": "web", "held": {"until": null}, "note": "gone"});
        let skipped = json!({"image": "a:1", "skipped": {"digest": "sha256:b"}});
        for (words, answer, expected) in [
            (
                &["hold", "web"][..],
                held,
                "web is held until 2026-03-01T09:00:00Z\n",
            ),
            (&["hold", "web"], forgotten, "web is held (gone)\n"),
            (
                &["release", "web"],
                json!({"container": "web", "held": null}),
                "web is not held\n",
            ),
            (
                &["skip", "a:1"],
                skipped,
                "a:1: sha256:b is skipped until the tag moves on\n",
            ),
            (
                &["skip", "a:1", "--undo"],
                json!({"image": "a:1", "skipped": null}),
                "a:1: no image is skipped\n",
            ),
            (
                &["rollback", "web"],
                json!({"recreated": ["web", "api"], "rolled_back": [{"name": "b", "reason": "it exited;\nit said:\nno"}],
                       "failed": ["c"], "skipped": []}),
                "web runs the image again that it ran before\napi runs the image again that it ran before\n\
                 c: not rolled back: the image is not there\nb: not rolled back: it exited\n",
            ),
            (
                &["rollback", "web"],
                json!({}),
                "web: nothing was rolled back\n",
            ),
        ] {
            let decision = parse(words).expect("a decision");
            assert_eq!(decision.in_words(&answer), expected);
        }
    }

    #[test]
    fn a_roll_back_is_done_if_every_container_went_back() {
        let back = Decision::RollBack("web".to_owned(), false);
        for (answer, is_done) in [
            (json!({"recreated": ["web"], "skipped": []}), true),
            (json!({"recreated": [], "unchanged": ["web"]}), false),
            (
                json!({"recreated": ["web"], "rolled_back": [{"name": "b"}]}),
                false,
            ),
            (
                json!({"recreated": ["web"], "skipped": [{"name": "b"}]}),
                false,
            ),
        ] {
            assert_eq!(back.is_done(&answer), is_done, "{answer}");
        }
    }
}
