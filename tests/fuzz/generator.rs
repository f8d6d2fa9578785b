//! A small mutation fuzzer: texts of a corpus, changed a little and at random, are given to a
//! check that must neither panic nor hang. Also compiled into the library's own tests, for what is
//! private there.
//!
//! The seed belongs to the target, so every run of a commit tries the same inputs.
//! `FUZZ_ITERATIONS` tries more of them, `FUZZ_SEED` others; a failure prints what to set.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Enough to meet what is easily met, in well below a second for each target.
const ITERATIONS: u64 = 3_000;
/// No input grows beyond this, or a run would measure memory and not code.
const LONGEST: usize = 64 * 1024;
/// A single input takes microseconds. This is only reached by one that never ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// A source of numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 on, below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Gives the corpus of `target`, and `FUZZ_ITERATIONS` changed texts of it, to `check`. `words` are
/// what its grammar is made of; they are put in here and there.
#[track_caller]
pub(crate) fn fuzz(target: &'static str, words: &'static [&'static str], check: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or_else(|| seed(target));
    let iterations = number("FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
    let corpus = corpus(target);
    let current = Arc::new(Mutex::new(Vec::new()));
    let for_thread = Arc::clone(&current);
    let (alive, pulse) = channel();
    let thread = std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let changed = |number: u64| {
            let whole = usize::try_from(number).ok();
            match whole.and_then(|number| corpus.get(number)) {
                Some(text) => text.clone(),
                None => mutate(&mut random, &corpus, words),
            }
        };
        for input in (0..iterations + corpus.len() as u64).map(changed) {
            for_thread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&input);
            check(&input);
            let _ = alive.send(());
        }
    });
    let outcome = loop {
        match pulse.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => break Err("does not end"),
            Err(RecvTimeoutError::Disconnected) => break thread.join().map_err(|_| "panics"),
        }
    };
    if let Err(what) = outcome {
        let input = current.lock().unwrap_or_else(PoisonError::into_inner);
        panic!(
            "{target} {what} with FUZZ_SEED={seed} FUZZ_ITERATIONS={iterations} on this input, \
             which belongs into tests/fuzz/corpus/{target} once it is fixed:\n{}",
            input.escape_ascii()
        );
    }
}

/// Every text of a target's folder, in the order of their names.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = [env!("CARGO_MANIFEST_DIR"), "tests/fuzz/corpus", target];
    let folder: PathBuf = folder.iter().collect();
    let entries = std::fs::read_dir(&folder).expect("a corpus");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: &PathBuf| std::fs::read(path).expect("a text");
    paths.iter().map(read).collect()
}

/// FNV-1a of the name.
fn seed(target: &str) -> u64 {
    target.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One text of the corpus after one to four changes.
fn mutate(random: &mut Random, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut text = random.pick(corpus).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(8) {
            // A bit, a byte.
            0 if at < text.len() => text[at] ^= 1 << random.below(8),
            1 => text.insert(at, random.next() as u8),
            // A word of the grammar, put in or written over what is there.
            2 | 3 => drop(text.splice(at..at, random.pick(words).bytes())),
            4 => {
                let word = random.pick(words).as_bytes();
                let end = (at + word.len()).min(text.len());
                text.splice(at..end, word.iter().copied());
            }
            // The end of another text.
            5 => {
                let other = random.pick(corpus);
                text.truncate(at);
                text.extend(&other[random.below(other.len() + 1)..]);
            }
            6 => text.truncate(at),
            // A piece again and again.
            _ => {
                let end = at + random.below(text.len() - at + 1).min(32);
                let piece = text[at..end].repeat(1 + random.below(200));
                text.splice(at..at, piece);
            }
        }
        text.truncate(LONGEST);
    }
    text
}
