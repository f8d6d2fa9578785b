//! Points in time and spans of time as text. `zone` has the time zones, and `window` the windows for updates.

mod window;
mod zone;

pub use window::Window;
pub use zone::Zone;
pub use zone::show_times_in;
pub use zone::zone;

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

const DAY: i64 = 86_400;

/// Prints a time as RFC 3339 in the zone of [`zone()`], to the second: `2026-11-21T06:04:00+01:00`, or with `Z` in UTC.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_in(zone(), time)
}

fn rfc3339_in(zone: &Zone, time: SystemTime) -> String {
    let moment = moment(time);
    // RFC 3339 has no seconds in an offset.
    let minutes = zone.at(moment).0 / 60;
    let local = moment + i64::from(minutes) * 60;
    let (year, month, day) = civil(local.div_euclid(DAY));
    let rest = local.rem_euclid(DAY);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    if minutes == 0 {
        text.push('Z');
    } else {
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.abs();
        text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
    text
}

/// Prints a time to come for people, in the zone of [`zone()`]: `Sat 02:00 CET`, or with its date if that is more than
/// six days away.
#[must_use]
pub fn in_words(time: SystemTime, now: SystemTime) -> String {
    in_words_in(zone(), time, now)
}

fn in_words_in(zone: &Zone, time: SystemTime, now: SystemTime) -> String {
    let moment = moment(time);
    let (ahead, name) = zone.at(moment);
    let local = moment + i64::from(ahead);
    let (day, minutes) = (local.div_euclid(DAY), local.rem_euclid(DAY) / 60);
    let weekday = usize::try_from(zone::weekday(day)).unwrap_or(0);
    let mut date = window::DAYS[weekday].to_owned();
    if moment.abs_diff(self::moment(now)) > 6 * 86_400 {
        let (year, month, day) = civil(day);
        date = format!("{year:04}-{month:02}-{day:02}");
    }
    format!("{date} {:02}:{:02} {name}", minutes / 60, minutes % 60)
}

/// Seconds since 1970, which is the earliest time.
fn moment(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// Reads a time in RFC 3339 as peers write it: `2026-11-21T05:04:00.25+01:00`, with up to nine decimals.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(at);
    let numbers = |text: &str, by: char| -> Option<[u32; 3]> {
        let parts: Option<Vec<u32>> = text.split(by).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?.map(i64::from);
    let (clock, decimals) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hours, minutes, seconds] = numbers(clock, ':')?;
    let nanos: u32 = format!("{decimals:0<9}").get(..9)?.parse().ok()?;
    let is_date =
        (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let mut total =
        days_since_1970(year, month, day) * DAY + i64::from(hours * 3600 + minutes * 60 + seconds);
    if let Some((hours, minutes)) = zone.get(1..)?.split_once(':') {
        let ahead = i64::from(hours.parse::<u8>().ok()?) * 3600
            + i64::from(minutes.parse::<u8>().ok()?) * 60;
        total -= if zone.starts_with('-') { -ahead } else { ahead };
    }
    let from = UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.into()))?;
    let span = Duration::from_secs(total.unsigned_abs());
    if total < 0 {
        from.checked_sub(span)
    } else {
        from.checked_add(span)
    }
}

/// Counts the days from 1970-01-01 to a date: the inverse of [`civil`]. Month 13 is the next January.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Turns days since 1970-01-01 into a date of the Gregorian calendar. The count begins at 1 March of the
/// year 0, which puts the leap day at the end of a year. 400 years always have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Reads a duration: `30s`, `5m`, `1h30m`, `500ms`. A bare `0` is zero.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_length = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_length] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = &rest[unit_length..];
    }
    // Nobody means more than a year. This limit also keeps every sum with a clock far from overflow.
    (!text.is_empty() && total <= Duration::from_secs(366 * 86_400)).then_some(total)
}

/// Prints a duration as the shortest text that [`parse_duration`] reads: `5m`, `1h30m`, `1500ms`.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let secs = duration.as_secs();
    let mut text = String::new();
    for (size, next, unit) in [
        (86_400, u64::MAX, 'd'),
        (3600, 86_400, 'h'),
        (60, 3600, 'm'),
        (1, 60, 's'),
    ] {
        let count = secs % next / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_print_as_known() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_732_147_440, "2024-11-21T00:04:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            assert_eq!(rfc3339(time), expected);
        }
    }

    #[test]
    fn a_time_is_shown_in_its_zone() {
        let berlin = Zone::rule("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
        let rio = Zone::rule("<-03>3").expect("a rule");
        let odd = Zone::rule("ABC0:44:30").expect("a rule");
        for (zone, secs, expected, words) in [
            (
                &berlin,
                1_795_986_788,
                "2026-11-29T22:13:08+01:00",
                "Sun 22:13 CET",
            ),
            (
                &berlin,
                1_795_910_399,
                "2026-11-29T00:59:59+01:00",
                "Sun 00:59 CET",
            ),
            (
                &rio,
                1_795_910_399,
                "2026-11-28T20:59:59-03:00",
                "Sat 20:59 -03",
            ),
            (
                &odd,
                1_795_910_399,
                "2026-11-28T23:15:59-00:44",
                "Sat 23:15 ABC",
            ),
            (&rio, 0, "1969-12-31T21:00:00-03:00", "1969-12-31 21:00 -03"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            assert_eq!(rfc3339_in(zone, time), expected);
            assert_eq!(parse_rfc3339(expected), Some(time));
            let now = UNIX_EPOCH + Duration::from_secs(1_795_986_788);
            assert_eq!(in_words_in(zone, time, now), words);
        }
    }

    #[test]
    fn moments_read_as_peers_write_them() {
        for secs in [0, 951_782_399, 951_868_800, 1_732_147_440, 4_107_542_400] {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        }
        let at = |millis| Some(UNIX_EPOCH + Duration::from_millis(millis));
        for (text, expected) in [
            ("1970-01-01T00:00:01.5Z", at(1_500)),
            ("1970-01-01T02:00:00.25+02:00", at(250)),
            ("1969-12-31T23:30:00-00:45", at(900_000)),
            (
                "1970-01-01T00:00:00.123456789Z",
                at(0).map(|t| t + Duration::from_nanos(123_456_789)),
            ),
            (
                "0001-01-01T00:00:00Z",
                UNIX_EPOCH.checked_sub(Duration::from_secs(62_135_596_800)),
            ),
            ("", None),
            ("1970-01-01", None),
            ("1970-13-01T00:00:00Z", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00.xZ", None),
            ("1970-01-01T99:00:00Z", None),
            ("99999-01-01T00:00:00Z", None),
        ] {
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_read_and_print() {
        for (text, millis) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("3d1h", 262_800_000),
            ("1500ms", 1_500),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Some(duration), "{text}");
            assert_eq!(print_duration(duration), text);
        }
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "5 m",
            "5M",
            "99999999999s",
            "4000d",
            "1.5h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
