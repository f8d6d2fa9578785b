//! Where messages go: from a URL as people write it to the request that delivers a message. Pure:
//! nothing is sent here.
//!
//! The forms are those of [shoutrrr](https://containrrr.dev/shoutrrr/), which Watchtower's users
//! have at hand. Almost every part of such a URL is a secret, a path as much as a password, so a
//! [`Receiver`] shows itself only as what is known to be harmless.

mod service;
mod url;

pub use service::FORMS;

use crate::credentials::Secret;
use serde_json::Map;
use serde_json::Value;
use std::fmt;
use ureq::http::Uri;

/// One place that gets messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver {
    /// How it shows itself.
    shown: String,
    uri: Uri,
    /// The name and value of the header that says who we are.
    login: Option<(&'static str, Secret)>,
    service: Service,
    /// What stands in every body.
    fixed: Map<String, Value>,
    /// What stands before, or above, each message.
    title: Option<String>,
}

/// Who listens there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// A program that wants the whole event.
    Json,
    Ntfy,
    Gotify,
    Discord,
    Slack,
    Telegram,
}

/// The title of messages that have one.
const TITLE: &str = "imagewatch";

impl Receiver {
    /// Reads one URL. It can stand for more than one receiver: each chat of `telegram://` is one.
    ///
    /// # Errors
    /// The form that was expected. It holds nothing of the URL.
    pub fn parse(text: &str) -> Result<Vec<Self>, &'static str> {
        service::parse(text)
    }

    /// Where to post to. A secret.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The header that says who we are.
    pub(crate) fn login(&self) -> Option<(&'static str, &str)> {
        let (name, value) = self.login.as_ref()?;
        Some((name, value.reveal()))
    }

    /// The body that tells `text`; a plain URL gets `event` instead.
    #[must_use]
    pub fn body(&self, text: &str, event: &Value) -> Value {
        let titled = || match &self.title {
            Some(title) => format!("{title}: {text}"),
            None => text.to_owned(),
        };
        let title = self.title.as_deref().unwrap_or(TITLE);
        let (key, words) = match self.service {
            Service::Json => return event.clone(),
            Service::Ntfy | Service::Gotify => ("message", text.to_owned()),
            Service::Discord => ("content", titled()),
            Service::Slack => ("text", escape_for_slack(&titled())),
            Service::Telegram => ("text", titled()),
        };
        let mut body = self.fixed.clone();
        body.insert(key.to_owned(), Value::from(words));
        if key == "message" {
            body.insert("title".to_owned(), Value::from(title));
        }
        Value::Object(body)
    }

    /// Why a message was not taken although the status says so: Slack's Web API answers 200 to
    /// everything.
    #[must_use]
    pub fn refusal(&self, answer: &str) -> Option<String> {
        if self.service != Service::Slack {
            return None;
        }
        let answer: Value = serde_json::from_str(answer).ok()?;
        let refused = answer.get("ok") == Some(&Value::Bool(false));
        refused.then(|| self.mask(answer["error"].as_str().unwrap_or("not ok")))
    }

    /// What the service itself says of a failure, without what it may have repeated of our
    /// secrets. Of a plain URL we do not know which parts are some, so its words are left out.
    #[must_use]
    pub fn mask(&self, words: &str) -> String {
        if self.service == Service::Json {
            return String::new();
        }
        let login = self.login.as_ref().map_or("", |(_, value)| value.reveal());
        let login = login.split(' ').next_back().unwrap_or_default();
        // The topic of ntfy is as good as a password, and stands in the body.
        let topic = self.fixed.get("topic").and_then(Value::as_str);
        let path = self.uri.path().split('/');
        let secrets = path.chain([login, topic.unwrap_or_default()]);
        secrets
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .fold(words.to_owned(), |words, secret| {
                words.replace(secret, "***")
            })
    }
}

/// Shorter parts of a path are words such as `bot`, or not worth hiding.
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

/// Slack's three control characters; what stands between angle brackets could otherwise call the
/// whole channel.
fn escape_for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
                json!({"event": "updated"}),
            ),
            (
                "http://me:p%40ss@example.org:8080",
                "http://example.org:8080/",
                Some(("Authorization", "Basic bWU6cEBzcw==")),
                json!({"event": "updated"}),
            ),
            (
                "ntfy://ntfy.sh/alerts",
                "https://ntfy.sh/",
                None,
                json!({"topic": "alerts", "title": "imagewatch", "message": "a <b> & c"}),
            ),
            (
                "ntfy://:tk_1@box:81/alerts?scheme=http&title=At+home&priority=High&tags=whale,%2B1",
                "http://box:81/",
                Some(("Authorization", "Basic OnRrXzE=")),
                json!({"topic": "alerts", "title": "At home", "message": "a <b> & c",
                       "priority": 4, "tags": ["whale", "+1"]}),
            ),
            (
                "gotify://box:8443/path/to/AzyoeNS.D4iJLVa/?title=Home&priority=7&disabletls=Yes",
                "http://box:8443/path/to/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "Home", "message": "a <b> & c", "priority": 7}),
            ),
            (
                "gotify://box/AzyoeNS.D4iJLVa",
                "https://box/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "imagewatch", "message": "a <b> & c"}),
            ),
            (
                "discord://to-k_en@6938?thread_id=12&username=nas&splitLines=no",
                "https://discord.com/api/webhooks/6938/to-k_en?thread_id=12",
                None,
                json!({"content": "a <b> & c", "username": "nas", "allowed_mentions": {"parse": []}}),
            ),
            (
                "slack://hook:T0AAA-B0BBB-xyz@webhook?title=nas&botname=bot",
                "https://hooks.slack.com/services/T0AAA/B0BBB/xyz",
                None,
                json!({"text": "nas: a &lt;b&gt; &amp; c", "username": "bot", "unfurl_links": false}),
            ),
            (
                "slack://watch@T0AAA/B0BBB/xyz",
                "https://hooks.slack.com/services/T0AAA/B0BBB/xyz",
                None,
                json!({"text": "a &lt;b&gt; &amp; c", "username": "watch", "unfurl_links": false}),
            ),
            (
                "slack://xoxb:12-34-ab@C001?thread_ts=1.5",
                "https://slack.com/api/chat.postMessage",
                Some(("Authorization", "Bearer xoxb-12-34-ab")),
                json!({"text": "a &lt;b&gt; &amp; c", "channel": "C001", "thread_ts": "1.5",
                       "unfurl_links": false}),
            ),
            (
                "telegram://12:AA-b_c@telegram?chats=-100:7&notification=no&parseMode=HTML",
                "https://api.telegram.org/bot12:AA-b_c/sendMessage",
                None,
                json!({"chat_id": "-100", "message_thread_id": 7, "text": "a <b> & c",
                       "disable_notification": true, "disable_web_page_preview": true}),
            ),
        ];
        for (text, uri, login, body) in table {
            let receiver = only(text);
            assert_eq!(receiver.uri().to_string(), uri, "{text}");
            assert_eq!(receiver.login(), login, "{text}");
            let found = receiver.body("a <b> & c", &json!({"event": "updated"}));
            assert_eq!(found, body, "{text}");
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
            let form = Receiver::parse(text).expect_err(text);
            assert!(!form.contains("s3cr3t"), "{text}: {form}");
            assert!(FORMS.contains(form) || form.contains("://"), "{form}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("https://u:p@h.org:1/s3cr3t?s3cr3t", "https://h.org:1/***"),
            ("ntfy://u:s3cr3t@h/s3cr3t", "ntfy://h/***"),
            ("gotify://h/p/s3cr3t", "gotify://h/***"),
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
