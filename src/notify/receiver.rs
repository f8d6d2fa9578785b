//! Receivers of messages: a URL as people write it, turned into the request that delivers a message. Pure:
//! nothing is sent here.
//!
//! The URLs have the forms of [shoutrrr](https://shoutrrr.nickfedor.com/), because Watchtower's users have
//! such URLs. The older forms work too. Almost every part of such a URL may be a secret, a path as much as a
//! password. So a [`Receiver`] prints only the parts that are known to be harmless.

mod choice;
mod draft;
mod generic;
mod service;
mod url;

use super::letter::Letter;
use crate::json;
use crate::secret::Secret;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::fmt;
use ureq::http::Uri;

/// One receiver of messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The printed form, without secrets.
    shown: String,
    uri: Uri,
    /// The names and values of the headers: the login, and the type of the body.
    headers: Vec<(String, Secret)>,
    service: Service,
    /// The fields of every body.
    fixed: Map<String, Value>,
    /// The owner's words before the title of each message.
    title: Option<String>,
    /// The names of the events that the owner wants; all of them if empty.
    events: Vec<&'static str>,
    /// Whether the owner wants one summary a day.
    is_daily: bool,
}

/// The kind of a receiver, which decides on the form of the body.
#[derive(Clone, PartialEq, Eq)]
enum Service {
    /// A program that wants the whole event.
    Json,
    /// A program that wants only the text.
    Text,
    /// A program that wants text and title as JSON, under these names.
    Template(Keys),
    Ntfy,
    Gotify,
    Discord,
    Slack,
    Telegram,
}

/// The names under which a program wants the parts of a message.
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    title: String,
    message: String,
    level: Option<String>,
}

/// The reason why a URL cannot be used. Of the URL, a refusal holds only names of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The URL names no known service.
    NoService,
    /// The form that the URL should have, and the particular fault if there is one.
    Form(&'static str, Option<String>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str(service::FORMS),
            Self::Form(form, None) => f.write_str(form),
            Self::Form(form, Some(fault)) => write!(f, "{form} ({fault})"),
        }
    }
}

impl Receiver {
    /// Reads one URL. A URL can name several receivers: each chat of `telegram://` is one.
    ///
    /// # Errors
    /// The expected form, and the name of a wrong option.
    pub fn parse(text: &str) -> Result<Vec<Self>, Refusal> {
        service::parse(text)
    }

    /// The URL that messages are posted to. It is a secret.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The headers of a message: the login, and the type of the body.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (&**name, value.reveal()))
            .collect()
    }

    /// Whether the owner wants the event of this name.
    pub(crate) fn wants(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.contains(&event)
    }

    /// Whether the receiver gets one summary a day.
    pub(crate) fn is_daily(&self) -> bool {
        self.is_daily
    }

    /// The body of a message.
    #[must_use]
    pub fn body(&self, letter: &Letter) -> String {
        let own = self.title.as_deref();
        let title = || Value::from(letter.titled(own));
        let text = || Value::from(&*letter.text);
        let mut body = self.fixed.clone();
        let mut put = |key: &str, value: Value| {
            // The owner's own priority and tags win.
            if !body.contains_key(key) {
                body.insert(key.to_owned(), value);
            }
        };
        let level = letter.level as usize;
        match &self.service {
            Service::Json => return json::print(&letter.json()),
            Service::Text => return letter.whole(own),
            Service::Template(keys) => {
                if keys.title == keys.message {
                    put(&keys.message, Value::from(letter.whole(own)));
                } else {
                    put(&keys.title, title());
                    put(&keys.message, text());
                }
                if let Some(key) = &keys.level {
                    put(key, Value::from(letter.level.name()));
                }
            }
            Service::Ntfy | Service::Gotify => {
                put("title", title());
                put("message", text());
                let is_ntfy = self.service == Service::Ntfy;
                if is_ntfy {
                    put("tags", Value::from(vec![letter.tag]));
                }
                let priorities = if is_ntfy { [0, 0, 4, 5] } else { [0, 0, 7, 10] };
                // Without a priority, that of the receiver's own settings holds.
                if priorities[level] > 0 {
                    put("priority", Value::from(priorities[level]));
                }
            }
            Service::Discord => {
                let color = [0x2E_CC71, 0x34_98DB, 0xF1_C40F, 0xE7_4C3C][level];
                put("content", title());
                put("embeds", json!([{"description": text(), "color": color}]));
            }
            Service::Slack => {
                let color = ["good", "#3498db", "warning", "danger"][level];
                let [title, text] =
                    [&letter.titled(own), &letter.text].map(|text| escape_for_slack(text));
                put("text", Value::from(title));
                put("attachments", json!([{"text": text, "color": color}]));
            }
            Service::Telegram => {
                let sign = ["✅", "ℹ️", "⚠️", "🚨"][level];
                put("text", Value::from(format!("{sign} {}", letter.whole(own))));
            }
        }
        json::print(&body)
    }

    /// The reason why a message was refused in spite of status 200. Slack's Web API always answers 200.
    #[must_use]
    pub fn refusal(&self, answer: &str) -> Option<String> {
        if self.service != Service::Slack {
            return None;
        }
        let answer: Value = json::parse(answer).ok()?;
        let refused = answer.get("ok") == Some(&Value::Bool(false));
        refused.then(|| self.mask(answer["error"].as_str().unwrap_or("not ok")))
    }

    /// The service's own words on a failure, without secrets that the service may have repeated. Any part of a
    /// plain URL may be a secret, so the words of its service are left out.
    #[must_use]
    pub fn mask(&self, words: &str) -> String {
        if matches!(
            self.service,
            Service::Json | Service::Text | Service::Template(_)
        ) {
            return String::new();
        }
        let logins = (self.headers.iter())
            .filter(|(name, _)| name != "content-type")
            .filter_map(|(_, value)| value.reveal().split(' ').next_back());
        // The topic of ntfy is as good as a password, and is a field of the body.
        let topic = self.fixed.get("topic").and_then(Value::as_str);
        let path = self.uri.path().split('/');
        let secrets = path.chain(logins).chain(topic);
        secrets
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .fold(words.to_owned(), |words, secret| {
                words.replace(secret, "***")
            })
    }
}

/// The shortest secret. Shorter parts of a path are words such as `bot`, or not worth hiding.
const SHORTEST_SECRET: usize = 8;

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Escapes Slack's three control characters. Otherwise a text in angle brackets could notify the whole
/// channel.
fn escape_for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Level;

    fn letter(level: Level) -> Letter {
        Letter {
            event: "updated",
            level,
            tag: "ok",
            title: "web updated".to_owned(),
            host: Some("nas".to_owned()),
            text: "a <b> & c".to_owned(),
            facts: Map::new(),
            time: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    fn body(receiver: &Receiver, level: Level) -> Value {
        serde_json::from_str(&receiver.body(&letter(level))).expect("JSON")
    }

    fn only(text: &str) -> Receiver {
        let mut all = Receiver::parse(text).expect("a receiver");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn each_url_becomes_the_request_that_its_service_wants() {
        let table = [
            (
                "https://example.org/hook/s3cr3t?key=s3cr3t",
                "https://example.org/hook/s3cr3t?key=s3cr3t",
                None,
                letter(Level::Success).json(),
            ),
            (
                "http://me:p%40ss@example.org:8080",
                "http://example.org:8080/",
                Some(("Authorization", "Basic bWU6cEBzcw==")),
                letter(Level::Success).json(),
            ),
            (
                "ntfy://ntfy.sh/alerts",
                "https://ntfy.sh/",
                None,
                json!({"topic": "alerts", "title": "web updated on nas", "message": "a <b> & c",
                       "tags": ["ok"]}),
            ),
            (
                "ntfy://:tk_1@box:81/alerts?scheme=http&title=At+home&priority=High&tags=whale,%2B1",
                "http://box:81/",
                Some(("Authorization", "Basic OnRrXzE=")),
                json!({"topic": "alerts", "title": "At home: web updated on nas", "message": "a <b> & c",
                       "priority": 4, "tags": ["whale", "+1"]}),
            ),
            (
                "gotify://box:8443/path/to/AzyoeNS.D4iJLVa/?title=Home&priority=7&disabletls=Yes",
                "http://box:8443/path/to/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "Home: web updated on nas", "message": "a <b> & c", "priority": 7}),
            ),
            (
                "gotify://box/AzyoeNS.D4iJLVa",
                "https://box/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "web updated on nas", "message": "a <b> & c"}),
            ),
            (
                "ntfy://ntfy.sh/privatetopic?token=tk_AgQdq7&in=1h&markdown=yes&filename=a.txt",
                "https://ntfy.sh/",
                Some(("Authorization", "Bearer tk_AgQdq7")),
                json!({"topic": "privatetopic", "title": "web updated on nas", "message": "a <b> & c",
                       "tags": ["ok"], "delay": "1h", "markdown": true, "filename": "a.txt"}),
            ),
            (
                "ntfy://me:pw@box:8080/t?Token=tk_1&DisableTLS=Yes&disabletlsverification=no&actions=[{\"action\":\"view\"}]",
                "http://box:8080/",
                Some(("Authorization", "Bearer tk_1")),
                json!({"topic": "t", "title": "web updated on nas", "message": "a <b> & c", "tags": ["ok"],
                       "actions": [{"action": "view"}]}),
            ),
            (
                "gotify://box:443/message?token=AzyoeNS.D4iJLVa&title=Great+News&priority=-1&useheader=yes&date=2023-12-25T10:00:00Z",
                "https://box:443/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "Great News: web updated on nas", "message": "a <b> & c", "priority": -1}),
            ),
            (
                "gotify://box/path/to/gotify/message/?token=Azy&disabletls=yes&extras=%7B%22a%22%3A%7B%7D%7D&insecureskipverify=no",
                "http://box/path/to/gotify/message",
                Some(("X-Gotify-Key", "Azy")),
                json!({"title": "web updated on nas", "message": "a <b> & c", "extras": {"a": {}}}),
            ),
            (
                "gotify://box/sub?token=Azy",
                "https://box/sub/message",
                Some(("X-Gotify-Key", "Azy")),
                json!({"title": "web updated on nas", "message": "a <b> & c"}),
            ),
            (
                "generic://box/hook?template=json&disabletls=yes&method=POST&titlekey=head&messagekey=words&$from=nas&key=a+b&_title=x",
                "http://box/hook?key=a%20b&title=x",
                None,
                json!({"head": "web updated on nas", "words": "a <b> & c", "from": "nas"}),
            ),
            (
                "generic+https://box/hook?template=json&titlekey=text&messagekey=text",
                "https://box/hook",
                None,
                json!({"text": "web updated on nas\na <b> & c"}),
            ),
            (
                "generic+https://me:pw@box/hook?Template=JSON&title=nas&@X-Custom=v",
                "https://box/hook",
                Some(("Authorization", "Basic bWU6cHc=")),
                json!({"title": "nas: web updated", "message": "a <b> & c"}),
            ),
            (
                "discord://to-k_en@6938?thread_id=12&username=nas&splitLines=no",
                "https://discord.com/api/webhooks/6938/to-k_en?thread_id=12",
                None,
                json!({"content": "web updated on nas", "embeds": [{"description": "a <b> & c", "color": 0x2E_CC71}], "username": "nas", "allowed_mentions": {"parse": []}}),
            ),
            (
                "slack://hook:T0AAA-B0BBB-xyz@webhook?title=nas&botname=bot",
                "https://hooks.slack.com/services/T0AAA/B0BBB/xyz",
                None,
                json!({"text": "nas: web updated", "attachments": [{"text": "a &lt;b&gt; &amp; c", "color": "good"}], "username": "bot", "unfurl_links": false}),
            ),
            (
                "slack://watch@T0AAA/B0BBB/xyz",
                "https://hooks.slack.com/services/T0AAA/B0BBB/xyz",
                None,
                json!({"text": "web updated on nas", "attachments": [{"text": "a &lt;b&gt; &amp; c", "color": "good"}], "username": "watch", "unfurl_links": false}),
            ),
            (
                "slack://xoxb:12-34-ab@C001?thread_ts=1.5",
                "https://slack.com/api/chat.postMessage",
                Some(("Authorization", "Bearer xoxb-12-34-ab")),
                json!({"text": "web updated on nas", "attachments": [{"text": "a &lt;b&gt; &amp; c", "color": "good"}], "channel": "C001", "thread_ts": "1.5",
                       "unfurl_links": false}),
            ),
            (
                "telegram://12:AA-b_c@telegram?chats=-100:7&notification=no&parseMode=HTML",
                "https://api.telegram.org/bot12:AA-b_c/sendMessage",
                None,
                json!({"chat_id": "-100", "message_thread_id": 7, "text": "✅ web updated on nas\na <b> & c",
                       "disable_notification": true, "disable_web_page_preview": true}),
            ),
        ];
        for (text, uri, login, body) in table {
            let receiver = only(text);
            assert_eq!(receiver.uri().to_string(), uri, "{text}");
            let (others, json): (Vec<_>, Vec<_>) = (receiver
                .headers()
                .into_iter()
                .filter(|(name, _)| *name != "x-custom"))
            .partition(|(name, _)| *name != "content-type");
            assert_eq!(others, Vec::from_iter(login), "{text}");
            assert_eq!(json, [("content-type", "application/json")], "{text}");
            assert_eq!(self::body(&receiver, Level::Success), body, "{text}");
        }
    }

    #[test]
    fn each_service_shows_the_level() {
        let levels = [Level::Success, Level::Info, Level::Warning, Level::Failure];
        for (url, pointer, values) in [
            (
                "https://h/x",
                "/level",
                json!(["success", "info", "warning", "failure"]),
            ),
            ("ntfy://h/t", "/priority", json!([null, null, 4, 5])),
            ("ntfy://h/t?priority=low", "/priority", json!([2, 2, 2, 2])),
            ("ntfy://h/t", "/tags/0", json!(["ok", "ok", "ok", "ok"])),
            (
                "ntfy://h/t?tags=whale",
                "/tags/0",
                json!(["whale", "whale", "whale", "whale"]),
            ),
            ("gotify://h/t", "/priority", json!([null, null, 7, 10])),
            ("gotify://h/t?priority=0", "/priority", json!([0, 0, 0, 0])),
            (
                "discord://t@1",
                "/embeds/0/color",
                json!([0x2E_CC71, 0x34_98DB, 0xF1_C40F, 0xE7_4C3C]),
            ),
            (
                "slack://A/B/C",
                "/attachments/0/color",
                json!(["good", "#3498db", "warning", "danger"]),
            ),
            (
                "generic://h/?template=json&levelkey=type",
                "/type",
                json!(["success", "info", "warning", "failure"]),
            ),
        ] {
            let receiver = only(url);
            let found = levels.map(|level| body(&receiver, level).pointer(pointer).cloned());
            assert_eq!(json!(found), values, "{url}");
        }
        let telegram = only("telegram://1:a@telegram?chats=@a");
        let signs = levels.map(|level| {
            let text = body(&telegram, level)["text"].to_string();
            text.chars().nth(1)
        });
        assert_eq!(signs, ['✅', 'ℹ', '⚠', '🚨'].map(Some));
    }

    #[test]
    fn each_url_can_choose_its_messages() {
        for (url, uri, events, is_daily) in [
            ("https://h/x?b=2&a=1", "https://h/x?b=2&a=1", &[][..], false),
            (
                "https://h/x?events=updated",
                "https://h/x",
                &["updated"],
                false,
            ),
            (
                "https://h/x?k=%2B+&events=Recreated,rolled_back&k=",
                "https://h/x?k=%2B+&k=",
                &["updated", "rolled_back"],
                false,
            ),
            (
                "https://h/x?digest=daily&%65vents=x",
                "https://h/x?%65vents=x",
                &[],
                true,
            ),
            ("https://h/x?events=&digest=", "https://h/x", &[], false),
            (
                "generic://h/x?Events=down%2C+failed&a=1&Digest=Daily&_events=push",
                "https://h/x?a=1&events=push",
                &["down", "failed"],
                true,
            ),
            (
                "ntfy://h/t?events=behind&priority=1",
                "https://h/",
                &["behind"],
                false,
            ),
            (
                "telegram://1:a@telegram?chats=@a&digest=daily",
                "https://api.telegram.org/bot1:a/sendMessage",
                &[],
                true,
            ),
        ] {
            let receiver = only(url);
            assert_eq!(receiver.uri().to_string(), uri, "{url}");
            assert_eq!(receiver.events, events, "{url}");
            assert_eq!(receiver.is_daily(), is_daily, "{url}");
            for name in ["updated", "failed", "down"] {
                let wants = events.is_empty() || events.contains(&name);
                assert_eq!(receiver.wants(name), wants, "{url} {name}");
            }
        }
    }

    #[test]
    fn a_generic_receiver_gets_the_text_and_the_headers_it_was_given() {
        let text =
            only("generic+https://ntfy.box/topic?@authorization=Bearer+tk&@acceptLanguage=de");
        assert_eq!(text.uri().to_string(), "https://ntfy.box/topic");
        let plain = ("content-type", "text/plain; charset=utf-8");
        let ours = [("authorization", "Bearer tk"), ("accept-language", "de")];
        assert_eq!(text.headers(), [&ours[..], &[plain]].concat());
        assert_eq!(
            text.body(&letter(Level::Success)),
            "web updated on nas\na <b> & c"
        );
        assert_eq!(text.to_string(), "generic+https://ntfy.box/***");
        for (options, content_type) in [
            ("contenttype=text/markdown", "text/markdown"),
            ("@Content-Type=a/b&contenttype=c/d", "a/b"),
            ("template=json&contenttype=c/d", "c/d"),
            ("template=json", "application/json"),
        ] {
            let receiver = only(&format!("generic+http://box/?{options}"));
            assert_eq!(receiver.headers(), [("content-type", content_type)]);
            assert_eq!(receiver.uri().to_string(), "http://box/");
        }
    }

    #[test]
    fn a_refusal_names_the_option_and_no_value() {
        for (url, expected) in [
            ("ntfy://h/t?foo=bar", "(the option `foo` is not known)"),
            (
                "gotify://h/t?Retries=3",
                "(the option `retries` is not known)",
            ),
            (
                "slack://T/B/x?foo_bar=1&title=a",
                "(the option `foo_bar` is not known)",
            ),
            (
                "telegram://1:a@telegram?chats=@a&foo=1",
                "(the option `foo` is not known)",
            ),
            ("discord://t@1?foo=1", "(the option `foo` is not known)"),
            // Such an option may be a misplaced secret.
            ("ntfy://h/t?tk_s3cr3t", "(the option `…` is not known)"),
            ("ntfy://h/t?secret", "(the option `…` is not known)"),
            ("ntfy://h/t?s3cr3t=1", "(the option `…` is not known)"),
            (
                "ntfy://h/t?priority=9",
                "(the value of `priority` cannot be used)",
            ),
            (
                "ntfy://h/t?scheme=ftp",
                "(the value of `scheme` cannot be used)",
            ),
            (
                "ntfy://h/t?actions=view",
                "(the value of `actions` cannot be used)",
            ),
            (
                "gotify://h/t?disabletls=maybe",
                "(the value of `disabletls` cannot be used)",
            ),
            (
                "gotify://h/t?extras=[]",
                "(the value of `extras` cannot be used)",
            ),
            (
                "gotify://h/t?insecureskipverify=yes",
                "(certificates are always checked: leave `insecureskipverify` out, SSL_CERT_FILE takes a private CA)",
            ),
            (
                "telegram://1:a@telegram?chats=a",
                "(the value of `chats` cannot be used)",
            ),
            (
                "discord://t@1?thread_id=a",
                "(the value of `thread_id` cannot be used)",
            ),
            (
                "generic://h/?template=xml",
                "(the value of `template` cannot be used)",
            ),
            (
                "generic://h/?method=DELETE",
                "(the value of `method` cannot be used)",
            ),
            (
                "https://h/s3cr3t?events=updated,s3cr3t",
                "(`events` takes updated, rolled_back, failed, behind, down, back, newer, restored, unsigned, badly_signed, decided)",
            ),
            ("ntfy://h/t?digest=weekly", "(`digest` takes daily)"),
            ("generic://h/?@Host=x", "(the option `@…` is not known)"),
        ] {
            let refusal = Receiver::parse(url).expect_err(url).to_string();
            assert!(refusal.ends_with(expected), "{url}: {refusal}");
        }
    }

    #[test]
    fn each_chat_of_telegram_is_a_receiver() {
        let all = Receiver::parse("telegram://12:AA@telegram/?channels=@a,@b").expect("two");
        assert_eq!(
            format!("{all:?}"),
            "[telegram://***@telegram?chats=@a, telegram://***@telegram?chats=@b]"
        );
    }

    #[test]
    fn what_cannot_be_used_is_answered_with_the_form_and_nothing_of_the_url() {
        for text in [
            "",
            "s3cr3t",
            "mailto://s3cr3t@x",
            "https://",
            "https://s3cr3t:80s3cr3t/",
            "ntfy://host",
            "ntfy://host/s3cr3t/s3cr3t",
            "ntfy://host/s3cr3t?priority=s3cr3t",
            "ntfy://host/s3cr3t?scheme=ftp",
            "ntfy://host/s3cr3t?s3cr3t=1",
            "gotify://host",
            "gotify://host/message",
            "gotify://host/message?token=",
            "gotify://host/s3cr3t?token=%",
            "generic://",
            "generic://host/?@s3cr3t%0A=x",
            "generic://host/?@x=s3cr3t%0A",
            "generic+ftp://s3cr3t@host/",
            "gotify://host/s3cr3t?disabletls=s3cr3t",
            "discord://s3cr3t",
            "discord://s3cr3t@",
            "discord://s3/cr3t@1",
            "discord://s3cr3t@1?thread_id=a",
            "slack://hook:s3cr3t@webhook",
            "slack://T/s3cr3t",
            "slack://s3cr3t@channel",
            "slack://xoxb:s3%0Acr3t@channel",
            "telegram://s3cr3t@telegram?chats=@a",
            "telegram://1:s3cr3t@telegram",
            "telegram://1:s3cr3t@telegram?chats=a",
        ] {
            let form = Receiver::parse(text).expect_err(text).to_string();
            assert!(!form.contains("s3cr3t"), "{text}: {form}");
            assert!(form.contains("://"), "{form}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("https://u:p@h.org:1/s3cr3t?s3cr3t", "https://h.org:1/***"),
            ("ntfy://u:s3cr3t@h/s3cr3t", "ntfy://h/***"),
            ("gotify://h/p/s3cr3t", "gotify://h/***"),
            ("gotify://h/message?token=s3cr3t", "gotify://h/***"),
            ("ntfy://h/s3cr3t?token=s3cr3t", "ntfy://h/***"),
            ("generic://u:s3cr3t@h/s3cr3t?s3cr3t", "generic://h/***"),
            ("discord://s3cr3t@1", "discord://***@1"),
            ("slack://hook:T-B-s3cr3t@webhook", "slack://***@webhook"),
            ("slack://T/B/s3cr3t", "slack://***@webhook"),
            ("slack://xoxb:1-s3cr3t@C1", "slack://***@C1"),
        ] {
            let receiver = only(text);
            assert_eq!(receiver.to_string(), shown, "{text}");
            assert_eq!(format!("{receiver:?}"), shown, "{text}");
        }
    }

    #[test]
    fn what_a_service_repeats_of_our_secrets_is_masked() {
        let discord = only("discord://a-long-token@1");
        assert_eq!(discord.mask("no a-long-token here"), "no *** here");
        let gotify = only("gotify://h/a-long-token");
        assert_eq!(gotify.mask("token a-long-token"), "token ***");
        assert_eq!(only("https://h/x").mask("Cannot POST /x"), "");
    }

    #[test]
    fn slack_says_no_with_a_200() {
        let slack = only("slack://xoxb:1-2@C1");
        let no = slack.refusal(r#"{"ok":false,"error":"channel_not_found"}"#);
        assert_eq!(no.as_deref(), Some("channel_not_found"));
        assert_eq!(slack.refusal(r#"{"ok":true}"#), None);
        assert_eq!(slack.refusal("ok"), None);
        assert_eq!(only("https://h/x").refusal(r#"{"ok":false}"#), None);
    }
}
