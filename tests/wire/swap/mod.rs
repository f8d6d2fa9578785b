//! One container replaced by its successor.

mod lock;
