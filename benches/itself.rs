//! How long imagewatch's own port does not answer while it updates itself, beside a bare stop and start of the
//! same container.
//!
//! `scripts/bench.sh` runs it against a private Engine, with the static binary. Both are measured in turns in one run, so
//! that a busy machine slows both; what counts is the ratio, which is to be at most 1.2.

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests need the rest")]
mod support;

use serde_json::Value;
use serde_json::json;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;
use support::docker::Docker;
use support::free_port;
use support::images::ImageSpec;
use support::images::Registry;
use support::patiently;

const ROUNDS: usize = 9;

fn main() {
    let (Ok(socket), Ok(binary)) = (std::env::var("LAB_ENGINE"), std::env::var("LAB_BINARY"))
    else {
        println!(
            "left out: there is no Engine, or no static binary (scripts/bench.sh brings both)"
        );
        return;
    };
    let docker = Docker::new(&socket);
    let registry = Registry::start();
    let name = format!("bench{}-imagewatch", support::unique());
    let program = std::fs::read(binary).expect("the static binary");
    let publish = |version: usize| {
        let version = format!("v{version}");
        let file = ("imagewatch".to_owned(), 0o755, program.clone());
        let image = ImageSpec::bare(&version, vec![file])
            .with("Entrypoint", json!(["/imagewatch"]))
            .with("Labels", json!({ "version": version }));
        registry.publish("bench/itself", "latest", &image);
        version
    };
    publish(0);
    let repository = format!("{}/bench/itself", registry.host());
    let from = repository.replace('/', "%2F");
    docker.ask(
        "POST",
        &format!("/images/create?fromImage={from}&tag=latest"),
        b"",
    );
    let port = free_port();
    let listen = format!("IMAGEWATCH_LISTEN=127.0.0.1:{port}");
    let env = [
        &listen,
        "IMAGE_AUTO_REFRESH=true",
        "IMAGEWATCH_INTERVAL=1s",
        "IMAGEWATCH_RUNTIMES=none",
        "IMAGEWATCH_SELECT=labelled",
        "IMAGEWATCH_SETTLE=1s",
    ];
    let body = json!({
        "Image": format!("{repository}:latest"), "Env": env,
        "Labels": {"imagewatch.enable": "true"},
        "HostConfig": {
            "Binds": [format!("{socket}:/var/run/docker.sock")],
            // The registry is on the loopback.
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "unless-stopped"},
        },
    });
    docker.run(&name, &body);
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        // Its tag is followed once it was looked up.
        std::thread::sleep(Duration::from_secs(3));
        let version = publish(round);
        own.push(longest_silence(port, || {
            patiently("its update", || {
                let runs = docker.inspect(&name)["Config"]["Labels"]["version"] == *version;
                let is_over = docker.inspect("imagewatch.helper") == Value::Null;
                (runs && is_over).then_some(())
            });
        }));
        bare.push(longest_silence(port, || {
            docker.ask("POST", &format!("/containers/{name}/stop"), b"");
            docker.ask("POST", &format!("/containers/{name}/start"), b"");
        }));
    }
    docker.clean(&name, registry.host());
    let (own, bare) = (median(&mut own), median(&mut bare));
    println!("the own port does not answer, median of {ROUNDS}");
    println!("  own update          {:>7.1} ms", own * 1e3);
    println!("  bare stop + start   {:>7.1} ms", bare * 1e3);
    println!("  ratio               {:>7.2}", own / bare);
}

/// The longest time between two answers of the port, in seconds, until what is done has ended and the port answers again.
fn longest_silence(port: u16, done: impl FnOnce()) -> f64 {
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let answers = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .ok()?;
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        head.ends_with(b" 200").then_some(())
    };
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            loop {
                let ends = is_over.load(std::sync::atomic::Ordering::SeqCst);
                if answers().is_some() {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    if ends {
                        return longest.as_secs_f64();
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        done();
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        probe.join().expect("no panic")
    })
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
