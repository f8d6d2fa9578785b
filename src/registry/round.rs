//! The look-ups of a round: hosts side by side, and the references of one host in order.

use super::Registry;
use super::api_host;
use super::host_memory::DEFAULT_PUT_OFF;
use crate::error::Error;
use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::thread::queue;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After so many unanswered look-ups in a row, a host is not asked for the rest of the round.
const UNANSWERED: usize = 2;
/// After so many answers 5xx in a row, and no other answer, a host is put off for [`DEFAULT_PUT_OFF`].
const BROKEN: usize = 4;
/// So many look-ups of one host follow each other without a pause. Further look-ups are [`PACE`] apart, so
/// that hundreds of references do not look like an attack. Quay allows a few requests per second and address,
/// with bursts. Docker Hub allows some thousands per minute.
const BURST: usize = 20;
/// The pause between look-ups after the first [`BURST`].
pub(super) const PACE: Duration = Duration::from_millis(50);
/// The same for a command that somebody waits for, and that comes from one box and not from a fleet.
pub(super) const PACE_BY_HAND: Duration = Duration::from_millis(10);
/// The most hosts that are asked at the same time.
const PARALLEL_HOSTS: usize = 8;

impl Registry {
    /// Looks up all `references`, and calls `sink` for each one as soon as its digest is known. The hosts are
    /// asked side by side, so no host delays another. The references of one host are asked one after the
    /// other, on one connection, in the given order.
    pub fn digests(
        &self,
        references: &[Reference],
        mut sink: impl FnMut(&Reference, Result<Digest>),
    ) {
        self.look_up_all(references, &mut sink);
    }

    fn look_up_all(
        &self,
        references: &[Reference],
        sink: &mut dyn FnMut(&Reference, Result<Digest>),
    ) {
        self.credentials.renew();
        let mut hosts: Vec<(&str, Vec<&Reference>)> = Vec::new();
        for reference in references {
            match hosts
                .iter_mut()
                .find(|(host, _)| *host == reference.registry())
            {
                Some((_, list)) => list.push(reference),
                None => hosts.push((reference.registry(), vec![reference])),
            }
        }
        if let [(_, only)] = hosts.as_slice() {
            self.look_up_in_order(only, sink);
            return;
        }
        let next = AtomicUsize::new(0);
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            for _ in 0..hosts.len().min(PARALLEL_HOSTS) {
                let (hosts, next, inlet) = (&hosts, &next, inlet.clone());
                let work = move || {
                    while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.look_up_in_order(list, &mut |reference, outcome| {
                            inlet.push((reference, outcome));
                        });
                    }
                };
                let thread = std::thread::Builder::new().name("look-up".to_owned());
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    log::warn!(
                        "look-up: cannot start another thread ({error}), going on with fewer"
                    );
                }
            }
            drop(inlet);
            while let Some((reference, outcome)) = outlet.pop() {
                sink(reference, outcome);
            }
        });
        // Some hosts are left only if no thread could be started.
        while let Some((_, list)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.look_up_in_order(list, sink);
        }
    }

    /// Looks up one host's references in order. After some unanswered look-ups the rest are not tried, because
    /// each one would cost another deadline.
    fn look_up_in_order<'r>(
        &self,
        references: &[&'r Reference],
        sink: &mut dyn FnMut(&'r Reference, Result<Digest>),
    ) {
        let (mut silent, mut broken, mut answered) = (0, 0, false);
        for (number, reference) in references.iter().enumerate() {
            let host = api_host(reference.registry());
            if number >= BURST && silent < UNANSWERED && self.hosts.check(host).is_ok() {
                std::thread::sleep(self.pace);
                self.credentials.renew();
            }
            if silent == UNANSWERED {
                sink(reference, Err(given_up(host)));
                continue;
            }
            let next = references.get(number + 1..).unwrap_or_default();
            let outcome = self.digest_before(reference, next);
            (silent, broken) = match &outcome {
                Err(Error::Unreachable { .. }) => (silent + 1, 0),
                Err(Error::Refused { status, .. }) if *status >= 500 => (0, broken + 1),
                _ => (0, 0),
            };
            answered |= outcome.is_ok();
            // If the host answers for other repositories, only this repository is in trouble.
            if broken >= BROKEN && !answered {
                self.hosts
                    .put_off(host, DEFAULT_PUT_OFF, "it is in trouble".to_owned());
            }
            sink(reference, outcome);
        }
        let host = references.first().map(|one| api_host(one.registry()));
        if let Some(host) = host.filter(|host| answered && self.hosts.check(host).is_ok()) {
            self.hosts.mark_recovered(host);
        }
    }
}

fn given_up(host: &str) -> Error {
    Error::GivenUp {
        host: host.to_owned(),
        reason: format!("it left {UNANSWERED} look-ups unanswered"),
    }
}
