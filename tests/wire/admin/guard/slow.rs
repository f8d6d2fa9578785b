//! Clients that send slowly, nothing, or only a part.

use super::served::GOOD;
use super::served::PATIENCE;
use super::served::SEATS;
use super::served::answer;
use super::served::assert_refused;
use super::served::assert_served;
use super::served::await_end;
use super::served::open;
use super::served::serve_echo;
use super::served::serve_parked;
use super::served::with_headers;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

#[test]
fn slow_and_held_requests_end_at_the_deadline_while_others_are_served() {
    let (served, count) = serve_echo();
    let start = Instant::now();
    let held = open(
        served.address,
        with_headers("Content-Length: 100\r\n") + "part",
    );
    let silent = open(served.address, "");
    let slow = open(served.address, "GET / HT");
    let mut pen = slow.try_clone().unwrap();
    let writer = thread::spawn(move || {
        while start.elapsed() < PATIENCE && pen.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    for _ in 0..10 {
        assert_served(served.address);
    }
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_refused(&answer(held), 408, "held");
    assert_refused(&answer(slow), 408, "slow");
    assert_eq!(answer(silent), "");
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(count.load(Ordering::SeqCst), 10);
    writer.join().unwrap();
}

#[test]
fn a_request_cut_short_is_refused() {
    let (served, _) = serve_echo();
    for request in ["GET / HTTP/1.1\r\n", &with_headers("Content-Length: 5\r\n")] {
        let client = open(served.address, request);
        client.shutdown(Shutdown::Write).unwrap();
        assert_refused(&answer(client), 400, request);
    }
}

#[test]
fn idle_connections_give_way_the_oldest_first() {
    let (served, _) = serve_echo();
    let start = Instant::now();
    let idle: Vec<_> = (0..284 + SEATS).map(|_| open(served.address, "")).collect();
    for _ in 0..10 {
        let start = Instant::now();
        assert_served(served.address);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    for evicted in &idle[..284] {
        await_end(evicted);
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "evicted, not timed out"
    );
}

#[test]
fn an_evicted_request_is_not_carried_out() {
    let (served, requests) = serve_parked();
    let mut oldest = open(served.address, "GET / HTTP/1.1\r\n");
    let _idle: Vec<_> = (0..SEATS).map(|_| open(served.address, "")).collect();
    await_end(&oldest);
    let _ = oldest.write_all(b"Host: x\r\n\r\n");
    let client = open(served.address, GOOD);
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap().url(), "/ok");
    drop(client);
    assert!(requests.try_recv().is_err());
}
