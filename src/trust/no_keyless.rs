//! Stands for `keyless/` in a build without the feature `keyless`: there are no identities, so no code remains of this.

use crate::reference::Digest;
use serde_json::Value;

/// Nothing.
#[derive(Debug)]
pub(super) enum Keyless {}

impl Keyless {
    #[cold]
    pub(super) fn new(_: &[String], _: Option<&str>) -> Result<Self, String> {
        Err("this build verifies no identity".to_owned())
    }

    pub(super) fn signed_payload(&self, _: &[u8], _: &Value, _: &mut String) -> bool {
        match *self {}
    }

    pub(super) fn approves_bundle(&self, _: &Digest, _: &[u8], _: &mut String) -> Option<bool> {
        match *self {}
    }
}
