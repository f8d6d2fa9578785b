//! What can be asked of a refresh.

use crate::config::Runtime;
use crate::reference::Digest;
use crate::reference::Reference;

/// An image to refresh, and what it is called in reports: a runtime's name, or its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name.
    pub name: String,
    /// The image.
    pub reference: Reference,
}

impl From<&Runtime> for Target {
    fn from(runtime: &Runtime) -> Self {
        Self {
            name: runtime.name.clone(),
            reference: runtime.reference.clone(),
        }
    }
}

/// How far a refresh goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Pull, and leave the containers alone.
    Pull,
    /// Renew what runs an older image.
    Recreate,
    /// Renew everything, rejected images included.
    Force,
}

/// Which images a refresh is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// These.
    These(Vec<Target>),
    /// These, whose tags are known to point at something new: several such orders that wait become
    /// one.
    Moved(Vec<(Target, Digest)>),
    /// Those that managed containers were made from; if any are named, only those.
    Managed(Vec<Wanted>),
    /// Those that these containers, by name, were made from; and only these are renewed, managed or not.
    Containers(Vec<String>),
}

/// Images that are meant by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What was named.
    pub reference: Reference,
    /// Whether no tag was, so that any will do.
    pub any_tag: bool,
}

impl Wanted {
    /// Whether `reference` is meant.
    #[must_use]
    pub fn is(&self, reference: &Reference) -> bool {
        self.reference == *reference || (self.any_tag && self.reference.name() == reference.name())
    }
}

/// One refresh to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which images.
    pub images: Images,
    /// How far.
    pub extent: Extent,
}

impl Order {
    /// Whether one run will do for both; `self` is then the order for that run.
    pub fn absorb(&mut self, other: &Self) -> bool {
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
            images: Images::Moved(vec![(target(name), digest.clone())]),
            extent: Extent::Recreate,
        };
        let these = |name: &str, extent| Order {
            images: Images::These(vec![target(name)]),
            extent,
        };
        let mut order = moved("a");
        assert!(order.absorb(&moved("b")) && order.absorb(&moved("a")));
        assert!(!order.absorb(&these("a", Extent::Recreate)));
        let Images::Moved(all) = &order.images else {
            panic!("{order:?}");
        };
        assert_eq!(all.len(), 2);
        let mut order = these("a", Extent::Recreate);
        assert!(order.absorb(&these("a", Extent::Recreate)));
        assert!(!order.absorb(&these("b", Extent::Recreate)));
        assert!(!order.absorb(&these("a", Extent::Force)));
    }
}
