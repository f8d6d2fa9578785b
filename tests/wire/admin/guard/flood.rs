//! More clients than there is room for, or descriptors.

use super::process::Process;
use super::served::GOOD;
use super::served::PARK;
use super::served::SEATS;
use super::served::SOON;
use super::served::WAITING;
use super::served::ask;
use super::served::assert_served;
use super::served::eventually;
use super::served::open;
use super::served::status;
use super::served::with_headers;
use std::io::Read;
use std::time::Duration;

#[test]
fn a_server_that_ran_out_of_descriptors_is_replaced() {
    // The guard leaves descriptors to others, but cannot know how many they take.
    let mut process = Process::start(1000, 960);
    // A waiting request takes four descriptors, two of them tiny_http's. With the idle ones first
    // it is each of the four that is missing once; two of them kill the inner server.
    for idle in 0..4 {
        let idle: Vec<_> = (0..idle).map(|_| open(process.address, "")).collect();
        let waiting: Vec<_> = (0..16).map(|_| open(process.address, PARK)).collect();
        // One refusal or hang-up shows that the end was reached.
        eventually("descriptors have run out", || {
            waiting.iter().any(|client| {
                client
                    .set_read_timeout(Some(Duration::from_millis(10)))
                    .unwrap();
                client.peek(&mut [0]).is_ok()
            })
        });
        drop((idle, waiting));
        eventually("it serves again", || {
            process.release();
            let mut client = open(process.address, GOOD);
            let mut answer = String::new();
            client
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            client.read_to_string(&mut answer).is_ok() && status(&answer) == 200
        });
        process.release();
        for _ in 0..10 {
            assert_served(process.address);
        }
    }
    let replaced = ask(process.address, GOOD.replace("/ok", "/replaced"));
    let replaced: usize = replaced.split("\r\n\r\n").nth(1).unwrap().parse().unwrap();
    // It may die again while descriptors are short, but many of the 64 clients found it dead at once.
    assert!((1..=24).contains(&replaced), "{replaced}");
}

#[cfg(target_os = "linux")]
#[test]
fn floods_leave_nothing_behind() {
    let mut process = Process::start(512, 0);
    assert_served(process.address);
    let (threads, descriptors, memory) = process.use_of();
    let mut peak = 0;
    for _ in 0..200 {
        let address = process.address;
        drop(open(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        drop(open(
            address,
            with_headers("Content-Length: 8000000000000000000\r\n"),
        ));
        drop(open(address, with_headers("Content-Length: 100\r\n")));
        drop(open(
            address,
            "GET / HTTP/1.1\r\nHost: x\r\nA: ".to_owned() + &"a".repeat(20_000),
        ));
        // An answer that has come but was not read makes closing a reset.
        let reset = open(address, GOOD);
        assert!(reset.peek(&mut [0]).is_ok());
        drop(reset);
        peak = peak.max(process.use_of().0);
    }
    let waiting: Vec<_> = (0..WAITING).map(|_| open(process.address, PARK)).collect();
    eventually("they wait", || {
        // It may overtake one of them and wait in its place; that one is refused then.
        let mut client = open(process.address, PARK);
        client.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).is_ok() && status(&answer) == 503
    });
    peak = peak.max(process.use_of().0);
    drop(waiting);
    assert!(
        peak <= threads + SEATS + WAITING + 16 + 70,
        "{peak} threads"
    );
    eventually("threads and descriptors are given back", || {
        // Some may have been on their way to the handler when it was last told.
        process.release();
        let now = process.use_of();
        now.0 <= threads && now.1 <= descriptors
    });
    assert_served(process.address);
    let after = process.use_of().2;
    // The C library of tests keeps the stacks of threads that are gone.
    let kept = 21 * (SEATS + WAITING);
    assert!(after < memory + kept, "from {memory} to {after} KiB");
}
