//! The thread that sends to one receiver: it collects messages if the receiver wants that, and tries again.

use super::LONGEST_PAUSE;
use super::Parcel;
use super::Receiver;
use super::Unsent;
use super::digest::Digest;
use super::host::Host;
use super::letter::Letter;
use super::words::is_urgent;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::one_line;
use crate::http;
use crate::http::Client;
use crate::secret::Secret;
use crate::thread::Outlet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The thread that sends to one receiver.
pub(super) struct Sender {
    pub(super) receiver: Receiver,
    pub(super) client: Arc<Client>,
    pub(super) host: Arc<Host>,
    pub(super) pauses: &'static [Duration],
    /// The time from the first event of a summary until the summary is sent.
    pub(super) period: Duration,
}

impl Sender {
    /// Works until every inlet is gone.
    pub(super) fn work(&self, outlet: &Outlet<Parcel>, unsent: &Unsent) {
        let mut digest = Digest::default();
        while let Some(is_parcel) = self.work_once(outlet, &mut digest) {
            if is_parcel {
                unsent.remove();
            }
        }
    }

    /// Waits for a parcel, or until the summary is due, and sends what there is to send. Returns whether a parcel was
    /// the reason; `None` at the end.
    fn work_once(&self, outlet: &Outlet<Parcel>, digest: &mut Digest) -> Option<bool> {
        let rest = digest.rest(Instant::now());
        let parcel = match rest {
            None => Some(outlet.pop()?),
            Some(Duration::ZERO) => None,
            Some(rest) => match outlet.pop_within(rest) {
                None if outlet.is_abandoned() => return None,
                parcel => parcel,
            },
        };
        let is_parcel = parcel.is_some();
        // ureq panics if it cannot start a thread for the look-up of a name.
        let work = || {
            let letter = match parcel {
                Some(Parcel::Message(message)) => {
                    let is_collected =
                        self.receiver.is_daily() && !is_urgent(message.event.outcome);
                    if is_collected {
                        digest.add(&message, Instant::now(), self.period);
                        // Asked now, because there is no time for that at a stop.
                        let _ = self.host.name();
                        return;
                    }
                    Some(message.letter(self.host.name()))
                }
                Some(Parcel::End) | None => digest.take(&self.host),
            };
            if let Some(letter) = letter {
                self.deliver(&letter);
            }
        };
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            log::error!(
                "a bug ended a message to {}; further messages are sent (please report this)",
                self.receiver
            );
        }
        Some(is_parcel)
    }

    /// Tries until the message is delivered, or another try cannot help.
    fn deliver(&self, letter: &Letter) {
        let body = Secret::new(self.receiver.body(letter));
        let mut pauses = self.pauses.iter();
        loop {
            let Err(error) = self.post(&body) else { return };
            let next = pauses.next().filter(|_| may_retry(&error));
            let Some(&pause) = next else {
                log::warn!("a message was not delivered: {error}");
                return;
            };
            crate::logging::debug(format_args!(
                "a message was not delivered, and is tried again: {error}"
            ));
            std::thread::sleep(pause.max(requested_pause(&error).min(LONGEST_PAUSE)));
        }
    }

    fn post(&self, body: &Secret) -> Result<()> {
        let name = self.receiver.to_string();
        let headers = self.receiver.headers();
        let answer = self
            .client
            .post(&name, self.receiver.uri(), &headers, body)?;
        let status = answer.status();
        let retry_after = http::retry_after(answer.headers(), SystemTime::now());
        let words = http::read_words(answer);
        let message = if status.is_success() {
            match self.receiver.refusal(&words) {
                None => return Ok(()),
                Some(reason) => reason,
            }
        } else {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("{reason} {}", self.receiver.mask(&words))
        };
        let hint = match status.as_u16() {
            300..=399 => " (redirects are not followed: use the URL that it redirects to)",
            _ => "",
        };
        Err(Error::refused(
            name,
            status.as_u16(),
            format!("{}{hint}", one_line(&message)),
            retry_after,
        ))
    }
}

/// Whether another try may help.
fn may_retry(error: &Error) -> bool {
    match error.status() {
        Some(status) => matches!(status, 408 | 425 | 429 | 500..=599),
        None => true,
    }
}

/// The pause that the receiver asked for.
fn requested_pause(error: &Error) -> Duration {
    match error.kind() {
        Kind::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}
