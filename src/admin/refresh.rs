//! A refresh: whether it can be taken, and how its caller is answered.

use super::Admin;
use super::reply::Reply;
use super::reply::respond;
use super::route::Answering;
use super::route::JOBS;
use super::stream::Stream;
use crate::journal::Report;
use crate::reference::Reference;
use crate::text::did_you_mean;
use crate::update::Answer;
use crate::update::Images;
use crate::update::Listener;
use crate::update::MOST_WAITING;
use crate::update::Order;
use serde::Serialize;
use serde_json::json;
use tiny_http::Request;

/// When a caller should try again if too many jobs wait, in seconds.
const RETRY_AFTER: &str = "30";

impl Admin {
    /// Refreshes the named images, if each of them has a managed container.
    #[cold]
    pub(super) fn refresh_named(&self, request: Request, order: Order, answering: Answering) {
        match self.unknown_image(&order.images) {
            Some(error) => respond(request, Reply::error(404, &error)),
            None => self.refresh(request, order, answering),
        }
    }

    /// Returns the error text for the first named image that no managed container was made from. If the
    /// Engine cannot be asked, the refresh itself will report that.
    fn unknown_image(&self, images: &Images) -> Option<String> {
        let Images::Managed(only) = images else {
            return None;
        };
        let seen = self.refresher.selection.seen(&self.engine).ok()?;
        let mut known: Vec<Reference> = Vec::new();
        for one in &seen {
            let written = || one.image_name.parse().ok();
            known.extend(one.made_from.as_ref().ok().cloned().or_else(written));
        }
        let unknown = only
            .iter()
            .find(|wanted| !known.iter().any(|one| wanted.is(one)))?;
        let name = if unknown.any_tag {
            unknown.reference.name()
        } else {
            unknown.reference.to_string()
        };
        let known: Vec<String> = known.iter().map(Reference::to_string).collect();
        let near = did_you_mean(&name, known.iter().map(String::as_str));
        Some(format!("no managed container was made from {name}{near}"))
    }

    #[cold]
    pub(super) fn refresh(&self, request: Request, order: Order, answering: Answering) {
        let Some(place) = self.jobs.place() else {
            let mut reply = Reply::error(
                429,
                &format_args!("{MOST_WAITING} jobs are waiting already"),
            );
            reply.retry_after = Some(RETRY_AFTER);
            return respond(request, reply);
        };
        let listener: Box<dyn Listener> = match answering {
            Answering::Report => Box::new(|answer: &Answer| respond(request, reply_to(answer))),
            Answering::Stream => match Stream::begin(request) {
                Ok(stream) => Box::new(stream),
                Err(error) => {
                    return log::warn!("cannot stream the progress of a refresh: {error}");
                }
            },
            Answering::Job => {
                let id = self.jobs.submit(place, order, Box::new(|_: &Answer| ()));
                let mut reply = Reply::new(202, &json!({ "job": id }));
                reply.location = Some(format!("{JOBS}{id}"));
                return respond(request, reply);
            }
        };
        self.jobs.submit(place, order, listener);
    }
}

/// The answer to a refresh whose containers could not be listed.
#[derive(Serialize)]
struct Partial<'a> {
    error: String,
    partial_result: &'a Report,
}

/// Turns the outcome of a refresh into the answer of its caller.
pub(super) fn reply_to(answer: &Answer) -> Reply {
    match answer {
        Err(reason) => Reply::error(500, &reason),
        Ok(outcomes) if outcomes.refused.is_some() => {
            Reply::error(409, &outcomes.refused.as_deref().unwrap_or_default())
        }
        Ok(outcomes) => match &outcomes.list_error {
            None => Reply::new(200, &outcomes.report),
            Some(error) => Reply::new(
                500,
                &Partial {
                    error: format!("container list: {error}"),
                    partial_result: &outcomes.report,
                },
            ),
        },
    }
}
