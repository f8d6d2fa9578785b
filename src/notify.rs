//! Messages: whoever wants to know hears once of each container, digest and outcome.
//!
//! Nothing waits for a message. [`Notifier::note`] only puts it into the queue of each receiver;
//! a thread of its own for each receiver sends, so that one that is slow or down holds up no
//! other. What cannot be delivered is tried a few more times and then given up, with one line in
//! the log. Neither that line nor anything else here holds a receiver's URL.

mod event;
mod memory;

use crate::config::Proxies;
use crate::credentials::Secret;
use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use crate::http;
use crate::progress::Step;
use crate::queue::Inlet;
use crate::queue::Outlet;
use crate::queue::queue;
use crate::receiver::Receiver;
use crate::wire::Wire;
use event::Event;
use memory::Memory;
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

/// How long to wait before each further try. Together about what a service's restart takes.
pub const PAUSES: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// The longest a receiver can put us off for (`Retry-After`): what is told later is no news.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Messages that wait for one receiver. More would only come out of a long outage, and all at once.
const MOST_WAITING: usize = 64;

/// Tells receivers what became of containers.
pub struct Notifier {
    memory: Mutex<Memory>,
    inlets: Vec<Inlet<Arc<Event>>>,
    /// Whether it has been said that a queue is full.
    is_full: AtomicBool,
    unsent: Arc<Unsent>,
}

/// How many messages wait or are under way.
#[derive(Default)]
struct Unsent {
    count: Mutex<usize>,
    sank: Condvar,
}

impl Notifier {
    /// Starts a thread for each receiver. `certificates` are trusted besides the built-in roots;
    /// `pauses` are the times between tries, usually [`PAUSES`].
    ///
    /// # Errors
    /// Why there can be no thread.
    pub fn start(
        receivers: &[Receiver],
        certificates: Option<&[Certificate<'static>]>,
        proxies: &Proxies,
        pauses: &'static [Duration],
    ) -> std::io::Result<Self> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|name| name.trim().to_owned());
        let wire = Arc::new(Wire::new(certificates, proxies.clone(), Vec::new()));
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
                wire: Arc::clone(&wire),
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

    /// Takes note of a step, and sees to it that whoever wants to know of it hears of it. Never
    /// waits.
    pub fn note(&self, step: &Step) {
        if self.inlets.is_empty() {
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(event) = memory.news(step).map(Arc::new) else {
            return;
        };
        let mut dropped = 0;
        for inlet in &self.inlets {
            self.unsent.add_one();
            if inlet.push_out(MOST_WAITING, Arc::clone(&event)).is_some() {
                self.unsent.take_one();
                dropped += 1;
            }
        }
        if !self.is_full.swap(dropped > 0, Ordering::Relaxed) && dropped > 0 {
            log::warn!("more than {MOST_WAITING} messages wait: the oldest are dropped");
        }
    }

    /// Waits until everything is sent or given up, but no longer than this.
    pub fn finish(&self, grace: Duration) {
        let waited =
            self.unsent
                .sank
                .wait_timeout_while(self.unsent.lock(), grace, |count: &mut usize| *count > 0);
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

    fn add_one(&self) {
        *self.lock() += 1;
    }

    fn take_one(&self) {
        *self.lock() -= 1;
        self.sank.notify_all();
    }
}

/// Sends to one receiver.
struct Sender {
    receiver: Receiver,
    wire: Arc<Wire>,
    host: Option<String>,
    pauses: &'static [Duration],
}

impl Sender {
    fn work(&self, outlet: &Outlet<Arc<Event>>, unsent: &Unsent) {
        while let Some(event) = outlet.pop() {
            // A library that finds no thread for its look-up of a name panics.
            if catch_unwind(AssertUnwindSafe(|| self.deliver(&event))).is_err() {
                log::error!(
                    "a bug ended a message to {}; the next one comes",
                    self.receiver
                );
            }
            unsent.take_one();
        }
    }

    /// Tries until it is taken or there is no use in it.
    fn deliver(&self, event: &Event) {
        let body = self
            .receiver
            .body(&event.text(), &event.json(self.host.as_deref()));
        let body = Secret::new(body.to_string());
        let mut pauses = self.pauses.iter();
        loop {
            let Err(error) = self.post(&body) else { return };
            let next = pauses.next().filter(|_| may_pass(&error));
            let Some(&pause) = next else {
                log::warn!("a message was not delivered: {error}");
                return;
            };
            crate::debug::debug(format_args!("a message is tried again later: {error}"));
            std::thread::sleep(pause.max(asked_for(&error).min(LONGEST_PAUSE)));
        }
    }

    fn post(&self, body: &Secret) -> Result<()> {
        let name = self.receiver.to_string();
        let headers = [("Content-Type", "application/json")];
        let headers: Vec<_> = headers.into_iter().chain(self.receiver.login()).collect();
        let answer = self.wire.post(&name, self.receiver.uri(), &headers, body)?;
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
            300..=399 => " (redirects are not followed: name the place it leads to)",
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

/// Whether the same message may be taken later.
fn may_pass(error: &Error) -> bool {
    match error.status() {
        Some(status) => matches!(status, 408 | 425 | 429 | 500..=599),
        None => true,
    }
}

/// How long the receiver asked to be left alone.
fn asked_for(error: &Error) -> Duration {
    match error {
        Error::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}
