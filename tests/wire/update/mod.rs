//! Updates among many containers.

mod many;
