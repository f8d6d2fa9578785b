//! `imagewatch plan CONTAINER`: what a swap would create, and how that differs from now.

use crate::config::Config;
use crate::difference::Change;
use crate::difference::changes;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::reference::Reference;
use crate::relations::dependents;
use crate::swap;
use crate::swap::Acceptance;
use crate::swap::Part;
use crate::swap::Swap;
use serde_json::Value;
use serde_json::json;

/// Works the plan out against the image that is here now; nothing is pulled, and nothing changed
/// but half-done swaps, which are settled first.
///
/// # Errors
/// Why there is none, on one line.
pub fn plan(config: &Config, name: &str, as_json: bool) -> Result<String, String> {
    let engine = Engine::new(&config.engine);
    let acceptance = Acceptance {
        settle: config.settle,
        health_timeout: config.health_timeout,
    };
    let say = |error: crate::error::Error| error.to_string();
    swap::recover_once(&engine, acceptance, &Gate::default()).map_err(say)?;
    let old = engine.container(name).map_err(say)?;
    let image_name = old.image_name();
    let reference: Reference = image_name.parse().map_err(|_| {
        format!("{name}: made from the image id {image_name}, so there is no tag to follow (recreate it from a tag)")
    })?;
    let image = engine.image(image_name).map_err(say)?;
    let mut all = Vec::new();
    for one in engine.containers().map_err(say)? {
        all.extend(engine.find(one.id()).map_err(say)?);
    }
    let tenants: Vec<&str> = dependents(&old, &all)
        .iter()
        .map(|one| one.name())
        .collect();
    let swap = Swap {
        phase: &|_, _| (),
        accepted: &|_| (),
        engine: &engine,
        about: &engine.about().map_err(say)?,
        acceptance,
        platform: config.platform.as_deref(),
    };
    let part = Part {
        old: &old,
        image: &image,
    };
    let plan = swap.plan(&part, &[]).map_err(say)?;
    let changes = changes(&plan.replacement, &image);
    let skipped = swap.left_alone(&old).map_err(say)?;
    if as_json {
        let connect = |(network, endpoint): &(String, Value)| json!({"network": network, "endpoint": endpoint});
        let connect: Vec<Value> = plan.replacement.connect.iter().map(connect).collect();
        let json = json!({
            "container": old.name(),
            "reference": reference.to_string(),
            "image": {"now": old.image_id(), "then": image.id()},
            "skipped": skipped,
            "with": tenants,
            "platform": plan.platform,
            "create": plan.replacement.body,
            "connect": connect,
            "changes": changes,
        });
        return Ok(format!("{json}\n"));
    }
    let mut text = format!("{}: {reference}\n", old.name());
    if let Some(reason) = skipped {
        text.push_str(&format!("  would be left alone: {reason}\n"));
    }
    if old.image_id() == image.id() {
        text.push_str("  runs the newest image that is here; only force=true would recreate it\n");
    }
    if !tenants.is_empty() {
        text.push_str(&format!(
            "  recreated with it, because they live in it: {}\n",
            tenants.join(", ")
        ));
    }
    text.push_str(&format!(
        "\nimage\n  {} -> {}\n\nchanges\n",
        old.image_id(),
        image.id()
    ));
    for Change { field, now, then } in &changes {
        text.push_str(&format!("  {field}: {now} -> {then}\n"));
    }
    if changes.is_empty() {
        text.push_str("  nothing but the image\n");
    }
    text.push_str(&format!(
        "\nPOST /containers/create\n{:#}\n",
        plan.replacement.body
    ));
    for (network, endpoint) in &plan.replacement.connect {
        text.push_str(&format!(
            "\nPOST /networks/{network}/connect\n{endpoint:#}\n"
        ));
    }
    Ok(text)
}
