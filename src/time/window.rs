//! Windows: the times of the week at which updates may be applied, for example `Mon-Fri 02:00-05:00, Sat 00:00-24:00`.
//!
//! A window is a matter of the clock on the wall. So an hour that comes twice is inside twice, and an hour that is
//! missing does not exist.

use super::DAY;
use super::Zone;
use super::moment;
use super::zone::weekday;
use std::time::Duration;
use std::time::SystemTime;

/// The short names of the days of the week.
pub(super) const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// The long names of the days of the week.
const LONG_DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
/// Every day of the week, as in [`Span::days`].
const EVERY_DAY: u8 = 0x7f;
/// The most spans of one window.
const MOST: usize = 50;
const MINUTES: u16 = 24 * 60;
/// A window opens within so many days. Even if clocks change over its hour this week, they do not next week.
const SEARCH: i64 = 16;

/// The times of the week at which updates may be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// The spans of each week. Without a span, the window is always open.
    spans: Vec<Span>,
}

/// A span of time on some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// One bit for each day on which the span begins. The lowest is Sunday's.
    days: u8,
    /// The minute of the day at which the span begins.
    from: u16,
    /// The minute at which the span is over. If that is before `from`, it is a minute of the next day.
    to: u16,
}

impl Window {
    /// Describes usable values.
    pub const EXPECTED: &str =
        "always, or days and times such as Mon-Fri 02:00-05:00, Sat+Sun 00:00-24:00";

    /// Reads a window.
    ///
    /// # Errors
    /// A description of usable values.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.trim().eq_ignore_ascii_case("always") {
            return Ok(Self::default());
        }
        let mut spans: Vec<Span> = Vec::new();
        // Days that wait for the time of the next item, as in `Sat,Sun 00:00-24:00`.
        let mut waiting = None;
        for item in text.split(',') {
            let (days, times) = split(item)?;
            let days = match (waiting, days) {
                (None, days) => days,
                (Some(earlier), Some(days)) => Some(earlier | days),
                (Some(_), None) => return Err(NO_TIME),
            };
            match times {
                None => waiting = days,
                Some((from, to)) => {
                    waiting = None;
                    let days = days.unwrap_or(EVERY_DAY);
                    spans.push(Span { days, from, to });
                }
            }
        }
        if waiting.is_some() {
            return Err(NO_TIME);
        }
        if spans.len() > MOST {
            return Err("at most 50 spans of time");
        }
        Ok(Self { spans })
    }

    /// Whether the window is always open.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether the window is open at a time.
    #[must_use]
    pub fn is_open(&self, time: SystemTime, zone: &Zone) -> bool {
        self.is_open_at(moment(time), zone)
    }

    /// Returns the first time from `time` on at which the window is open. That is `time` itself if the window is open.
    #[must_use]
    pub fn opens_at(&self, time: SystemTime, zone: &Zone) -> Option<SystemTime> {
        let start = moment(time);
        if self.is_open_at(start, zone) {
            return Some(time);
        }
        let today = (start + i64::from(zone.at(start).0)).div_euclid(DAY);
        // A window opens when a span begins by either of the zone's clocks, or when clocks jump into a span.
        let mut candidates = zone.changes_near(start);
        for day in today - 1..today + SEARCH {
            for span in &self.spans {
                let local = day * DAY + i64::from(span.from) * 60;
                candidates.extend(zone.offsets().map(|ahead| local - i64::from(ahead)));
            }
        }
        let usable = |at: &i64| *at > start && self.is_open_at(*at, zone);
        let found = candidates.into_iter().filter(usable).min()?;
        let wait = Duration::from_secs(found.abs_diff(start));
        // Spans begin at whole seconds.
        let whole = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(start.unsigned_abs()))?;
        whole.checked_add(wait)
    }

    fn is_open_at(&self, moment: i64, zone: &Zone) -> bool {
        let local = moment + i64::from(zone.at(moment).0);
        let (day, minute) = (local.div_euclid(DAY), local.rem_euclid(DAY) / 60);
        let (today, yesterday) = (weekday(day), weekday(day - 1));
        let is_inside = |span: &Span| {
            let (from, to) = (i64::from(span.from), i64::from(span.to));
            let begins_on = |day: i64| span.days & (1 << day) != 0;
            let is_over_midnight = to < from;
            let is_today = minute >= from && (is_over_midnight || minute < to);
            (begins_on(today) && is_today)
                || (is_over_midnight && begins_on(yesterday) && minute < to)
        };
        self.spans.is_empty() || self.spans.iter().any(is_inside)
    }
}

/// What to write if days have no time.
const NO_TIME: &str = "a time after the days, such as Sat 00:00-24:00";

/// Days as in [`Span::days`], and the two ends of a span, as far as an item has them.
type Item = (Option<u8>, Option<(u16, u16)>);

/// Splits an item into its days and its time, of which one may be missing.
fn split(item: &str) -> Result<Item, &'static str> {
    // `Mon - Fri` means the same as `Mon-Fri`.
    let parts: Vec<&str> = item.split('-').map(str::trim).collect();
    let (mut days, mut times) = (None, None);
    for word in parts.join("-").split([' ', '\t', '+']) {
        if word.is_empty() {
            continue;
        }
        if times.is_some() {
            return Err(Window::EXPECTED);
        }
        if word.contains(':') {
            times = Some(parse_times(word)?);
        } else {
            days = Some(days.unwrap_or(0) | parse_days(word).ok_or(Window::EXPECTED)?);
        }
    }
    if days.is_none() && times.is_none() {
        return Err(Window::EXPECTED);
    }
    Ok((days, times))
}

/// Reads one day, or a range of days that may go over the end of the week.
fn parse_days(word: &str) -> Option<u8> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (mut day, last) = (parse_day(first)?, parse_day(last)?);
    let mut days = 1 << day;
    while day != last {
        day = (day + 1) % 7;
        days |= 1 << day;
    }
    Some(days)
}

fn parse_day(word: &str) -> Option<usize> {
    let place = |names: &[&str]| {
        let mut names = names.iter();
        names.position(|name| name.eq_ignore_ascii_case(word))
    };
    place(&DAYS).or_else(|| place(&LONG_DAYS))
}

/// Reads `HH:MM-HH:MM`.
fn parse_times(word: &str) -> Result<(u16, u16), &'static str> {
    let read = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str, digits: &[usize]| {
            let fits = digits.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| fits)
        };
        let (hours, minutes) = (number(hours, &[1, 2])?, number(minutes, &[2])?);
        let total = hours * 60 + minutes;
        (minutes < 60 && total <= MINUTES).then_some(total)
    };
    let both = word.split_once('-');
    let both = both.and_then(|(from, to)| Some((read(from)?, read(to)?)));
    match both {
        Some((from, to)) if from == to => {
            Err("an end that is not the beginning (00:00-24:00 is a whole day)")
        }
        Some((from, to)) if from < MINUTES => Ok((from, to)),
        _ => Err(Window::EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Random;
    use crate::time::parse_rfc3339;
    use crate::time::rfc3339;
    use std::time::UNIX_EPOCH;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    fn zone(rule: &str) -> Zone {
        Zone::rule(rule).expect("a rule")
    }

    fn time(text: &str) -> SystemTime {
        parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_window_is_read_as_people_write_it() {
        let span = |days, from, to| Span { days, from, to };
        let (week, weekend) = (0b011_1110, 0b100_0001);
        for (text, expected) in [
            ("always", vec![]),
            (" Always ", vec![]),
            ("02:00-05:00", vec![span(EVERY_DAY, 120, 300)]),
            ("2:00-5:30", vec![span(EVERY_DAY, 120, 330)]),
            (
                "Mon-Fri 02:00-05:00, Sat 00:00-24:00",
                vec![span(week, 120, 300), span(0b100_0000, 0, 1440)],
            ),
            ("Sat+Sun 00:00-24:00", vec![span(weekend, 0, 1440)]),
            ("Sat Sun 00:00-24:00", vec![span(weekend, 0, 1440)]),
            ("Sat,Sun 00:00-24:00", vec![span(weekend, 0, 1440)]),
            (
                "sat, Mon-Fri , SUNDAY 00:00-24:00",
                vec![span(EVERY_DAY, 0, 1440)],
            ),
            ("Mon - Fri 22:00 - 04:00", vec![span(week, 1320, 240)]),
            ("Fri-Mon 22:00-00:00", vec![span(0b110_0011, 1320, 0)]),
            ("Sun-Sun 00:00-00:01", vec![span(1, 0, 1)]),
            ("Sat-Fri 00:00-00:01", vec![span(EVERY_DAY, 0, 1)]),
        ] {
            assert_eq!(
                Window::parse(text),
                Ok(Window { spans: expected }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_window_is_refused_with_words_that_help() {
        for (text, expected) in [
            ("Sat", NO_TIME),
            ("Mon 02:00-03:00, Sat", NO_TIME),
            ("Sat, 02:00-03:00", NO_TIME),
            (
                "02:00-02:00",
                "an end that is not the beginning (00:00-24:00 is a whole day)",
            ),
            ("", Window::EXPECTED),
            (",", Window::EXPECTED),
            ("never", Window::EXPECTED),
            ("0 2 * * *", Window::EXPECTED),
            ("Mon-Fry 02:00-05:00", Window::EXPECTED),
            ("02:00", Window::EXPECTED),
            ("02:00-25:00", Window::EXPECTED),
            ("24:00-02:00", Window::EXPECTED),
            ("02:60-03:00", Window::EXPECTED),
            ("02:00-24:01", Window::EXPECTED),
            ("2-5", Window::EXPECTED),
            ("02:00-05:00 Mon", Window::EXPECTED),
            ("02:00-05:00 06:00-07:00", Window::EXPECTED),
            ("+2:00-05:00 06:00", Window::EXPECTED),
            ("2:0-5:00", Window::EXPECTED),
            ("Mon-Wed-Fri 02:00-05:00", Window::EXPECTED),
        ] {
            assert_eq!(Window::parse(text), Err(expected), "{text:?}");
        }
        let long = ["02:00-03:00"; MOST + 1].join(",");
        assert_eq!(Window::parse(&long), Err("at most 50 spans of time"));
    }

    #[test]
    fn a_window_opens_by_the_clock_on_the_wall() {
        let night = "Mon-Fri 02:00-05:00";
        for (rule, window, at, opens) in [
            // 2026-11-27 is a Friday.
            (
                BERLIN,
                night,
                "2026-11-27T02:00:00+01:00",
                "2026-11-27T02:00:00+01:00",
            ),
            (
                BERLIN,
                night,
                "2026-11-27T04:59:59+01:00",
                "2026-11-27T04:59:59+01:00",
            ),
            (
                BERLIN,
                night,
                "2026-11-27T05:00:00+01:00",
                "2026-11-30T02:00:00+01:00",
            ),
            (
                BERLIN,
                night,
                "2026-11-27T01:59:59+01:00",
                "2026-11-27T02:00:00+01:00",
            ),
            (
                BERLIN,
                "Fri 22:00-04:00",
                "2026-11-28T03:59:00+01:00",
                "2026-11-28T03:59:00+01:00",
            ),
            (
                BERLIN,
                "Fri 22:00-04:00",
                "2026-11-28T04:00:00+01:00",
                "2026-12-04T22:00:00+01:00",
            ),
            (
                BERLIN,
                "Fri 22:00-04:00",
                "2026-11-27T03:00:00+01:00",
                "2026-11-27T22:00:00+01:00",
            ),
            (
                BERLIN,
                "Sat 00:00-24:00",
                "2026-11-28T23:59:59+01:00",
                "2026-11-28T23:59:59+01:00",
            ),
            (
                BERLIN,
                "Sat 00:00-24:00",
                "2026-11-29T00:00:00+01:00",
                "2026-12-05T00:00:00+01:00",
            ),
            // The hour from 02:00 on is missing on 2026-03-29, a Sunday.
            (
                BERLIN,
                "Sun 02:00-03:00",
                "2026-03-28T12:00:00+01:00",
                "2026-04-05T02:00:00+02:00",
            ),
            (
                BERLIN,
                "Sun 02:30-04:00",
                "2026-03-28T12:00:00+01:00",
                "2026-03-29T03:00:00+02:00",
            ),
            (
                BERLIN,
                "Sat 22:00-02:30",
                "2026-03-29T01:59:59+01:00",
                "2026-03-29T01:59:59+01:00",
            ),
            (
                BERLIN,
                "Sat 22:00-02:30",
                "2026-03-29T03:00:00+02:00",
                "2026-04-04T22:00:00+02:00",
            ),
            // The hour from 02:00 on comes twice on 2026-10-25.
            (
                BERLIN,
                "Sun 02:00-03:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:30:00+02:00",
            ),
            (
                BERLIN,
                "Sun 02:00-03:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T02:30:00+01:00",
            ),
            (
                BERLIN,
                "Sun 02:00-02:15",
                "2026-10-25T02:15:00+02:00",
                "2026-10-25T02:00:00+01:00",
            ),
            (
                "IST-5:30",
                "00:00-00:01",
                "2026-11-27T12:00:00Z",
                "2026-11-27T18:30:00Z",
            ),
            // The half hour from 01:30 on comes twice.
            (
                "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
                "Sun 01:30-02:00",
                "2026-04-05T02:00:00+10:30",
                "2026-04-12T01:30:00+10:30",
            ),
        ] {
            let window = Window::parse(window).expect(window);
            let found = window.opens_at(time(at), &zone(rule)).expect("it opens");
            assert_eq!(rfc3339(found), rfc3339(time(opens)), "{window:?} {at}");
        }
        let time = UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(Window::default().opens_at(time, &Zone::utc()), Some(time));
        assert!(Window::default().is_always());
    }

    /// The clock on the wall, minute by minute, without any calculation of openings.
    #[test]
    fn an_opening_is_the_first_open_minute() {
        let zones = [
            BERLIN,
            "EST5EDT,M3.2.0,M11.1.0",
            "IST-1GMT0,M10.5.0,M3.5.0/1",
            "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
            "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
            "EET-2EEST,M3.4.4/50,M10.4.4/50",
            "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45",
            "IST-5:30",
        ];
        let mut random = Random::new(17);
        for round in 0..240 {
            let zone = zone(zones[round % zones.len()]);
            let spans = (0..1 + random.below(3)).map(|_| {
                let from = random.below(48) * 30;
                let to = (from + 15 + random.below(47) * 30) % 1440;
                Span {
                    days: 1 + random.below(127) as u8,
                    from: from as u16,
                    to: to as u16,
                }
            });
            let window = Window {
                spans: spans.collect(),
            };
            // Close to a change of the clocks half of the time.
            let year = 1_767_225_600 + random.below(365 * 24 * 60) as i64 * 60;
            let changes = zone.changes_near(year);
            let start = match changes.get(random.below(12)) {
                Some(change) => change - random.below(4 * 24 * 60) as i64 * 60,
                None => year,
            };
            let at = UNIX_EPOCH + Duration::from_secs(start.unsigned_abs());
            let minutes = (0..16 * 24 * 60).map(|minute| start + minute * 60);
            let is_open = |at: &i64| {
                let wall = at + i64::from(zone.at(*at).0);
                let (day, minute) = (wall.div_euclid(DAY), wall.rem_euclid(DAY) / 60);
                // The days since a Sunday, counted in minutes of the week.
                let of_week = (day + 4).rem_euclid(7) * 1440 + minute;
                window.spans.iter().any(|span| {
                    (0..7).filter(|day| span.days >> day & 1 == 1).any(|day| {
                        let from = day * 1440 + i64::from(span.from);
                        let length = i64::from((span.to + MINUTES - span.from) % MINUTES);
                        (of_week - from).rem_euclid(7 * 1440) < length
                    })
                })
            };
            let first = minutes.into_iter().find(is_open);
            let found = window.opens_at(at, &zone).map(moment);
            assert_eq!(found, first, "{window:?} {zone:?} {start}");
        }
    }

    #[test]
    fn no_window_panics() {
        const WORDS: &[&str] = &[
            "Mon",
            "-",
            "Fri",
            "+",
            ",",
            " ",
            "02:00",
            "-24:00",
            "00:00-24:00",
            ":",
            "always",
            "é",
            "99",
        ];
        crate::fuzz::fuzz("window", WORDS, |input| {
            let Ok(window) = Window::parse(&String::from_utf8_lossy(input)) else {
                return;
            };
            let zone = zone(BERLIN);
            let now = UNIX_EPOCH + Duration::from_secs(1_795_986_788);
            let opens = window.opens_at(now, &zone).expect("it opens");
            assert!(opens >= now && window.is_open(opens, &zone), "{window:?}");
        });
    }
}
