//! The tags that move, and the images they move to.

use super::super::lab::Lab;
use super::plan::Move;
use crate::fuzz::generator::Random;
use crate::support::images::ImageSpec;
use serde_json::Value;
use serde_json::json;

/// A tag, and every image it ever meant.
pub(super) struct Tag {
    pub(super) runtime: String,
    /// Its images have a health check.
    is_checked: bool,
    /// The last one is the newest.
    published: Vec<Published>,
    /// From here on: since all was well last.
    since: usize,
}

#[derive(Clone)]
struct Published {
    mark: String,
    digest: String,
    kind: Move,
    spec: ImageSpec,
}

/// Ways in which an image does not come up.
const BAD: [&str; 4] = ["fails", "has no such command", "is unhealthy", "ends"];

impl Tag {
    pub(super) fn new(number: usize, is_checked: bool) -> Self {
        Self {
            runtime: format!("r{number}"),
            is_checked,
            published: Vec::new(),
            since: 0,
        }
    }

    pub(super) fn reference(&self, lab: &Lab) -> String {
        lab.reference(&self.runtime)
    }

    /// Moves the tag, and says where to. Some moves are back to an image there was before.
    pub(super) fn publish(&mut self, lab: &Lab, kind: Move, random: &mut Random) -> String {
        let number = self.published.len();
        let (mark, spec) = match kind {
            Move::Good if number > 2 && random.below(6) == 0 => {
                let earlier = self.published[..number - 1].iter();
                let good: Vec<&Published> = earlier.filter(|one| one.kind == Move::Good).collect();
                let back = *random.pick(&good);
                (back.mark.clone(), back.spec.clone())
            }
            Move::Good => {
                let mark = format!("{}-v{number}", self.runtime);
                let spec = self.good(&mark);
                (mark, spec)
            }
            Move::Bad => {
                let mut how = BAD[random.below(BAD.len())];
                // Podman checks nothing without systemd, which is not here.
                if lab.is_podman && how == "is unhealthy" {
                    how = "ends";
                }
                let mark = format!("{}-bad{number}", self.runtime);
                let spec = self.bad(&mark, how);
                (mark, spec)
            }
        };
        let digest = lab.publish(&self.runtime, &spec);
        let said = mark.clone();
        self.published.push(Published {
            mark,
            digest,
            kind,
            spec,
        });
        said
    }

    fn good(&self, mark: &str) -> ImageSpec {
        let image = ImageSpec::new(mark);
        if self.is_checked {
            image.with("Healthcheck", check("true"))
        } else {
            image
        }
    }

    fn bad(&self, mark: &str, how: &str) -> ImageSpec {
        let image = self.good(mark);
        let script = |text: &str| json!(["/bin/busybox", "sh", "-c", text]);
        match how {
            "fails" => image.with("Cmd", script("echo no luck today; exit 3")),
            "has no such command" => image.with("Cmd", json!(["/no/such"])),
            "is unhealthy" => image.with("Healthcheck", check("false")),
            _ => image.with("Cmd", script("exit 0")),
        }
    }

    pub(super) fn digest(&self) -> &str {
        &self.newest().digest
    }

    pub(super) fn is_good(&self) -> bool {
        self.newest().kind == Move::Good
    }

    fn newest(&self) -> &Published {
        self.published.last().expect("an image")
    }

    /// Whether a container that ran `before` when all was well last may run `now`. One that runs is on
    /// the newest image if that is good, else on the last good one or one on the way there.
    pub(super) fn may_run(&self, before: &str, now: &str, is_running: bool) -> bool {
        let newest = self.newest();
        if newest.kind == Move::Good {
            return now == newest.mark;
        }
        let fits = |one: &Published| {
            // One that is stopped is not tried, so it cannot be found out.
            (one.kind == Move::Good || !is_running) && one.mark == now
        };
        now == before || self.published[self.since..].iter().any(fits)
    }

    /// Whether it moved since all was well last.
    pub(super) fn has_moved(&self) -> bool {
        self.since < self.published.len()
    }

    /// All is well: from here on the newest image is what there was.
    pub(super) fn settle(&mut self) {
        self.since = self.published.len();
    }
}

/// A health check every second or so; a bad one fails soon.
fn check(command: &str) -> Value {
    let (interval, retries) = if command == "true" {
        (2_000_000_000_u64, 3)
    } else {
        (300_000_000, 1)
    };
    json!({"Test": ["CMD", "/bin/busybox", command], "Interval": interval,
           "Timeout": 5_000_000_000_u64, "Retries": retries})
}
