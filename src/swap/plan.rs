//! The plan of a successor, worked out before anything is touched.

use super::Part;
use super::Swap;
use super::record::Record;
use super::steps::LOOK_PATIENCE;
use super::steps::retry;
use super::successor::Facts;
use super::successor::Moved;
use super::successor::Successor;
use crate::engine::Container;
use crate::engine::Image;
use crate::error::Result;
use crate::labels::FOLLOWED;
use crate::labels::TRANSACTION;
use serde_json::Value;

/// The container that a swap would create.
#[derive(Debug)]
pub struct Plan {
    pub(super) record: Record,
    /// The body of the create call, and the networks to join afterwards.
    pub replacement: Successor,
    /// The platform to ask for, if it is not the Engine's own.
    pub platform: Option<String>,
    pub(super) origin: Origin,
}

/// Facts about a container from outside its inspect, enough to make it again when it is gone.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) image: Option<Image>,
    podman: Option<Value>,
    inherited: Vec<Value>,
    gone_providers: Vec<String>,
}

impl Swap<'_> {
    /// Works out a successor. `moved` are containers that are replaced before it in the same swap. `joined` are
    /// containers that their owner has replaced.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    pub fn plan(&self, part: &Part, moved: &[Moved], joined: &[Moved]) -> Result<Plan> {
        let origin = self.origin(part.old)?;
        let provider = moved.first().map(|first| first.old_id);
        let keeps_image = provider.is_some() || !joined.is_empty();
        let all = [moved, joined].concat();
        let mut replacement = self.shape(part, &all, &origin, keeps_image);
        let mut record = Record::of(&replacement.old, provider);
        record.is_one_way = !joined.is_empty();
        replacement.label(TRANSACTION, record.to_label());
        let foreign = || origin.image.as_ref()?.foreign_platform(&self.about.arch);
        Ok(Plan {
            record,
            replacement,
            platform: self.platform.map(str::to_owned).or_else(foreign),
            origin,
        })
    }

    #[cold]
    pub(super) fn origin(&self, old: &Container) -> Result<Origin> {
        let image = match self.old_image(old) {
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
        Ok(Origin {
            image,
            podman,
            inherited,
            gone_providers,
        })
    }

    /// Works out the settings of a successor. A container that is only recreated because of another one
    /// (`keeps_image`) keeps its image, even if its tag names another image by now.
    #[cold]
    pub(super) fn shape(
        &self,
        part: &Part,
        moved: &[Moved],
        origin: &Origin,
        keeps_image: bool,
    ) -> Successor {
        let old = part.old;
        let mut replacement = Successor::of(&Facts {
            old,
            old_image: origin.image.as_ref(),
            new_image_id: part.image.id(),
            api: self.about.api,
            podman: origin.podman.as_ref(),
            inherited: &origin.inherited,
            gone_providers: &origin.gone_providers,
            moved,
        });
        let is_tagged = || {
            let tagged = self.engine.image(old.image_name());
            tagged.is_ok_and(|tagged| tagged.id() == part.image.id())
        };
        if old.label(FOLLOWED).is_some() {
            replacement.body["Image"] = old.image_name().into();
        }
        if keeps_image && !is_tagged() {
            replacement.body["Image"] = part.image.id().into();
            replacement.label(FOLLOWED, old.image_name().to_owned());
        }
        replacement
    }

    /// The mounts that come with `--volumes-from`, and come again with the successor; and the entries whose
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

    /// The image that the container was created from. Podman shows its health check only in its own API.
    fn old_image(&self, old: &Container) -> Result<Image> {
        if self.about.is_podman() {
            // Podman 4.3 fails while other images are being removed.
            retry(self.shutdown, LOOK_PATIENCE, || {
                self.engine.podman_image(old.image_id())
            })
        } else {
            let mut known = self.images.iter();
            match known.find(|image| image.id() == old.image_id()) {
                Some(known) => Ok(known.clone()),
                None => self.engine.image(old.image_id()),
            }
        }
    }
}
