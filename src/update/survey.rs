//! The state of a reference, from its registry, the local images and the containers. The watcher, `check`, the
//! dry run, the status and the page all use this survey, so they cannot disagree.

use super::Refresher;
use super::is_at;
use super::select::Seen;
use crate::engine::Image;
use crate::error::Result;
use crate::journal::Behind;
use crate::journal::Judged;
use crate::journal::Standing;
use crate::journal::Survey;
use crate::journal::Versions;
use crate::provenance::Provenance;
use crate::reference::Digest;
use crate::reference::Reference;
use std::collections::HashMap;

/// Summarises the watched containers and images in one line. `behind` names containers on an older image, and
/// `unknown` names images whose registry did not answer.
#[must_use]
pub fn summary(containers: usize, images: usize, behind: &[String], unknown: &[String]) -> String {
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    let mut text = format!(
        "watching {}, {}; ",
        count(containers, "container"),
        count(images, "image")
    );
    match behind {
        [] => text.push_str("none is behind"),
        [only] => text.push_str(&format!("1 is behind: {only}")),
        several => {
            text.push_str(&format!(
                "{} are behind: {}",
                several.len(),
                several.join(", ")
            ));
        }
    }
    if !unknown.is_empty() {
        text.push_str(&format!("; not known of {}", unknown.join(", ")));
    }
    text
}

impl Refresher {
    /// Compares the registry's `digest` with the local image of `reference`, and with the containers among `seen`
    /// that were made from `reference`.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn survey(&self, reference: &Reference, digest: &Digest, seen: &[Seen]) -> Result<Survey> {
        let (services, users) = followers(reference, seen);
        // Nodes pull for services, so the image need not be here.
        if users.is_empty() && !services.is_empty() {
            return self.survey_of(reference, digest, seen, None);
        }
        let here = self.engine.find_image(&reference.to_string())?;
        self.survey_of(reference, digest, seen, here)
    }

    /// The same with the local image, if there is one. A list entry is enough.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn survey_of(
        &self,
        reference: &Reference,
        digest: &Digest,
        seen: &[Seen],
        here: Option<Image>,
    ) -> Result<Survey> {
        let (services, users) = followers(reference, seen);
        if users.is_empty() && !services.is_empty() {
            return Ok(self.survey_services(reference, digest, &services));
        }
        if let Some(here) = &here {
            let digests = here.digests_of(reference);
            self.replaced
                .remember_digests(reference, here.id(), digests);
        }
        let newest = here
            .as_ref()
            .filter(|image| is_at(image, reference, digest));
        let is_followed = users.iter().any(|one| !one.stays_stopped);
        let (mut behind, mut judged, running) =
            self.behind(reference, digest, here.clone(), &users)?;
        judge_services(&services, digest, &mut behind, &mut judged);
        // An image that did not come up may have been removed since, so its digest is compared too.
        let is_wanted = !behind.is_empty() || !is_followed;
        let mut rejection = match newest {
            _ if !is_wanted || !self.rejected.concern(reference) => None,
            Some(newest) => self.rejected.reason(reference, newest.id()),
            None => self.rejected.reason_of_digest(reference, digest),
        };
        let is_pulled = newest.is_some();
        let registry = match newest {
            Some(newest) => Some(newest.provenance()),
            None => self.releases.known(reference, digest),
        };
        let older = here.as_ref().filter(|_| !is_pulled);
        let is_local = older.map_or(Ok(false), |older| self.is_local_image(reference, older))?;
        if is_local {
            behind.clear();
            judged.clear();
            rejection = None;
        }
        let standing = match older {
            _ if is_local => Standing::Local,
            _ if rejection.is_some() => Standing::Rejected,
            _ if !behind.is_empty() => Standing::Outdated,
            // The newest image is not under the local tag, even if all containers run it already.
            Some(_) => Standing::Outdated,
            None if users.is_empty() && !is_pulled => Standing::Absent,
            _ => Standing::Current,
        };
        Ok(Survey {
            standing,
            rejection,
            is_pulled,
            behind,
            judged,
            versions: Versions::new(running, digest, registry),
        })
    }

    /// The same where only services follow the reference. The local image does not matter then.
    #[cold]
    fn survey_services(
        &self,
        reference: &Reference,
        digest: &Digest,
        services: &[&Seen],
    ) -> Survey {
        let (mut behind, mut judged) = (Vec::new(), Vec::new());
        judge_services(services, digest, &mut behind, &mut judged);
        let mut rejections = services.iter();
        let rejection = rejections.find_map(|one| self.rejection_of(one, reference, digest));
        let rejection = rejection.filter(|_| !behind.is_empty());
        let standing = match (&rejection, behind.is_empty()) {
            (Some(_), _) => Standing::Rejected,
            (None, true) => Standing::Current,
            (None, false) => Standing::Outdated,
        };
        let registry = self.releases.known(reference, digest);
        Survey {
            standing,
            rejection,
            is_pulled: true,
            behind,
            judged,
            versions: Versions::new(Provenance::default(), digest, registry),
        }
    }

    /// Returns the containers that run another image than `digest`, their images, and the facts that one of these
    /// images tells. `here` is the local image of the tag.
    fn behind(
        &self,
        reference: &Reference,
        digest: &Digest,
        mut here: Option<Image>,
        users: &[&Seen],
    ) -> Result<(Vec<Behind>, Vec<Judged>, Provenance)> {
        let is_pulled = (here.as_ref()).is_some_and(|image| is_at(image, reference, digest));
        let (mut behind, mut judged) = (Vec::new(), Vec::<Judged>::new());
        let mut images: HashMap<&str, Option<Image>> = HashMap::new();
        let mut running = here.as_ref().map(Image::provenance).unwrap_or_default();
        for one in users.iter().filter(|one| !one.stays_stopped) {
            let mut is_as_here = (here.as_ref()).is_some_and(|here| one.image_id == here.id());
            let mut is_newest = is_as_here && is_pulled;
            if !is_as_here {
                if let Some(entry) = here.as_ref().filter(|here| !here.has_settings()) {
                    here = self.engine.find_image(entry.id())?;
                }
                if !images.contains_key(one.image_id.as_str()) {
                    images.insert(&one.image_id, self.engine.find_image(&one.image_id)?);
                }
                let image = images.get(one.image_id.as_str()).and_then(Option::as_ref);
                let both = here.as_ref().zip(image);
                is_as_here = both.is_some_and(|(here, image)| image.is_same_as(here));
                // Without the newest image under the tag, for example after `docker rmi`, a container may still
                // run that image.
                is_newest = if is_pulled {
                    is_as_here
                } else {
                    image.is_some_and(|image| is_at(image, reference, digest))
                };
            }
            if behind.is_empty() {
                let image = images.get(one.image_id.as_str()).and_then(Option::as_ref);
                let image = image.or(here.as_ref().filter(|_| is_as_here));
                running = image.map(Image::provenance).unwrap_or_default();
            }
            if judged.iter().all(|known| known.image_id != one.image_id) {
                judged.push(Judged {
                    image_id: one.image_id.clone(),
                    is_behind: !is_newest,
                });
            }
            if !is_newest {
                behind.push(Behind {
                    name: one.name.clone(),
                    consent: one.consent,
                    is_older_than_here: here.is_some() && !is_as_here,
                    is_service: false,
                });
            }
        }
        Ok((behind, judged, running))
    }
}

/// The services and the containers that follow a reference.
fn followers<'s>(reference: &Reference, seen: &'s [Seen]) -> (Vec<&'s Seen>, Vec<&'s Seen>) {
    let users = seen
        .iter()
        .filter(|one| one.made_from.as_ref() == Ok(reference));
    users.partition(|one| one.service.is_some())
}

/// Adds the services whose spec has another digest. Without a digest in its spec, nothing tells what a service runs.
fn judge_services(
    services: &[&Seen],
    digest: &Digest,
    behind: &mut Vec<Behind>,
    judged: &mut Vec<Judged>,
) {
    for one in services {
        let is_behind = !one.image_id.is_empty() && one.image_id != digest.as_str();
        judged.push(Judged {
            image_id: one.image_id.clone(),
            is_behind,
        });
        if is_behind {
            behind.push(Behind {
                name: one.name.clone(),
                consent: one.consent,
                is_older_than_here: false,
                is_service: true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Consent;

    #[test]
    fn a_line_tells_what_is_watched() {
        let seen = |name: &str, made_from| Seen {
            id: String::new(),
            name: name.to_owned(),
            image_name: String::new(),
            image_id: String::new(),
            state: String::new(),
            group: None,
            consent: Consent::Update,
            rules: crate::policy::OwnRules::default(),
            stays_stopped: false,
            newer: None,
            has_lost_tag: false,
            made_from,
            service: None,
        };
        let nginx: Reference = "nginx".parse().expect("valid");
        let all = [
            seen("db", Ok(nginx.clone())),
            seen("web", Ok(nginx)),
            seen("x", Err("pinned".to_owned())),
        ];
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
        for (seen, images, behind, unknown, expected) in [
            (
                &all[..],
                1,
                &["db", "web"][..],
                &[][..],
                "watching 2 containers, 1 image; 2 are behind: db, web",
            ),
            (
                &all[1..],
                8,
                &["web"],
                &[],
                "watching 1 container, 8 images; 1 is behind: web",
            ),
            (
                &[],
                0,
                &[],
                &[],
                "watching 0 containers, 0 images; none is behind",
            ),
            (
                &all,
                1,
                &[],
                &["nginx"],
                "watching 2 containers, 1 image; none is behind; not known of nginx",
            ),
        ] {
            let containers = seen.iter().filter(|one| one.is_watched()).count();
            assert_eq!(
                summary(containers, images, &names(behind), &names(unknown)),
                expected
            );
        }
    }

    #[test]
    fn a_standing_is_called_the_same_everywhere() {
        for (standing, name) in Standing::ALL {
            let written = serde_json::to_string(&standing).expect("JSON");
            assert_eq!(written, format!("{name:?}"));
            assert_eq!(standing.name(), name);
        }
    }
}
