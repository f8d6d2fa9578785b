//! What a successor is to be: worked out before anything is touched.

use super::Part;
use super::Swap;
use super::record::Record;
use super::steps::LOOK_PATIENCE;
use super::steps::insist;
use crate::engine::Container;
use crate::engine::FOLLOWED_LABEL;
use crate::engine::Image;
use crate::error::Result;
use crate::replacement::Facts;
use crate::replacement::Moved;
use crate::replacement::Replacement;
use crate::replacement::TRANSACTION_LABEL;
use serde_json::Value;

/// What a swap would create.
#[derive(Debug)]
pub struct Plan {
    pub(super) record: Record,
    /// The body, and the networks to join after.
    pub replacement: Replacement,
    /// The platform to ask for, where it is not the Engine's own.
    pub platform: Option<String>,
}

impl Swap<'_> {
    /// Works out a successor. `moved` are containers that are replaced before it in the same swap.
    ///
    /// # Errors
    /// When the Engine cannot be asked for what that takes.
    pub fn plan(&self, part: &Part, moved: &[Moved]) -> Result<Plan> {
        let old = part.old;
        let old_image = match self.old_image(old) {
            Ok(image) => Some(image),
            Err(error) if error.is_not_found() => {
                log::warn!(
                    "{}: its old image is gone, so what that set cannot be told from what you set: \
                     all of it is kept",
                    old.name()
                );
                None
            }
            Err(error) => return Err(error),
        };
        let podman = if self.about.is_podman() {
            Some(self.engine.podman_container(old.id())?)
        } else {
            None
        };
        let (inherited, gone_providers) = self.volumes_from(old)?;
        let mut replacement = Replacement::of(&Facts {
            old,
            old_image: old_image.as_ref(),
            new_image_id: part.image.id(),
            api: self.about.api,
            podman: podman.as_ref(),
            inherited: &inherited,
            gone_providers: &gone_providers,
            moved,
        });
        let provider = moved.first().map(|first| first.old_id);
        let record = Record::of(&replacement.old, provider);
        replacement.label(TRANSACTION_LABEL, record.to_label());
        // What only moves with another keeps its image, even if its tag means another one by now.
        let is_tagged = || {
            let tagged = self.engine.image(old.image_name());
            tagged.is_ok_and(|tagged| tagged.id() == part.image.id())
        };
        if old.label(FOLLOWED_LABEL).is_some() {
            replacement.body["Image"] = old.image_name().into();
        }
        if provider.is_some() && !is_tagged() {
            replacement.body["Image"] = part.image.id().into();
            replacement.label(FOLLOWED_LABEL, old.image_name().to_owned());
        }
        let foreign = || old_image.as_ref()?.foreign_platform(&self.about.arch);
        Ok(Plan {
            record,
            replacement,
            platform: self.platform.map(str::to_owned).or_else(foreign),
        })
    }

    /// What comes with `--volumes-from`, and so again with the successor; and the entries whose
    /// container is gone.
    fn volumes_from(&self, old: &Container) -> Result<(Vec<Value>, Vec<String>)> {
        let entries = old.host_config().get("VolumesFrom");
        let entries = entries.and_then(Value::as_array).into_iter().flatten();
        let (mut inherited, mut gone) = (Vec::new(), Vec::new());
        for entry in entries.filter_map(Value::as_str) {
            let id = entry.split(':').next().unwrap_or(entry);
            match self.engine.container(id) {
                Ok(provider) => inherited.extend_from_slice(provider.mounts()),
                Err(error) if error.is_not_found() => gone.push(entry.to_owned()),
                Err(error) => return Err(error),
            }
        }
        Ok((inherited, gone))
    }

    /// The image it was made from, with its health check, which Podman shows only in its own manner.
    fn old_image(&self, old: &Container) -> Result<Image> {
        if self.about.is_podman() {
            // Podman 4.3 stumbles over other images that are being removed.
            insist(LOOK_PATIENCE, || self.engine.podman_image(old.image_id()))
        } else {
            self.engine.image(old.image_id())
        }
    }
}
