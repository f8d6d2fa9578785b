//! Receivers of messages: a URL as people write it, turned into the request that delivers a message. Pure:
//! nothing is sent here.
//!
//! The URLs have the forms of [shoutrrr](https://shoutrrr.nickfedor.com/), because Watchtower's users have
//! such URLs. The older forms work too. Almost every part of such a URL may be a secret, a path as much as a
//! password. So a [`Receiver`] prints only the parts that are known to be harmless.

mod draft;
mod generic;
mod service;
mod url;

use crate::secret::Secret;
use serde_json::Map;
use serde_json::Value;
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
    /// The title of each message.
    title: Option<String>,
}

/// The kind of a receiver, which decides on the form of the body.
#[derive(Clone, PartialEq, Eq)]
enum Service {
    /// A program that wants the whole event.
    Json,
    /// A program that wants only the text.
    Text,
    /// A program that wants text and title as JSON, under these names.
    Template {
        title: String,
        message: String,
    },
    Ntfy,
    Gotify,
    Discord,
    Slack,
    Telegram,
}

/// The title, if the URL names none.
const TITLE: &str = "imagewatch";

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

    /// The body of a message with this `text`. A plain URL gets the whole `event` instead.
    #[must_use]
    pub fn body(&self, text: &str, event: &Value) -> String {
        let titled = || match &self.title {
            Some(title) => format!("{title}: {text}"),
            None => text.to_owned(),
        };
        let (key, words, title_key) = match &self.service {
            Service::Json => return event.to_string(),
            Service::Text => return titled(),
            Service::Template { title, message } => (&**message, text.to_owned(), Some(&**title)),
            Service::Ntfy | Service::Gotify => ("message", text.to_owned(), Some("title")),
            Service::Discord => ("content", titled(), None),
            Service::Slack => ("text", escape_for_slack(&titled()), None),
            Service::Telegram => ("text", titled(), None),
        };
        let mut body = self.fixed.clone();
        if let Some(title_key) = title_key {
            let title = self.title.as_deref().unwrap_or(TITLE);
            body.insert(title_key.to_owned(), Value::from(title));
        }
        body.insert(key.to_owned(), Value::from(words));
        Value::Object(body).to_string()
    }

    /// The reason why a message was refused in spite of status 200. Slack's Web API always answers 200.
    #[must_use]
    pub fn refusal(&self, answer: &str) -> Option<String> {
        if self.service != Service::Slack {
            return None;
        }
        let answer: Value = serde_json::from_str(answer).ok()?;
        let refused = answer.get("ok") == Some(&Value::Bool(false));
        refused.then(|| self.mask(answer["error"].as_str().unwrap_or("not ok")))
    }

    /// The service's own words on a failure, without secrets that the service may have repeated. Any part of a
    /// plain URL may be a secret, so the words of its service are left out.
    #[must_use]
    pub fn mask(&self, words: &str) -> String {
        if matches!(
            self.service,
            Service::Json | Service::Text | Service::Template { .. }
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
                "ntfy://ntfy.sh/privatetopic?token=tk_AgQdq7&in=1h&markdown=yes&filename=a.txt",
                "https://ntfy.sh/",
                Some(("Authorization", "Bearer tk_AgQdq7")),
                json!({"topic": "privatetopic", "title": "imagewatch", "message": "a <b> & c",
                       "delay": "1h", "markdown": true, "filename": "a.txt"}),
            ),
            (
                "ntfy://me:pw@box:8080/t?Token=tk_1&DisableTLS=Yes&disabletlsverification=no&actions=[{\"action\":\"view\"}]",
                "http://box:8080/",
                Some(("Authorization", "Bearer tk_1")),
                json!({"topic": "t", "title": "imagewatch", "message": "a <b> & c",
                       "actions": [{"action": "view"}]}),
            ),
            (
                "gotify://box:443/message?token=AzyoeNS.D4iJLVa&title=Great+News&priority=-1&useheader=yes&date=2023-12-25T10:00:00Z",
                "https://box:443/message",
                Some(("X-Gotify-Key", "AzyoeNS.D4iJLVa")),
                json!({"title": "Great News", "message": "a <b> & c", "priority": -1}),
            ),
            (
                "gotify://box/path/to/gotify/message/?token=Azy&disabletls=yes&extras=%7B%22a%22%3A%7B%7D%7D&insecureskipverify=no",
                "http://box/path/to/gotify/message",
                Some(("X-Gotify-Key", "Azy")),
                json!({"title": "imagewatch", "message": "a <b> & c", "extras": {"a": {}}}),
            ),
            (
                "gotify://box/sub?token=Azy",
                "https://box/sub/message",
                Some(("X-Gotify-Key", "Azy")),
                json!({"title": "imagewatch", "message": "a <b> & c"}),
            ),
            (
                "generic://box/hook?template=json&disabletls=yes&method=POST&titlekey=head&messagekey=words&$from=nas&key=a+b&_title=x",
                "http://box/hook?key=a%20b&title=x",
                None,
                json!({"head": "imagewatch", "words": "a <b> & c", "from": "nas"}),
            ),
            (
                "generic+https://me:pw@box/hook?Template=JSON&title=nas&@X-Custom=v",
                "https://box/hook",
                Some(("Authorization", "Basic bWU6cHc=")),
                json!({"title": "nas", "message": "a <b> & c"}),
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
            let (others, json): (Vec<_>, Vec<_>) = (receiver
                .headers()
                .into_iter()
                .filter(|(name, _)| *name != "x-custom"))
            .partition(|(name, _)| *name != "content-type");
            assert_eq!(others, Vec::from_iter(login), "{text}");
            assert_eq!(json, [("content-type", "application/json")], "{text}");
            let found = receiver.body("a <b> & c", &json!({"event": "updated"}));
            let found: Value = serde_json::from_str(&found).expect("JSON");
            assert_eq!(found, body, "{text}");
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
        assert_eq!(text.body("a <b> & c", &Value::Null), "a <b> & c");
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
