//! Orders: which images a refresh is about, and how far it goes.

use crate::error::Result;
use crate::policy::Asked;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::reference::Target;

/// The treatment of a container that runs an older image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recreate {
    /// A successor replaces the container in place.
    Swap,
    /// The container is removed by force. The platform provisions it again by itself.
    Remove,
}

/// How far a refresh goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Fetch images by their digests, ahead of a window, and leave all tags and containers alone.
    Fetch,
    /// Pull images, and leave all containers alone.
    Pull,
    /// Update the containers that run an older image.
    Recreate,
    /// Recreate all containers, also with rejected images.
    Force,
}

/// Which images a refresh is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// A list of images that no caller named.
    These(Vec<Target>),
    /// A list of images that the caller named.
    Named(Vec<Target>),
    /// Images whose tags moved. Several such orders that wait become one.
    Moved(Vec<Moved>),
    /// The images of managed containers. If the list names any, only those.
    Managed(Vec<Wanted>),
    /// The images of these containers, by name. Only these containers are updated, managed or not.
    Containers(Vec<String>),
    /// The image that an owner has seen and wants for one container.
    Approved(Approved),
    /// The image that containers ran before.
    Back(Box<Back>),
}

/// An update of one container that its owner wants to exactly one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The container's name.
    pub container: String,
    /// The digest that the owner has seen. The update is refused if the tag has moved on.
    pub digest: Digest,
}

/// A roll-back by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// The reference that the containers follow.
    pub target: Target,
    /// The id of the image that they run.
    pub from: String,
    /// The id of the image that they ran before.
    pub to: String,
    /// The digest of that image in the registry, if it is known.
    pub digest: Option<Digest>,
    /// The names of the containers.
    pub containers: Vec<String>,
    /// The origin of the decision: `admin`.
    pub by: String,
    /// Whether it is a Swarm service. Then the images are digests.
    pub is_service: bool,
}

/// An image whose tag moved in its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The reference, with the name to show for it.
    pub target: Target,
    /// The digest that the tag points at now.
    pub digest: Digest,
    /// The names of the only containers to update. `None` means all containers of the image.
    pub only: Option<Vec<String>>,
}

/// The images that a caller means by one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name, read as a reference.
    pub reference: Reference,
    /// Whether the name had no tag, so that each tag of the repository is meant.
    pub any_tag: bool,
}

impl Wanted {
    /// Reads the name of an image, with or without a tag.
    ///
    /// # Errors
    /// When the text is no reference.
    pub fn parse(image: &str) -> Result<Self> {
        let last = image.rsplit('/').next().unwrap_or(image);
        Ok(Self {
            reference: image.parse()?,
            any_tag: !last.contains([':', '@']),
        })
    }

    /// Whether the name means `reference`.
    #[must_use]
    pub fn is(&self, reference: &Reference) -> bool {
        self.reference == *reference || (self.any_tag && self.reference.name() == reference.name())
    }
}

impl Images {
    /// Whether a caller named these images or containers.
    #[must_use]
    pub fn are_named(&self) -> bool {
        match self {
            Self::These(_) | Self::Moved(_) => false,
            Self::Managed(only) => !only.is_empty(),
            Self::Named(_) | Self::Containers(_) | Self::Approved(_) | Self::Back(_) => true,
        }
    }

    /// Returns the digest that the watcher saw in the registry.
    pub(super) fn digest_of(&self, reference: &Reference) -> Option<&Digest> {
        let moved = match self {
            Self::Moved(moved) => moved,
            Self::Approved(approved) => return Some(&approved.digest),
            _ => return None,
        };
        let mut moved = moved.iter().rev();
        let found = moved.find(|one| one.target.reference == *reference);
        found.map(|one| &one.digest)
    }

    /// Returns the image with the name that the order gives it. Any other image has its reference for a name.
    pub(super) fn target(&self, reference: &Reference) -> Target {
        let targets = match self {
            Self::These(targets) | Self::Named(targets) => targets.as_slice(),
            _ => &[],
        };
        let named = targets.iter().find(|one| one.reference == *reference);
        named.cloned().unwrap_or_else(|| Target {
            name: reference.to_string(),
            reference: reference.clone(),
        })
    }

    /// Returns the names of the only containers of `reference` to update. `None` means all.
    pub(super) fn only(&self, reference: &Reference) -> Option<Vec<String>> {
        match self {
            Self::Moved(moved) => {
                let mut moved = moved.iter();
                let found = moved.find(|one| one.target.reference == *reference);
                found?.only.clone()
            }
            Self::These(_) | Self::Named(_) | Self::Managed(_) => None,
            named => named.containers(),
        }
    }

    /// Returns the names of the only containers that the order is about, if a caller named containers.
    pub(super) fn containers(&self) -> Option<Vec<String>> {
        match self {
            Self::Containers(names) => Some(names.clone()),
            Self::Approved(approved) => Some(vec![approved.container.clone()]),
            Self::Back(back) => Some(back.containers.clone()),
            _ => None,
        }
    }
}

/// One refresh that waits to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The images that the refresh is about.
    pub images: Images,
    /// How far the refresh goes.
    pub extent: Extent,
}

impl Order {
    /// The origin of the order, as the policy sees it.
    #[must_use]
    pub fn asked(&self) -> Asked {
        match (self.images.are_named(), self.extent) {
            (false, Extent::Force) => Asked::ForAllByForce,
            (false, _) => Asked::ForAll,
            (true, Extent::Force) => Asked::ByNameByForce,
            (true, _) => Asked::ByName,
        }
    }

    /// Merges `other` into `self` if one run can serve both orders. Returns whether that worked.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.extent != other.extent {
            return false;
        }
        match (&mut self.images, &other.images) {
            (Images::Moved(ours), Images::Moved(theirs)) => {
                for one in theirs {
                    if !ours.contains(one) {
                        ours.push(one.clone());
                    }
                }
                true
            }
            (ours, theirs) => ours == theirs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_the_watcher_become_one_and_others_only_if_they_are_equal() {
        let target = |name: &str| Target {
            name: name.to_owned(),
            reference: name.parse().expect("valid"),
        };
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().expect("valid");
        let moved = |name: &str| Order {
            images: Images::Moved(vec![Moved {
                target: target(name),
                digest: digest.clone(),
                only: None,
            }]),
            extent: Extent::Recreate,
        };
        let these = |name: &str, extent| Order {
            images: Images::These(vec![target(name)]),
            extent,
        };
        let mut order = moved("a");
        assert!(order.merge(&moved("b")) && order.merge(&moved("a")));
        assert!(!order.merge(&these("a", Extent::Recreate)));
        let Images::Moved(all) = &order.images else {
            panic!("{order:?}");
        };
        assert_eq!(all.len(), 2);
        let mut order = these("a", Extent::Recreate);
        assert!(order.merge(&these("a", Extent::Recreate)));
        assert!(!order.merge(&these("b", Extent::Recreate)));
        assert!(!order.merge(&these("a", Extent::Force)));
    }
}
