//! Whether a process stays as small as it was: its memory, threads and open descriptors, round by
//! quiet round.

use crate::support::program::Program;

/// Threads, and descriptors of connections that are kept for a while, come and go.
const COMING_AND_GOING: usize = 4;

/// One look.
#[derive(Debug, Clone, Copy)]
struct Sample {
    pss: u64,
    anonymous: u64,
    threads: usize,
    descriptors: usize,
}

/// The looks at one process.
#[derive(Default)]
pub(super) struct Footprint(Vec<Sample>);

impl Footprint {
    pub(super) fn look(&mut self, program: &Program) {
        self.0.push(Sample {
            pss: program.memory("Pss:"),
            anonymous: program.memory("Anonymous:"),
            threads: program.threads(),
            descriptors: program.descriptors(),
        });
    }

    /// The middle of its first `hour` samples, and of its last; the start itself does not count.
    fn hours(&self, hour: usize) -> Option<[Sample; 2]> {
        let of = |samples: &[Sample]| Sample {
            pss: middle(samples, |one| one.pss),
            anonymous: middle(samples, |one| one.anonymous),
            threads: middle(samples, |one| one.threads),
            descriptors: middle(samples, |one| one.descriptors),
        };
        let samples = &self.0;
        let has_both = samples.len() >= 2 * hour;
        has_both.then(|| [of(&samples[..hour]), of(&samples[samples.len() - hour..])])
    }

    pub(super) fn in_words(&self, hour: usize) -> String {
        match self.hours(hour) {
            Some([first, last]) => format!(
                "{} quiet rounds; first hour: PSS {} ({} anonymous), {} threads, {} descriptors; \
                 last hour: PSS {} ({} anonymous), {} threads, {} descriptors",
                self.0.len(),
                first.pss,
                first.anonymous,
                first.threads,
                first.descriptors,
                last.pss,
                last.anonymous,
                last.threads,
                last.descriptors
            ),
            None => format!("{} quiet rounds: {:?}", self.0.len(), self.0.last()),
        }
    }

    /// Its last hour may have `growth` bytes more than its first.
    #[track_caller]
    pub(super) fn assert_flat(&self, hour: usize, growth: u64) {
        let [first, last] = self.hours(hour).expect("two hours");
        let words = self.in_words(hour);
        assert!(last.pss <= first.pss + growth, "memory grows: {words}");
        assert!(
            last.threads <= first.threads + COMING_AND_GOING,
            "threads: {words}"
        );
        assert!(
            last.descriptors <= first.descriptors + COMING_AND_GOING,
            "descriptors: {words}"
        );
    }
}

fn middle<T: Ord>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> T {
    let mut values: Vec<T> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.swap_remove(samples.len() / 2)
}
