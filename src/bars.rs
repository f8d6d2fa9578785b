//! How a refresh shows itself on a terminal: one line that moves for what is being done, and a line
//! that stays for what is done; in a pipe only the latter.

use crate::progress::Step;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::io::Stderr;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

/// Characters of a bar.
const WIDTH: u64 = 16;
/// Of an image's name beside its bar.
const NAME: usize = 30;
/// Between two drawings of the moving line.
const FRAME: Duration = Duration::from_millis(100);
/// Longest moving line: one that wraps could not be drawn over.
const LONGEST: usize = 79;
/// Layers that are counted. An image has some dozens; an Engine that names ever new ones must not fill
/// memory.
const MOST_LAYERS: usize = 1_000;

/// Draws.
pub struct Bars<W> {
    out: W,
    is_terminal: bool,
    pull: Pull,
    drawn: Option<Instant>,
    is_moving: bool,
}

impl Bars<Stderr> {
    /// On the standard error, so that a report on the standard output stays clean.
    #[must_use]
    pub fn on_stderr() -> Self {
        let out = std::io::stderr();
        let is_terminal = out.is_terminal();
        Self::new(out, is_terminal)
    }
}

impl<W: Write> Bars<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            pull: Pull::default(),
            drawn: None,
            is_moving: false,
        }
    }

    /// Shows a step.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Alive => {}
            Step::Pulling { image } => {
                self.pull = Pull::default();
                self.draw(&format!("{image}: asking"));
            }
            Step::Layer {
                image,
                layer,
                status,
                current,
                total,
            } => {
                self.pull.layer(layer, status, *current, *total);
                if self.drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                    let text = format!("{} {}", short_name(image), self.pull.text());
                    self.draw(&text);
                }
            }
            Step::Pulled { image, seconds } => {
                self.say(&format!("{image}: pulled in {} s", tenths(*seconds)));
            }
            Step::PullFailed { image, reason } => {
                self.say(&format!("{image}: not pulled: {reason}"));
            }
            Step::Behind {
                container, image, ..
            } => self.say(&format!("{container}: behind {image}, left to you")),
            Step::Swap { container, phase } => self.draw(&format!("{container}: {phase}")),
            Step::Recreated {
                container,
                downtime_seconds,
                ..
            } => {
                let down = downtime_seconds.map_or(String::new(), |seconds| {
                    format!(", down for {} s", tenths(seconds))
                });
                self.say(&format!("{container}: recreated{down}"));
            }
            Step::RolledBack {
                container, reason, ..
            } => self.say(&format!("{container}: rolled back: {reason}")),
            Step::Skipped {
                container, reason, ..
            } => self.say(&format!("{container}: skipped: {reason}")),
        }
    }

    /// Takes the moving line away.
    pub fn end(&mut self) {
        if self.is_moving {
            let _ = write!(self.out, "\r\x1b[2K");
            let _ = self.out.flush();
            self.is_moving = false;
        }
    }

    fn draw(&mut self, text: &str) {
        if !self.is_terminal {
            return;
        }
        let text: String = text.chars().take(LONGEST).collect();
        let _ = write!(self.out, "\r\x1b[2K{text}");
        let _ = self.out.flush();
        self.is_moving = true;
        self.drawn = Some(Instant::now());
    }

    fn say(&mut self, text: &str) {
        self.end();
        let _ = writeln!(self.out, "{text}");
        self.drawn = None;
    }
}

/// Not `{:.1}`: the only fraction that is ever formatted would cost 15 KB.
fn tenths(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// How far a pull is. What it shows never goes back, though the Engine learns of layers late.
#[derive(Debug, Default)]
struct Pull {
    layers: HashMap<String, Layer>,
    /// The longest bar that was shown.
    shown: u64,
    /// The most bytes that were shown.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Layer {
    done: u64,
    total: u64,
    /// Unpacked, or here already.
    is_here: bool,
}

impl Pull {
    fn layer(&mut self, id: &str, status: &str, current: u64, total: u64) {
        let is_here = matches!(status, "Pull complete" | "Already exists");
        let is_over = is_here || status == "Download complete";
        if total == 0 && !is_over && status != "Pulling fs layer" {
            return;
        }
        if self.layers.len() >= MOST_LAYERS && !self.layers.contains_key(id) {
            return;
        }
        let layer = self.layers.entry(id.to_owned()).or_default();
        if status == "Downloading" {
            layer.total = layer.total.max(total);
            layer.done = layer.done.max(current.min(total));
        } else if is_over {
            layer.done = layer.total;
            layer.is_here |= is_here;
        }
    }

    /// A bar, and how many of the bytes and the layers that are known of.
    fn text(&mut self) -> String {
        let sum = |bytes: fn(&Layer) -> u64| {
            let all = self.layers.values().map(bytes);
            all.fold(0, u64::saturating_add)
        };
        let (done, total) = (sum(|layer| layer.done), sum(|layer| layer.total));
        let here = self.layers.values().filter(|layer| layer.is_here).count();
        let layers = format!("{here}/{} layers", self.layers.len());
        if total == 0 {
            return layers;
        }
        self.shown = self
            .shown
            .max(done.saturating_mul(WIDTH) / total)
            .min(WIDTH);
        self.bytes = self.bytes.max(done);
        let full = "#".repeat(usize::try_from(self.shown).unwrap_or(0));
        let rest = ".".repeat(usize::try_from(WIDTH - self.shown).unwrap_or(0));
        format!(
            "[{full}{rest}] {}/{} MB, {layers}",
            megabytes(self.bytes),
            megabytes(total)
        )
    }
}

/// The end of an image's name, as long as there is room for.
fn short_name(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - NAME).collect();
    format!("…{end}")
}

/// With one digit after the point, in 10^6 bytes.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(layer: &str, status: &str, current: u64, total: u64) -> Step {
        Step::Layer {
            image: "nginx".into(),
            layer: layer.into(),
            status: status.into(),
            current,
            total,
        }
    }

    fn recreated() -> Step {
        Step::Recreated {
            container: "web".into(),
            image: "nginx".into(),
            old: "a".into(),
            new: "b".into(),
            downtime_seconds: Some(0.25),
        }
    }

    #[test]
    fn in_a_pipe_there_are_only_lines_that_stay() {
        let mut bars = Bars::new(Vec::new(), false);
        for step in [
            Step::Pulling {
                image: "nginx".into(),
            },
            layer("a", "Downloading", 1, 2),
            Step::Pulled {
                image: "nginx".into(),
                seconds: 1.26,
            },
            recreated(),
        ] {
            bars.step(&step);
        }
        bars.end();
        let text = String::from_utf8(bars.out).expect("text");
        assert_eq!(
            text,
            "nginx: pulled in 1.3 s\nweb: recreated, down for 0.3 s\n"
        );
    }

    #[test]
    fn on_a_terminal_a_line_moves_and_is_drawn_over() {
        let mut bars = Bars::new(Vec::new(), true);
        bars.step(&Step::Swap {
            container: "web".into(),
            phase: "stop",
        });
        bars.step(&recreated());
        bars.end();
        let text = String::from_utf8(bars.out).expect("text");
        assert_eq!(
            text,
            "\r\x1b[2Kweb: stop\r\x1b[2Kweb: recreated, down for 0.3 s\n"
        );
    }

    #[test]
    fn ever_new_layers_do_not_fill_memory() {
        let mut pull = Pull::default();
        for number in 0..3 * MOST_LAYERS {
            pull.layer(&number.to_string(), "Pulling fs layer", 0, 0);
        }
        assert_eq!(pull.layers.len(), MOST_LAYERS);
    }

    #[test]
    fn a_bar_never_goes_back() {
        let mut pull = Pull::default();
        let mut last = 0;
        for (id, status, current, total) in [
            ("a", "Downloading", 500_000, 1_000_000),
            ("a", "Downloading", 900_000, 1_000_000),
            // Another layer is heard of: the sum grows.
            ("b", "Downloading", 0, 9_000_000),
            ("a", "Downloading", 100_000, 1_000_000),
            ("a", "Extracting", 1, 1_000_000),
            ("b", "Downloading", 9_000_000, 9_000_000),
            ("b", "Pull complete", 0, 0),
        ] {
            pull.layer(id, status, current, total);
            let text = pull.text();
            let length = text.matches('#').count();
            assert!(length >= last, "{text}");
            last = length;
        }
        let bar = |full, rest| format!("[{}{}]", "#".repeat(full), ".".repeat(rest));
        assert_eq!(pull.text(), bar(15, 1) + " 9.9/10.0 MB, 1/2 layers");
        pull.layer("a", "Pull complete", 0, 0);
        assert_eq!(pull.text(), bar(16, 0) + " 10.0/10.0 MB, 2/2 layers");
        pull.layer("c", "Downloading", u64::MAX, u64::MAX);
        assert!(
            pull.text().starts_with(&bar(16, 0)),
            "no number is too large"
        );
    }

    #[test]
    fn a_bar_fits_into_a_line() {
        let mut pull = Pull::default();
        for number in 0..99 {
            pull.layer(&number.to_string(), "Downloading", 9_999_999, 99_999_999);
        }
        let name = short_name("ghcr.io/molecule-ai/workspace-template-claude-code:latest");
        assert_eq!(name, "…e-template-claude-code:latest");
        let text = format!("{name} {}", pull.text());
        assert!(text.chars().count() <= LONGEST, "{text}");
    }
}
