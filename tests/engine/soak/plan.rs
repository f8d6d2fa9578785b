//! What happens in the week: how much of everything, and in which order.

use crate::fuzz::generator::Random;

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Week {
    pub(super) rounds: u64,
    /// Tags that move, to bad images too.
    pub(super) moves: usize,
    pub(super) bad: usize,
    pub(super) kills: usize,
    pub(super) restarts: usize,
    pub(super) outages: usize,
    pub(super) containers: usize,
    /// Tags that are watched.
    pub(super) tags: usize,
    /// Quiet rounds in each of the two stretches whose memory is compared: an hour is a 168th of the
    /// week.
    pub(super) hour: usize,
    /// Bytes that a process may have more in its last hour than in its first.
    pub(super) growth: u64,
}

const DAYS: usize = 7;

/// All of it.
const LONG: Week = Week {
    rounds: 2000,
    moves: 300,
    bad: 60,
    kills: 40,
    restarts: 20,
    outages: 20,
    containers: 30,
    tags: 20,
    hour: 12,
    // What a process remembers fills up to its bounds meanwhile: 200 outcomes, 100 jobs with their reports.
    growth: 256 * 1024,
};

/// What there is time for each day.
const SHORT: Week = Week {
    rounds: 45,
    moves: 8,
    bad: 2,
    kills: 3,
    restarts: 1,
    outages: 1,
    containers: 6,
    tags: 5,
    hour: 2,
    // Its first hour comes before the first refresh and the first trouble.
    growth: 1024 * 1024,
};

impl Week {
    /// The long one if `LAB_SOAK=week`, or some days of it if that is a number.
    pub(super) fn chosen() -> Self {
        let Ok(chosen) = std::env::var("LAB_SOAK") else {
            return SHORT;
        };
        let days = match chosen.as_str() {
            "week" => Ok(DAYS),
            days => days.parse(),
        };
        match days {
            Ok(days @ 1..=DAYS) => LONG.cut_to(days),
            _ => panic!("LAB_SOAK is {chosen:?}, neither week nor 1 to {DAYS}"),
        }
    }

    fn cut_to(self, days: usize) -> Self {
        let of = |all: usize| all * days / DAYS;
        Self {
            rounds: self.rounds * days as u64 / DAYS as u64,
            moves: of(self.moves),
            bad: of(self.bad),
            kills: of(self.kills),
            restarts: of(self.restarts),
            outages: of(self.outages),
            ..self
        }
    }

    pub(super) fn is_long(&self) -> bool {
        self.containers == LONG.containers
    }

    /// Scenes in all: a third of them without a mishap.
    pub(super) fn scenes(&self) -> usize {
        (self.kills + self.restarts + self.outages) * 3 / 2
    }

    /// The week's scenes in their order. All kills fall on its first days, so that one process lives to
    /// see the others.
    pub(super) fn draw(&self, random: &mut Random) -> Vec<Scene> {
        let count = self.scenes();
        let mut others = vec![Mishap::Restart; self.restarts];
        others.extend(vec![Mishap::Outage; self.outages]);
        others.resize(count - self.kills, Mishap::None);
        shuffle(&mut others, random);
        let late = others.split_off((count * 4 / 7).saturating_sub(self.kills));
        others.extend(vec![Mishap::Kill; self.kills]);
        shuffle(&mut others, random);
        others.extend(late);
        let scene = |mishap| Scene {
            mishap,
            moves: Vec::new(),
        };
        let mut scenes: Vec<Scene> = others.into_iter().map(scene).collect();
        let mut moves = vec![Move::Bad; self.bad];
        moves.resize(self.moves, Move::Good);
        shuffle(&mut moves, random);
        for (number, one) in moves.into_iter().enumerate() {
            let place = if number < count {
                number
            } else {
                random.below(count)
            };
            scenes[place].moves.push(one);
        }
        scenes
    }
}

/// A few tags move, and something else may happen meanwhile; then all has to be well again.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) mishap: Mishap,
    pub(super) moves: Vec<Move>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    None,
    /// The program is killed.
    Kill,
    /// The Engine is restarted.
    Restart,
    /// The registry cannot be reached, or is in trouble.
    Outage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Good,
    Bad,
}

fn shuffle<T>(list: &mut [T], random: &mut Random) {
    for end in (1..list.len()).rev() {
        list.swap(end, random.below(end + 1));
    }
}
