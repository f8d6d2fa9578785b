//! A real browser: Debian's headless Chromium, spoken to in its own protocol (DevTools) over a pair
//! of pipes, one JSON object after the other with a NUL behind each.

use super::Folder;
use serde_json::Value;
use serde_json::json;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::Once;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at the page.
const PAUSE: Duration = Duration::from_millis(50);
/// A browser is large: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A browser with one tab. It is killed at the end.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    next: u64,
    session: String,
    /// Every URL that was asked for, and the headers it was asked with.
    pub(crate) requests: Vec<Value>,
    /// What the console, the policy and uncaught errors say.
    pub(crate) complaints: Vec<String>,
    _profile: Folder,
    _only: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts it; without a Chromium on this machine it says that the test is left out.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("chromium").arg("--version").output().is_err() {
            static SAID: Once = Once::new();
            let words = b"left out: the page in a browser (scripts/lab/lab.sh installs chromium)\n";
            SAID.call_once(|| drop(std::io::stderr().write_all(words)));
            return None;
        }
        let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = Folder::new();
        // It wants its pipes to be number 3 and 4. As root it has no sandbox.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-background-networking --disable-component-update \
             --disable-breakpad --user-data-dir=\"$HOME\" --remote-debugging-pipe about:blank \
             3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", script])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a browser");
        let commands = process.stdin.take().expect("its commands");
        let answers = process.stdout.take().expect("its answers");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            process,
            commands,
            messages,
            next: 0,
            session: String::new(),
            requests: Vec::new(),
            complaints: Vec::new(),
            _profile: profile,
            _only: only,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of a JavaScript expression.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// What the page says to whoever looks at it.
    pub(crate) fn text(&mut self) -> String {
        let text = self.value("document.body.innerText");
        text.as_str().expect("a text").to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != json!(true) {
            if begun.elapsed() > PATIENCE {
                let text = self.text();
                panic!("never true: {expression}\n{:#?}\n{text}", self.complaints);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until the page says this.
    #[track_caller]
    pub(crate) fn await_text(&mut self, text: &str) {
        let text = json!(text);
        self.until(&format!("document.body.innerText.includes({text})"));
    }

    /// Types into whatever has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key: `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("no such key: {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let key = json!({"type": kind, "key": key, "code": key, "text": text,
                             "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Sends a command and answers its result. What comes in between is noted.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let command = format!("{command}\0");
        self.commands
            .write_all(command.as_bytes())
            .expect("the browser lives");
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let mut message = message.unwrap_or_else(|_| panic!("no answer to {method}"));
            if message["id"] == json!(id) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.requests.push(parameters["request"].clone()),
            // Advice is none.
            "Log.entryAdded" if parameters["entry"]["level"] == "verbose" => {}
            "Log.entryAdded" => self.complaints.push(parameters["entry"].to_string()),
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => {
                self.complaints.push(parameters.to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its helpers as well, which write into the profile.
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && begun.elapsed() < GRACE {
            std::thread::sleep(PAUSE);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
