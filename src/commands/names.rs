//! `imagewatch names`: the names that a shell completes, one on each line.

use crate::config::Config;
use crate::engine::Engine;
use crate::update::names_and_references;

/// Lists the names of all containers, and then the references that they follow. A reference contains a slash, and a
/// name contains none.
///
/// # Errors
/// Why the containers cannot be listed, on one line.
#[cold]
pub fn names(config: &Config) -> Result<String, String> {
    let engine = Engine::new(&config.engine);
    let (mut lines, references) =
        names_and_references(&engine).map_err(|error| error.to_string())?;
    for reference in references {
        let reference = reference.to_string();
        if !lines.contains(&reference) {
            lines.push(reference);
        }
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}
