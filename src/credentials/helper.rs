//! Credential helpers: programs that keep logins for the Docker CLI (docker-credential-helpers,
//! "Development"). `docker-credential-NAME get` reads a key from its standard input, and prints JSON.

use super::Login;
use super::Secret;
use super::lock;
use crate::json;
use crate::thread::queue;
use crate::thread::start;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// The longest that a helper may take. Some helpers ask a cloud.
const LONGEST_RUN: Duration = Duration::from_secs(15);
/// How long an answer is used again.
const KEPT: Duration = Duration::from_secs(300);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// The text with which a helper says that it has no such login, on its standard output.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Asks helpers, and remembers their answers.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    /// The answers, by the helper's name and the key.
    answers: Mutex<HashMap<(String, String), Answer>>,
}

#[derive(Debug)]
struct Answer {
    outcome: Result<Option<Login>, String>,
    at: Instant,
}

impl Helpers {
    /// The login that helper `name` keeps under `key`.
    ///
    /// # Errors
    /// The reason why the helper gave no answer, in words that hold none of its output.
    pub(super) fn ask(&self, name: &str, key: &str) -> Result<Option<Login>, String> {
        let both = (name.to_owned(), key.to_owned());
        if let Some(answer) = lock(&self.answers).get(&both) {
            if answer.at.elapsed() < KEPT {
                return answer.outcome.clone();
            }
        }
        // A failure is remembered too. Otherwise each of hundreds of images would wait for a helper that hangs.
        let outcome = run(name, key, LONGEST_RUN);
        let answer = Answer {
            outcome: outcome.clone(),
            at: Instant::now(),
        };
        lock(&self.answers).insert(both, answer);
        outcome
    }

    /// Forgets all answers, because a registry refused one of the logins.
    pub(super) fn forget(&self) {
        lock(&self.answers).clear();
    }
}

fn run(name: &str, key: &str, limit: Duration) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{name}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(plain) {
        return Err(format!(
            "{program:?} is not the name of a credential helper"
        ));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            format!("the credential helper {program}, which has the login for {key}, cannot be run ({error}): install it here, or put the login into `auths`")
        })?;
    let outcome = exchange(&mut child, key, limit);
    // A helper that still runs has given its answer, or has taken too long.
    let _ = child.kill();
    let status = child.wait();
    let output = outcome.map_err(|reason| format!("{program}, asked for {key}, {reason}"))?;
    let text = String::from_utf8_lossy(&output);
    if text.trim() == NOT_FOUND {
        return Ok(None);
    }
    let answer: Option<Value> = json::parse(&text).ok();
    match answer
        .as_ref()
        .map(|json| (json["Username"].as_str(), json["Secret"].as_str()))
    {
        Some((Some(TOKEN_USER), Some(secret))) => {
            Ok(Some(Login::IdentityToken(Secret::new(secret))))
        }
        Some((Some(username), Some(secret))) if !username.is_empty() => Ok(Some(Login::Password {
            username: username.to_owned(),
            password: Secret::new(secret),
        })),
        _ => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("{program}, asked for {key}, gave no login ({how})"))
        }
    }
}

/// Sends the key, and returns everything that the helper prints.
fn exchange(child: &mut Child, key: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("has no pipes".to_owned());
    };
    // A helper that does not read its key explains itself in its output.
    let _ = input.write_all(key.as_bytes());
    drop(input);
    let (sender, received) = queue();
    let read = move || {
        let mut bytes = Vec::new();
        let outcome = output.take(LONGEST_ANSWER).read_to_end(&mut bytes);
        sender.push(outcome.map(|_| bytes));
    };
    start("helper", Box::new(read)).map_err(|error| format!("cannot be read ({error})"))?;
    let read = received.pop_within(limit);
    let read = read.ok_or_else(|| format!("did not answer within {} s", limit.as_secs()))?;
    let bytes = read.map_err(|error| format!("cannot be read ({error})"))?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            _ => break,
        }
    }
    Ok(bytes)
}
