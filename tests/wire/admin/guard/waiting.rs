//! Clients that wait for an answer, and the answer.

use super::served::GOOD;
use super::served::PARK;
use super::served::PATIENCE;
use super::served::SEATS;
use super::served::SLOW;
use super::served::SOON;
use super::served::WAITING;
use super::served::answer;
use super::served::ask;
use super::served::assert_refused;
use super::served::assert_served;
use super::served::await_end;
use super::served::eventually;
use super::served::open;
use super::served::serve;
use super::served::serve_echo;
use super::served::serve_parked;
use super::served::status;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tiny_http::Response;

#[test]
fn only_the_first_of_pipelined_requests_is_served() {
    let (served, count) = serve_echo();
    let answer = ask(served.address, GOOD.repeat(100));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn waiting_connections_are_not_evicted() {
    let (served, requests) = serve_parked();
    let waiting: Vec<_> = (0..8).map(|_| open(served.address, PARK)).collect();
    let parked: Vec<_> = (0..8)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    let idle: Vec<_> = (0..24 + SEATS).map(|_| open(served.address, "")).collect();
    idle[..24].iter().for_each(await_end);
    for request in parked {
        request.respond(Response::from_string("here")).unwrap();
    }
    for client in waiting {
        assert!(answer(client).ends_with("\r\n\r\nhere"));
    }
}

#[test]
fn one_too_many_gets_503_until_one_is_reset() {
    let (served, requests) = serve_parked();
    let mut waiting: Vec<_> = (0..WAITING).map(|_| open(served.address, PARK)).collect();
    // Their order in the queue may be another than that of the clients.
    let mut parked: Vec<_> = (0..WAITING)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    let one_more = ask(served.address, PARK);
    assert_refused(&one_more, 503, "one more");
    assert!(one_more.ends_with(r#"{"error":"too many requests are waiting"}"#));

    // One answer begins; closing with some of it unread resets the connection.
    let mut writer = parked.pop().unwrap().into_writer();
    writer.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
    writer.flush().unwrap();
    let mut reset = None;
    eventually("one has its status line", || {
        reset = waiting.iter().position(|client| {
            client.set_nonblocking(true).unwrap();
            let arrived = client.peek(&mut [0]).is_ok();
            client.set_nonblocking(false).unwrap();
            arrived
        });
        reset.is_some()
    });
    drop(waiting.remove(reset.unwrap()));
    let mut next = None;
    eventually("its place is free", || {
        let client = open(served.address, PARK);
        let taken = requests.recv_timeout(SOON);
        next = taken.ok().map(|request| (client, request));
        next.is_some()
    });
    let (client, request) = next.unwrap();
    waiting.push(client);
    parked.push(request);
    for request in parked {
        request.respond(Response::from_string("here")).unwrap();
    }
    for client in waiting {
        assert_eq!(status(&answer(client)), 200);
    }
}

#[test]
fn refreshes_that_wait_leave_room_for_questions() {
    const REFRESH: &str = "POST /park HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let (served, requests) = serve_parked();
    let waiting: Vec<_> = (0..SLOW).map(|_| open(served.address, REFRESH)).collect();
    let parked: Vec<_> = (0..SLOW)
        .map(|_| requests.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_refused(&ask(served.address, REFRESH), 503, "one more refresh");
    let question = open(served.address, PARK);
    let asked = requests.recv_timeout(PATIENCE).unwrap();
    asked.respond(Response::from_string("well")).unwrap();
    assert!(answer(question).ends_with("well"));
    for request in parked {
        request.respond(Response::from_string("here")).unwrap();
    }
    for client in waiting {
        assert_eq!(status(&answer(client)), 200);
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let (served, requests) = serve_parked();
    let client = open(served.address, PARK);
    client.shutdown(Shutdown::Write).unwrap();
    let request = requests.recv_timeout(PATIENCE).unwrap();
    // Nothing to await here: it is a second in which nothing may happen.
    thread::sleep(Duration::from_millis(1500));
    request.respond(Response::from_string("here")).unwrap();
    assert!(answer(client).ends_with("\r\n\r\nhere"));
}

#[test]
fn an_answer_is_relayed_as_it_is_written() {
    let (served, requests) = serve_parked();
    let mut client = BufReader::new(open(served.address, PARK));
    let mut writer = requests.recv_timeout(PATIENCE).unwrap().into_writer();
    let mut line = String::new();
    for sent in [
        "HTTP/1.1 ",
        "200 OK\r\n",
        "\r\n",
        "{\"layer\":1}\n",
        "{\"layer\":2}\n",
    ] {
        writer.write_all(sent.as_bytes()).unwrap();
        writer.flush().unwrap();
        if sent.ends_with('\n') {
            client.read_line(&mut line).unwrap();
            assert!(line.ends_with(sent));
        }
        if line.ends_with("200 OK\r\n") {
            client.read_line(&mut line).unwrap();
        }
    }
    drop(writer);
    assert_eq!(client.read_line(&mut line).unwrap(), 0);
    let expected = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"layer\":1}\n{\"layer\":2}\n";
    assert_eq!(line, expected);
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let (served, requests) = serve_parked();
    let client = open(served.address, PARK);
    let request = requests.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    request
        .respond(Response::from_data(vec![b'a'; 64 << 20]))
        .unwrap();
    let taken = start.elapsed();
    assert!(
        taken > Duration::from_secs(4) && taken < Duration::from_secs(33),
        "{taken:?}"
    );
    drop(client);
}

#[test]
fn a_request_dropped_or_panicked_over_is_answered_500_and_serving_goes_on() {
    let served = serve(|request| match request.url() {
        "/ok" => request.respond(Response::from_string("ok")).unwrap(),
        "/drop" => {}
        _ => panic!("on purpose"),
    });
    for _ in 0..5 {
        for path in ["panic", "drop"] {
            let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(status(&ask(served.address, request)), 500);
        }
        assert_served(served.address);
    }
}

#[test]
fn stopping_ends_serve_and_frees_the_port() {
    let (served, _) = serve_echo();
    let address = served.address;
    assert_served(address);
    let _idle = open(address, "");
    drop(served);
    assert!(TcpStream::connect(address).is_err());
}
