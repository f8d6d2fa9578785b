//! Time zones as POSIX rules: `CET-1CEST,M3.5.0,M10.5.0/3`. A name is looked up in the system's folder of zones.
//!
//! A rule knows only the present laws of a place, which is all that a window in the future needs. Each file of the
//! folder (TZif, RFC 8536) ends with the rule of its place, so the rest of the file is not read.

use super::civil;
use super::days_since_1970;
use crate::process;
use std::fs::Metadata;
use std::sync::OnceLock;

/// The folder of the system's zones.
const FOLDER: &str = "/usr/share/zoneinfo/";
/// The zone of the system, if nobody names another one.
const LOCAL: &str = "/etc/localtime";
/// The largest file that is read. The largest zone of the system has 4 KB.
const LIMIT: u64 = 64 * 1024;
/// The rule of a zone that changes its clocks without saying when.
const DEFAULT_DATES: &str = "M3.2.0,M11.1.0";
const DAY: i64 = 86_400;

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    standard: Clock,
    saving: Option<Saving>,
}

/// The clocks of a zone during a part of the year.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Clock {
    /// The abbreviation, for example `CET`.
    name: String,
    /// How many seconds the clocks are ahead of UTC.
    ahead: i32,
}

/// The clocks during daylight saving time. In Dublin, that is the winter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Saving {
    clock: Clock,
    begins: Change,
    ends: Change,
}

/// The moment of each year at which the clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    date: Date,
    /// Seconds after midnight, from -167 to 167 hours.
    at: i32,
}

/// A day of each year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Date {
    /// A day from 1 to 365. 29 February is not counted.
    WithoutLeapDay(u16),
    /// A day from 0 to 365. 29 February is counted.
    WithLeapDay(u16),
    /// A day of the week, from 0 for Sunday. Week 5 is the last one of the month.
    Week { month: u32, week: u32, day: u32 },
}

impl Zone {
    /// Coordinated Universal Time.
    #[must_use]
    pub fn utc() -> Self {
        Self::without_offset("UTC".to_owned())
    }

    fn without_offset(name: String) -> Self {
        let standard = Clock { name, ahead: 0 };
        Self {
            standard,
            saving: None,
        }
    }

    /// Reads a value of `TZ`: a rule, or the name of a zone.
    ///
    /// # Errors
    /// The reason why there is no such zone here.
    pub fn find(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix(':').unwrap_or(text);
        if let Some(zone) = Self::rule(text) {
            return Ok(zone);
        }
        let name = text.strip_prefix(FOLDER).unwrap_or(text);
        if matches!(name, "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT") {
            let name = name.trim_start_matches("Etc/").to_owned();
            return Ok(Self::without_offset(name));
        }
        let is_word = |word: &str| {
            let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'+');
            !word.is_empty() && word.bytes().all(fits)
        };
        if !name.split('/').all(is_word) {
            return Err("it is neither a rule nor the name of a zone".to_owned());
        }
        Self::read(&format!("{FOLDER}{name}"))
    }

    /// Returns the zone of the system, if the system says it.
    #[must_use]
    pub fn local() -> Option<Self> {
        Self::read(LOCAL).ok()
    }

    /// Reads the rule at the end of a file.
    fn read(path: &str) -> Result<Self, String> {
        // Opening a named pipe would wait for a writer.
        let is_small_file = |found: Metadata| found.is_file() && found.len() <= LIMIT;
        let found = std::fs::metadata(path).map(is_small_file);
        let bytes = match found {
            Ok(true) => std::fs::read(path),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| format!("{path}: {}", process::explain(&error)))?;
        let rule = footer(&bytes).and_then(Self::rule);
        rule.ok_or_else(|| format!("{path}: no rule of a time zone is in it"))
    }

    /// Reads a rule.
    #[must_use]
    pub fn rule(text: &str) -> Option<Self> {
        let mut rest = text;
        let name = abbreviation(&mut rest)?;
        let ahead = -seconds(&mut rest, 24)?;
        let standard = Clock { name, ahead };
        if rest.is_empty() {
            return Some(Self {
                standard,
                saving: None,
            });
        }
        let name = abbreviation(&mut rest)?;
        let ahead = match rest.chars().next() {
            None | Some(',') => ahead + 3600,
            Some(_) => -seconds(&mut rest, 24)?,
        };
        let clock = Clock { name, ahead };
        let dates = match rest.strip_prefix(',') {
            Some(dates) => dates,
            None if rest.is_empty() => DEFAULT_DATES,
            None => return None,
        };
        let (begins, ends) = dates.split_once(',')?;
        let saving = Saving {
            clock,
            begins: Change::parse(begins)?,
            ends: Change::parse(ends)?,
        };
        Some(Self {
            standard,
            saving: Some(saving),
        })
    }

    /// The abbreviation of the zone's standard time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.standard.name
    }

    /// Returns how many seconds the clocks are ahead of UTC at a moment, and the abbreviation of their time. A moment
    /// is given in seconds since 1970.
    #[must_use]
    pub fn at(&self, moment: i64) -> (i32, &str) {
        let mut clock = &self.standard;
        let mut last = i64::MIN;
        for (change, next) in self.changes(moment) {
            // Where daylight saving time never ends, its end is the moment of its next beginning, which is later.
            if (last..=moment).contains(&change) {
                (last, clock) = (change, next);
            }
        }
        (clock.ahead, &clock.name)
    }

    /// Returns the moments at which the clocks change, from the year before `moment` to the year after it.
    #[must_use]
    pub fn changes_near(&self, moment: i64) -> Vec<i64> {
        let changes = self.changes(moment).into_iter();
        changes.map(|(moment, _)| moment).collect()
    }

    /// Both offsets of the zone.
    pub(super) fn offsets(&self) -> [i32; 2] {
        let saving = self.saving.as_ref().map(|saving| &saving.clock);
        [self.standard.ahead, saving.unwrap_or(&self.standard).ahead]
    }

    /// The changes of three years, each with the clocks after it. In a year, the end of daylight saving time is first.
    fn changes(&self, moment: i64) -> Vec<(i64, &Clock)> {
        let Some(saving) = &self.saving else {
            return Vec::new();
        };
        let (year, ..) = civil((moment + i64::from(self.standard.ahead)).div_euclid(DAY));
        let mut changes = Vec::new();
        for year in year - 1..=year + 1 {
            let ends = saving.ends.in_year(year) - i64::from(saving.clock.ahead);
            let begins = saving.begins.in_year(year) - i64::from(self.standard.ahead);
            changes.push((ends, &self.standard));
            changes.push((begins, &saving.clock));
        }
        changes
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (date, at) = match text.split_once('/') {
            Some((date, mut rest)) => {
                let at = seconds(&mut rest, 167)?;
                (date, Some(at).filter(|_| rest.is_empty())?)
            }
            None => (text, 7200),
        };
        let date = Date::parse(date)?;
        Some(Self { date, at })
    }

    /// Returns the moment in this year by the clock on the wall, as if it showed UTC.
    fn in_year(self, year: i64) -> i64 {
        self.date.in_year(year) * DAY + i64::from(self.at)
    }
}

impl Date {
    fn parse(text: &str) -> Option<Self> {
        if let Some(text) = text.strip_prefix('M') {
            let mut numbers = text.split('.').map(|part| number(part, 12));
            let (month, week, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let is_date = month >= 1 && (1..=5).contains(&week) && day <= 6;
            return (is_date && numbers.next().is_none()).then_some(Self::Week {
                month,
                week,
                day,
            });
        }
        let small = |number: u32| u16::try_from(number).ok();
        if let Some(text) = text.strip_prefix('J') {
            let day = number(text, 365).filter(|day| *day >= 1)?;
            return small(day).map(Self::WithoutLeapDay);
        }
        small(number(text, 365)?).map(Self::WithLeapDay)
    }

    /// Returns the day in this year, in days since 1970.
    fn in_year(self, year: i64) -> i64 {
        let new_year = days_since_1970(year, 1, 1);
        match self {
            Self::WithLeapDay(day) => new_year + i64::from(day),
            Self::WithoutLeapDay(day) => {
                let is_leap = days_since_1970(year + 1, 1, 1) - new_year == 366;
                new_year + i64::from(day) - 1 + i64::from(is_leap && day >= 60)
            }
            Self::Week { month, week, day } => {
                let first = days_since_1970(year, i64::from(month), 1);
                let next_month = days_since_1970(year, i64::from(month) + 1, 1);
                let ahead = (i64::from(day) - weekday(first)).rem_euclid(7);
                let found = first + ahead + 7 * (i64::from(week) - 1);
                // Week 5 of a month with four such days is the fourth.
                if found < next_month { found } else { found - 7 }
            }
        }
    }
}

/// The day of the week, from 0 for Sunday, of a day since 1970.
pub(super) fn weekday(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

/// Returns the line at the end of a file of the system's folder.
fn footer(bytes: &[u8]) -> Option<&str> {
    let is_new = bytes.starts_with(b"TZif") && bytes.get(4).is_some_and(|version| *version >= b'2');
    let text = bytes.strip_suffix(b"\n").filter(|_| is_new)?;
    let start = text.iter().rposition(|byte| *byte == b'\n')?;
    std::str::from_utf8(&text[start + 1..]).ok()
}

/// Takes an abbreviation from the front: letters, or anything between angle brackets.
fn abbreviation(rest: &mut &str) -> Option<String> {
    let (name, after) = match rest.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic());
            rest.split_at(end.unwrap_or(rest.len()))
        }
    };
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-');
    *rest = after;
    let is_name = (3..=10).contains(&name.len()) && name.bytes().all(fits);
    is_name.then(|| name.to_owned())
}

/// Takes a time from the front: `[+-]hh[:mm[:ss]]`, of at most so many hours.
fn seconds(rest: &mut &str, most_hours: u32) -> Option<i32> {
    let (sign, text) = match rest.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, rest.strip_prefix('+').unwrap_or(rest)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ':');
    let (text, after) = text.split_at(end.unwrap_or(text.len()));
    *rest = after;
    let mut parts = text.split(':');
    let mut total = number(parts.next()?, most_hours)? * 3600;
    for unit in [60, 1] {
        let part = parts.next().map_or(Some(0), |part| number(part, 59))?;
        total += part * unit;
    }
    let total = i32::try_from(total).ok()?;
    parts.next().is_none().then_some(total * sign)
}

/// Reads a number of up to three digits.
fn number(text: &str, most: u32) -> Option<u32> {
    let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number <= most)?;
    is_number.then_some(number)
}

static ZONE: OnceLock<Zone> = OnceLock::new();

/// Sets the zone in which times are shown. Only the first call has an effect.
pub fn show_times_in(zone: Zone) {
    // A second call comes only from tests that share a process.
    let _ = ZONE.set(zone);
}

/// The zone in which times are shown. It is UTC until [`show_times_in`] sets another one.
#[must_use]
pub fn zone() -> &'static Zone {
    static UTC: OnceLock<Zone> = OnceLock::new();
    ZONE.get().unwrap_or_else(|| UTC.get_or_init(Zone::utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_rfc3339;
    use std::time::UNIX_EPOCH;

    fn moment(text: &str) -> i64 {
        let time = parse_rfc3339(text).expect("a time");
        let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
        i64::try_from(since.as_secs()).expect("small")
    }

    #[test]
    fn known_zones_change_their_clocks_when_they_do() {
        // The first moment of the new time in UTC; the second before it has the other time.
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let new_york = "EST5EDT,M3.2.0,M11.1.0";
        let dublin = "IST-1GMT0,M10.5.0,M3.5.0/1";
        let lord_howe = "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0";
        let nuuk = "<-02>2<-01>,M3.5.0/-1,M10.5.0/0";
        let gaza = "EET-2EEST,M3.4.4/50,M10.4.4/50";
        let chatham = "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45";
        for (rule, at, before, after) in [
            (
                berlin,
                "2026-03-29T01:00:00Z",
                (3600, "CET"),
                (7200, "CEST"),
            ),
            (
                berlin,
                "2026-10-25T01:00:00Z",
                (7200, "CEST"),
                (3600, "CET"),
            ),
            (
                new_york,
                "2026-03-08T07:00:00Z",
                (-18000, "EST"),
                (-14400, "EDT"),
            ),
            (
                new_york,
                "2026-11-01T06:00:00Z",
                (-14400, "EDT"),
                (-18000, "EST"),
            ),
            (
                "EST5EDT",
                "2026-11-01T06:00:00Z",
                (-14400, "EDT"),
                (-18000, "EST"),
            ),
            (dublin, "2026-03-29T01:00:00Z", (0, "GMT"), (3600, "IST")),
            (dublin, "2026-10-25T01:00:00Z", (3600, "IST"), (0, "GMT")),
            (
                lord_howe,
                "2026-04-04T15:00:00Z",
                (39600, "+11"),
                (37800, "+1030"),
            ),
            (
                lord_howe,
                "2026-10-03T15:30:00Z",
                (37800, "+1030"),
                (39600, "+11"),
            ),
            (nuuk, "2026-03-29T01:00:00Z", (-7200, "-02"), (-3600, "-01")),
            (nuuk, "2026-10-25T01:00:00Z", (-3600, "-01"), (-7200, "-02")),
            (gaza, "2026-03-28T00:00:00Z", (7200, "EET"), (10800, "EEST")),
            (gaza, "2026-10-23T23:00:00Z", (10800, "EEST"), (7200, "EET")),
            (
                chatham,
                "2026-04-04T14:00:00Z",
                (49500, "+1345"),
                (45900, "+1245"),
            ),
            (
                chatham,
                "2026-09-26T14:00:00Z",
                (45900, "+1245"),
                (49500, "+1345"),
            ),
            // Day 60 is 1 March in each year, or also 29 February if that is counted.
            (
                "AAA0BBB,J60/0,J300/0",
                "2028-03-01T00:00:00Z",
                (0, "AAA"),
                (3600, "BBB"),
            ),
            (
                "AAA0BBB,J60/0,J300/0",
                "2027-03-01T00:00:00Z",
                (0, "AAA"),
                (3600, "BBB"),
            ),
            (
                "AAA0BBB,59/0,300/0",
                "2028-02-29T00:00:00Z",
                (0, "AAA"),
                (3600, "BBB"),
            ),
            (
                "AAA0BBB,59/0,300/0",
                "2027-03-01T00:00:00Z",
                (0, "AAA"),
                (3600, "BBB"),
            ),
            // The end of the year, far from Greenwich.
            (
                "AAA-12BBB,J1/0,J100/0",
                "2026-12-31T12:00:00Z",
                (43200, "AAA"),
                (46800, "BBB"),
            ),
            (
                "AAA12BBB,J365/24,J100/0",
                "2027-01-01T12:00:00Z",
                (-43200, "AAA"),
                (-39600, "BBB"),
            ),
        ] {
            let zone = Zone::rule(rule).expect(rule);
            let at = moment(at);
            assert_eq!(zone.at(at - 1), before, "{rule} before {at}");
            assert_eq!(zone.at(at), after, "{rule} at {at}");
            assert!(zone.changes_near(at).contains(&at), "{rule}");
        }
    }

    #[test]
    fn zones_without_changes_have_none() {
        for (rule, expected) in [
            ("IST-5:30", (19_800, "IST")),
            ("UTC0", (0, "UTC")),
            ("<-03>3", (-10_800, "-03")),
            ("ABC+1:02:03", (-3_723, "ABC")),
            // Daylight saving time all year, as RFC 8536 writes it.
            ("XXX3EDT4,0/0,J365/23", (-14_400, "EDT")),
        ] {
            let zone = Zone::rule(rule).expect(rule);
            for day in 0..800 {
                assert_eq!(zone.at(1_790_000_000 + day * DAY), expected, "{rule}");
            }
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "CET",
            "CE-1",
            "CET-25",
            "CET-1CEST,",
            "CET-1CEST,M3.5.0",
            "CET-1CEST,M13.5.0,M10.5.0",
            "CET-1CEST,M3.6.0,M10.5.0",
            "CET-1CEST,M3.0.0,M10.5.0",
            "CET-1CEST,M3.5.7,M10.5.0",
            "CET-1CEST,M3.5.0,M10.5.0/168",
            "CET-1CEST,M3.5.0,M10.5.0/3x",
            "CET-1CEST,J0,J9",
            "CET-1CEST,366,9",
            "CET-1CEST,M3.5.0,M10.5.0,",
            "CET-1 CEST",
            "<CET-1",
            "<a b>1",
            "C€T1",
            "CET-1CEST,M3.5.0.1,M10.5.0",
            "CET-1:60",
            "CET--1",
            "CET-1:",
            "Europe/Berlin",
            "CET-1CEST,M+3.5.0,M10.5.0",
            "CET-0001",
        ] {
            assert_eq!(Zone::rule(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        for name in [
            "../../../etc/passwd",
            "/etc/localtime",
            "Europe/../../etc/x",
            "Europe//Berlin",
            "/",
            "",
            "Europe/Ber lin",
            "Europe",
            "Nowhere/Atlantis",
            "tzdata.zi",
            "posix/\0",
        ] {
            assert!(Zone::find(name).is_err(), "{name:?}");
        }
        for name in ["UTC", ":UTC", "Etc/UTC", " UTC0 "] {
            assert_eq!(Zone::find(name).expect(name).at(0), (0, "UTC"));
        }
        assert_eq!(Zone::find("Etc/GMT").expect("a zone").at(0), (0, "GMT"));
    }

    #[test]
    fn the_rule_of_a_file_is_its_last_line() {
        let file = |rule: &str| [b"TZif2\0\0\n\n\xff", rule.as_bytes()].concat();
        for (bytes, expected) in [
            (file("\nCET-1\n"), Some("CET-1")),
            (file("\n\n"), Some("")),
            (file("\nCET-1"), None),
            (b"TZif\0\nCET-1\n".to_vec(), None),
            (b"CET-1\n".to_vec(), None),
            (b"TZif2\n".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(footer(&bytes), expected);
        }
    }

    /// The zones of this machine, if it has any: each rule of a file is understood.
    #[test]
    fn the_zones_of_the_system_are_understood() {
        for (name, expected) in [
            ("Europe/Berlin", (7200, "CEST")),
            ("America/New_York", (-14_400, "EDT")),
            ("Asia/Kolkata", (19_800, "IST")),
            ("Australia/Lord_Howe", (37_800, "+1030")),
        ] {
            let summer = moment("2026-07-01T00:00:00Z");
            match Zone::find(name) {
                Ok(zone) => assert_eq!(zone.at(summer), expected, "{name}"),
                Err(error) => assert!(error.contains(FOLDER), "{error}"),
            }
        }
    }

    #[test]
    fn no_rule_panics() {
        const WORDS: &[&str] = &[
            "CET", "<+03>", "<", ">", "-1", "+24", ":30", ",M3.5.0", ",J365", ",0", "/", "/-167",
            ".", "M10.1.6", "\n", "TZif2", "\0",
        ];
        crate::fuzz::fuzz("zone", WORDS, |input| {
            let text = String::from_utf8_lossy(input);
            let rule = footer(input).unwrap_or(&text);
            let Some(zone) = Zone::rule(rule) else { return };
            for at in (-1..40).map(|month| 1_790_000_000 + month * 30 * DAY) {
                let (ahead, name) = zone.at(at);
                assert!(ahead.abs() < 26 * 3600 && !name.is_empty());
            }
        });
    }
}
