//! A roll-back by hand of a Swarm service: Swarm brings the spec back from before the last change.

use super::Order;
use super::Refresher;
use super::order::Back;
use crate::journal::Event;
use crate::journal::Outcome as Told;
use crate::journal::Outcomes;
use crate::journal::Step;
use crate::journal::Verdict;
use crate::reference::Digest;
use crate::service::Outcome;
use crate::service::PAUSE;
use crate::service::Update;
use crate::service::digest_before;
use std::collections::HashMap;
use std::time::SystemTime;

impl Refresher {
    /// Rolls a service back. The outcomes say why, if nothing is begun.
    #[cold]
    pub(super) fn run_service_back(
        &self,
        back: &Back,
        order: &Order,
        on: &(dyn Fn(&Step) + Sync),
    ) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let (name, reference) = (back.containers.join(", "), &back.target.reference);
        let mut update = match self.ask_service_back(&name, back) {
            Ok(update) => update,
            Err(reason) => {
                outcomes.refused = Some(format!("{name}: {reason}"));
                return outcomes;
            }
        };
        let outcome = loop {
            if let Some(outcome) = self.rollout().step(&mut update) {
                break outcome;
            }
            std::thread::sleep(PAUSE);
        };
        let (told, reason) = match outcome {
            Outcome::RolledBack(_) => (Told::Restored, format!("by {}", back.by)),
            Outcome::Later(reason)
            | Outcome::Open(reason)
            | Outcome::Alone(reason)
            | Outcome::Left(reason) => (Told::Skipped, reason),
            Outcome::Updated(_) | Outcome::Unchanged => (Told::Skipped, String::new()),
        };
        let event = Event::of(told, &name, &reference.to_string());
        let event = event.from_to(&back.from, &back.to).because(&reason);
        self.tell(event, &mut outcomes, on);
        outcomes.verdicts = vec![(reference.clone(), Verdict::Noticed)];
        let newest = self.registry.digest(reference).ok();
        let digests = newest.map(|digest| (reference.clone(), digest));
        let digests = digests.into_iter().collect();
        self.survey_again(order, digests, HashMap::new(), &mut outcomes);
        outcomes
    }

    /// Asks Swarm for the earlier spec, if the service is still as its owner saw it. The image that is left is skipped first,
    /// because the next round would undo the roll-back otherwise.
    fn ask_service_back(&self, name: &str, back: &Back) -> Result<Update, String> {
        let found = self
            .engine
            .service(name)
            .map_err(|error| error.to_string())?;
        let service = found.ok_or("there is no such service any more")?;
        if !service.image().ends_with(&back.from) || digest_before(&service)? != back.to {
            return Err("it runs another image by now".to_owned());
        }
        if let Some(held) = self.history.decisions().hold_on(name, SystemTime::now()) {
            return Err(format!("it is held by {}", held.by));
        }
        let left: Digest = back
            .from
            .parse()
            .map_err(|_| "its image has no digest".to_owned())?;
        let (decisions, reference) = (self.history.decisions(), &back.target.reference);
        let before = decisions.skipped(reference);
        decisions.skip(reference, &left, &back.by, SystemTime::now());
        self.history.save();
        if let Err(error) = self.engine.roll_back_service(&service) {
            self.put_back_skipped(reference, before);
            self.history.save();
            return Err(error.to_string());
        }
        Ok(Update::going_back(service.id(), &left))
    }
}
