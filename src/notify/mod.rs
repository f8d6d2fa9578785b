//! Messages: each receiver gets one message per container, digest and outcome.
//!
//! Nothing waits for a message. [`Notifier::notify`] only puts the message into the queue of each receiver. Each
//! receiver has a thread of its own, so a slow or dead receiver delays no other. A message that cannot be
//! delivered is tried a few more times. Then it is dropped, with one line in the log. No line of the log
//! holds a receiver's URL.

mod receiver;

mod memory;
mod message;

pub use receiver::Receiver;
pub use receiver::Refusal;

use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::http;
use crate::http::Client;
use crate::http::Proxies;
use crate::journal::Step;
use crate::secret::Secret;
use crate::thread::Inlet;
use crate::thread::Outlet;
use crate::thread::queue;
use memory::Memory;
use message::Message;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::Duration;
use std::time::SystemTime;
use ureq::tls::Certificate;

/// The pause before each further try. Together they last about as long as a service's restart.
pub const PAUSES: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// The longest pause that a receiver can ask for (`Retry-After`). A later message would be no news.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The most messages that wait for one receiver. More would only arrive all at once after a long outage.
const MOST_WAITING: usize = 64;

/// Sends events to receivers.
pub struct Notifier {
    memory: Mutex<Memory>,
    inlets: Vec<Inlet<Arc<Message>>>,
    /// Whether a full queue was logged already.
    is_full: AtomicBool,
    unsent: Arc<Unsent>,
}

/// The number of messages that are waiting or being sent.
#[derive(Default)]
struct Unsent {
    count: Mutex<usize>,
    decreased: Condvar,
}

impl Notifier {
    /// Starts a thread for each receiver. `certificates` are trusted besides the built-in roots. `pauses` are the
    /// times between tries, usually [`PAUSES`].
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        receivers: &[Receiver],
        certificates: Option<&[Certificate<'static>]>,
        proxies: &Proxies,
        pauses: &'static [Duration],
    ) -> std::io::Result<Self> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|name| name.trim().to_owned());
        let client = Arc::new(Client::new(certificates, proxies.clone(), Vec::new()));
        let mut notifier = Self {
            memory: Mutex::default(),
            inlets: Vec::new(),
            is_full: AtomicBool::new(false),
            unsent: Arc::default(),
        };
        for receiver in receivers {
            let (inlet, outlet) = queue();
            let sender = Sender {
                receiver: receiver.clone(),
                client: Arc::clone(&client),
                host: host.clone().filter(|name| !name.is_empty()),
                pauses,
            };
            let unsent = Arc::clone(&notifier.unsent);
            Builder::new()
                .name("notify".to_owned())
                .spawn(move || sender.work(&outlet, &unsent))?;
            notifier.inlets.push(inlet);
        }
        Ok(notifier)
    }

    /// Queues a message for each receiver, if the step is news. Never waits.
    pub fn notify(&self, step: &Step) {
        if self.inlets.is_empty() {
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(message) = memory.news(step).map(Arc::new) else {
            return;
        };
        let mut dropped = 0;
        for inlet in &self.inlets {
            self.unsent.add();
            if inlet.push_out(MOST_WAITING, Arc::clone(&message)).is_some() {
                self.unsent.remove();
                dropped += 1;
            }
        }
        if !self.is_full.swap(dropped > 0, Ordering::Relaxed) && dropped > 0 {
            log::warn!(
                "more than {MOST_WAITING} messages are waiting: the oldest ones are dropped"
            );
        }
    }

    /// Waits until every message is sent or dropped, but no longer than `grace`.
    pub fn finish(&self, grace: Duration) {
        let waited = self.unsent.decreased.wait_timeout_while(
            self.unsent.lock(),
            grace,
            |count: &mut usize| *count > 0,
        );
        let left = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if left > 0 {
            log::warn!("messages not sent before the end: {left}");
        }
    }
}

impl Unsent {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) {
        *self.lock() += 1;
    }

    fn remove(&self) {
        *self.lock() -= 1;
        self.decreased.notify_all();
    }
}

/// The thread that sends to one receiver.
struct Sender {
    receiver: Receiver,
    client: Arc<Client>,
    host: Option<String>,
    pauses: &'static [Duration],
}

impl Sender {
    fn work(&self, outlet: &Outlet<Arc<Message>>, unsent: &Unsent) {
        while let Some(message) = outlet.pop() {
            // ureq panics if it cannot start a thread for the look-up of a name.
            if catch_unwind(AssertUnwindSafe(|| self.deliver(&message))).is_err() {
                log::error!(
                    "a bug ended a message to {}; further messages are sent (please report this)",
                    self.receiver
                );
            }
            unsent.remove();
        }
    }

    /// Tries until the message is delivered, or another try cannot help.
    fn deliver(&self, message: &Message) {
        let body = self
            .receiver
            .body(&message.text(), &message.json(self.host.as_deref()));
        let body = Secret::new(body);
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
        Err(Error::Refused {
            request: name,
            status: status.as_u16(),
            message: format!("{}{hint}", one_line(&message)),
            retry_after,
        })
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
    match error {
        Error::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}
