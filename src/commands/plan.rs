//! `imagewatch plan CONTAINER`: shows the successor that a swap would create, and each change.

use super::wiring::Wiring;
use crate::config::Config;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Image;
use crate::engine::Service;
use crate::error::Error;
use crate::error::one_line;
use crate::journal::History;
use crate::json;
use crate::labels::Enabled;
use crate::labels::Wishes;
use crate::reference::Digest;
use crate::reference::Reference;
use crate::service;
use crate::swap;
use crate::swap::Acceptance;
use crate::swap::Change;
use crate::swap::Files;
use crate::swap::Part;
use crate::swap::Plan;
use crate::swap::Swap;
use crate::swap::changes;
use crate::swap::dependents;
use crate::text::did_you_mean;
use crate::thread::Shutdown;
use crate::update::OPTED_OUT;
use crate::update::Refresher;
use crate::update::find_named;
use crate::update::find_service;
use crate::update::names_and_references;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;

/// How a plan is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// As JSON, with everything.
    pub as_json: bool,
    /// With the bodies of the Engine calls.
    pub is_full: bool,
}

/// Works out the plan against the local image. Nothing is pulled. Nothing is changed, except that half-done swaps
/// are recovered first.
///
/// # Errors
/// Why there is no plan, on one line.
#[cold]
pub fn plan(config: &Config, name: &str, form: Form) -> Result<String, String> {
    let engine = Engine::new(&config.engine);
    let settings = Settings {
        acceptance: Acceptance {
            settle: config.settle,
            health_timeout: config.health_timeout,
        },
        platform: config.platform.as_deref(),
    };
    swap::recover_once(&engine, settings.acceptance, &Shutdown::default()).map_err(say)?;
    let Some(old) = find_named(&engine, name).map_err(say)? else {
        return match find_service(&engine, name).map_err(say)? {
            Some(service) => plan_service(config, &service, form.as_json),
            None => Err(not_found(&engine, name, config)),
        };
    };
    work_out(
        &engine,
        &settings,
        &old,
        None,
        &|shown| match form.as_json {
            true => shown.json(),
            false => shown.text(form.is_full),
        },
    )
}

/// Works out the plan of a container for the API: without the settings of its owner, which may hold secrets.
///
/// # Errors
/// Why there is no plan, on one line.
#[cold]
pub(super) fn outline(
    refresher: &Refresher,
    id: &str,
    digest: Option<Digest>,
) -> Result<String, String> {
    let settings = Settings {
        acceptance: refresher.acceptance,
        platform: refresher.platform.as_deref(),
    };
    let engine = &refresher.engine;
    let old = engine.find(id).map_err(say)?;
    let old = old.ok_or_else(|| format!("{id} was removed just now (look again)"))?;
    work_out(engine, &settings, &old, digest, &|shown| {
        json::print(&shown.outline())
    })
}

/// The settings that a plan depends on.
struct Settings<'a> {
    acceptance: Acceptance,
    platform: Option<&'a str>,
}

fn work_out(
    engine: &Engine,
    settings: &Settings,
    old: &Container,
    newest: Option<Digest>,
    show: &dyn Fn(&Shown) -> String,
) -> Result<String, String> {
    let image_name = old.image_name();
    let reference: Reference = image_name.parse().map_err(|_| {
        let name = old.name();
        format!("{name}: made from the image id {image_name}, so there is no tag to follow (recreate it from a tag)")
    })?;
    // After a roll-back the tag means the old image again, and the newest one is here by its digest.
    let pinned = newest.map(|digest| reference.pinned_to(&digest).to_string());
    let found = pinned.map(|pinned| engine.find_image(&pinned)).transpose();
    let image = match found.map_err(say)?.flatten() {
        Some(image) => image,
        None => engine.image(image_name).map_err(say)?,
    };
    let mut all = Vec::new();
    for one in engine.containers().map_err(say)? {
        all.extend(engine.find(one.id()).map_err(say)?);
    }
    let turn = swap::Turn::alone();
    let swap = Swap {
        phase: &|_, _| (),
        failed: &|_| (),
        accepted: &|_| (),
        engine,
        shutdown: &Shutdown::default(),
        about: &engine.about().map_err(say)?,
        acceptance: settings.acceptance,
        platform: settings.platform,
        images: &[],
        turn: &turn,
        fetch: &|_, _| Ok(()),
    };
    let part = Part::new(old, &image);
    let plan = swap.plan(&part, &[], &[]).map_err(say)?;
    let files = swap.files(old).map_err(say)?;
    let skipped = match reason_in_labels(old) {
        None => swap.why_not(old).map_err(say)?,
        reason => reason,
    };
    Ok(show(&Shown {
        reference: &reference,
        skipped: skipped.or_else(|| files.left_alone.clone()),
        dependents: dependents(old, &all).iter().map(|one| one.name()).collect(),
        changes: changes(&plan.replacement, &image),
        old,
        image: &image,
        plan: &plan,
        files: &files,
    }))
}

/// Works out what an update would write to a service, against the digest that its registry has.
#[cold]
fn plan_service(config: &Config, service: &Service, as_json: bool) -> Result<String, String> {
    let (name, now) = (service.name(), service.image());
    let reference = service::followed(service).map_err(|reason| format!("{name}: {reason}"))?;
    let history = Arc::new(History::open(None)?);
    let wiring = Wiring::of(config, &history);
    let digest = wiring.registry.digest(&reference).map_err(say)?;
    let then = service::pinned(now, &digest);
    if as_json {
        let image = json!({"now": now, "then": then});
        let json = json!({"service": name, "reference": reference.to_string(), "image": image});
        return Ok(format!("{}\n", json::print(&json)));
    }
    let change = match now == then {
        true => "nothing: it has the newest image".to_owned(),
        false => format!("TaskTemplate.ContainerSpec.Image: {now} -> {then}"),
    };
    Ok(format!(
        "{name}: {reference}, a Swarm service\n\nchanges\n  {change}\n"
    ))
}

fn say(error: Error) -> String {
    error.to_string()
}

/// Returns the error for a container that does not exist, with a name that is close to `name`.
fn not_found(engine: &Engine, name: &str, config: &Config) -> String {
    let (names, _) = match names_and_references(engine) {
        Ok(found) => found,
        Err(error) => return say(error),
    };
    let near = did_you_mean(name, names.iter().map(String::as_str));
    format!("no such container {name:?} at {}{near}", config.engine)
}

/// The plan as the command shows it.
struct Shown<'a> {
    old: &'a Container,
    reference: &'a Reference,
    image: &'a Image,
    /// The reason why a round would leave the container alone.
    skipped: Option<String>,
    /// The names of the containers that are recreated together with this one.
    dependents: Vec<&'a str>,
    plan: &'a Plan,
    files: &'a Files,
    changes: Vec<Change>,
}

impl Shown<'_> {
    /// The plan without the settings of the owner.
    fn outline(&self) -> Value {
        json!({
            "container": self.old.name(),
            "reference": self.reference.to_string(),
            "image": {"now": self.old.image_id(), "then": self.image.id()},
            "skipped": self.skipped,
            "with": self.dependents,
            "files": self.files.paths,
            "changes": self.changes,
        })
    }

    fn json(&self) -> String {
        let connect = |(network, endpoint): &(String, Value)| json!({"network": network, "endpoint": endpoint});
        let replacement = &self.plan.replacement;
        let connect: Vec<Value> = replacement.connect.iter().map(connect).collect();
        let mut json = self.outline();
        json["platform"] = json!(self.plan.platform);
        json["create"] = json!(replacement.body);
        json["connect"] = json!(connect);
        format!("{}\n", json::print(&json))
    }

    fn text(&self, is_full: bool) -> String {
        let Self { old, image, .. } = self;
        let mut text = format!("{}: {}\n", old.name(), self.reference);
        if let Some(reason) = &self.skipped {
            text.push_str(&format!("  would be left alone: {reason}\n"));
        }
        if old.image_id() == image.id() {
            text.push_str(
                "  runs the newest image that is here; only force=true would recreate it\n",
            );
        }
        if !self.dependents.is_empty() {
            text.push_str(&format!(
                "  recreated with it, because they live in it: {}\n",
                self.dependents.join(", ")
            ));
        }
        text.push_str(&format!(
            "\nimage\n  {} -> {}\n\nchanges\n",
            old.image_id(),
            image.id()
        ));
        for Change { field, now, then } in &self.changes {
            text.push_str(&format!("  {field}: {now} -> {then}\n"));
        }
        if self.changes.is_empty() {
            text.push_str("  nothing but the image\n");
        }
        if !self.files.paths.is_empty() {
            text.push_str("\nfiles in its layer that its owner put there, and that are kept\n");
        }
        for path in &self.files.paths {
            text.push_str(&format!("  {}\n", one_line(path)));
        }
        match is_full {
            true => self.add_calls(&mut text),
            false => text.push_str("\n--full shows the bodies of the Engine calls too\n"),
        }
        text
    }

    fn add_calls(&self, text: &mut String) {
        let replacement = &self.plan.replacement;
        text.push_str(&format!(
            "\nPOST /containers/create\n{:#}\n",
            replacement.body
        ));
        for (network, endpoint) in &replacement.connect {
            text.push_str(&format!(
                "\nPOST /networks/{network}/connect\n{endpoint:#}\n"
            ));
        }
    }
}

/// Returns the reason in the labels why a round would leave the container alone.
fn reason_in_labels(container: &Container) -> Option<String> {
    let wishes = Wishes::of(&mut container.labels());
    if wishes.enabled == Enabled::No {
        return Some(OPTED_OUT.to_owned());
    }
    wishes.unclear
}
