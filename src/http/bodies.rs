//! The common base of both HTTP clients: the settings of an agent, bounded bodies, and the one place that
//! turns a transport's failure into an [`Error`].

use crate::error::Error;
use crate::error::Result;
use crate::error::one_line;
use std::io::Read;
use std::time::Duration;
use std::time::SystemTime;
use ureq::Body;
use ureq::config::Config;
use ureq::config::ConfigBuilder;
use ureq::http::HeaderMap;
use ureq::http::Response;
use ureq::typestate::AgentScope;

/// The header `User-Agent`, so that a registry's operators know whom to contact.
pub(crate) const USER_AGENT: &str = concat!("imagewatch/", env!("CARGO_PKG_VERSION"));
/// The most bytes that are read of a body that only explains an error.
pub(crate) const ERROR_BODY_LIMIT: u64 = 64 * 1024;
/// The size of the read buffer, and the longest response head. ureq reports a head that does not fit into
/// its buffer as a closed connection.
const INPUT_BUFFER: usize = 16 * 1024;
const OUTPUT_BUFFER: usize = 8 * 1024;
/// The shortest and the longest pause that a peer can ask for. GHCR asks for microseconds, and no peer may
/// stop the look-ups for a day.
const RETRY_AFTER_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The settings of every agent. A status is an answer, not an error. Redirects are not followed, because
/// imagewatch checks each one. Proxies are not taken from the environment by ureq itself.
pub(crate) fn agent_config() -> ConfigBuilder<AgentScope> {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(USER_AGENT)
        .accept("")
        .input_buffer_size(INPUT_BUFFER)
        .max_response_header_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
}

/// Turns a transport's failure into an [`Error`].
pub(crate) fn failure(request: &str, error: &ureq::Error) -> Error {
    let request = request.to_owned();
    match error {
        ureq::Error::Protocol(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::Http(_)
        | ureq::Error::BodyStalled => Error::malformed(
            request,
            format!("not an HTTP answer ({})", one_line(&error.to_string())),
        ),
        ureq::Error::BodyExceedsLimit(limit) => {
            Error::malformed(request, format!("an answer longer than {limit} bytes"))
        }
        _ => Error::unreachable(request, reason(error)),
    }
}

/// Turns a failure while reading a body into an [`Error`].
pub(crate) fn read_failure(request: &str, error: &std::io::Error) -> Error {
    match error
        .get_ref()
        .and_then(|e| e.downcast_ref::<ureq::Error>())
    {
        Some(inner) => failure(request, inner),
        None => Error::unreachable(request, one_line(&error.to_string())),
    }
}

/// The hint about a certificate of an authority that is not known.
pub(crate) const PRIVATE_CA: &str = " (for a private CA set SSL_CERT_FILE)";

/// The cause in words, with a hint if there is one.
fn reason(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::Io(io) => match io.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>()) {
            Some(inner) => return reason(inner),
            None => io.to_string(),
        },
        ureq::Error::HostNotFound => "host not found".to_owned(),
        ureq::Error::Timeout(which) => format!("no answer in time ({which})"),
        other => other.to_string(),
    };
    // The second text is std's, before the words of the system's resolver.
    let is_name = |start: &&str| text.starts_with(*start);
    let hint = if ["host not found", "failed to lookup address"]
        .iter()
        .any(is_name)
    {
        " (is DNS working?)"
    } else if text.contains("UnknownIssuer") {
        PRIVATE_CA
    } else if text.contains("CaUsedAsEndEntity") {
        " (a self-signed certificate must not be a CA: make it with basicConstraints=CA:FALSE)"
    } else {
        ""
    };
    format!("{}{hint}", one_line(&text))
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) fn read_body(request: &str, response: Response<Body>, limit: u64) -> Result<Vec<u8>> {
    response
        .into_body()
        .into_with_config()
        .limit(limit)
        .read_to_vec()
        .map_err(|error| failure(request, &error))
}

/// Reads the words of a refusal. If the body breaks off, returns what arrived, because a broken body must
/// not hide the status.
pub(crate) fn read_words(response: Response<Body>) -> String {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(ERROR_BODY_LIMIT);
    let _ = reader.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the header `Retry-After`; `None` if it is missing or malformed.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?;
    parse_retry_after(&String::from_utf8_lossy(value.as_bytes()), now)
}

/// Reads the value of `Retry-After`: seconds or a date (RFC 9110 §10.2.3), or a duration as Go prints it.
/// GHCR sends the latter (`880.092µs`). The result is clamped to [`RETRY_AFTER_RANGE`].
#[cold]
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = value
        .parse()
        .map(Duration::from_secs)
        .ok()
        .or_else(|| go_duration(value))
        .or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        })?;
    Some(wait.clamp(RETRY_AFTER_RANGE.0, RETRY_AFTER_RANGE.1))
}

/// Reads a duration as Go's `time.Duration` prints it: `1h2m3.5s`, `880.092µs`. What is smaller than a nanosecond is
/// dropped.
#[cold]
fn go_duration(text: &str) -> Option<Duration> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        total = total.checked_add(unit.checked_mul(whole.parse().ok()?)?)?;
        let mut share = unit;
        for digit in fraction.chars() {
            share /= 10;
            total = total.checked_add(share * u64::from(digit.to_digit(10)?))?;
        }
        rest = after;
    }
    Some(Duration::from_nanos(total))
}

/// Percent-encodes every character except the unreserved ones (RFC 3986 §2.3) and those in `also`.
pub(crate) fn percent_encode(text: &str, also: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || also.contains(c) {
            encoded.push(c);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_said_with_the_cause() {
        let io = |words: &str| ureq::Error::Io(std::io::Error::other(words.to_owned()));
        let name = "failed to lookup address information: Temporary failure in name resolution";
        for (error, expected) in [
            (
                ureq::Error::HostNotFound,
                "host not found (is DNS working?)".to_owned(),
            ),
            (io(name), format!("{name} (is DNS working?)")),
            (io("it broke"), "it broke".to_owned()),
        ] {
            assert_eq!(reason(&error), expected);
        }
    }

    #[test]
    fn retry_after_is_read_in_every_form_and_kept_within_bounds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (value, expected) in [
            ("120", Some(120)),
            ("0", Some(1)),
            ("999999", Some(3600)),
            ("Sun, 09 Sep 2001 01:47:10 GMT", Some(30)),
            ("Sun, 09 Sep 2001 01:00:00 GMT", Some(1)),
            ("880.092µs", Some(1)),
            ("1m2.5s", Some(62)),
            ("5 minutes", None),
            ("-5", None),
        ] {
            let mut headers = HeaderMap::new();
            let bytes = ureq::http::HeaderValue::from_bytes(value.as_bytes()).expect("legal");
            headers.insert("retry-after", bytes);
            let found = retry_after(&headers, now).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn no_retry_after_panics() {
        const WORDS: &[&str] = &[
            "Sun, ",
            "Jan",
            "Dec",
            "GMT",
            "09",
            "2001",
            "01:47:10",
            "99999999999999999999",
            "h",
            "m",
            "µs",
            ".",
            "-",
            " ",
            ", ",
            "é",
        ];
        crate::fuzz::fuzz("retry", WORDS, |input| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let found = parse_retry_after(&String::from_utf8_lossy(input), now);
            let (least, most) = RETRY_AFTER_RANGE;
            assert!(found.is_none_or(|wait| (least..=most).contains(&wait)));
        });
    }

    #[test]
    fn percent_encoding_leaves_only_the_unreserved() {
        assert_eq!(percent_encode("a/b:c d~é", "/"), "a/b%3Ac%20d~%C3%A9");
    }
}
