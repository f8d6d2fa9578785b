//! The registry of the simulation: its limits, its bad hours, and its tags that move.

use super::REFERENCES;
use super::limits::Gate;
use super::limits::Limits;
use super::limits::Scope;
use super::scenario::Kind;
use super::scenario::Scenario;
use super::time::MINUTE;
use super::time::SECOND;
use imagewatch::error::Error;
use imagewatch::registry::refused;
use ureq::Body;
use ureq::http::Response;

/// One request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A HEAD, and whether it has a valid token.
    Head(bool),
    Token,
}

/// The answer to one request.
pub enum Answer {
    /// The number of times that the tag has moved.
    Found(usize),
    Unauthorised,
    /// A token, and its end.
    Token(u64),
    Failed(Error),
}

pub struct Registry<'a> {
    pub limits: &'a Limits,
    scenario: &'a Scenario,
    pub gates: Vec<Gate>,
    /// The moments at which each tag moves.
    pub moves: Vec<Vec<u64>>,
    /// The requests in each second.
    pub seconds: Vec<u32>,
    pub requests: u64,
    pub refusals: u64,
}

impl<'a> Registry<'a> {
    pub fn new(limits: &'a Limits, scenario: &'a Scenario, addresses: usize) -> Self {
        let gates = match limits.scope {
            Scope::Fleet => 1,
            Scope::Address => addresses,
        };
        let mut moves = vec![Vec::new(); REFERENCES];
        for (number, at) in scenario.moves.iter().enumerate() {
            moves[number % REFERENCES].push(*at);
        }
        Self {
            limits,
            scenario,
            gates: (0..gates).map(|_| Gate::new(limits)).collect(),
            moves,
            seconds: vec![0; usize::try_from(scenario.end / SECOND).expect("a few days") + 60],
            requests: 0,
            refusals: 0,
        }
    }

    /// Answers a request.
    pub fn ask(&mut self, address: usize, reference: usize, asked: Asked, now: u64) -> Answer {
        let is_early = now < self.scenario.begin;
        if !is_early {
            self.requests += 1;
            self.seconds[usize::try_from(now / SECOND).expect("a few days")] += 1;
        }
        let gate = match self.limits.scope {
            Scope::Fleet => &mut self.gates[0],
            Scope::Address => &mut self.gates[address],
        };
        let may_pass = gate.pass(self.limits, now, is_early);
        if let Some(trouble) = self.scenario.trouble_at(now) {
            self.refusals += 1;
            let left = (trouble.until - now).div_ceil(SECOND);
            return Answer::Failed(match trouble.kind {
                Kind::Silent => unreachable(),
                Kind::Broken => refusal(503, None, ""),
                Kind::Throttled => refusal(429, None, self.limits.words),
                Kind::ThrottledUntilEnd => refusal(429, Some(left), ""),
            });
        }
        if !may_pass {
            self.refusals += u64::from(!is_early);
            return Answer::Failed(refusal(429, None, self.limits.words));
        }
        match asked {
            Asked::Token => Answer::Token(now + self.limits.token_life),
            Asked::Head(false) => Answer::Unauthorised,
            Asked::Head(true) => Answer::Found(self.version(reference, now)),
        }
    }

    /// The number of times that the tag has moved.
    pub fn version(&self, reference: usize, now: u64) -> usize {
        self.moves[reference].partition_point(|at| *at <= now)
    }

    /// Ends the last minute.
    pub fn close(&mut self) {
        for gate in &mut self.gates {
            gate.close(self.limits);
        }
    }

    /// The most requests in one minute, of the whole fleet.
    pub fn peak_minute(&self) -> u32 {
        let minute = usize::try_from(MINUTE / SECOND).expect("sixty");
        let minutes = self.seconds.chunks(minute);
        minutes.map(|one| one.iter().sum()).max().unwrap_or(0)
    }
}

/// The error of a refusal, as the program reads it from the answer.
fn refusal(status: u16, retry_after: Option<u64>, words: &str) -> Error {
    let mut answer = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        answer = answer.header("Retry-After", seconds);
    }
    let body = Body::builder().data(words);
    let answer = answer.body(body).expect("an answer");
    refused("HEAD x", answer, false, &[])
}

fn unreachable() -> Error {
    Error::unreachable("HEAD x", "no answer in time")
}
