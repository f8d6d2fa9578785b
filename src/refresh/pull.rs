//! Pulling the images of a refresh.

use super::Outcomes;
use super::Refresher;
use super::Target;
use super::Verdict;
use crate::credentials::Login;
use crate::credentials::Refused;
use crate::engine::Image;
use crate::engine::PullLine;
use crate::engine::is_denial;
use crate::error::Result;
use crate::progress::Step;
use crate::reference::Reference;
use std::time::Instant;

impl Refresher {
    /// The targets whose image is here now, and that image.
    pub(super) fn pull_all<'o>(
        &self,
        targets: &'o [Target],
        outcomes: &mut Outcomes,
        on: &dyn Fn(&Step),
    ) -> Vec<(&'o Target, Image)> {
        let mut pulled = Vec::new();
        for target in targets {
            let Target { name, reference } = target;
            let begun = Instant::now();
            let image = reference.to_string();
            on(&Step::Pulling {
                image: image.clone(),
            });
            match self.pull(reference, on) {
                Ok(found) => {
                    log::info!("pulled image={reference} took={:.1?}", begun.elapsed());
                    on(&Step::Pulled {
                        image,
                        seconds: begun.elapsed().as_secs_f64(),
                    });
                    outcomes.report.pulled.push(name.clone());
                    pulled.push((target, found));
                }
                Err(error) => {
                    log::warn!("{name} could not be pulled: {error}");
                    on(&Step::PullFailed {
                        image,
                        reason: error.to_string(),
                    });
                    outcomes.report.failed.push(name.clone());
                    let verdict = Verdict::Retry(error.to_string());
                    outcomes.verdicts.push((reference.clone(), verdict));
                }
            }
        }
        pulled
    }

    /// Pulls an image and looks at what is there then. An image that the Engine cannot show is none: nobody
    /// could be recreated from it.
    fn pull(&self, reference: &Reference, on: &dyn Fn(&Step)) -> Result<Image> {
        self.fetch(reference, on)?;
        self.engine.image(&reference.to_string())
    }

    /// As whom we are known there, and once more as nobody if that is refused: an expired login
    /// hides even public images.
    fn fetch(&self, reference: &Reference, on: &dyn Fn(&Step)) -> Result<()> {
        // What its owner once pulled for another platform must stay on that: the Engine would take
        // its own.
        let mut platform = self.platform.clone();
        if platform.is_none() {
            let local = self.engine.image(&reference.to_string()).ok();
            platform = match local {
                Some(image) => image.foreign_platform(&self.engine.about()?.arch),
                None => None,
            };
        }
        let image = reference.to_string();
        let on_line = |line: &PullLine| {
            on(&Step::Layer {
                image: image.clone(),
                layer: line.id.clone(),
                status: line.status.clone(),
                current: line.current,
                total: line.total,
            });
        };
        let pull_as = |login: Option<&Login>| {
            let auth = login.map(|login| login.registry_auth(reference.registry()));
            self.engine
                .pull(reference, platform.as_deref(), auth.as_ref(), on_line)
        };
        let login = self.credentials.login(reference);
        let outcome = pull_as(login.as_ref());
        match (outcome, login) {
            (Err(error), Some(login)) if is_denial(&error) => {
                if pull_as(None).is_ok() {
                    self.credentials.refuse(reference, login, Refused::Here);
                    return Ok(());
                }
                Err(error)
            }
            (outcome, _) => outcome,
        }
    }
}
