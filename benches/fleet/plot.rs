//! The plot: the requests of the fleet around a power cut and around two bad hours of GHCR, as SVG.

use super::INSTANCES;
use super::SEED;
use super::limits::GHCR;
use super::outcome;
use super::random::Random;
use super::scenario::Kind;
use super::scenario::Scenario;
use super::time::MINUTE;
use super::time::SECOND;
use super::world::Fleet;
use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
/// The distance between the tops of two panels.
const STEP: f64 = 220.0;
const GREY: &str = "#b0b0b0";
const BLUE: &str = "#1f5fa8";

/// One panel: a time axis in minutes, and an axis of requests per second.
struct Panel {
    title: &'static str,
    number: u32,
    from: u64,
    until: u64,
    /// The point from which the minutes are counted.
    zero: u64,
    /// The distance between two marks of the time axis.
    mark: u64,
    most: f64,
}

pub fn draw() -> String {
    let mut svg = String::from(concat!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 680\" ",
        "font-family=\"sans-serif\" font-size=\"12\">\n",
        "<rect width=\"760\" height=\"680\" fill=\"white\"/>\n",
    ));
    let random = &mut Random::new(SEED);
    let cut = Scenario::power_cut(random);
    let panel = Panel {
        title: "Power cut: all instances start in the same second (grey: without the early second round)",
        number: 0,
        from: cut.begin,
        until: cut.begin + 40 * MINUTE,
        zero: cut.begin,
        mark: 10 * MINUTE,
        most: 2_000.0,
    };
    panel.frame(&mut svg);
    panel.line(&mut svg, &seconds(&cut, true), 10, GREY);
    panel.line(&mut svg, &seconds(&cut, false), 10, BLUE);
    for (number, title, kind) in [
        (1, "No answer for an hour", Kind::Silent),
        (
            2,
            "429 for an hour, with the same end for all",
            Kind::ThrottledUntilEnd,
        ),
    ] {
        let scenario = Scenario::trouble(title, kind, random);
        let trouble = scenario.trouble.expect("a bad hour");
        let panel = Panel {
            title,
            number,
            from: trouble.from - 15 * MINUTE,
            until: trouble.until + 30 * MINUTE,
            zero: trouble.from,
            mark: 15 * MINUTE,
            most: 1_000.0,
        };
        panel.frame(&mut svg);
        panel.line(&mut svg, &seconds(&scenario, false), 20, BLUE);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The requests in each second.
fn seconds(scenario: &Scenario, is_in_step: bool) -> Vec<u32> {
    let fleet = Fleet {
        instances: INSTANCES,
        is_behind_nat: false,
        is_in_step,
    };
    outcome::run(&GHCR, scenario, fleet, SEED).seconds
}

impl Panel {
    fn x(&self, at: u64) -> f64 {
        (at - self.from) as f64 / (self.until - self.from) as f64 * WIDTH + LEFT
    }

    fn y(&self, rate: f64) -> f64 {
        f64::from(self.number) * STEP + TOP + HEIGHT * (1.0 - rate.min(self.most) / self.most)
    }

    /// Draws the title, the axes and the limit.
    fn frame(&self, svg: &mut String) {
        let (left, right) = (LEFT, LEFT + WIDTH);
        let (top, bottom) = (self.y(self.most), self.y(0.0));
        text(svg, left, top - 12.0, "start", self.title);
        for part in 0..=4 {
            let rate = self.most / 4.0 * f64::from(part);
            let y = self.y(rate);
            line(svg, (left, y), (right, y), "stroke=\"#e4e4e4\"");
            text(svg, left - 6.0, y + 4.0, "end", &format!("{rate:.0}/s"));
        }
        let mut at = self.from;
        while at <= self.until {
            let minutes = at as i64 / MINUTE as i64 - self.zero as i64 / MINUTE as i64;
            let label = format!("{minutes} min");
            text(svg, self.x(at), bottom + 16.0, "middle", &label);
            at += self.mark;
        }
        let limit = f64::from(GHCR.per_minute) / 60.0;
        let y = self.y(limit);
        line(
            svg,
            (left, y),
            (right, y),
            "stroke=\"#c03030\" stroke-dasharray=\"5 4\"",
        );
        let label = format!("limit {}/min", GHCR.per_minute);
        text(svg, right, y - 4.0, "end", &label);
    }

    /// Draws the mean rate of each `width` seconds. A rate that is too high is cut off, with its number beside it.
    fn line(&self, svg: &mut String, seconds: &[u32], width: usize, colour: &str) {
        let place = |at: u64| usize::try_from(at / SECOND).expect("small");
        let seconds = &seconds[place(self.from)..place(self.until)];
        let mut points = String::new();
        let mut highest = (0.0, 0.0);
        for (number, bin) in seconds.chunks(width).enumerate() {
            let rate = f64::from(bin.iter().sum::<u32>()) / bin.len() as f64;
            let at = self.from + (number * width + width / 2) as u64 * SECOND;
            if rate > highest.1 {
                highest = (self.x(at), rate);
            }
            let _ = write!(points, "{:.1},{:.1} ", self.x(at), self.y(rate));
        }
        let points = points.trim_end();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{points}\"/>"
        );
        if highest.1 > self.most && colour == BLUE {
            let label = format!("↑ {:.0}/s for {width} s", highest.1);
            text(
                svg,
                highest.0 + 5.0,
                self.y(self.most) + 12.0,
                "start",
                &label,
            );
        }
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
