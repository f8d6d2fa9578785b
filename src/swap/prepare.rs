//! The first phase of a swap: the successors are created aside, and nothing old is touched.

use super::Member;
use super::Part;
use super::Swap;
use super::files::Copies;
use super::files::Files;
use super::plan::Plan;
use super::record::is_up;
use super::successor::Moved;
use super::transaction_of;
use super::undo::Pair;
use crate::engine::Container;
use crate::engine::Removal;
use crate::engine::State;
use crate::error::Error;
use crate::error::Result;

impl Swap<'_> {
    /// Creates the successors aside, and waits for the turn to exchange. If one fails, all are removed. `joined` are containers that their owner has
    /// replaced, each with its replacement.
    #[cold]
    pub(super) fn prepare<'p>(
        &self,
        parts: &[Part<'p>],
        files: &[Files],
        joined: &[Moved],
    ) -> Result<Vec<Member<'p>>> {
        let mut members: Vec<Member> = Vec::new();
        let mut each = parts.iter().zip(files);
        let outcome = each
            .try_for_each(|(part, files)| {
                let is_only = parts.len() == 1;
                self.prepare_one(part, files, joined, is_only, &mut members)
            })
            .inspect(|()| self.turn.to_exchange())
            .and_then(|()| members.iter().try_for_each(|one| self.is_as_it_was(one)))
            .and_then(|()| self.expect_needs(parts));
        if let Err(error) = outcome {
            for member in members.iter().rev() {
                self.discard(&member.pair.new);
            }
            self.move_tags_back(parts);
            return Err(error);
        }
        Ok(members)
    }

    /// Fails if the owner has changed the container since it was looked at. Commands on labels and the creation of
    /// successors take time.
    #[cold]
    fn is_as_it_was(&self, member: &Member) -> Result<()> {
        let record = &member.pair.record;
        let now = self.engine.container(&record.old)?;
        let may_be_between_runs = record.was_running && self.about.is_podman();
        let is_running =
            is_up(&now) || may_be_between_runs && self.steps().is_between_runs(&now)?;
        let is_in_between = matches!(now.state(), State::Paused | State::Gone);
        let reason =
            if now.name() != record.name || is_running != record.was_running || is_in_between {
                "somebody stopped, started, paused or renamed it meanwhile"
            } else if !has_same_settings(member.old, &now) {
                "somebody changed its settings or its networks meanwhile"
            } else {
                return Ok(());
            };
        Err(Error::malformed(format!("swap of {}", record.name), reason))
    }

    #[cold]
    fn prepare_one<'p>(
        &self,
        part: &Part<'p>,
        files: &Files,
        joined: &[Moved],
        is_only: bool,
        members: &mut Vec<Member<'p>>,
    ) -> Result<()> {
        let temporary: Vec<String> = members.iter().map(|m| m.pair.record.new_name()).collect();
        let moved: Vec<Moved> = (members.iter().zip(&temporary))
            .map(|(member, new_name)| Moved {
                old_id: member.old.id(),
                old_name: member.old.name(),
                new_id: &member.pair.new,
                new_name,
            })
            .collect();
        self.move_tag(part)?;
        let plan = self.plan(part, &moved, joined)?;
        let new = self.create(&plan)?;
        // From here on the successor is removed after a failure.
        members.push(Member {
            old: part.old,
            image: part.image.clone(),
            pair: Pair::new(plan.record, new.clone()),
            origin: plan.origin,
            platform: plan.platform,
            copies: Copies::default(),
        });
        for (network, endpoint) in &plan.replacement.connect {
            self.engine.connect(network, &new, endpoint)?;
        }
        let copies = files.copy(self.engine, part.old.id(), &new)?;
        if let Some(member) = members.last_mut() {
            member.copies = copies;
        }
        // The tag of a single container was moved just now, and the image is compared again at the acceptance.
        if part.tagged.is_some() && is_only && !self.about.is_podman() {
            return Ok(());
        }
        self.check_created(&new, part)
    }

    /// Fails if a successor was created from another image, or has no command.
    #[cold]
    fn check_created(&self, new: &str, part: &Part) -> Result<()> {
        let created = self.engine.container(new)?;
        let reason = if created.image_id() != part.image.id() {
            "the tag moved in the meantime, so it was made from another image"
        } else if !created.has_command() {
            // Docker refuses to create such a container, Podman only to start it.
            "no command to run: neither you nor its new image says which"
        } else {
            return Ok(());
        };
        Err(Error::malformed(
            format!("create {}", created.name()),
            reason,
        ))
    }

    /// Creates one successor. If the answer of the call was lost, the container it left is removed first.
    #[cold]
    pub(super) fn create(&self, plan: &Plan) -> Result<String> {
        let name = plan.record.new_name();
        let create = || {
            self.engine
                .create(&name, plan.platform.as_deref(), &plan.replacement.body)
        };
        let outcome = create();
        let Err(error) = outcome else {
            return outcome;
        };
        // The same record means that this very call created the container. The successor of an earlier,
        // half-done swap stays: its record differs, and says how to put the old container back.
        match self.steps().look(&name) {
            Ok(Some(found)) if transaction_of(&found).as_ref() == Some(&plan.record) => {
                self.discard(found.id());
                create()
            }
            _ => Err(error),
        }
    }

    /// Removes a successor that is not needed.
    fn discard(&self, id: &str) {
        let outcome = self
            .steps()
            .ensure_gone(id, Removal::ForceWithAnonymousVolumes);
        if let Err(error) = outcome {
            log::warn!("a successor that is not needed could not be removed: {error}");
        }
    }
}

/// Whether `docker update` and `docker network connect` were not used between two looks at a container.
fn has_same_settings(one: &Container, other: &Container) -> bool {
    let has_same_networks = one.networks().keys().eq(other.networks().keys());
    has_same_networks && one.host_config() == other.host_config()
}
