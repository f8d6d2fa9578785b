//! One function for each service: from the URL's parts to a [`Receiver`].

use super::Receiver;
use super::Refusal;
use super::Service;
use super::choice;
use super::draft::Draft;
use super::draft::Fault;
use super::draft::Route;
use super::generic;
use super::url::Url;
use crate::http::percent_encode;
use serde_json::Value;
use serde_json::json;

/// Every form, for the message about a URL without a known service.
pub(super) const FORMS: &str =
    "https://, http://, ntfy://, gotify://, discord://, slack://, telegram:// or generic://";

const PLAIN: &str = "https://[user:password@]host[:port]/path";
const NTFY: &str =
    "ntfy://[user:password@]host[:port]/topic[?token=…&title=…&priority=1…5&tags=…&disabletls=yes]";
const GOTIFY: &str = "gotify://host[:port][/path]/token or gotify://host[:port][/path]/message?token=…, each with [title=…&priority=…&disabletls=yes]";
const DISCORD: &str = "discord://token@webhookid[?thread_id=…&username=…&title=…]";
const SLACK: &str = "slack://hook:A-B-C@webhook, slack://A/B/C or slack://xoxb:token@channel, each with [?title=…&botname=…]";
const TELEGRAM: &str =
    "telegram://token@telegram?chats=@channel,chatid[:thread][&notification=no&title=…]";
const GENERIC: &str = "generic://host[:port]/path or generic+https://host[:port]/path, each with [?template=json&messagekey=…&titlekey=…&levelkey=…&title=…&contenttype=…&@header=…&$key=…]";

/// Reads one URL. A URL can name several receivers.
pub(super) fn parse(text: &str) -> Result<Vec<Receiver>, Refusal> {
    type Read = fn(Draft) -> Result<Vec<Receiver>, Fault>;
    let url = Url::cut(text).ok_or(Refusal::NoService)?;
    let (read, form): (Read, _) = match url.scheme {
        "https" | "http" => (plain, PLAIN),
        "ntfy" => (ntfy, NTFY),
        "gotify" => (gotify, GOTIFY),
        "discord" => (discord, DISCORD),
        "slack" => (slack, SLACK),
        "telegram" => (telegram, TELEGRAM),
        "generic" | "generic+https" | "generic+http" => (generic::read, GENERIC),
        _ => return Err(Refusal::NoService),
    };
    let receivers = choice::take(url.query).and_then(|(choice, query)| {
        let mut receivers = Draft::of(url.with_query(&query)).and_then(read)?;
        for receiver in &mut receivers {
            receiver.events.clone_from(&choice.events);
            receiver.is_daily = choice.is_daily;
        }
        Ok(receivers)
    });
    receivers.map_err(|fault| Refusal::Form(form, fault.words()))
}

fn plain(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    // The query belongs to the receiver, so it holds no options of ours.
    draft.options.clear();
    let (scheme, host) = (draft.url.scheme, draft.url.host);
    let mut rest = draft.url.path.to_owned();
    if !draft.url.query.is_empty() {
        rest = format!("{rest}?{}", draft.url.query);
    }
    let hidden = if matches!(&*rest, "" | "/") {
        ""
    } else {
        "/***"
    };
    let route = Route {
        shown: format!("{scheme}://{host}{hidden}"),
        uri: format!("{scheme}://{host}{rest}"),
        login: draft.basic()?,
    };
    draft.finish(Service::Json, route)
}

/// Publishes as JSON to the root (ntfy's documentation, "Publish as JSON"). ntfy also accepts headers, but a
/// header cannot carry a title beyond ASCII.
#[cold]
fn ntfy(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let host = draft.url.host;
    let topic = draft.parts.pop().filter(|_| draft.parts.is_empty());
    draft.put("topic", Value::from(topic.ok_or(Fault::Form)?));
    if let Some(priority) = draft.take("priority") {
        let priority = ntfy_priority(&priority).ok_or(Fault::Value("priority"))?;
        draft.put("priority", Value::from(priority));
    }
    if let Some(tags) = draft.take("tags") {
        draft.put("tags", tags.split(',').map(str::trim).collect());
    }
    for key in ["attach", "click", "delay", "email", "filename", "icon"] {
        draft.pass(key, key);
    }
    for other_name in ["at", "in"] {
        draft.pass(other_name, "delay");
    }
    draft.pass_json("actions", Value::is_array)?;
    if draft.flag("markdown", false)? {
        draft.put("markdown", Value::from(true));
    }
    draft.verified("disabletlsverification")?;
    let by_flag = draft.scheme()?;
    let scheme = match draft.take("scheme").as_deref() {
        None | Some("https") => by_flag,
        Some("http") => "http",
        Some(_) => return Err(Fault::Value("scheme")),
    };
    let login = match draft.take("token") {
        Some(token) => Some(("Authorization", format!("Bearer {token}"))),
        None => draft.basic()?,
    };
    let route = Route {
        shown: format!("ntfy://{host}/***"),
        uri: format!("{scheme}://{host}/"),
        login,
    };
    draft.finish(Service::Ntfy, route)
}

fn ntfy_priority(word: &str) -> Option<u8> {
    match word.to_ascii_lowercase().as_str() {
        "min" | "1" => Some(1),
        "low" | "2" => Some(2),
        "default" | "3" => Some(3),
        "high" | "4" => Some(4),
        "max" | "urgent" | "5" => Some(5),
        _ => None,
    }
}

/// Reads the token from the option `token`, or from the last part of the path.
#[cold]
fn gotify(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let host = draft.url.host;
    let path = draft.url.path.trim_end_matches('/');
    let (path, token) = match draft.take("token") {
        Some(token) => (path.strip_suffix("/message").unwrap_or(path), token),
        None => {
            let (path, token) = path.rsplit_once('/').ok_or(Fault::Form)?;
            if token == "message" {
                return Err(Fault::Form);
            }
            (path, token.to_owned())
        }
    };
    if let Some(priority) = draft.take("priority") {
        let priority = priority.parse::<i64>().ok();
        draft.put(
            "priority",
            Value::from(priority.ok_or(Fault::Value("priority"))?),
        );
    }
    draft.pass_json("extras", Value::is_object)?;
    draft.verified("insecureskipverify")?;
    let scheme = draft.scheme()?;
    let route = Route {
        shown: format!("gotify://{host}/***"),
        uri: format!("{scheme}://{host}{path}/message"),
        login: Some(("X-Gotify-Key", token)),
    };
    draft.finish(Service::Gotify, route)
}

#[cold]
fn discord(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let (id, token) = (draft.url.host, &draft.user);
    if !is_word(token) || !is_number(id) {
        return Err(Fault::Form);
    }
    let mut uri = format!("https://discord.com/api/webhooks/{id}/{token}");
    if let Some(thread) = draft.take("thread_id") {
        if !is_number(&thread) {
            return Err(Fault::Value("thread_id"));
        }
        uri = format!("{uri}?thread_id={thread}");
    }
    draft.pass("username", "username");
    // The name of a container or an image must not notify anybody.
    draft.put("allowed_mentions", json!({"parse": []}));
    let route = Route {
        shown: format!("discord://***@{id}"),
        uri,
        login: None,
    };
    draft.finish(Service::Discord, route)
}

/// Reads a bot's URL, or a webhook's URL in either form.
#[cold]
fn slack(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let host = draft.url.host;
    draft.put("unfurl_links", Value::from(false));
    draft.pass("botname", "username");
    draft.pass("thread_ts", "thread_ts");
    if draft.user.starts_with("xox") {
        draft.put("channel", Value::from(host));
        let token = draft.user.replacen(':', "-", 1);
        let route = Route {
            shown: format!("slack://***@{host}"),
            uri: "https://slack.com/api/chat.postMessage".to_owned(),
            login: Some(("Authorization", format!("Bearer {token}"))),
        };
        return draft.finish(Service::Slack, route);
    }
    let hook = match draft.user.strip_prefix("hook:") {
        Some(token) if host == "webhook" => token.replace(['-', ','], "/"),
        Some(_) => return Err(Fault::Form),
        None => {
            if !draft.user.is_empty() {
                draft.put("username", Value::from(&*draft.user));
            }
            format!("{host}/{}", draft.parts.join("/"))
        }
    };
    if hook.split('/').count() != 3 || !hook.split('/').all(is_word) {
        return Err(Fault::Form);
    }
    let route = Route {
        shown: "slack://***@webhook".to_owned(),
        uri: format!("https://hooks.slack.com/services/{hook}"),
        login: None,
    };
    draft.finish(Service::Slack, route)
}

#[cold]
fn telegram(mut draft: Draft) -> Result<Vec<Receiver>, Fault> {
    let (bot, key) = draft.user.split_once(':').ok_or(Fault::Form)?;
    if !is_number(bot) || !is_word(key) {
        return Err(Fault::Form);
    }
    let uri = format!("https://api.telegram.org/bot{}/sendMessage", draft.user);
    // The name of an image looks like a link, and a preview of it would be fetched.
    draft.put("disable_web_page_preview", Value::from(true));
    if !draft.flag("notification", true)? {
        draft.put("disable_notification", Value::from(true));
    }
    let chats = draft.take("chats").or_else(|| draft.take("channels"));
    let chats = chats.ok_or(Fault::Form)?;
    let route = Route {
        shown: "telegram://***@telegram".to_owned(),
        uri,
        login: None,
    };
    let mut all = Vec::new();
    for one in draft.finish(Service::Telegram, route)? {
        for name in chats.split(',') {
            all.push(to_chat(one.clone(), name.trim()).ok_or(Fault::Value("chats"))?);
        }
    }
    Ok(all)
}

/// The receiver for one chat: `@channel` or a number, and perhaps `:thread`.
fn to_chat(mut receiver: Receiver, name: &str) -> Option<Receiver> {
    let (chat, thread) = name.split_once(':').unwrap_or((name, ""));
    if !chat.starts_with('@') && !is_number(chat.strip_prefix('-').unwrap_or(chat)) {
        return None;
    }
    let fixed = &mut receiver.fixed;
    fixed.insert("chat_id".to_owned(), Value::from(chat));
    if !thread.is_empty() {
        let thread = thread.parse::<i64>().ok()?;
        fixed.insert("message_thread_id".to_owned(), Value::from(thread));
    }
    receiver.shown = format!("{}?chats={}", receiver.shown, percent_encode(name, "@:"));
    Some(receiver)
}

/// Whether the text can be one part of a path without encoding.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
