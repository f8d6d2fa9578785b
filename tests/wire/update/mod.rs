//! Updates among many containers.

mod many;
mod signed;
