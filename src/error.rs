//! The one error type, and the grammar of its messages.
//!
//! Every message says, on one line and in this order: the action, its object, the peer, the peer's
//! words, and (in brackets) a hint for the operator. The cause is part of the line, so nothing is printed
//! twice. No message holds a secret: a request is named by method and URL, never by header. The words of
//! a peer are cut, and stripped of control and invisible characters, before they get here.

use crate::reference::Digest;
use crate::time::rfc3339;
use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

/// A failure between imagewatch and one of its peers.
///
/// An error is only as wide as a pointer, because many functions return a result that may hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    /// The text, request (`METHOD url`) or host that failed.
    subject: String,
    /// The cause in words.
    words: String,
}

/// The kind of an error.
///
/// There is one variant for each case that callers treat differently, wherever the failure happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The text is not an image reference, or a reference that cannot be used here.
    Reference,
    /// The peer understood the request and refused it.
    Refused {
        /// The HTTP status; 200 if a stream reported the error after it had begun.
        status: u16,
        /// How long the peer asked to be left alone (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The Engine, or a proxy before it, refused to start a container.
    NotStarted {
        /// The HTTP status.
        status: u16,
        /// The obstacle to the start, as far as the peer's words tell.
        obstacle: Obstacle,
    },
    /// The peer could not be reached, or the connection broke before the whole answer had arrived. The
    /// request may have taken effect.
    Unreachable,
    /// The peer's answer makes no sense.
    Malformed,
    /// The image needs a signature and has none that counts.
    Unverified {
        /// Whether there is a signature, but no good one.
        is_bad: bool,
    },
    /// The host was not asked in this round, because it left other requests unanswered.
    GivenUp,
    /// The host was not asked, because it asked for a pause, or needs one.
    PutOff {
        /// The end of the pause.
        until: SystemTime,
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
    /// `input` is no image reference that can be used here. The reason names the part that is wrong.
    pub fn reference(input: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::Reference, input.into(), reason.into())
    }

    /// The peer refused the request (`METHOD url`). The message holds its own words, and a hint in brackets
    /// if there is one.
    pub fn refused(
        request: impl Into<String>,
        status: u16,
        message: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        let kind = Kind::Refused {
            status,
            retry_after,
        };
        Self::new(kind, request.into(), message.into())
    }

    /// The request to start a container was refused. The message is like that of [`Error::refused`].
    pub fn not_started(
        request: impl Into<String>,
        status: u16,
        message: impl Into<String>,
        obstacle: Obstacle,
    ) -> Self {
        let kind = Kind::NotStarted { status, obstacle };
        Self::new(kind, request.into(), message.into())
    }

    /// The request (`METHOD url`) has no answer, for this reason.
    pub fn unreachable(request: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, request.into(), reason.into())
    }

    /// The answer to the request (`METHOD url`) makes no sense. The reason is the difference between the
    /// answer and the expected one.
    pub fn malformed(request: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, request.into(), reason.into())
    }

    /// The host was not asked in this round, for this reason.
    pub fn given_up(host: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::GivenUp, host.into(), reason.into())
    }

    /// The host is not asked before `until`, for this reason.
    pub fn put_off(host: impl Into<String>, until: SystemTime, reason: impl Into<String>) -> Self {
        Self::new(Kind::PutOff { until }, host.into(), reason.into())
    }

    /// The image (`NAME@DIGEST`) needs a signature by somebody who is trusted. If `is_bad`, it has others. A remark tells
    /// more of one of them.
    pub fn unverified(image: impl Into<String>, is_bad: bool, remark: &str) -> Self {
        let mut words = String::from(if !is_bad {
            "unsigned: no signature was found (by referrers, or by the tags sha256-… and sha256-….sig)"
        } else if cfg!(feature = "keyless") {
            "badly signed: no signature is good and by a key of IMAGEWATCH_VERIFY or an identity of IMAGEWATCH_VERIFY_IDENTITY"
        } else {
            "badly signed: no signature is good and by a key of IMAGEWATCH_VERIFY"
        });
        if is_bad && !remark.is_empty() {
            words.push_str("; ");
            words.push_str(remark);
        }
        let kind = Kind::Unverified { is_bad };
        Self::new(kind, image.into(), words)
    }

    fn new(kind: Kind, subject: String, words: String) -> Self {
        Self(Box::new(Parts {
            kind,
            subject,
            words,
        }))
    }

    /// The kind of the error, on which decisions depend.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The digest of the image that the error is about, if it is about one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        let (_, digest) = self.0.subject.rsplit_once('@')?;
        digest.parse().ok()
    }

    /// The reason, or the peer's own words.
    pub(crate) fn words(&self) -> &str {
        &self.0.words
    }

    /// The words, to add to them.
    pub(crate) fn words_mut(&mut self) -> &mut String {
        &mut self.0.words
    }

    /// Adds a hint in brackets to a refusal. Other errors stay as they are.
    #[must_use]
    pub fn with_advice(mut self, advice: &str) -> Self {
        if self.is_refusal() {
            self.0.words.push_str(&format!(" ({advice})"));
        }
        self
    }

    /// Whether the peer refused the request. A refused start of a container is another kind.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind(), Kind::Refused { .. })
    }

    /// Whether there was no answer, or not the whole of it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind(), Kind::Unreachable)
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
        matches!(self.kind(), Kind::Unreachable | Kind::Malformed)
    }

    /// Whether the request was sent, or at least tried.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !matches!(self.kind(), Kind::GivenUp | Kind::PutOff { .. })
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.kind() {
            Kind::Refused { status, .. } | Kind::NotStarted { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The obstacle to the start of a container, if its start was refused.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self.kind() {
            Kind::NotStarted { obstacle, .. } => Some(*obstacle),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            kind,
            subject,
            words,
        } = &*self.0;
        match kind {
            Kind::Reference => write!(f, "image reference {subject:?}: {words}"),
            Kind::Refused { status, .. } | Kind::NotStarted { status, .. } => {
                write!(f, "{subject}: {status} {words}")
            }
            Kind::Unreachable | Kind::Malformed | Kind::Unverified { .. } => {
                write!(f, "{subject}: {words}")
            }
            Kind::GivenUp => write!(f, "{subject}: not asked, because {words}"),
            Kind::PutOff { until } => write!(
                f,
                "{subject}: not asked, put off until {} ({words})",
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
        let error = Error::refused(
            "HEAD https://ghcr.io/v2/acme/api/manifests/latest",
            404,
            "Not Found (does the tag exist?)",
            None,
        );
        assert_eq!(
            error.to_string(),
            "HEAD https://ghcr.io/v2/acme/api/manifests/latest: 404 Not Found (does the tag exist?)"
        );
        assert!(error.is_not_found());
        assert!(!error.is_ambiguous());
    }

    #[test]
    fn each_kind_has_its_message() {
        let until = SystemTime::UNIX_EPOCH;
        let second = Some(Duration::from_secs(1));
        for (error, expected) in [
            (
                Error::reference("a b", "no"),
                r#"image reference "a b": no"#,
            ),
            (Error::refused("GET x", 429, "no", second), "GET x: 429 no"),
            (
                Error::not_started("POST x", 500, "no", Obstacle::Taken),
                "POST x: 500 no",
            ),
            (Error::unreachable("GET x", "no"), "GET x: no"),
            (Error::malformed("GET x", "no"), "GET x: no"),
            (Error::given_up("x", "no"), "x: not asked, because no"),
            (
                Error::put_off("x", until, "no"),
                "x: not asked, put off until 1970-01-01T00:00:00Z (no)",
            ),
        ] {
            assert_eq!(error.to_string(), expected, "{error:?}");
            let is_refusal = matches!(error.kind(), Kind::Refused { .. });
            let more = if is_refusal { " (try)" } else { "" };
            let advised = error.with_advice("try").to_string();
            assert_eq!(advised, format!("{expected}{more}"));
        }
    }

    #[test]
    fn a_result_is_as_wide_as_a_pointer() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
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
