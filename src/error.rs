//! The one error type, and the grammar of its messages.
//!
//! Every message answers, on one line and in this order: what was being done, to what, at which
//! peer, what the peer said, and (in brackets) what the operator can do about it. Causes are
//! written inline, so nothing is printed twice. No message holds a secret: requests are named by
//! method and URL, never by header, and the words of a peer are cut and stripped of control
//! characters before they get here.

use crate::time::rfc3339;
use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

/// What can go wrong between imagewatch and its peers.
///
/// The variants are what callers treat differently, not where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an image reference, or not one that can be used here.
    Reference {
        /// The text as it was given.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer was reached, understood the request and said no.
    Refused {
        /// `METHOD url`.
        request: String,
        /// The HTTP status; 200 where a stream reported the error after it had begun.
        status: u16,
        /// The peer's own words, with our hint in brackets where we have one.
        message: String,
        /// How long the peer asked to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The peer could not be reached, or the connection broke before a whole answer was there.
    /// What was asked for may or may not have happened.
    Unreachable {
        /// `METHOD url`.
        request: String,
        /// The cause.
        reason: String,
    },
    /// The peer answered something that makes no sense.
    Malformed {
        /// `METHOD url`.
        request: String,
        /// What was expected and what was seen.
        reason: String,
    },
    /// Nothing was asked in this round, because the host left others unanswered.
    GivenUp {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// Nothing was asked, because the host said, or showed, that it wants to be left alone.
    PutOff {
        /// The host.
        host: String,
        /// Until when.
        until: SystemTime,
        /// Why.
        reason: String,
    },
}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the peer said that the thing does not exist (404).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the peer said that the thing is in the way of another, or already as wished (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether the request was forbidden, by the peer or by somebody before it (401, 403, 405).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403 | 405))
    }

    /// Whether it is unknown if the request took effect: the answer was lost, late or rubbish.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Malformed { .. })
    }

    /// Whether the peer was asked at all.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !matches!(self, Self::GivenUp { .. } | Self::PutOff { .. })
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference { input, reason } => {
                write!(f, "image reference {input:?}: {reason}")
            }
            Self::Refused {
                request,
                status,
                message,
                ..
            } => write!(f, "{request}: {status} {message}"),
            Self::Unreachable { request, reason } | Self::Malformed { request, reason } => {
                write!(f, "{request}: {reason}")
            }
            Self::GivenUp { host, reason } => write!(f, "{host}: not asked, because {reason}"),
            Self::PutOff {
                host,
                until,
                reason,
            } => write!(
                f,
                "{host}: not asked, put off until {} ({reason})",
                rfc3339(*until)
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Makes a peer's words fit for one line of ours: control characters become spaces, runs of
/// white space one space, and what is longer than 300 characters is cut.
#[must_use]
pub fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&i| line.is_char_boundary(i));
            line.truncate(end.unwrap_or(0));
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_at_whom_and_their_words() {
        let error = Error::Refused {
            request: "HEAD https://ghcr.io/v2/acme/api/manifests/latest".into(),
            status: 404,
            message: "Not Found (does the tag exist?)".into(),
            retry_after: None,
        };
        assert_eq!(
            error.to_string(),
            "HEAD https://ghcr.io/v2/acme/api/manifests/latest: 404 Not Found (does the tag exist?)"
        );
        assert!(error.is_not_found());
        assert!(!error.is_ambiguous());
    }

    #[test]
    fn a_peers_words_become_one_short_line() {
        assert_eq!(one_line("a\r\n\tb\u{1b}[31m  c "), "a b [31m c");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.len() <= 304, "{}", long.len());
        assert!(long.ends_with('…'));
    }
}
