//! The real program, its log, and what it answers to `curl`.

use super::images::agent;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    /// When each of them came.
    times: Mutex<Vec<Instant>>,
    grown: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The build of the program that is tested: `LAB_BINARY`, or else the one of this build.
pub(crate) fn binary() -> String {
    let given = std::env::var("LAB_BINARY").ok();
    given.unwrap_or_else(|| env!("CARGO_BIN_EXE_imagewatch").to_owned())
}

/// Runs a command of the program to its end, with these variables and no others: its exit code, its output, and its
/// complaints.
pub(crate) fn run(arguments: &[&str], vars: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = Command::new(binary())
        .args(arguments)
        .env_clear()
        .envs(vars.iter().copied())
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A running `imagewatch serve`. It is killed at the end.
pub(crate) struct Program {
    process: Child,
    log: Arc<Log>,
    token: Option<String>,
}

impl Program {
    /// Starts it with these variables and no others, on a free port.
    pub(crate) fn start(vars: &[(&str, &str)]) -> Self {
        let program = Self::spawn(vars);
        program.await_line("listening on ");
        program
    }

    /// The same with another build of the program.
    pub(crate) fn start_binary(path: &str, vars: &[(&str, &str)]) -> Self {
        let program = Self::spawn_binary(path, vars);
        program.await_line("listening on ");
        program
    }

    /// The same where it may have no more than so many descriptors.
    pub(crate) fn start_limited(path: &str, descriptors: u32, vars: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\"");
        let program = Self::spawn_command(command.args(["-c", &script, path]), vars);
        program.await_line("listening on ");
        program
    }

    /// Starts it without waiting for it to listen.
    pub(crate) fn spawn(vars: &[(&str, &str)]) -> Self {
        Self::spawn_binary(&binary(), vars)
    }

    /// The same with another build of the program.
    pub(crate) fn spawn_binary(path: &str, vars: &[(&str, &str)]) -> Self {
        Self::spawn_command(&mut Command::new(path), vars)
    }

    fn spawn_command(command: &mut Command, vars: &[(&str, &str)]) -> Self {
        command
            .env_clear()
            .env("IMAGEWATCH_LISTEN", "127.0.0.1:0")
            .env("IMAGEWATCH_LOG", "debug")
            .env("TZ", "UTC0")
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let stderr = process.stderr.take().expect("its log");
        let log = Arc::new(Log::default());
        let for_thread = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut times = for_thread
                    .times
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                times.push(Instant::now());
                drop(times);
                for_thread.lock().push(line);
                for_thread.grown.notify_all();
            }
        });
        let token = vars.iter().find(|(name, _)| *name == "ADMIN_TOKEN");
        Self {
            process,
            log,
            token: token.map(|(_, value)| (*value).to_owned()),
        }
    }

    /// The first line that holds `text`, as soon as there is one.
    #[track_caller]
    pub(crate) fn await_line(&self, text: &str) -> String {
        self.await_lines(text, 1).remove(0)
    }

    /// The first `count` lines that hold `text`.
    #[track_caller]
    pub(crate) fn await_lines(&self, text: &str, count: usize) -> Vec<String> {
        let begun = Instant::now();
        let mut lines = self.log.lock();
        loop {
            let found: Vec<String> = lines
                .iter()
                .filter(|line| line.contains(text))
                .take(count)
                .cloned()
                .collect();
            if found.len() == count {
                return found;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(
                !left.is_zero(),
                "no {count} lines with {text:?} in the log:\n{}",
                lines.join("\n")
            );
            lines = self
                .log
                .grown
                .wait_timeout(lines, left)
                .expect("no panic")
                .0;
        }
    }

    /// Whether a line of the log holds `text` by now.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.log.lock().iter().any(|line| line.contains(text))
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().join("\n")
    }

    /// The same, each line with when it came.
    pub(crate) fn timed_log(&self) -> Vec<(Instant, String)> {
        let lines = self.log.lock().clone();
        let times = self.log.times.lock();
        let times = times.unwrap_or_else(PoisonError::into_inner);
        times.iter().copied().zip(lines).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        let line = self.await_line("listening on http://");
        line.rsplit_once("http://")
            .expect("an address")
            .1
            .to_owned()
    }

    /// Shows another token than `ADMIN_TOKEN` from now on.
    pub(crate) fn show_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// Asks the admin endpoint, with the token if there is one.
    pub(crate) fn ask(&self, method: &str, target: &str) -> (u16, Value) {
        let (status, _, body) = self.ask_text(method, target);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The same where the answer need not be JSON: status, content type, body.
    pub(crate) fn ask_text(&self, method: &str, target: &str) -> (u16, String, String) {
        let url = format!("http://{}{target}", self.host());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        // A POST says that its length is 0, as curl's does.
        let answer = if method == "POST" {
            agent().run(request.body(Vec::new()).expect("a request"))
        } else {
            agent().run(request.body(()).expect("a request"))
        };
        let mut answer = answer.expect("the program answers");
        let body = answer.body_mut().read_to_string().expect("a body");
        let kind = answer.headers().get("Content-Type");
        let kind = kind.and_then(|value| value.to_str().ok());
        (
            answer.status().as_u16(),
            kind.unwrap_or_default().to_owned(),
            body,
        )
    }

    /// `POST /admin/workspace-images/refresh` with this query.
    pub(crate) fn refresh(&self, query: &str) -> (u16, Value) {
        self.ask("POST", &format!("/admin/workspace-images/refresh{query}"))
    }

    /// A figure of `/proc/PID/smaps_rollup`, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let text = std::fs::read_to_string(path).expect("its memory");
        let line = text
            .lines()
            .find(|line| line.starts_with(field))
            .expect("the field");
        let kilobytes = line.split_whitespace().nth(1).expect("a number");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// The most memory it ever had, in bytes (proc(5), `VmHWM`).
    pub(crate) fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("its status");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = lines.next().and_then(|rest| rest.split_whitespace().next());
        kilobytes
            .and_then(|text| text.parse::<u64>().ok())
            .expect("a number")
            * 1024
    }

    /// Processor time so far (proc(5), `/proc/pid/stat` fields 14 and 15; a tick is 10 ms on Linux).
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("its times");
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(10 * ticks)
    }

    pub(crate) fn threads(&self) -> usize {
        let path = format!("/proc/{}/task", self.pid());
        std::fs::read_dir(path).expect("its threads").count()
    }

    /// The name of each thread.
    pub(crate) fn thread_names(&self) -> Vec<String> {
        let path = format!("/proc/{}/task", self.pid());
        let tasks = std::fs::read_dir(path).expect("its threads");
        // One that has ended meanwhile has none.
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
        let names = tasks.map_while(Result::ok).filter_map(name);
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(path).expect("its descriptors").count()
    }

    /// Sends a signal by its name, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    /// SIGKILL: no last words, no tidying up.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its status") {
                return (status, begun.elapsed());
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the program's log ---\n{}", self.log());
        }
    }
}
