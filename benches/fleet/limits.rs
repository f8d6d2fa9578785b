//! The limits of the four registries, as far as they are known, and the requests that are counted against them.

use super::time::HOUR;
use super::time::MINUTE;
use super::time::SECOND;

/// The requests that share one limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All requests of the fleet.
    Fleet,
    /// The requests from one address.
    Address,
}

/// One registry.
pub struct Limits {
    pub name: &'static str,
    pub per_minute: u32,
    pub scope: Scope,
    /// The number of requests that may come at once, after a quiet time.
    pub burst: u32,
    /// The body of its 429. None of the four sends a header `Retry-After`.
    pub words: &'static str,
    /// The lifetime of a token.
    pub token_life: u64,
    /// Whether the answer with the token names its lifetime.
    pub says_life: bool,
}

/// The text of a 429 names the limit. The tokens for public images do not expire: this is longer than any scenario.
/// Nobody knows whose requests are counted together; here it is the whole fleet.
pub const GHCR: Limits = Limits {
    name: "GHCR",
    per_minute: 44_000,
    scope: Scope::Fleet,
    burst: 44_000,
    words: "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"retry-after: 880.092µs, allowed: 44000/minute\"}]}",
    token_life: 48 * HOUR,
    says_life: false,
};

/// Nobody knows how long GHCR's tokens for private images live. This is GHCR with tokens like those of Quay.
pub const GHCR_PRIVATE: Limits = Limits {
    name: "GHCR, 1 h",
    token_life: HOUR,
    ..GHCR
};

/// The documentation says "thousands of requests per minute", for each address. A token lives for five minutes.
pub const DOCKER_HUB: Limits = Limits {
    name: "Docker Hub",
    per_minute: 3_000,
    scope: Scope::Address,
    burst: 3_000,
    words: "429 Too Many Requests",
    token_life: 300 * SECOND,
    says_life: true,
};

/// The reads of a registry in the plan Premium. Here, tokens count like reads.
pub const ACR: Limits = Limits {
    name: "ACR Premium",
    per_minute: 10_000,
    scope: Scope::Fleet,
    burst: 10_000,
    words: "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"too many requests\"}]}",
    token_life: 60 * MINUTE,
    says_life: false,
};

/// Red Hat says "a few requests per second" for each address, with bursts.
pub const QUAY: Limits = Limits {
    name: "Quay",
    per_minute: 300,
    scope: Scope::Address,
    burst: 50,
    words: "429 Too Many Requests",
    token_life: 60 * MINUTE,
    says_life: false,
};

/// The requests that count against one limit.
pub struct Gate {
    /// The requests that may come now.
    level: f64,
    at: u64,
    minute: u64,
    count: u32,
    /// The most requests in one minute.
    pub peak: u32,
    /// The number of minutes with more requests than the limit.
    pub above: u32,
    /// The most such minutes in a row.
    pub longest: u32,
    stretch: u32,
    last_above: u64,
}

impl Gate {
    pub fn new(limits: &Limits) -> Self {
        Self {
            level: f64::from(limits.burst),
            at: 0,
            minute: 0,
            count: 0,
            peak: 0,
            above: 0,
            longest: 0,
            stretch: 0,
            last_above: 0,
        }
    }

    /// Counts a request, unless it `is_early`. Returns whether it may pass.
    pub fn pass(&mut self, limits: &Limits, now: u64, is_early: bool) -> bool {
        if !is_early {
            self.count(limits, now / MINUTE);
        }
        let gain = (now - self.at) as f64 / MINUTE as f64 * f64::from(limits.per_minute);
        self.level = f64::from(limits.burst).min(self.level + gain);
        self.at = now;
        let may_pass = self.level >= 1.0;
        if may_pass {
            self.level -= 1.0;
        }
        may_pass
    }

    fn count(&mut self, limits: &Limits, minute: u64) {
        if minute != self.minute {
            self.close(limits);
            self.minute = minute;
        }
        self.count += 1;
    }

    /// Ends the minute.
    pub fn close(&mut self, limits: &Limits) {
        self.peak = self.peak.max(self.count);
        if self.count > limits.per_minute {
            let follows = self.above > 0 && self.last_above + 1 == self.minute;
            self.stretch = if follows { self.stretch + 1 } else { 1 };
            self.longest = self.longest.max(self.stretch);
            self.last_above = self.minute;
            self.above += 1;
        }
        self.count = 0;
    }
}
