//! Finds the container or the image that a caller names.

use super::Admin;
use super::reply::Reply;
use crate::reference::Reference;
use crate::reference::Target;
use crate::text::did_you_mean;
use crate::update::Seen;
use crate::update::Wanted;

impl Admin {
    /// Finds a container and the reference that it follows.
    #[cold]
    pub(super) fn find(&self, name: &str) -> Result<(Seen, Reference), Reply> {
        let name = self.name_of(name)?;
        let list = self
            .engine
            .containers()
            .map_err(|error| unavailable(&error))?;
        let selection = &self.refresher.selection;
        let seen = selection.named(std::slice::from_ref(&name), &list, &self.engine);
        let seen = seen
            .map_err(|error| unavailable(&error))?
            .into_iter()
            .next();
        let Some(seen) = seen else {
            return Err(Reply::error(
                404,
                &format_args!("{name} was removed just now"),
            ));
        };
        match seen.made_from.clone() {
            Ok(reference) => Ok((seen, reference)),
            Err(reason) => Err(Reply::error(409, &format_args!("{name}: {reason}"))),
        }
    }

    /// The name of a container that exists.
    #[cold]
    pub(super) fn name_of(&self, name: &str) -> Result<String, Reply> {
        let known = crate::update::names_and_references(&self.engine);
        let (names, _) = known.map_err(|error| unavailable(&error))?;
        if names.iter().any(|one| one == name) {
            return Ok(name.to_owned());
        }
        let near = did_you_mean(name, names.iter().map(String::as_str));
        Err(Reply::error(
            404,
            &format_args!("no container is called {name}{near}"),
        ))
    }

    /// The followed reference that a caller means by the name of a runtime or an image.
    #[cold]
    pub(super) fn reference_of(&self, image: &str) -> Result<Reference, Reply> {
        let runtime = self.catalogue.iter().find(|one| one.name == image);
        if let Some(runtime) = runtime {
            return Ok(runtime.reference.clone());
        }
        let wanted = Wanted::parse(image).map_err(|error| Reply::error(400, &error))?;
        let seen = self.refresher.selection.seen(&self.engine);
        let seen = seen.map_err(|error| unavailable(&error))?;
        let known = self.refresher.watched(&seen);
        let known: Vec<&Reference> = known.iter().map(|target| &target.reference).collect();
        let found: Vec<&&Reference> = known.iter().filter(|one| wanted.is(one)).collect();
        match found.as_slice() {
            [only] => Ok((**only).clone()),
            [] => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                let near = did_you_mean(image, known.iter().map(String::as_str));
                Err(Reply::error(
                    404,
                    &format_args!("no followed image is called {image}{near}"),
                ))
            }
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                let reason = format!("{image} is not clear: {}", names.join(", "));
                Err(Reply::error(400, &reason))
            }
        }
    }

    pub(super) fn target(&self, reference: &Reference) -> Target {
        let runtime = self
            .catalogue
            .iter()
            .find(|one| one.reference == *reference);
        runtime.cloned().unwrap_or_else(|| Target {
            name: reference.to_string(),
            reference: reference.clone(),
        })
    }
}

fn unavailable(error: &crate::error::Error) -> Reply {
    Reply::error(503, &error)
}
