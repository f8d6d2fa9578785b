//! `generic://` and `generic+https://`: shoutrrr's way to post to any URL. In the query, known options are
//! ours, `@name` becomes a header, and `$name` a field of the body. The rest stays in the URL.

use super::Keys;
use super::Receiver;
use super::Service;
use super::choice;
use super::draft::Draft;
use super::draft::Fault;
use super::draft::Route;
use crate::http::percent_encode;
use serde_json::Value;

/// Headers that a URL cannot set, because they belong to the connection.
const NOT_THEIRS: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];

/// Reads one such URL.
#[cold]
pub(super) fn read(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let host = draft.url.host;
    let mut forwarded = Vec::new();
    draft.options.clear();
    for (key, value) in draft.url.pairs().ok_or(Fault::Form)? {
        if let Some(name) = key.strip_prefix('@') {
            let header = (header_name(name)?, value);
            draft.headers.push(header);
        } else if let Some(name) = key.strip_prefix('$') {
            draft.put(name, Value::from(value));
        } else if is_ours(&key) {
            draft.options.push((key.to_ascii_lowercase(), value));
        } else {
            let is_taken = |name: &&str| is_ours(name) || choice::is_option(name);
            let name = key.strip_prefix('_').filter(is_taken);
            forwarded.push((name.unwrap_or(&key).to_owned(), value));
        }
    }
    let by_option = draft.scheme()?;
    let scheme = match draft.url.scheme {
        "generic" => by_option,
        shortcut => shortcut.trim_start_matches("generic+"),
    };
    let method = draft.take("method").or_else(|| draft.take("requestmethod"));
    if method.is_some_and(|method| !method.eq_ignore_ascii_case("POST")) {
        return Err(Fault::Value("method"));
    }
    let service = service(&mut draft)?;
    let has_type = draft.headers.iter().any(|(name, _)| name == "content-type");
    if let (Some(value), false) = (draft.take("contenttype"), has_type) {
        draft.headers.push(("content-type".to_owned(), value));
    } else if !has_type && service == Service::Text {
        let text = "text/plain; charset=utf-8".to_owned();
        draft.headers.push(("content-type".to_owned(), text));
    }
    let mut uri = format!("{scheme}://{host}{}", draft.url.path);
    for (index, (key, value)) in forwarded.iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        let (key, value) = (percent_encode(key, ""), percent_encode(value, ""));
        uri.push_str(&format!("{separator}{key}={value}"));
    }
    let route = Route {
        shown: format!("{}://{host}/***", draft.url.scheme),
        uri,
        login: draft.basic()?,
    };
    draft.finish(service, route)
}

/// The form of the body: the text alone, or JSON with the names that the URL asks for.
fn service(draft: &mut Draft) -> Result<Service, Fault> {
    let template = draft.take("template");
    let title = draft.take("titlekey");
    let message = draft.take("messagekey");
    let level = draft.take("levelkey");
    match template.as_deref() {
        Some("json" | "JSON") => Ok(Service::Template(Keys {
            title: title.unwrap_or_else(|| "title".to_owned()),
            message: message.unwrap_or_else(|| "message".to_owned()),
            level,
        })),
        Some(_) => Err(Fault::Value("template")),
        None => Ok(Service::Text),
    }
}

fn is_ours(key: &str) -> bool {
    let ours = [
        "contenttype",
        "disabletls",
        "levelkey",
        "messagekey",
        "method",
        "requestmethod",
        "template",
        "title",
        "titlekey",
    ];
    ours.iter().any(|one| key.eq_ignore_ascii_case(one))
}

/// Reads the name of a header. As in shoutrrr, `acceptLanguage` means `accept-language`.
fn header_name(text: &str) -> Result<String, Fault> {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_theirs = !name.is_empty() && name.bytes().all(fits) && !NOT_THEIRS.contains(&&*name);
    is_theirs
        .then_some(name)
        .ok_or(Fault::Unknown("@…".to_owned()))
}
