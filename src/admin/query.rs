//! The queries of requests, read into orders and wishes. Pure.

use super::owner::Wish;
use super::reply::Reply;
use super::route::Answering;
use super::route::only;
use crate::error::Error;
use crate::reference::Digest;
use crate::reference::Target;
use crate::time::parse_duration;
use crate::update::Extent;
use crate::update::Images;
use crate::update::Order;
use crate::update::Wanted;
use serde_json::json;

const NOT_ENCODED: &str = "the query is not percent-encoded UTF-8";

/// Reads `runtime`, `recreate`, `force` and `wait`. An unknown parameter is an error, because a misspelt
/// one would refresh more than the caller meant.
pub(super) fn refresh(query: &str, catalogue: &[Target]) -> Result<(Order, bool), Reply> {
    let [runtime, recreate, force, wait] = values(query, ["runtime", "recreate", "force", "wait"])?;
    let recreate = recreate.is_none_or(|value| value == "true");
    let force = force.is_some_and(|value| value == "true");
    let extent = match (recreate, force) {
        (false, _) => Extent::Pull,
        (true, false) => Extent::Recreate,
        (true, true) => Extent::Force,
    };
    let images = match runtime.filter(|name| !name.is_empty()) {
        None => Images::These(catalogue.to_vec()),
        Some(name) => match catalogue.iter().find(|target| target.name == name) {
            Some(target) => Images::Named(vec![target.clone()]),
            None => return Err(unknown_runtime(&name, catalogue)),
        },
    };
    let order = Order { images, extent };
    Ok((order, is_waited_for(wait.as_deref())?))
}

/// Whether the caller waits for the report.
fn is_waited_for(wait: Option<&str>) -> Result<bool, Reply> {
    match wait.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(Reply::error(400, &"wait must be true or false")),
    }
}

/// Reads the query of Watchtower's HTTP API: `image` limits the update to the containers of some images.
/// Without `image`, every managed container is meant. `wait` is ours.
pub(super) fn update(query: &str) -> Result<(Order, bool), Reply> {
    let (mut only, mut wait) = (Vec::new(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(value) = decode(value) else {
            return Err(Reply::error(400, &NOT_ENCODED));
        };
        match key {
            "image" => {}
            "wait" => {
                wait = Some(value);
                continue;
            }
            _ => return Err(Reply::error(400, &format_args!("unknown parameter: {key}"))),
        }
        let mut images = value.split(',').map(str::trim);
        let is_blank = images.clone().all(str::is_empty);
        if is_blank && !value.is_empty() {
            return Err(Reply::error(400, &"image names no image"));
        }
        for image in images.by_ref().filter(|image| !image.is_empty()) {
            match Wanted::parse(image) {
                Ok(wanted) => only.push(wanted),
                Err(error) => return Err(Reply::error(400, &error)),
            }
        }
    }
    let order = Order {
        images: Images::Managed(only),
        extent: Extent::Recreate,
    };
    Ok((order, is_waited_for(wait.as_deref())?))
}

/// Reads the path and the query of a request about one container: `/admin/containers/NAME/VERB`.
pub(super) fn container(
    rest: &str,
    query: &str,
    method: &str,
    answering: &dyn Fn(bool) -> Answering,
) -> Result<Wish, Reply> {
    let (name, verb) = rest.rsplit_once('/').unwrap_or((rest, ""));
    let name = decode_path(name)
        .ok_or_else(|| Reply::error(400, &"the path is not percent-encoded UTF-8"))?;
    // The Engine writes a slash before each name.
    let name = name.trim_start_matches('/').to_owned();
    if name.is_empty() {
        return Err(Reply::error(404, &"not found"));
    }
    match verb {
        "update" => {
            only(method, "POST")?;
            let [digest, force, wait] = values(query, ["digest", "force", "wait"])?;
            let answering = answering(is_waited_for(wait.as_deref())?);
            let extent = match is_switched_on("force", force.as_deref())? {
                true => Extent::Force,
                false => Extent::Recreate,
            };
            Ok(Wish::Update(name, digest_of(digest)?, extent, answering))
        }
        "plan" => {
            only(method, "GET, HEAD")?;
            values::<0>(query, [])?;
            Ok(Wish::Plan(name))
        }
        "rollback" => {
            only(method, "POST")?;
            let [alone, wait] = values(query, ["only", "wait"])?;
            let answering = answering(is_waited_for(wait.as_deref())?);
            Ok(Wish::RollBack(
                name,
                is_switched_on("only", alone.as_deref())?,
                answering,
            ))
        }
        "hold" => {
            only(method, "POST, DELETE")?;
            hold(name, query, method)
        }
        _ => Err(Reply::error(404, &"not found")),
    }
}

/// Reads the query of a hold, or of its end.
fn hold(name: String, query: &str, method: &str) -> Result<Wish, Reply> {
    let [lasting] = values(query, ["for"])?;
    if method == "DELETE" {
        return match lasting {
            None => Ok(Wish::Release(name)),
            Some(_) => Err(Reply::error(400, &"unknown parameter: for")),
        };
    }
    let Some(text) = lasting.filter(|text| !text.is_empty()) else {
        return Ok(Wish::Hold(name, None));
    };
    let time = parse_duration(&text).filter(|time| !time.is_zero());
    let time = time.ok_or_else(|| {
        Reply::error(
            400,
            &format_args!("for={text}: expected a time such as 12h or 7d"),
        )
    })?;
    Ok(Wish::Hold(name, Some(time)))
}

/// Reads the query of `/admin/images/skip`.
pub(super) fn skip(query: &str, method: &str) -> Result<Wish, Reply> {
    let [image, digest] = values(query, ["image", "digest"])?;
    let image = image.map(|image| image.trim().to_owned());
    let Some(image) = image.filter(|image| !image.is_empty()) else {
        return Err(Reply::error(400, &"image names no image"));
    };
    let digest = digest_of(digest)?;
    Ok(match method {
        "DELETE" => Wish::Unskip(image, digest),
        _ => Wish::Skip(image, digest),
    })
}

fn digest_of(text: Option<String>) -> Result<Option<Digest>, Reply> {
    let text = text.filter(|text| !text.is_empty());
    let digest = text.map(|text| text.parse()).transpose();
    digest.map_err(|error: Error| Reply::error(400, &error))
}

fn is_switched_on(key: &str, value: Option<&str>) -> Result<bool, Reply> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Reply::error(
            400,
            &format_args!("{key} must be true or false"),
        )),
    }
}

/// Reads the values of these keys. Another key, or the same one twice, is an error.
fn values<const N: usize>(query: &str, keys: [&str; N]) -> Result<[Option<String>; N], Reply> {
    let mut values = [const { None }; N];
    fill(&mut values, query, &keys)?;
    Ok(values)
}

fn fill(values: &mut [Option<String>], query: &str, keys: &[&str]) -> Result<(), Reply> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key), decode(value)) else {
            return Err(Reply::error(400, &NOT_ENCODED));
        };
        let Some(place) = keys.iter().position(|known| *known == key) else {
            return Err(Reply::error(400, &format_args!("unknown parameter: {key}")));
        };
        if values[place].replace(value).is_some() {
            return Err(Reply::error(
                400,
                &format_args!("given more than once: {key}"),
            ));
        }
    }
    Ok(())
}

/// Decodes `%xx` of a path, where a `+` is a plus.
fn decode_path(text: &str) -> Option<String> {
    decode(&text.replace('+', "%2B"))
}

fn unknown_runtime(name: &str, catalogue: &[Target]) -> Reply {
    let known: Vec<&str> = catalogue
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    let error = format!("unknown runtime: {name}");
    Reply::new(400, &json!({"error": error, "known_runtimes": known}))
}

/// Decodes `+` and `%xx` of a query (WHATWG URL, "application/x-www-form-urlencoded").
pub(super) fn decode(text: &str) -> Option<String> {
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
    fn an_update_by_force_tries_a_rejected_image_again() {
        for (query, expected) in [
            ("", Ok(Extent::Recreate)),
            ("force=false", Ok(Extent::Recreate)),
            ("force=TRUE", Ok(Extent::Force)),
            ("force=1", Err(400)),
        ] {
            let wish = container("web/update", query, "POST", &|_| Answering::Report);
            let seen = wish.map_err(|reply| reply.status).map(|wish| match wish {
                Wish::Update(_, None, extent, _) => extent,
                other => panic!("{other:?}"),
            });
            assert_eq!(seen, expected, "{query}");
        }
    }

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
            ("image=,", Err(400)),
            ("image=%20", Err(400)),
            ("wait=no", Err(400)),
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
