//! The refresh that runs now, as every reader of the status sees it.

use super::event::Step;
use serde::Serialize;

/// The most layers that are counted. An image has some dozens. An Engine that names ever new layers must not fill
/// the memory.
const MOST_LAYERS: usize = 1_000;

/// The refresh that runs now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnderWay {
    /// The origin of the refresh: `watcher`, `admin` or `hook`.
    pub asked_by: &'static str,
    /// When the refresh began (RFC 3339).
    pub started: String,
    /// The pulls of this refresh, also those that are over.
    pub pulls: Vec<Pull>,
    /// The containers that are being replaced.
    pub swaps: Vec<Swapping>,
}

/// A pull.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pull {
    /// The reference of the image.
    pub image: String,
    /// The number of layers that are not here yet, or were not when the pull began.
    pub layers: usize,
    /// How many of them are ready.
    pub ready: usize,
    /// The part of the work that is done, from 0 to 100.
    pub percent: usize,
    #[serde(skip)]
    parts: Vec<(String, usize)>,
}

/// A container that is being replaced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swapping {
    /// The container's name.
    pub container: String,
    /// The phase: `create`, `stop`, `start`, `accept` or `undo`.
    pub phase: &'static str,
}

impl UnderWay {
    pub(super) fn new(asked_by: &'static str, started: String) -> Self {
        Self {
            asked_by,
            started,
            pulls: Vec::new(),
            swaps: Vec::new(),
        }
    }

    /// Takes over one step.
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Pulling { image } => drop(self.pull(image)),
            Step::Layer {
                image,
                layer,
                status,
                current,
                total,
            } => {
                if let Some(percent) = percent(layer, status, *current, *total) {
                    self.pull(image).layer(layer, percent);
                }
            }
            Step::Pulled { image, .. } => {
                let pull = self.pull(image);
                (pull.ready, pull.percent) = (pull.layers, 100);
            }
            Step::Swap { container, phase } => {
                self.swaps.retain(|one| one.container != *container);
                self.swaps.push(Swapping {
                    container: container.clone(),
                    phase,
                });
            }
            Step::Outcome(event) => match &event.container {
                Some(name) => self.swaps.retain(|one| one.container != *name),
                None => self.pulls.retain(|one| one.image != event.image),
            },
            Step::Alive => {}
        }
    }

    fn pull(&mut self, image: &str) -> &mut Pull {
        let known = self.pulls.iter().position(|one| one.image == image);
        let place = known.unwrap_or_else(|| {
            self.pulls.push(Pull {
                image: image.to_owned(),
                layers: 0,
                ready: 0,
                percent: 0,
                parts: Vec::new(),
            });
            self.pulls.len() - 1
        });
        &mut self.pulls[place]
    }
}

impl Pull {
    /// A layer that is named late lowers the part that is done, but what is shown never goes back.
    fn layer(&mut self, layer: &str, percent: usize) {
        let known = self.parts.iter().position(|(name, _)| name == layer);
        match known {
            Some(place) => self.parts[place].1 = percent.max(self.parts[place].1),
            None if self.parts.len() < MOST_LAYERS => self.parts.push((layer.to_owned(), percent)),
            None => return,
        }
        self.layers = self.parts.len();
        self.ready = self.parts.iter().filter(|(_, part)| *part == 100).count();
        let sum: usize = self.parts.iter().map(|(_, part)| part).sum();
        self.percent = self.percent.max(sum / self.layers);
    }
}

/// The part of a layer that is done. Fetching is one half, and unpacking the other one. The tag's own line, and layers
/// that are here already, do not count.
fn percent(layer: &str, status: &str, current: u64, total: u64) -> Option<usize> {
    let is_layer = layer.len() == 12 && layer.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_layer || status.contains("exists") {
        return None;
    }
    let half = current.min(total).saturating_mul(50);
    let half = usize::try_from(half.checked_div(total).unwrap_or(0)).unwrap_or(0);
    Some(match status {
        "Pull complete" => 100,
        "Extracting" => 50 + half,
        "Verifying Checksum" | "Download complete" => 50,
        _ => half,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;
    use crate::journal::Outcome;

    #[test]
    fn a_pull_only_goes_forward() {
        let mut run = UnderWay::new("admin", String::new());
        for (layer, status, current, total, expected) in [
            ("latest", "Pulling from acme/web", 0, 0, (0, 0, 0)),
            ("aaaaaaaaaaaa", "Already exists", 0, 0, (0, 0, 0)),
            ("bbbbbbbbbbbb", "Downloading", 4, 8, (0, 1, 25)),
            ("bbbbbbbbbbbb", "Downloading", 9, 8, (0, 1, 50)),
            ("cccccccccccc", "Pulling fs layer", 0, 0, (0, 2, 50)),
            ("bbbbbbbbbbbb", "Extracting", 4, 8, (0, 2, 50)),
            ("bbbbbbbbbbbb", "Pull complete", 0, 0, (1, 2, 50)),
            ("cccccccccccc", "Download complete", 0, 0, (1, 2, 75)),
            (
                "cccccccccccc",
                "Downloading",
                u64::MAX,
                u64::MAX,
                (1, 2, 75),
            ),
        ] {
            run.step(&Step::Layer {
                image: "web".to_owned(),
                layer: layer.to_owned(),
                status: status.to_owned(),
                current,
                total,
            });
            let seen = run.pulls.first();
            let seen = seen.map_or((0, 0, 0), |one| (one.ready, one.layers, one.percent));
            assert_eq!(seen, expected, "{layer} {status}");
        }
        run.step(&Step::Pulled {
            image: "web".to_owned(),
            seconds: 1.0,
        });
        assert_eq!((run.pulls[0].ready, run.pulls[0].percent), (2, 100));
        run.step(&Step::Outcome(Event::pull_failed("web", "500")));
        assert!(run.pulls.is_empty());
    }

    #[test]
    fn a_container_has_the_phase_of_its_swap_until_its_outcome() {
        let mut run = UnderWay::new("watcher", String::new());
        let swap = |phase| Step::Swap {
            container: "web".to_owned(),
            phase,
        };
        run.step(&swap("create"));
        run.step(&swap("stop"));
        let phases: Vec<&str> = run.swaps.iter().map(|one| one.phase).collect();
        assert_eq!(phases, ["stop"]);
        run.step(&Step::Alive);
        run.step(&Step::Outcome(Event::of(
            Outcome::Recreated,
            "web",
            "nginx",
        )));
        assert!(run.swaps.is_empty());
    }
}
