//! Inspects the managed containers of a refresh.

use super::select::OPTED_OUT;
use super::select::Selection;
use super::select::by_name;
use super::select::is_hidden;
use super::select::made_from;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Inspector;
use crate::engine::Summary;
use crate::error::Error;
use crate::error::Result;
use crate::labels::Consent;
use crate::labels::Enabled;
use crate::labels::Wishes;
use crate::policy::OwnRules;
use crate::reference::Reference;
use crate::swap::half_done;
use crate::swap::is_stopped;
use std::collections::HashSet;
use std::time::Instant;

/// Up to so many managed containers are kept as they were inspected, so that their update asks once less. Of more, only
/// the outlines are kept.
const WHOLE: usize = 8;

/// A managed container.
#[derive(Debug, Clone)]
pub struct Managed {
    /// The container as it was at `seen`, or its outline.
    pub container: Container,
    pub seen: Instant,
    /// The reference that the container was made from.
    pub reference: Reference,
    /// Whether the container is updated, or its owner only notified.
    pub consent: Consent,
    /// The rules that its labels hold.
    pub rules: OwnRules,
    /// The reason in its labels to leave the container alone.
    pub left_alone: Option<String>,
    /// Whether the container is stopped, and left alone for that reason.
    pub stays_stopped: bool,
}

/// A managed container that the Engine lists but cannot inspect.
#[derive(Debug, Clone)]
pub struct Unreadable {
    pub name: String,
    /// The reference that the container was made from.
    pub reference: Reference,
    pub image_id: String,
    /// The error of the inspection.
    pub reason: String,
}

impl Selection {
    /// The same, with or without keys that verify signatures.
    #[must_use]
    pub fn with_keys(mut self, has_keys: bool) -> Self {
        self.has_keys = has_keys;
        self
    }

    /// The reason to leave a container alone that asks for a signature, if there is no key.
    pub(super) fn lacks_key(&self, wishes: &Wishes) -> Option<String> {
        let lacks = wishes.verify == Some(true) && !self.has_keys;
        lacks.then(|| "its label imagewatch.verify=true needs IMAGEWATCH_VERIFY".to_owned())
    }

    /// Inspects the containers with these names, if each has a tag to follow.
    ///
    /// # Errors
    /// When the Engine fails to inspect one of them.
    pub fn named_among(
        &self,
        list: &[Summary],
        names: &[String],
        engine: &Engine,
    ) -> Result<Vec<Managed>> {
        let mut managed: Vec<Managed> = Vec::new();
        for summary in list {
            let is_wanted = names.iter().any(|wanted| wanted == summary.name());
            let wishes = Wishes::of(&mut summary.labels());
            let is_blocked = blocking_label(&wishes).is_some() || self.lacks_key(&wishes).is_some();
            if !is_wanted || is_blocked {
                continue;
            }
            let Some(container) = engine.find(summary.id())? else {
                continue;
            };
            if let Ok(reference) = made_from(container.image_name(), container.image_id()) {
                managed.push(Managed {
                    container,
                    seen: Instant::now(),
                    reference,
                    consent: Consent::Update,
                    rules: OwnRules::default(),
                    left_alone: None,
                    stays_stopped: false,
                });
            }
            outline_many(&mut managed);
        }
        Ok(managed)
    }

    /// Inspects every managed container of these images. The second list holds those that the Engine cannot
    /// inspect. A container that vanishes meanwhile is in neither list.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn managed_among(
        &self,
        list: &[Summary],
        of: &HashSet<&Reference>,
        engine: &Engine,
    ) -> Result<(Vec<Managed>, Vec<Unreadable>)> {
        let (mut managed, mut unreadable) = (Vec::new(), Vec::new());
        let mut inspector = Inspector::of(engine);
        let half_done = half_done(list);
        for summary in by_name(list).filter(|summary| self.may_be_managed(summary)) {
            let listed = summary.image_name();
            // The list may show an old name, so it can only rule a container out.
            if !is_hidden(summary)
                && made_from(listed, summary.image_id()).is_ok_and(|listed| !of.contains(&listed))
            {
                continue;
            }
            let container = match inspector.find(summary.id())? {
                Ok(Some(container)) => container,
                Ok(None) => continue,
                Err(error) => {
                    unreadable.extend(self.unreadable(summary, of, &error));
                    continue;
                }
            };
            let Ok(reference) = made_from(container.image_name(), container.image_id()) else {
                continue;
            };
            if !of.contains(&reference) {
                continue;
            }
            let wishes = Wishes::of(&mut summary.labels());
            if !self.selects(summary, &wishes, &reference) {
                continue;
            }
            self.warn_of_labels(summary.name(), &wishes);
            let is_stopped = match is_stopped(&container, engine) {
                Ok(is_stopped) => is_stopped,
                Err(error) => {
                    unreadable.extend(self.unreadable(summary, of, &error));
                    continue;
                }
            };
            managed.push(Managed {
                stays_stopped: self.stays_stopped(container.id(), is_stopped, &half_done),
                container,
                seen: Instant::now(),
                reference,
                consent: wishes.consent.unwrap_or(self.mode),
                rules: OwnRules::of(&wishes),
                left_alone: wishes.unclear.clone().or_else(|| self.lacks_key(&wishes)),
            });
            outline_many(&mut managed);
        }
        Ok((managed, unreadable))
    }

    /// Describes a container that the Engine cannot inspect, if it is managed and made from one of these images.
    pub(super) fn unreadable(
        &self,
        summary: &Summary,
        of: &HashSet<&Reference>,
        error: &Error,
    ) -> Option<Unreadable> {
        let listed = summary.image_name().to_owned();
        let name = self.known_image_name(summary).unwrap_or(listed);
        let reference = made_from(&name, summary.image_id()).ok()?;
        let wishes = Wishes::of(&mut summary.labels());
        let is_meant = of.contains(&reference) && self.selects(summary, &wishes, &reference);
        let stays_stopped = !self.with_stopped && summary.is_stopped();
        (is_meant && !stays_stopped).then(|| Unreadable {
            name: summary.name().to_owned(),
            reference,
            image_id: summary.image_id().to_owned(),
            reason: format!("it cannot be looked at: {error}"),
        })
    }
}

/// Keeps only the outlines once there are more than a few.
fn outline_many(managed: &mut [Managed]) {
    if managed.len() > WHOLE {
        let whole = managed.iter_mut().rev();
        for one in whole.take_while(|one| !one.container.is_outline()) {
            one.container = one.container.outline();
        }
    }
}

/// Returns the reason in the labels that forbids an update even if a caller names the container.
pub(super) fn blocking_label(wishes: &Wishes) -> Option<&str> {
    if wishes.enabled == Enabled::No {
        return Some(OPTED_OUT);
    }
    wishes.unclear.as_deref()
}
