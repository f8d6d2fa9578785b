//! A guard in a process of its own.

use super::served::serve;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tiny_http::Response;

/// Tells this process that it is the host, and how many descriptors it is to take for itself.
const HOST: &str = "IMAGEWATCH_TEST_GUARD_HOST";

/// The process that the tests of [`super::flood`] attack: not a test by itself.
#[test]
fn host() {
    let Ok(hoard) = std::env::var(HOST) else {
        return;
    };
    log::set_logger(&Replacements).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let parked = Arc::new(Mutex::new(Vec::new()));
    let parking = Arc::clone(&parked);
    let served = serve(move |request| match request.url() {
        "/park" => parking.lock().unwrap().push(request),
        "/replaced" => {
            let count = REPLACED.load(Ordering::SeqCst);
            drop(request.respond(Response::from_string(count.to_string())));
        }
        _ => drop(request.respond(Response::from_string("ok"))),
    });
    let hoard = 0..hoard.parse().unwrap();
    let _hoard: Vec<File> = hoard
        .map(|_: usize| File::open("/dev/null").unwrap())
        .collect();
    println!("guard at {}", served.address);
    for line in std::io::stdin().lines() {
        assert_eq!(line.unwrap(), "release");
        parked.lock().unwrap().drain(..).for_each(drop);
    }
    std::process::exit(0);
}

static REPLACED: AtomicUsize = AtomicUsize::new(0);

/// Counts the inner servers that were replaced.
struct Replacements;

impl log::Log for Replacements {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let replaced = record.args().to_string().contains("was replaced");
        REPLACED.fetch_add(usize::from(replaced), Ordering::SeqCst);
    }

    fn flush(&self) {}
}

/// A guard in a process of its own; it ends with its standard input.
pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Process {
    /// It may have so many descriptors, of which somebody else takes these for good.
    pub(super) fn start(descriptors: u32, hoard: u32) -> Self {
        let test = module_path!()
            .split_once("::")
            .map_or("host".to_owned(), |(_, path)| format!("{path}::host"));
        let script = format!("ulimit -n {descriptors} && exec \"$0\" --exact {test} --nocapture");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .env(HOST, hoard.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| Some(line.unwrap().split_once("guard at ")?.1.parse().unwrap()));
        let address = address.expect("the host must say where it is");
        Self { child, address }
    }

    pub(super) fn release(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"release\n")
            .unwrap();
    }

    /// Threads, descriptors and resident KiB.
    #[cfg(target_os = "linux")]
    pub(super) fn use_of(&self) -> (usize, usize, usize) {
        let directory = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{directory}/status")).unwrap();
        let number = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim_end_matches("kB").trim().parse().unwrap()
        };
        let descriptors = std::fs::read_dir(format!("{directory}/fd"))
            .unwrap()
            .count();
        (number("Threads:"), descriptors, number("VmRSS:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
