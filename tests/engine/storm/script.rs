//! What happens in a storm, drawn from its seed: which tags move, when the program is killed, and what
//! somebody else does meanwhile.

use crate::fuzz::generator::Random;
use std::time::Duration;

/// The tags, each followed by some of the containers.
pub(super) const SOLO: usize = 0;
pub(super) const CHECKED: usize = 1;
pub(super) const PROVIDER: usize = 2;
pub(super) const DEPENDENT: usize = 3;
pub(super) const TRIO: usize = 4;
pub(super) const TAGS: [&str; 5] = ["solo", "checked", "provider", "dependent", "trio"];

/// The latest moment of a disturbance, in milliseconds: as long as an update and its acceptance take.
const AFTER_MOVE: usize = 4500;
const AFTER_SWAP: usize = 3000;

/// A whole storm.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// The restart policy of the container that is alone on its image.
    pub(super) policy: &'static str,
    /// Which namespace the second dependent shares with the provider, if there is one.
    pub(super) second: Option<&'static str>,
    /// The provider's image has a health check.
    pub(super) is_provider_checked: bool,
    /// The tag that the stopped container follows.
    pub(super) stopped_follows: usize,
    pub(super) cleans_up: bool,
    pub(super) moves: Vec<Move>,
    pub(super) kills: Vec<Due>,
    pub(super) disturbance: Disturbance,
    pub(super) due: Due,
}

/// A tag moves to such an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) tag: usize,
    pub(super) image: Image,
    /// After the first move.
    pub(super) after: Duration,
}

/// What an image is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    Good,
    /// Healthy only after more than a second, if it has a health check.
    Slow,
    /// It ends at once.
    Ends,
    /// It ends after a while that is shorter than the time in which it has to stay up.
    EndsLater,
    Unhealthy,
    /// There is no such command in it.
    NeverStarts,
}

impl Image {
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::Slow)
    }
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// This long after the first tag moved.
    AfterMove(Duration),
    /// This long after the first successor was created.
    AfterSwap(Duration),
}

/// What somebody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    None,
    RestartEngine,
    KillEngine,
    /// The owner does this to the container with this number.
    Owner(Deed, usize),
    PruneContainers,
    PruneAll,
    FullDisk(Duration),
    /// The tag of the first move moves again.
    MovesAgain(Image),
    /// … back to the image that it meant before.
    MovesBack,
    RegistryAway(Duration),
    /// A second program; it is killed after this time, if there is one.
    SecondProgram(Option<Duration>),
}

/// What an owner does to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Stop,
    Kill,
    Restart,
    Remove,
    Rename,
    Recreate,
    /// Of the one that is stopped.
    Start,
}

/// The number of the container that is stopped.
const STOPPED: usize = 7;

const DEEDS: [Deed; 7] = [
    Deed::Stop,
    Deed::Kill,
    Deed::Restart,
    Deed::Remove,
    Deed::Rename,
    Deed::Recreate,
    Deed::Start,
];

const POLICIES: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];

/// The numbers of the containers that follow a tag (see `members`).
pub(super) fn followers(tag: usize) -> &'static [usize] {
    match tag {
        SOLO => &[0],
        CHECKED => &[1],
        PROVIDER => &[2],
        DEPENDENT => &[3],
        _ => &[4, 5, 6],
    }
}

impl Script {
    pub(super) fn draw(random: &mut Random, is_podman: bool) -> Self {
        let moves = moves(random, is_podman);
        let kills = (0..[0, 0, 1, 1, 2][random.below(5)])
            .map(|_| due(random))
            .collect();
        Self {
            policy: *random.pick(&POLICIES),
            second: *random.pick(&[None, Some("PidMode"), Some("IpcMode"), Some("NetworkMode")]),
            is_provider_checked: !is_podman && random.below(2) == 0,
            stopped_follows: *random.pick(&[SOLO, TRIO]),
            cleans_up: random.below(2) == 0,
            kills,
            disturbance: disturbance(random, &moves, is_podman),
            due: due(random),
            moves,
        }
    }
}

/// One to three different tags.
fn moves(random: &mut Random, is_podman: bool) -> Vec<Move> {
    let mut tags = vec![SOLO, CHECKED, PROVIDER, PROVIDER, DEPENDENT, TRIO, TRIO];
    let mut moves: Vec<Move> = Vec::new();
    for _ in 0..=random.below(3) {
        let tag = *random.pick(&tags);
        tags.retain(|other| *other != tag);
        let after = if moves.is_empty() {
            0
        } else {
            random.below(1500)
        };
        moves.push(Move {
            tag,
            image: image(random, is_podman),
            after: Duration::from_millis(after as u64),
        });
    }
    moves
}

fn image(random: &mut Random, is_podman: bool) -> Image {
    match random.below(10) {
        0..=2 => Image::Good,
        3 | 4 => Image::Slow,
        5 => Image::Ends,
        6 | 7 => Image::EndsLater,
        // Podman checks nothing without systemd, which is not here.
        8 if !is_podman => Image::Unhealthy,
        _ => Image::NeverStarts,
    }
}

fn due(random: &mut Random) -> Due {
    if random.below(3) == 0 {
        Due::AfterMove(Duration::from_millis(random.below(AFTER_MOVE) as u64))
    } else {
        Due::AfterSwap(Duration::from_millis(random.below(AFTER_SWAP) as u64))
    }
}

fn disturbance(random: &mut Random, moves: &[Move], is_podman: bool) -> Disturbance {
    let mut seconds = |most: usize| Duration::from_millis((500 + random.below(most * 1000)) as u64);
    let (short, long) = (seconds(2), seconds(4));
    match random.below(24) {
        0 => Disturbance::None,
        1 | 2 => Disturbance::RestartEngine,
        3 | 4 => Disturbance::KillEngine,
        5..=13 => {
            // Mostly one of those that are about to be renewed.
            let moved = random.pick(moves).tag;
            let others = [SOLO, CHECKED, PROVIDER, DEPENDENT, TRIO];
            let tag = if random.below(5) == 0 {
                *random.pick(&others)
            } else {
                moved
            };
            // Whoever the dependent lives in matters as much to it.
            let tag = match tag {
                DEPENDENT if random.below(2) == 0 => PROVIDER,
                tag => tag,
            };
            match (*random.pick(&DEEDS), *random.pick(followers(tag))) {
                (Deed::Start, _) => Disturbance::Owner(Deed::Start, STOPPED),
                (deed, member) => Disturbance::Owner(deed, member),
            }
        }
        14..=16 => Disturbance::PruneContainers,
        17 | 18 => Disturbance::PruneAll,
        19 => Disturbance::FullDisk(long),
        20 => Disturbance::MovesAgain(image(random, is_podman)),
        21 => Disturbance::MovesBack,
        22 => Disturbance::RegistryAway(long),
        _ => Disturbance::SecondProgram((random.below(2) == 0).then_some(short)),
    }
}
