//! The choice of Swarm services. They are chosen like containers, and seen as such.

use super::select::Seen;
use super::select::Selection;
use super::select::blocking_label;
use crate::engine::Engine;
use crate::engine::Service;
use crate::error::Result;
use crate::labels::Enabled;
use crate::labels::Wishes;
use crate::policy::OwnRules;
use crate::reference::Reference;
use crate::service::digest_of;
use crate::service::followed;
use crate::sort::sort;

/// Stands before the name of a service, which may be a container's too.
pub(super) const SERVICE: &str = "service ";

impl Selection {
    /// Returns the managed services of a swarm.
    ///
    /// # Errors
    /// When the Engine does not answer.
    #[cold]
    pub fn services(&self, engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for service in engine.services()? {
            let wishes = Wishes::of(&mut service.labels());
            let is_workspace = |reference: &Reference| {
                let has_prefix = service.name().starts_with(&self.prefix);
                self.select.workspaces && has_prefix && self.runtimes.contains(reference)
            };
            let made_from = followed(&service);
            let is_selected = made_from.as_ref().is_ok_and(is_workspace);
            if wishes.enabled != Enabled::No && (is_selected || self.selects_any_image(&wishes)) {
                self.warn_of_labels(&format!("{SERVICE}{}", service.name()), &wishes);
                let made_from = wishes.unclear.clone().map_or(made_from, Err);
                seen.push(self.seen_service(service, &wishes, made_from));
            }
        }
        sort(&mut seen, |one, other| one.name < other.name);
        Ok(seen)
    }

    /// Returns the services with these names. A named service counts as managed, unless its owner opted out.
    ///
    /// # Errors
    /// When the Engine does not answer.
    #[cold]
    pub fn named_services(&self, names: &[String], engine: &Engine) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for service in engine.services()? {
            if !names.iter().any(|name| name == service.name()) {
                continue;
            }
            let wishes = Wishes::of(&mut service.labels());
            let made_from = match blocking_label(&wishes) {
                Some(reason) => Err(reason.to_owned()),
                None => followed(&service),
            };
            seen.push(self.seen_service(service, &wishes, made_from));
        }
        Ok(seen)
    }

    fn seen_service(
        &self,
        service: Service,
        wishes: &Wishes,
        made_from: std::result::Result<Reference, String>,
    ) -> Seen {
        let (running, wanted) = service.running();
        Seen {
            id: service.id().to_owned(),
            name: service.name().to_owned(),
            image_name: service.image().to_owned(),
            image_id: digest_of(service.image()).unwrap_or_default().to_owned(),
            state: format!("{running}/{wanted}"),
            consent: wishes.consent.unwrap_or(self.mode),
            rules: OwnRules::of(wishes),
            newer: wishes.newer,
            stays_stopped: false,
            has_lost_tag: false,
            made_from,
            service: Some(Box::new(service)),
        }
    }
}
