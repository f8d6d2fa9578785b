//! Registries: the digest behind a tag, the list of tags, and the labels and signatures of an image.

pub(crate) mod config;
mod digest;
mod each_registry;
mod outage;
mod sharing;
mod signatures;
mod tags;
mod token;
