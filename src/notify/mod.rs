//! Messages: each receiver gets one message per container, digest and outcome, or one summary a day.
//!
//! Nothing waits for a message. [`Notifier::notify`] only puts the message into the queue of each receiver. Each
//! receiver has a thread of its own, so a slow or dead receiver delays no other. A message that cannot be
//! delivered is tried a few more times. Then it is dropped, with one line in the log. No line of the log
//! holds a receiver's URL.

mod receiver;

mod digest;
mod host;
mod letter;
mod memory;
mod message;
mod sender;
mod words;

pub use digest::DAY;
pub use host::Host;
pub use letter::Letter;
pub use receiver::Receiver;
pub use receiver::Refusal;
pub use words::Level;

use crate::http::Client;
use crate::http::Proxies;
use crate::journal::Step;
use crate::thread::Inlet;
use crate::thread::queue;
use crate::thread::start;
use memory::Memory;
use message::Message;
use sender::Sender;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
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

/// The times of the notifier.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The times between tries, usually [`PAUSES`].
    pub pauses: &'static [Duration],
    /// The time from the first event of a summary until the summary is sent, usually [`DAY`].
    pub period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pauses: PAUSES,
            period: DAY,
        }
    }
}

/// Sends events to receivers.
pub struct Notifier {
    memory: Mutex<Memory>,
    receivers: Vec<(Receiver, Inlet<Parcel>)>,
    /// Whether a full queue was logged already.
    is_full: AtomicBool,
    unsent: Arc<Unsent>,
}

/// An item in the queue of a receiver.
enum Parcel {
    Message(Arc<Message>),
    /// The program ends, so a summary is sent early.
    End,
}

/// The number of messages that are waiting or being sent.
#[derive(Default)]
struct Unsent {
    count: Mutex<usize>,
    decreased: Condvar,
}

impl Notifier {
    /// Starts a thread for each receiver. `certificates` are trusted besides the built-in roots.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        receivers: &[Receiver],
        certificates: Option<&[Certificate<'static>]>,
        proxies: &Proxies,
        timing: Timing,
        host: Host,
    ) -> std::io::Result<Self> {
        let host = Arc::new(host);
        let client = Arc::new(Client::new(certificates, proxies.clone(), Vec::new()));
        let mut notifier = Self {
            memory: Mutex::default(),
            receivers: Vec::new(),
            is_full: AtomicBool::new(false),
            unsent: Arc::default(),
        };
        for receiver in receivers {
            let (inlet, outlet) = queue();
            let sender = Sender {
                receiver: receiver.clone(),
                client: Arc::clone(&client),
                host: Arc::clone(&host),
                pauses: timing.pauses,
                period: timing.period,
            };
            let unsent = Arc::clone(&notifier.unsent);
            start("notify", Box::new(move || sender.work(&outlet, &unsent)))?;
            notifier.receivers.push((receiver.clone(), inlet));
        }
        Ok(notifier)
    }

    /// Queues a message for each receiver that wants the event, if the step is news. Never waits.
    pub fn notify(&self, step: &Step) {
        if self.receivers.is_empty() {
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(message) = memory.news(step).map(Arc::new) else {
            return;
        };
        let name = words::name(message.event.outcome);
        let mut dropped = 0;
        for (_, inlet) in self
            .receivers
            .iter()
            .filter(|(receiver, _)| receiver.wants(name))
        {
            self.unsent.add();
            let parcel = Parcel::Message(Arc::clone(&message));
            if inlet.push_out(MOST_WAITING, parcel).is_some() {
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

    /// Sends the summaries, and waits until every message is sent or dropped, but no longer than `grace`.
    pub fn finish(&self, grace: Duration) {
        for (_, inlet) in self
            .receivers
            .iter()
            .filter(|(receiver, _)| receiver.is_daily())
        {
            self.unsent.add();
            inlet.push(Parcel::End);
        }
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
