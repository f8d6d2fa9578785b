//! One function for each service: from the URL's parts to a [`Receiver`].

use super::Receiver;
use super::Service;
use super::url::Url;
use super::url::target;
use crate::credentials::Login;
use crate::credentials::Secret;
use crate::http::percent_encode;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Every form there is, for whoever has written something else.
pub const FORMS: &str =
    "https://, http://, ntfy://, gotify://, discord://, slack:// or telegram://";

const PLAIN: &str = "https://[user:password@]host[:port]/path";
const NTFY: &str =
    "ntfy://[user:password@]host[:port]/topic[?title=…&priority=1…5&tags=…&scheme=http]";
const GOTIFY: &str = "gotify://host[:port][/path]/token[?title=…&priority=…&disabletls=yes]";
const DISCORD: &str = "discord://token@webhookid[?thread_id=…&username=…&title=…]";
const SLACK: &str = "slack://hook:A-B-C@webhook, slack://A/B/C or slack://xoxb:token@channel, each with [?title=…&botname=…]";
const TELEGRAM: &str =
    "telegram://token@telegram?chats=@channel,chatid[:thread][&notification=no&title=…]";

/// What shoutrrr knows and we leave aside: looks, and how much goes into one message.
const IGNORED: &[&str] = &[
    "avatar",
    "avatarurl",
    "cache",
    "color",
    "colordebug",
    "colorerror",
    "colorinfo",
    "colorwarn",
    "firebase",
    "icon",
    "parsemode",
    "preview",
    "splitlines",
];

/// Reads one URL.
pub(super) fn parse(text: &str) -> Result<Vec<Receiver>, &'static str> {
    let url = Url::cut(text).ok_or(FORMS)?;
    let (service, read, form): (Service, fn(&mut Draft) -> Option<Route>, _) = match url.scheme {
        "https" | "http" => (Service::Json, plain, PLAIN),
        "ntfy" => (Service::Ntfy, ntfy, NTFY),
        "gotify" => (Service::Gotify, gotify, GOTIFY),
        "discord" => (Service::Discord, discord, DISCORD),
        "slack" => (Service::Slack, slack, SLACK),
        "telegram" => (Service::Telegram, telegram, TELEGRAM),
        _ => return Err(FORMS),
    };
    let receiver = || {
        let mut draft = Draft::of(url)?;
        let route = read(&mut draft)?;
        draft.finish(service, route)
    };
    receiver().ok_or(form)
}

/// What a service's function finds out.
struct Route {
    /// How the receiver shows itself.
    shown: String,
    /// Where to post to.
    uri: String,
    /// The name and value of the header that says who we are.
    login: Option<(&'static str, String)>,
}

fn plain(draft: &mut Draft) -> Option<Route> {
    // Whatever is asked for there is not ours to judge.
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
    Some(Route {
        shown: format!("{scheme}://{host}{hidden}"),
        uri: format!("{scheme}://{host}{rest}"),
        login: draft.basic()?,
    })
}

/// Published as JSON to the root (ntfy's documentation, "Publish as JSON"): headers, the other
/// way, could not carry a title beyond ASCII.
fn ntfy(draft: &mut Draft) -> Option<Route> {
    let host = draft.url.host;
    if draft.parts.len() != 1 {
        return None;
    }
    let topic = draft.parts.pop()?;
    draft.put("topic", Value::from(topic));
    if let Some(priority) = draft.take("priority") {
        draft.put("priority", Value::from(ntfy_priority(&priority)?));
    }
    if let Some(tags) = draft.take("tags") {
        draft.put("tags", tags.split(',').map(str::trim).collect());
    }
    for key in ["attach", "click", "delay", "email", "icon"] {
        draft.pass(key, key);
    }
    let scheme = draft.take("scheme").unwrap_or_else(|| "https".to_owned());
    if scheme != "https" && scheme != "http" {
        return None;
    }
    Some(Route {
        shown: format!("ntfy://{host}/***"),
        uri: format!("{scheme}://{host}/"),
        login: draft.basic()?,
    })
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

fn gotify(draft: &mut Draft) -> Option<Route> {
    let host = draft.url.host;
    let (path, token) = draft.url.path.trim_end_matches('/').rsplit_once('/')?;
    if let Some(priority) = draft.take("priority") {
        draft.put("priority", Value::from(priority.parse::<i64>().ok()?));
    }
    let is_plain = draft.flag("disabletls", false)?;
    let scheme = if is_plain { "http" } else { "https" };
    Some(Route {
        shown: format!("gotify://{host}/***"),
        uri: format!("{scheme}://{host}{path}/message"),
        login: Some(("X-Gotify-Key", token.to_owned())),
    })
}

fn discord(draft: &mut Draft) -> Option<Route> {
    let (id, token) = (draft.url.host, &draft.user);
    if !is_word(token) || !is_number(id) {
        return None;
    }
    let mut uri = format!("https://discord.com/api/webhooks/{id}/{token}");
    if let Some(thread) = draft.take("thread_id") {
        if !is_number(&thread) {
            return None;
        }
        uri = format!("{uri}?thread_id={thread}");
    }
    draft.pass("username", "username");
    // A name of ours must not call anybody.
    draft.put("allowed_mentions", json!({"parse": []}));
    Some(Route {
        shown: format!("discord://***@{id}"),
        uri,
        login: None,
    })
}

/// A bot, or a webhook in either spelling.
fn slack(draft: &mut Draft) -> Option<Route> {
    let host = draft.url.host;
    draft.put("unfurl_links", Value::from(false));
    draft.pass("botname", "username");
    draft.pass("thread_ts", "thread_ts");
    if draft.user.starts_with("xox") {
        draft.put("channel", Value::from(host));
        let token = draft.user.replacen(':', "-", 1);
        return Some(Route {
            shown: format!("slack://***@{host}"),
            uri: "https://slack.com/api/chat.postMessage".to_owned(),
            login: Some(("Authorization", format!("Bearer {token}"))),
        });
    }
    let hook = match draft.user.strip_prefix("hook:") {
        Some(token) if host == "webhook" => token.replace(['-', ','], "/"),
        Some(_) => return None,
        None => {
            if !draft.user.is_empty() {
                draft.put("username", Value::from(&*draft.user));
            }
            format!("{host}/{}", draft.parts.join("/"))
        }
    };
    let is_whole = hook.split('/').count() == 3 && hook.split('/').all(is_word);
    is_whole.then(|| Route {
        shown: "slack://***@webhook".to_owned(),
        uri: format!("https://hooks.slack.com/services/{hook}"),
        login: None,
    })
}

fn telegram(draft: &mut Draft) -> Option<Route> {
    let (bot, key) = draft.user.split_once(':')?;
    if !is_number(bot) || !is_word(key) {
        return None;
    }
    let uri = format!("https://api.telegram.org/bot{}/sendMessage", draft.user);
    // The name of an image looks like a link to a page.
    draft.put("disable_web_page_preview", Value::from(true));
    if !draft.flag("notification", true)? {
        draft.put("disable_notification", Value::from(true));
    }
    let chats = draft.take("chats").or_else(|| draft.take("channels"))?;
    draft.chats = chats
        .split(',')
        .map(|chat| chat.trim().to_owned())
        .collect();
    Some(Route {
        shown: "telegram://***@telegram".to_owned(),
        uri,
        login: None,
    })
}

/// A URL and what has been made of it so far.
struct Draft<'a> {
    url: Url<'a>,
    /// What stands before `@`, as it is meant.
    user: String,
    /// The path's parts as they are meant.
    parts: Vec<String>,
    /// The options that nobody has taken yet.
    options: Vec<(String, String)>,
    /// What stands in every body.
    fixed: Map<String, Value>,
    /// Telegram's chats, each of which becomes a receiver.
    chats: Vec<String>,
}

impl<'a> Draft<'a> {
    fn of(url: Url<'a>) -> Option<Self> {
        Some(Self {
            user: url.user()?,
            parts: url.parts()?,
            options: url.options()?,
            url,
            fixed: Map::new(),
            chats: Vec::new(),
        })
    }

    fn put(&mut self, key: &str, value: Value) {
        self.fixed.insert(key.to_owned(), value);
    }

    fn take(&mut self, option: &str) -> Option<String> {
        let index = self.options.iter().position(|(found, _)| found == option)?;
        Some(self.options.swap_remove(index).1).filter(|value| !value.is_empty())
    }

    /// Puts an option into the body as it is.
    fn pass(&mut self, option: &str, key: &str) {
        if let Some(value) = self.take(option) {
            self.put(key, Value::from(value));
        }
    }

    /// `None` if it is neither yes nor no.
    fn flag(&mut self, option: &str, default: bool) -> Option<bool> {
        match self
            .take(option)
            .map(|value| value.to_ascii_lowercase())
            .as_deref()
        {
            None => Some(default),
            Some("yes" | "true" | "1") => Some(true),
            Some("no" | "false" | "0") => Some(false),
            Some(_) => None,
        }
    }

    /// The header for `user:password@`, if there is such a thing; `None` if it cannot be read.
    fn basic(&self) -> Option<Option<(&'static str, String)>> {
        let Some((username, password)) = self.url.login()? else {
            return Some(None);
        };
        let password = Secret::new(password);
        let basic = Login::Password { username, password }.basic()?;
        Some(Some(("Authorization", basic.reveal().to_owned())))
    }

    /// The receivers; `None` if something of it cannot be sent, or an option is left that nobody
    /// knows.
    fn finish(mut self, service: Service, route: Route) -> Option<Vec<Receiver>> {
        let login = match route.login {
            Some((_, value)) if !is_header(&value) => return None,
            login => login.map(|(name, value)| (name, Secret::new(value))),
        };
        let title = self.take("title");
        let is_known = |(key, _): &(String, String)| IGNORED.contains(&key.as_str());
        if !self.options.iter().all(is_known) {
            return None;
        }
        let one = Receiver {
            shown: route.shown,
            uri: target(&route.uri)?,
            login,
            service,
            fixed: self.fixed,
            title,
        };
        if service != Service::Telegram {
            return Some(vec![one]);
        }
        let mut all = Vec::new();
        for name in &self.chats {
            all.push(to_chat(one.clone(), name)?);
        }
        Some(all)
    }
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

/// Whether the text can be a header's value (RFC 9110 §5.5).
fn is_header(text: &str) -> bool {
    let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    !text.is_empty() && text.bytes().all(fits)
}

/// Whether the text can stand in a path as it is, as one part of it.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
