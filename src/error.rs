//! The one error type, and the grammar of its messages.
//!
//! Every message says, on one line and in this order: the action, its object, the peer, the peer's
//! words, and (in brackets) a hint for the operator. The cause is part of the line, so nothing is printed
//! twice. No message holds a secret: a request is named by method and URL, never by header. The words of
//! a peer are cut, and stripped of control and invisible characters, before they get here.

use crate::time::rfc3339;
use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

/// A failure between imagewatch and one of its peers.
///
/// There is one variant for each case that callers treat differently, wherever the failure happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an image reference, or a reference that cannot be used here.
    Reference {
        /// The text as it was given.
        input: String,
        /// The part that is wrong, and why.
        reason: String,
    },
    /// The peer understood the request and refused it.
    Refused {
        /// `METHOD url`.
        request: String,
        /// The HTTP status; 200 if a stream reported the error after it had begun.
        status: u16,
        /// The peer's own words, and a hint in brackets if there is one.
        message: String,
        /// How long the peer asked to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The Engine, or a proxy before it, refused to start a container.
    NotStarted {
        /// `METHOD url`.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The peer's own words, and a hint in brackets if there is one.
        message: String,
        /// The obstacle to the start, as far as the peer's words tell.
        obstacle: Obstacle,
    },
    /// The peer could not be reached, or the connection broke before the whole answer had arrived. The
    /// request may have taken effect.
    Unreachable {
        /// `METHOD url`.
        request: String,
        /// The cause in words.
        reason: String,
    },
    /// The peer's answer makes no sense.
    Malformed {
        /// `METHOD url`.
        request: String,
        /// The difference between the answer and what was expected.
        reason: String,
    },
    /// The host was not asked in this round, because it left other requests unanswered.
    GivenUp {
        /// The host that was not asked.
        host: String,
        /// The reason in words.
        reason: String,
    },
    /// The host was not asked, because it asked for a pause, or needs one.
    PutOff {
        /// The host that was not asked.
        host: String,
        /// The end of the pause.
        until: SystemTime,
        /// The reason in words.
        reason: String,
    },
}

/// The obstacle that keeps a container from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The image: its command is missing or cannot be executed, or the image does not know the user.
    Image,
    /// Another program has the container's port or address, maybe for a moment only.
    Taken,
    /// Any other obstacle: a mount, a device, another container's namespace, a limit, a permission.
    Surroundings,
}

/// The result of a function that asks a peer.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Adds a hint in brackets to a refusal. Other errors stay as they are.
    #[must_use]
    pub fn with_advice(mut self, advice: &str) -> Self {
        if let Self::Refused { message, .. } = &mut self {
            message.push_str(&format!(" ({advice})"));
        }
        self
    }

    /// Whether the object does not exist (404).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the request conflicts with another object, or its effect is there already (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether the peer, or a proxy before it, forbade the request (401, 403, 405).
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403 | 405))
    }

    /// Whether the effect of the request is unknown: the answer was lost, late or malformed.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Malformed { .. })
    }

    /// Whether the request was sent, or at least tried.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !matches!(self, Self::GivenUp { .. } | Self::PutOff { .. })
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::NotStarted { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The obstacle to the start of a container, if its start was refused.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::NotStarted { obstacle, .. } => Some(*obstacle),
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
            }
            | Self::NotStarted {
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

/// The longest line of a peer's words, in bytes.
const LONGEST_LINE: usize = 300;
/// The most lines of a block.
const MOST_LINES: usize = 10;
/// The longest block, in bytes.
const LONGEST_BLOCK: usize = 1000;

/// Turns a peer's words into one line. Control characters and runs of white space become one space.
/// Invisible characters are dropped, and a line of more than 300 bytes is cut.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word = visible(word);
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        if line.len() > LONGEST_LINE {
            cut(&mut line, LONGEST_LINE);
            break;
        }
    }
    line
}

/// Turns a peer's words into a block. Line ends and indentation stay, and empty lines are dropped. If
/// there are too many lines, the last ones are kept.
#[must_use]
pub fn block(text: &str) -> String {
    let is_end = |c| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for line in text.rsplit(is_end) {
        let indentation = line
            .chars()
            .take_while(|c| *c == ' ' || *c == '\t')
            .count()
            .min(16);
        let words = one_line(line);
        if words.is_empty() {
            continue;
        }
        length += indentation + words.len() + 1;
        if length > LONGEST_BLOCK || lines.len() == MOST_LINES {
            break;
        }
        lines.push(format!("{:indentation$}{words}", ""));
    }
    lines.reverse();
    lines.join("\n")
}

/// Splits a reason into its headline and its block of words, which may be empty. One text holds both, and
/// the block begins on the second line.
#[must_use]
pub fn headline(reason: &str) -> (&str, &str) {
    let (first, block) = reason.split_once('\n').unwrap_or((reason, ""));
    (first.trim_end_matches(';'), block)
}

/// Cuts a text to so many bytes, and marks the cut with an ellipsis.
pub(crate) fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|&i| text.is_char_boundary(i));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

fn visible(text: &str) -> String {
    text.chars().filter(|c| !is_invisible(*c)).collect()
}

/// Whether a character is invisible, but changes how others look: direction, joining, tags. These are
/// Unicode's `Default_Ignorable_Code_Point`, except the variation selectors that emoji need.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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

    #[test]
    fn what_nobody_sees_is_dropped_from_a_peers_words() {
        for (text, expected) in [
            ("gpj.\u{202e}exe\u{202c}", "gpj.exe"),
            ("a\u{2066}b\u{2069}\u{200f}c\u{61c}", "abc"),
            ("pay\u{200b}load \u{feff}\u{ad}x", "payload x"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("a\u{e0041}\u{e007f}b \u{3164} c", "ab c"),
            ("\u{202e}", ""),
            ("\u{1b}[2J\u{9b}1m\0x\u{7f}", "[2J 1m x"),
            ("naïve 漢字 ✔\u{fe0f} שלום", "naïve 漢字 ✔\u{fe0f} שלום"),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
            assert!(!block(text).contains(is_invisible), "{text:?}");
        }
    }

    #[test]
    fn a_block_keeps_its_line_ends() {
        for (text, expected) in [
            (
                "one\r\ntwo\n\n  \tthree \u{202e}x\n",
                "one\ntwo\n   three x",
            ),
            ("10%\r50%\r100%", "10%\n50%\n100%"),
            ("a\u{2028}b\u{85}c\u{b}d", "a\nb\nc\nd"),
            ("\u{1b}[31mred\u{1b}[0m\tx", "[31mred [0m x"),
            ("\n\u{200b}\n", ""),
            ("", ""),
        ] {
            assert_eq!(block(text), expected, "{text:?}");
        }
        let many: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert!(block(&many).starts_with("90\n91") && block(&many).ends_with("\n99"));
        let long = block(&format!("{}\n", "ä".repeat(5000)).repeat(100));
        assert!(
            long.len() <= LONGEST_BLOCK && long.contains('\n'),
            "{}",
            long.len()
        );
        assert!(block(&format!("{}x", " ".repeat(5000))).len() < 20);
    }

    #[test]
    fn a_reason_has_a_headline_and_a_block() {
        assert_eq!(
            headline("it exited;\nit said:\na\n b"),
            ("it exited", "it said:\na\n b")
        );
        assert_eq!(headline("it exited"), ("it exited", ""));
    }
}
