//! Shows a refresh on a terminal: one moving line for the step under way, and one lasting line for each result.
//! A pipe gets only the lasting lines.

use crate::error::headline;
use crate::journal::Event;
use crate::journal::Outcome;
use crate::journal::Step;
use crate::logging;
use crate::logging::TAKE_AWAY;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::io::Stderr;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

/// The number of characters of a bar.
const WIDTH: u64 = 16;
/// The most characters of an image's name beside its bar.
const NAME: usize = 30;
/// Between two drawings of the moving line.
const FRAME: Duration = Duration::from_millis(100);
/// The longest moving line. A line that wraps could not be drawn over.
const LONGEST: usize = 79;
/// The most layers that are counted. An image has some dozens. An Engine that names ever new layers must not fill
/// the memory.
const MOST_LAYERS: usize = 1_000;

/// Draws the steps of a refresh.
pub(super) struct ProgressBar<W> {
    out: W,
    is_terminal: bool,
    pull: Pull,
    drawn: Option<Instant>,
    is_moving: bool,
}

impl ProgressBar<Stderr> {
    /// Draws on the standard error, so that the report on the standard output stays clean.
    #[must_use]
    pub(super) fn on_stderr() -> Self {
        let out = std::io::stderr();
        let is_terminal = out.is_terminal();
        Self::new(out, is_terminal)
    }
}

impl<W: Write> ProgressBar<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            pull: Pull::default(),
            drawn: None,
            is_moving: false,
        }
    }

    /// Shows one step.
    pub(super) fn step(&mut self, step: &Step) {
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
            Step::Swap { container, phase } => self.draw(&format!("{container}: {phase}")),
            Step::Outcome(event) => self.say(&line(event)),
        }
    }

    /// Removes the moving line.
    pub(super) fn end(&mut self) {
        if self.is_moving {
            let _ = write!(self.out, "{TAKE_AWAY}");
            let _ = self.out.flush();
            self.is_moving = false;
            logging::note_line(false);
        }
    }

    fn draw(&mut self, text: &str) {
        if !self.is_terminal {
            return;
        }
        let text: String = text.chars().take(LONGEST).collect();
        let _ = write!(self.out, "{TAKE_AWAY}{text}");
        let _ = self.out.flush();
        self.is_moving = true;
        logging::note_line(true);
        self.drawn = Some(Instant::now());
    }

    fn say(&mut self, text: &str) {
        self.end();
        let _ = writeln!(self.out, "{text}");
        self.drawn = None;
    }
}

/// Formats with one decimal. `{:.1}` would be the only format of a fraction in the program, and cost 15 KB.
fn tenths(seconds: f64) -> String {
    let tenths = (seconds * 10.0).round() as u64;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The progress of a pull. The bar never goes back, although the Engine reports layers late.
#[derive(Debug, Default)]
struct Pull {
    layers: HashMap<String, Layer>,
    /// The length of the longest bar that was shown.
    shown: u64,
    /// The largest number of bytes that was shown.
    bytes: u64,
}

#[derive(Debug, Default)]
struct Layer {
    done: u64,
    total: u64,
    /// Whether the layer is unpacked, or was here before the pull.
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

    /// Formats a bar, with the bytes and layers that are done and those that are known.
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

/// Formats an event on one line.
fn line(event: &Event) -> String {
    let (subject, image) = (event.subject(), &event.image);
    let (reason, _) = headline(event.reason.as_deref().unwrap_or_default());
    match event.outcome {
        Outcome::PullFailed | Outcome::Unsigned | Outcome::BadlySigned => {
            format!("{image}: not pulled: {reason}")
        }
        Outcome::Behind => format!("{subject}: behind {image}, left to you"),
        Outcome::Recreated | Outcome::Restored => match event.downtime_seconds {
            Some(seconds) => format!("{subject}: recreated, down for {} s", tenths(seconds)),
            None => format!("{subject}: recreated"),
        },
        Outcome::RolledBack => format!("{subject}: rolled back: {reason}"),
        Outcome::Down => format!("{subject}: DOWN: {reason}"),
        Outcome::Back => format!("{subject}: runs again"),
        // No refresh tells this.
        Outcome::Newer | Outcome::Decided => String::new(),
        Outcome::Skipped | Outcome::LeftAlone => format!("{subject}: skipped: {reason}"),
    }
}

/// Returns the end of an image's name, shortened to the room for it.
fn short_name(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - NAME).collect();
    format!("…{end}")
}

/// Formats bytes in units of 10^6 bytes, with one decimal.
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
        let event = Event::of(Outcome::Recreated, "web", "nginx").from_to("a", "b");
        Step::Outcome(event.after(Some(Duration::from_millis(250))))
    }

    #[test]
    fn in_a_pipe_there_are_only_lines_that_stay() {
        let mut bar = ProgressBar::new(Vec::new(), false);
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
            bar.step(&step);
        }
        bar.end();
        let text = String::from_utf8(bar.out).expect("text");
        assert_eq!(
            text,
            "nginx: pulled in 1.3 s\nweb: recreated, down for 0.3 s\n"
        );
    }

    #[test]
    fn on_a_terminal_a_line_moves_and_is_drawn_over() {
        let mut bar = ProgressBar::new(Vec::new(), true);
        bar.step(&Step::Swap {
            container: "web".into(),
            phase: "stop",
        });
        // A line of the log comes in between.
        assert_eq!(logging::before_a_line(), TAKE_AWAY);
        assert_eq!(logging::before_a_line(), "");
        bar.step(&recreated());
        bar.end();
        let text = String::from_utf8(bar.out).expect("text");
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
            // The Engine reports another layer, so the sum grows.
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
