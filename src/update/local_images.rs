//! The images on this box, from one list.

use crate::engine::Engine;
use crate::engine::Image;
use crate::error::Result;
use crate::logging::debug;
use crate::reference::Reference;
use std::collections::HashMap;

/// The images on this box. Without a list, each image is inspected.
#[derive(Debug, Default)]
pub struct LocalImages {
    all: Vec<Image>,
    by_tag: HashMap<Reference, usize>,
    is_complete: bool,
}

impl LocalImages {
    /// Lists the images. A proxy may forbid that.
    #[must_use]
    pub fn list(engine: &Engine) -> Self {
        let all = match engine.images() {
            Ok(all) => all,
            Err(error) => {
                debug(format_args!("{error}"));
                return Self::default();
            }
        };
        let mut by_tag = HashMap::new();
        for (place, image) in all.iter().enumerate() {
            let tags = image.tags().filter_map(|tag| tag.parse().ok());
            by_tag.extend(tags.map(|tag: Reference| (tag, place)));
        }
        Self {
            all,
            by_tag,
            is_complete: true,
        }
    }

    /// The image that a tag means here.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn named(&self, reference: &Reference, engine: &Engine) -> Result<Option<Image>> {
        match self.by_tag.get(reference) {
            Some(place) => Ok(self.all.get(*place).cloned()),
            None if self.is_complete => Ok(None),
            None => engine.find_image(&reference.to_string()),
        }
    }

    /// The image with an id. An image without a name may not be on the list.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub fn with_id(&self, id: &str, engine: &Engine) -> Result<Option<Image>> {
        match self.all.iter().find(|image| image.id() == id) {
            Some(image) => Ok(Some(image.clone())),
            None => engine.find_image(id),
        }
    }
}
