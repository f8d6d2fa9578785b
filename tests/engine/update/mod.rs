//! One update from order to report: which containers are updated, and what goes with it.

mod by_digest;
mod compose;
mod few_calls;
mod hooks_and_cleanup;
mod inspect_fails;
mod itself;
mod labels;
mod newest_image;
mod origin;
mod pulls;
mod side_by_side;
mod signed;
mod stopped;
mod survey;
