//! Only signed images are pulled, and a push hook brings them soon.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::lab::names;
use crate::engine::update::by_digest::refresh_while_its_tag_moves;
use crate::support::engine_proxy::EngineProxy;
use crate::support::eventually;
use crate::support::program::Program;
use crate::support::signer::Layout;
use crate::support::signer::Signer;
use std::time::Duration;
use std::time::Instant;

const SECRET: &str = "0123456789abcdef0123";

fn with_workspace() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    Some(lab)
}

fn await_state(program: &Program, state: &str) {
    eventually(state, || {
        let (_, status) = program.ask("GET", "/admin/status");
        (status["references"][0]["state"] == state).then_some(())
    });
}

fn await_version(lab: &Lab, version: &str) {
    eventually(version, || {
        (lab.version("1") == lab.name(version)).then_some(())
    });
}

#[test]
fn only_a_signed_image_is_pulled_and_a_signature_may_come_later() {
    let Some(lab) = with_workspace() else { return };
    let (signer, foreign) = (Signer::new(), Signer::new());
    let keys = [("IMAGEWATCH_VERIFY", signer.pem())];
    let keys = keys.each_ref().map(|(name, key)| (*name, key.as_str()));
    let program = lab.watcher("hermes", &keys);
    program.await_line("watching 1 container, 1 image; none is behind");
    for (version, layout) in [("v2", Layout::Classic), ("v3", Layout::Bundle)] {
        let digest = lab.publish("hermes", &good(&lab.name(version)));
        await_state(&program, "unsigned");
        // Neither a name nor force changes that.
        let (_, report) = program.refresh("?runtime=hermes&force=true");
        assert_eq!(names(&report, "failed"), ["hermes"], "{report}");
        let (_, report) = program.ask(
            "POST",
            &format!("/v1/update?image={}", lab.reference("hermes")),
        );
        assert_eq!(names(&report, "recreated").len(), 0, "{report}");
        assert_ne!(lab.version("1"), lab.name(version));
        let name = lab.reference("hermes").replace(":latest", "");
        let path = format!("/images/{name}@{digest}/json");
        assert_eq!(lab.docker.ask("GET", &path, &[]).0, 404, "it was pulled");
        foreign.sign(&lab.registry, "acme/hermes", &digest, layout);
        await_state(&program, "badly_signed");
        signer.sign(&lab.registry, "acme/hermes", &digest, layout);
        await_version(&lab, version);
        await_state(&program, "current");
    }
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["rejected"], serde_json::json!([]), "{status}");
    assert!(program.has_said("badly signed"));
}

#[cfg(feature = "keyless")]
#[test]
fn only_an_image_that_the_workflow_signed_is_pulled() {
    use crate::support::Folder;
    use crate::support::fulcio::APPROVAL;
    use crate::support::fulcio::Fulcio;
    use crate::support::fulcio::PROVENANCE;
    use crate::support::fulcio::Signing;
    use crate::support::fulcio::WORKFLOW;
    use crate::support::signer::put;
    use serde_json::Value;
    use serde_json::json;

    let Some(lab) = with_workspace() else { return };
    let (fulcio, folder) = (Fulcio::new(), Folder::new());
    let root = folder.write("trusted_root.json", fulcio.trusted_root().to_string());
    let vars = [
        ("IMAGEWATCH_VERIFY_IDENTITY", WORKFLOW),
        ("IMAGEWATCH_TRUSTED_ROOT", &*root),
    ];
    let other = Signing {
        name: "https://github.com/acme/app/.github/workflows/test.yml@refs/heads/main",
        ..Signing::default()
    };
    let program = lab.watcher("hermes", &vars);
    program.await_line("watching 1 container, 1 image; none is behind");
    let repository = Lab::repository("hermes");
    for (version, kind) in [("v2", APPROVAL), ("v3", PROVENANCE), ("v4", "classic")] {
        let digest = lab.publish("hermes", &good(&lab.name(version)));
        await_state(&program, "unsigned");
        let bundle = |signing| fulcio.bundle(signing, PROVENANCE, &digest).to_string();
        let sign = |layout, text: &str, annotations: &Value| {
            put(
                &lab.registry,
                (&repository, &digest),
                layout,
                text,
                annotations,
            );
        };
        sign(Layout::Bundle, &bundle(&other), &json!({}));
        await_state(&program, "badly_signed");
        assert_ne!(lab.version("1"), lab.name(version));
        if kind == "classic" {
            let (payload, annotations) = fulcio.classic(&Signing::default(), &digest);
            sign(Layout::Classic, &payload, &annotations);
        } else {
            let good = fulcio.bundle(&Signing::default(), kind, &digest);
            sign(Layout::Bundle, &good.to_string(), &json!({}));
        }
        await_version(&lab, version);
        await_state(&program, "current");
    }
}

#[test]
fn the_signed_image_is_what_runs_although_its_tag_moves_on() {
    let Some(lab) = Lab::parted() else { return };
    lab.publish("hermes", &good(&lab.name("v1")));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let signer = Signer::new();
    let digest = lab.publish("hermes", &good(&lab.name("v2")));
    signer.sign(&lab.registry, "acme/hermes", &digest, Layout::Classic);
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    let (host, key) = (between.host(), signer.pem());
    let vars = [("DOCKER_HOST", &*host), ("IMAGEWATCH_VERIFY", &*key)];
    let program = lab.program("hermes", &vars);
    // To an image that nobody signed.
    refresh_while_its_tag_moves(&lab, &between, &program);
    assert_eq!(lab.version("1"), lab.name("v2"));
    let (_, report) = program.refresh("");
    assert_eq!(names(&report, "failed"), ["hermes"], "{report}");
    assert_eq!(lab.version("1"), lab.name("v2"));
}

#[test]
fn only_signed_images_run_whichever_request_the_tag_moves_before() {
    let Some(lab) = with_workspace() else { return };
    let (signer, repository) = (Signer::new(), Lab::repository("hermes"));
    let key = signer.pem();
    let program = lab.program("hermes", &[("IMAGEWATCH_VERIFY", &*key)]);
    let mut signed = vec![lab.name("v1")];
    let (mut updates, mut refusals) = (0, 0);
    for request in 1.. {
        assert!(request < 60, "a refresh has an end");
        let name = lab.name(&format!("signed{request}"));
        let digest = lab.publish("hermes", &good(&name));
        let layout = [Layout::Classic, Layout::Bundle][request % 2];
        signer.sign(&lab.registry, &repository, &digest, layout);
        signed.push(name);
        let other = good(&lab.name(&format!("unsigned{request}")));
        lab.registry.publish(&repository, "next", &other);
        lab.rules.move_before(request);
        let (_, report) = program.refresh("");
        let running = lab.version("1");
        assert!(signed.contains(&running), "{request}: {running} {report}");
        let tagged = lab.docker.image(&lab.reference("hermes"));
        let tagged = tagged.to_string();
        assert!(!tagged.contains("unsigned"), "{request}: {tagged}");
        updates += names(&report, "recreated").len();
        refusals += names(&report, "failed").len();
        assert_eq!(names(&report, "rolled_back").len(), 0, "{report}");
        if !lab.rules.has_moved() {
            break;
        }
    }
    eprintln!("{updates} updates, {refusals} refusals");
    assert!(updates > 3 && refusals > 0, "{updates} {refusals}");
}

#[test]
fn a_push_that_the_registry_tells_of_runs_within_half_a_minute() {
    let Some(lab) = with_workspace() else { return };
    let vars = [
        ("IMAGEWATCH_INTERVAL", "1h"),
        ("IMAGEWATCH_HOOK_SECRET", SECRET),
    ];
    let program = lab.watcher("hermes", &vars);
    program.await_line("watching 1 container, 1 image; none is behind");
    let url = format!("http://{}/hooks/push", program.host());
    let telling = lab.registry.telling(&url, SECRET);
    let begun = Instant::now();
    telling.publish("acme/hermes", "latest", &good(&lab.name("v2")));
    await_version(&lab, "v2");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    let status = eventually("the end of the refresh", || {
        let (_, status) = program.ask("GET", "/admin/status");
        status["refreshes"][0].is_object().then_some(status)
    });
    assert_eq!(status["refreshes"][0]["asked_by"], "hook", "{status}");
    assert!(status["watcher"]["last_hook"].is_string(), "{status}");
    // What imagewatch itself asks for is told too, and starts nothing.
    for _ in 0..100 {
        let name = format!("http://{}/v2/acme/hermes/manifests/latest", telling.host());
        crate::support::images::agent()
            .head(name)
            .call()
            .expect("an image");
    }
    // A flood of tags, most of which nobody follows, and a new image in its middle.
    let (begun, image) = (Instant::now(), good(&lab.name("v3")));
    let digest = telling.publish("acme/hermes", "t0", &image);
    for number in 1..1200 {
        let tag = match number {
            600 => "latest".to_owned(),
            number => format!("t{number}"),
        };
        assert_eq!(telling.publish("acme/hermes", &tag, &image), digest);
    }
    let flood = begun.elapsed();
    await_version(&lab, "v3");
    let lookups = program.log().matches("hermes: unchanged").count();
    let most = 6 + flood.as_secs() / 30;
    assert!(lookups as u64 <= most, "{lookups} look-ups in {flood:?}");
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    let count = |outcome: &str| {
        let name =
            format!("imagewatch_hooks_total{{outcome=\"{outcome}\",sender=\"distribution\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&*name));
        line.and_then(|count| count.parse::<u64>().ok())
            .unwrap_or(0)
    };
    eprintln!(
        "{flood:?}: {} hooks, {} ignored",
        count("checked"),
        count("ignored")
    );
    assert!(count("checked") > 100, "{metrics}");
}
