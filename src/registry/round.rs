//! The look-ups of a round: hosts side by side, and the references of one host in order.

use super::Registry;
use super::api_host;
use super::turn::BURST;
use super::turn::PACE_BY_HAND;
use super::turn::Turn;
use crate::error::Result;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::thread::queue;
use crate::thread::start_within;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The most hosts that are asked at the same time.
const PARALLEL_HOSTS: usize = 8;

/// A host, references of it, and how many lists of references the host has.
type List<'r> = (&'r str, Vec<&'r Reference>, u32);

/// Makes two lists of each long one, for two connections.
fn split_long(hosts: &mut Vec<List>) {
    for place in 0..hosts.len() {
        let (host, list, lists) = &mut hosts[place];
        if list.len() > BURST {
            *lists = 2;
            let second = (*host, list.split_off(list.len() / 2), 2);
            hosts.push(second);
        }
    }
}

impl Registry {
    /// Looks up all `references`, and calls `sink` for each one as soon as its digest is known. The hosts are
    /// asked side by side, so no host delays another. The references of one host are asked one after the
    /// other, on one connection, in the given order. If somebody waits for many of them, they are two lists on two
    /// connections.
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
        let mut hosts: Vec<List> = Vec::new();
        for reference in references {
            match hosts
                .iter_mut()
                .find(|(host, _, _)| *host == reference.registry())
            {
                Some((_, list, _)) => list.push(reference),
                None => hosts.push((reference.registry(), vec![reference], 1)),
            }
        }
        if self.pace == PACE_BY_HAND {
            split_long(&mut hosts);
        }
        if let [(_, only, _)] = hosts.as_slice() {
            self.look_up_in_order(only, 1, sink);
            return;
        }
        let next = AtomicUsize::new(0);
        let (inlet, outlet) = queue();
        std::thread::scope(|scope| {
            for _ in 0..hosts.len().min(PARALLEL_HOSTS) {
                let (hosts, next, inlet) = (&hosts, &next, inlet.clone());
                let work = move || {
                    while let Some((_, list, lists)) =
                        hosts.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        self.look_up_in_order(list, *lists, &mut |reference, outcome| {
                            inlet.push((reference, outcome));
                        });
                    }
                };
                if let Err(error) = start_within(scope, "look-up", Box::new(work)) {
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
        while let Some((_, list, _)) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.look_up_in_order(list, 1, sink);
        }
    }

    /// Looks up one host's references in order, as its turn allows. If the host has two lists, each of them takes half
    /// of the host's pace.
    fn look_up_in_order<'r>(
        &self,
        references: &[&'r Reference],
        lists: u32,
        sink: &mut dyn FnMut(&'r Reference, Result<Digest>),
    ) {
        let Some(first) = references.first() else {
            return;
        };
        let mut turn = Turn::new(&self.hosts, api_host(first.registry()), lists as usize);
        for (number, reference) in references.iter().enumerate() {
            if let Some(digest) = reference.digest() {
                sink(reference, Ok(digest.clone()));
                continue;
            }
            let pause = turn.pause(Instant::now()).min(self.pace) * lists;
            if !pause.is_zero() {
                std::thread::sleep(pause);
                self.credentials.renew();
            }
            let next = references.get(number + 1..).unwrap_or_default();
            let may_ask = turn.may_ask(Instant::now());
            let outcome = may_ask.and_then(|()| self.look_up(turn.host(), reference, next));
            turn.note(&outcome, Instant::now());
            sink(reference, outcome);
        }
        turn.end(Instant::now());
    }
}
