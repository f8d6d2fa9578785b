//! A month of rounds in many time zones, against a plain model: moves, ages, windows, skips, holds, tags that go back,
//! and restarts. Nothing sleeps, because the policy is told the time.

use crate::fuzz::generator::Random;
use imagewatch::journal::Sightings;
use imagewatch::labels::Consent;
use imagewatch::policy::Asked;
use imagewatch::policy::Decision;
use imagewatch::policy::Facts;
use imagewatch::policy::Hold;
use imagewatch::policy::decide;
use imagewatch::reference::Digest;
use imagewatch::reference::Reference;
use imagewatch::time::Window;
use imagewatch::time::Zone;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

const DAY: u64 = 86_400;
const ZONES: [&str; 20] = [
    "UTC0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "PST8PDT",
    "IST-5:30",
    "IST-1GMT0,M10.5.0,M3.5.0/1",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
    "EET-2EEST,M3.4.4/50,M10.4.4/50",
    "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
    "AEST-10AEDT,M10.1.0,M4.1.0/3",
    "NZST-12NZDT,M9.5.0,M4.1.0/3",
    "<+14>-14",
    "<-12>12",
    "NST3:30NDT,M3.2.0,M11.1.0",
    "<-03>3",
    "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
    "CST6CDT,M3.2.0/0,M11.1.0/1",
    "EET-2EEST,M3.5.0/0,M10.5.0/0",
    "<+0545>-5:45",
];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

fn digest(of: u64) -> Digest {
    format!("sha256:{of:064x}").parse().expect("valid")
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

/// A window of the model: one range on each of some days. Without days, it is always open.
struct Plain {
    days: Vec<usize>,
    from: u64,
    length: u64,
}

impl Plain {
    fn draw(random: &mut Random) -> Self {
        let days = (0..7).filter(|_| random.below(3) == 0).collect();
        Self {
            days,
            from: random.below(96) as u64 * 15,
            length: (1 + random.below(90) as u64) * 15,
        }
    }

    fn text(&self) -> String {
        if self.days.is_empty() {
            return "always".to_owned();
        }
        let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        let to = match self.from + self.length {
            1440 => 1440,
            to => to % 1440,
        };
        let days: Vec<&str> = self.days.iter().map(|day| DAYS[*day]).collect();
        format!("{} {}-{}", days.join("+"), clock(self.from), clock(to))
    }

    /// Whether the clock on the wall is inside: so many minutes after a Sunday's midnight.
    fn is_open(&self, minute_of_week: u64) -> bool {
        let begins = |day: &usize| *day as u64 * 1440 + self.from;
        let since = |begin: u64| (minute_of_week + 7 * 1440 - begin) % (7 * 1440);
        self.days.is_empty() || self.days.iter().any(|day| since(begins(day)) < self.length)
    }
}

/// What the model knows: when the tag moved, as far as anybody has looked, and the owner's decisions.
struct Model {
    zone: Zone,
    plain: Plain,
    window: Window,
    min_age: u64,
    seen: u64,
    since: u64,
    applied: u64,
    skipped: Option<u64>,
    held_until: Option<u64>,
}

impl Model {
    fn may(&self, now: u64) -> bool {
        let wall = now as i64 + i64::from(self.zone.at(now as i64).0);
        // 1970-01-04 was a Sunday.
        let minute = ((wall as u64 / 60) + 4 * 1440) % (7 * 1440);
        let is_free = self.held_until.is_none_or(|end| end <= now);
        let is_wanted = self.skipped != Some(self.seen);
        is_free && is_wanted && now - self.since >= self.min_age && self.plain.is_open(minute)
    }

    fn decide(&self, sightings: &Sightings, reference: &Reference, now: u64) -> Decision {
        let hold = self.held_until.map(|end| Hold {
            until: Some(at(end)),
            by: "admin".to_owned(),
        });
        decide(&Facts {
            now: at(now),
            zone: &self.zone,
            asked: Asked::ForAll,
            since: sightings.since(reference, &digest(self.seen)),
            min_age: Duration::from_secs(self.min_age),
            window: &self.window,
            consent: Consent::Update,
            hold: hold.as_ref(),
            skipped_by: (self.skipped == Some(self.seen)).then_some("admin"),
            rejected: None,
        })
    }
}

/// Lives through a month. Returns how often an update was applied.
fn month(seed: u64, rule: &str) -> u64 {
    let mut random = Random::new(seed);
    let reference: Reference = "nginx".parse().expect("valid");
    let start = 1_767_225_600 + random.below(365) as u64 * DAY;
    let mut sightings = Sightings::default();
    let plain = Plain::draw(&mut random);
    let mut model = Model {
        window: Window::parse(&plain.text()).expect("a window"),
        zone: Zone::rule(rule).expect(rule),
        plain,
        min_age: random.below(4) as u64 * random.below(30) as u64 * 3600,
        seen: 0,
        since: start,
        applied: 0,
        skipped: None,
        held_until: None,
    };
    let (mut tag, mut last, mut count, mut now) = (0, 0, 0, start);
    while now < start + 30 * DAY {
        match random.below(600) {
            0..=2 => {
                last += 1;
                tag = last;
            }
            // The tag goes back to an earlier image.
            3 => tag = random.below(last as usize + 1) as u64,
            4 => model.skipped = Some(tag),
            5 => model.held_until = Some(now + random.below(48) as u64 * 1800),
            6 => sightings = Sightings::restore(sightings.list()),
            _ => {}
        }
        if tag != model.seen {
            (model.seen, model.since) = (tag, now);
        }
        sightings.see(&reference, &digest(tag), at(now));
        let context = || format!("seed {seed}, {rule}, {}, {now}", model.plain.text());
        let decision = model.decide(&sightings, &reference, now);
        assert_eq!(
            decision == Decision::Apply,
            model.may(now),
            "{}: {decision:?}",
            context()
        );
        match decision {
            Decision::Apply if model.applied != tag => {
                count += 1;
                model.applied = tag;
                sightings.settle(&reference.to_string(), digest(tag).as_str());
            }
            Decision::Wait { until, .. } => {
                let until = until.duration_since(UNIX_EPOCH).expect("later").as_secs();
                assert!(until > now && model.may(until), "{}: {until}", context());
                let sooner = now + random.below((until - now) as usize) as u64;
                assert!(
                    !model.may(sooner),
                    "{}: {sooner} is sooner than {until}",
                    context()
                );
                assert!(!model.may(until - 1), "{}: {until}", context());
            }
            _ => {}
        }
        now += 60 + random.below(1200) as u64;
    }
    let settled = sightings.settled(&reference.to_string());
    assert!(count == 0 || settled == Some(digest(model.applied).to_string()));
    count
}

#[test]
fn a_month_goes_by_the_rules_in_every_zone() {
    let mut applied = 0;
    for (number, rule) in ZONES.iter().enumerate() {
        for seed in 0..2 {
            applied += month(seed * 100 + number as u64, rule);
        }
    }
    assert!(applied > 40, "{applied}");
}
