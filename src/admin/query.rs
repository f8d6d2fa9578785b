//! What a refresh's query asks for: pure.

use super::reply::Reply;
use crate::refresh::Extent;
use crate::refresh::Images;
use crate::refresh::Order;
use crate::refresh::Target;
use crate::refresh::Wanted;
use serde_json::json;

/// Reads `runtime`, `recreate`, `force` and `wait`. A misspelt parameter would refresh more than was
/// meant, so it is an error.
pub(super) fn refresh(query: &str, catalogue: &[Target]) -> Result<(Order, bool), Reply> {
    let (mut runtime, mut recreate, mut force, mut wait) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key), decode(value)) else {
            return Err(Reply::error(400, "the query is not percent-encoded UTF-8"));
        };
        let slot = match key.as_str() {
            "runtime" => &mut runtime,
            "recreate" => &mut recreate,
            "force" => &mut force,
            "wait" => &mut wait,
            _ => return Err(Reply::error(400, &format!("unknown parameter: {key}"))),
        };
        if slot.replace(value).is_some() {
            return Err(Reply::error(400, &format!("given more than once: {key}")));
        }
    }
    let recreate = recreate.is_none_or(|value| value == "true");
    let force = force.is_some_and(|value| value == "true");
    let extent = match (recreate, force) {
        (false, _) => Extent::Pull,
        (true, false) => Extent::Recreate,
        (true, true) => Extent::Force,
    };
    let targets = match runtime.filter(|name| !name.is_empty()) {
        None => catalogue.to_vec(),
        Some(name) => match catalogue.iter().find(|target| target.name == name) {
            Some(target) => vec![target.clone()],
            None => return Err(unknown_runtime(&name, catalogue)),
        },
    };
    let order = Order {
        images: Images::These(targets),
        extent,
    };
    Ok((order, is_waited_for(wait.as_deref())))
}

/// Only `false` means that nobody waits.
fn is_waited_for(wait: Option<&str>) -> bool {
    wait != Some("false")
}

/// Watchtower's HTTP API: every managed container, or those of the images in `image`; and `wait`.
pub(super) fn update(query: &str) -> Result<(Order, bool), Reply> {
    let (mut only, mut wait) = (Vec::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(value) = decode(value) else {
            return Err(Reply::error(400, "the query is not percent-encoded UTF-8"));
        };
        match key {
            "image" => {}
            "wait" => {
                wait = Some(value);
                continue;
            }
            _ => return Err(Reply::error(400, &format!("unknown parameter: {key}"))),
        }
        for image in value
            .split(',')
            .map(str::trim)
            .filter(|image| !image.is_empty())
        {
            let last = image.rsplit('/').next().unwrap_or(image);
            match image.parse() {
                Ok(reference) => only.push(Wanted {
                    reference,
                    any_tag: !last.contains([':', '@']),
                }),
                Err(error) => return Err(Reply::error(400, &format!("{error}"))),
            }
        }
    }
    let order = Order {
        images: Images::Managed(only),
        extent: Extent::Recreate,
    };
    Ok((order, is_waited_for(wait.as_deref())))
}

fn unknown_runtime(name: &str, catalogue: &[Target]) -> Reply {
    let known: Vec<&str> = catalogue
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    let error = format!("unknown runtime: {name}");
    Reply::new(400, &json!({"error": error, "known_runtimes": known}))
}

/// `+` and `%xx` of a query (WHATWG URL, "application/x-www-form-urlencoded").
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let high = digit(rest.next()?)?;
                let low = digit(rest.next()?)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchtowers_update_means_the_managed_containers_or_some_images() {
        for (query, expected) in [
            ("", Ok(vec![])),
            ("image=", Ok(vec![])),
            (
                "image=ghcr.io/a/b,%20nginx:1",
                Ok(vec![("ghcr.io/a/b", true), ("nginx:1", false)]),
            ),
            ("image=a&image=b@sha256", Err(400)),
            (
                "image=localhost:5000/x",
                Ok(vec![("localhost:5000/x", true)]),
            ),
            ("images=a", Err(400)),
        ] {
            let seen = update(query).map_err(|reply| reply.status);
            let wanted = |(text, any_tag): (&str, bool)| Wanted {
                reference: text.parse().expect("a reference"),
                any_tag,
            };
            let expected = expected.map(|list: Vec<_>| {
                let images = Images::Managed(list.into_iter().map(wanted).collect());
                let extent = Extent::Recreate;
                (Order { images, extent }, true)
            });
            assert_eq!(seen, expected, "{query}");
        }
    }
}
