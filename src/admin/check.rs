//! A check by hand: every followed reference is looked up now, and nothing is changed.

use super::Admin;
use super::reply::Reply;
use super::reply::respond;
use crate::thread::Executor;
use std::sync::Arc;
use std::sync::TryLockError;
use tiny_http::Request;

/// When a caller should try again if a check runs, in seconds.
const RETRY_AFTER: &str = "10";

impl Admin {
    /// Answers from a thread of its own, because registries may be slow.
    pub(super) fn on_own_thread(
        self: &Arc<Self>,
        request: Request,
        answer: impl FnOnce(&Self, Request) + Send + 'static,
    ) {
        match Executor::start("check") {
            Ok(executor) => self.later(&executor, request, answer),
            Err(error) => respond(
                request,
                Reply::error(503, &format_args!("no thread: {error}")),
            ),
        }
    }

    pub(super) fn checked(&self) -> Reply {
        // One at a time, so that callers cannot multiply the look-ups.
        let _alone = match self.checks.try_lock() {
            Ok(lock) => lock,
            Err(TryLockError::Poisoned(lock)) => lock.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let mut reply = Reply::error(429, &"a check runs already");
                reply.retry_after = Some(RETRY_AFTER);
                return reply;
            }
        };
        match (self.check)(&self.refresher) {
            Ok(table) => Reply::text("application/json", &table),
            Err(error) => Reply::error(503, &error),
        }
    }
}
