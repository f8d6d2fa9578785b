//! What an Engine says when it says no.

use crate::error::Error;
use crate::error::one_line;
use crate::http;
use crate::reference::Reference;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

/// The Engine's `{"message": …}`.
pub(super) fn refused(request: &str, answer: Response<Body>) -> Error {
    let status = answer.status().as_u16();
    let words = http::read_words(answer);
    let json: Option<Value> = serde_json::from_str(&words).ok();
    let message = json
        .as_ref()
        .and_then(|json| json["message"].as_str())
        .unwrap_or(&words);
    Error::Refused {
        request: request.to_owned(),
        status: meant(request, status, message),
        message: said(message),
        retry_after: None,
    }
}

/// An Engine's words on one line, and what may be done about it where that is known.
pub(super) fn said(words: &str) -> String {
    let hint = if tells_of_a_full_disk(words) {
        " (the Engine's disk is full: docker system df shows with what; docker image prune gives some back, and \
         IMAGEWATCH_CLEANUP=true keeps replaced images from piling up)"
    } else {
        ""
    };
    format!("{}{hint}", one_line(words))
}

fn tells_of_a_full_disk(words: &str) -> bool {
    words.contains("no space left on device")
}

/// Whether the Engine's disk is full, as far as words tell.
#[must_use]
pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Refused { message, .. } if message.contains("disk is full"))
}

/// The status of Docker's that an answer means. Podman (5.8) answers 500 where another call came in
/// between, and only its words tell what happened.
fn meant(request: &str, status: u16, message: &str) -> u16 {
    const TAKEN: [&str; 3] = [
        "container already exists",
        "name is already in use",
        "UNIQUE constraint failed: ContainerConfig.Name",
    ];
    let is_post = request.starts_with("POST ");
    match status {
        500 if is_post && TAKEN.iter().any(|words| message.contains(words)) => 409,
        // To a POST it may be said of another container, which that one needs.
        500 if !is_post && message.ends_with("no such container") => 404,
        _ => status,
    }
}

/// Whether the Engine does not know for now whether there is an image: Podman (4.3) answers so of one
/// that is there, while another process changes what it keeps.
pub(super) fn is_unsure_of_image(error: &Error) -> bool {
    let Error::Refused { message, .. } = error else {
        return false;
    };
    error.status() == Some(500) && message.contains("image not known")
}

/// Whether a registry let the Engine know that it may not read an image, as far as words tell.
#[must_use]
pub fn is_denial(error: &Error) -> bool {
    const DENIALS: [&str; 5] = [
        "denied",
        "unauthorized",
        "authentication",
        "no basic auth",
        "http status: 403",
    ];
    let Error::Refused { message, .. } = error else {
        return false;
    };
    let lower = message.to_ascii_lowercase();
    DENIALS.iter().any(|word| lower.contains(word))
}

/// Names a refused pull by its image, and says what may be done about a denial.
pub(super) fn pull_error(error: Error, request: &str, reference: &Reference) -> Error {
    let is_denial = is_denial(&error);
    let Error::Refused {
        status, message, ..
    } = error
    else {
        return error;
    };
    let hint = if is_denial {
        format!(
            " (are the credentials for {} set and valid?)",
            reference.registry()
        )
    } else {
        String::new()
    };
    Error::Refused {
        request: request.to_owned(),
        status,
        message: format!("{message}{hint}"),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_behind_any_number_of_words() {
        let words = format!("{}: write /x: no space left on device", "long ".repeat(100));
        let error = Error::Refused {
            request: "POST".into(),
            status: 500,
            message: said(&words),
            retry_after: None,
        };
        assert!(
            is_full(&error) && error.to_string().contains("docker system df"),
            "{error}"
        );
    }

    #[test]
    fn podmans_words_tell_what_a_500_means() {
        let gone = "no container with ID 42 found in database: no such container";
        let taken = "container create: name \"a\" is in use: container already exists";
        for (request, status, message, expected) in [
            ("GET /containers/42/json", 500, gone, 404),
            ("DELETE /containers/42", 500, gone, 404),
            ("POST /containers/42/start", 500, gone, 500),
            ("POST /containers/create", 500, taken, 409),
            ("GET /containers/42/json", 500, "database is locked", 500),
            ("GET /containers/42/json", 403, gone, 403),
        ] {
            assert_eq!(
                meant(request, status, message),
                expected,
                "{request} {message}"
            );
        }
    }
}
