//! The watcher's life on a real registry and a real Engine.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::support::Folder;
use crate::support::engine_proxy::EngineProxy;
use crate::support::eventually;
use crate::support::server::Answer;
use serde_json::json;

#[test]
fn seeding_does_nothing_and_one_moved_tag_refreshes_just_that_one() {
    let Some(lab) = Lab::new() else { return };
    for runtime in ["hermes", "crewai"] {
        lab.publish(runtime, &good("v1"));
        lab.pull(runtime);
    }
    let hermes = lab.workspace("1", "hermes");
    let crewai = lab.workspace("2", "crewai");
    // Behind already at the start: a seed is not a reason to touch anything.
    let v2 = lab.publish("hermes", &good("v2"));
    let program = lab.watcher("hermes,crewai", &[]);
    program.await_line("image-auto-refresh: started (interval=1s, runtimes=2)");
    program.await_lines("hermes: unchanged", 2);
    assert_eq!(lab.inspect("1")["Id"], json!(hermes));
    assert!(!program.log().contains("pulled"));

    let v3 = lab.publish("hermes", &good("v3"));
    let line = program.await_line("image-auto-refresh: hermes digest moved");
    let moved = format!("{} → {}, refreshing", &v2[..19], &v3[..19]);
    assert!(line.ends_with(&moved), "{line}");
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v3");
    assert_eq!(lab.inspect("2")["Id"], json!(crewai));
    assert_eq!(program.log().matches("pulled image=").count(), 1);
}

#[test]
fn catching_up_refreshes_what_was_missed() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.publish("hermes", &good("v2"));
    let program = lab.watcher("hermes", &[("IMAGEWATCH_CATCH_UP", "true")]);
    program.await_line("hermes is behind");
    program.await_line("recreated container=");
    program.await_lines("hermes: unchanged", 1);
    assert_eq!(lab.version("1"), "v2");
}

#[test]
fn a_labelled_container_is_watched_whatever_its_image() {
    let Some(lab) = Lab::parted() else { return };
    lab.publish("other", &good("v1"));
    lab.pull("other");
    let labels = json!({"imagewatch.enable": "true"});
    let body = json!({"Image": lab.reference("other"), "Labels": labels});
    let name = format!("other-{}", lab.prefix);
    lab.docker.run(&name, &body);
    let between = EngineProxy::part(&lab.docker, &name);
    let host = between.host();
    let vars = [("IMAGEWATCH_SELECT", "labelled"), ("DOCKER_HOST", &host)];
    let program = lab.watcher("none", &vars);
    program.await_line("seeded");
    lab.publish("other", &good("v2"));
    program.await_line("recreated container=");
    let inspect = lab.docker.inspect(&name);
    drop(program);
    lab.docker.clean(&name, &lab.proxy.host());
    assert_eq!(inspect["Config"]["Labels"]["version"], "v2");
    assert_eq!(inspect["Config"]["Labels"]["imagewatch.enable"], "true");
}

#[test]
fn a_rejected_digest_is_tried_once_and_the_next_one_again() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    lab.publish("hermes", &good("bad").with("Cmd", json!(["/bin/false"])));
    program.await_line("is rejected until the tag moves on");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["references"][0]["state"], "rejected");
    let unchanged = program.log().matches("hermes: unchanged").count();
    program.await_lines("hermes: unchanged", unchanged + 2);
    assert_eq!(program.log().matches("rolled back").count(), 1);
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    lab.publish("hermes", &good("v3"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v3");
}

#[test]
fn a_rejected_image_that_was_pruned_is_not_fetched_or_tried_again() {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let state = folder.path().to_str().expect("UTF-8");
    let vars = [("IMAGEWATCH_STATE", state), ("IMAGEWATCH_CATCH_UP", "true")];
    let id = lab.first_workspace("hermes");
    let mut program = lab.watcher("hermes", &vars);
    program.await_line("seeded");
    let bad = lab.publish("hermes", &good("bad").with("Cmd", json!(["/bin/false"])));
    program.await_line("is rejected until the tag moves on");
    program.kill();
    // As `docker image prune --all` does with what no container uses.
    let name = lab.reference("hermes").replace(":latest", "");
    let image = lab.docker.image(&format!("{name}@{bad}"));
    let path = format!("/images/{}", image["Id"].as_str().expect("an id"));
    let (status, _) = lab.docker.ask("DELETE", &path, b"");
    assert_eq!(status, 200);

    let program = lab.watcher("hermes", &vars);
    program.await_line("is rejected until the tag moves on");
    program.await_lines("hermes: unchanged", 2);
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["references"][0]["state"], "rejected");
    assert!(!program.has_said("pulled image="), "{}", program.log());
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    lab.publish("hermes", &good("v3"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v3");
}

#[test]
fn a_rejected_digest_is_not_tried_again_after_a_restart() {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let state = folder.path().to_str().expect("UTF-8");
    let vars = [("IMAGEWATCH_STATE", state), ("IMAGEWATCH_CATCH_UP", "true")];
    let id = lab.first_workspace("hermes");
    let mut program = lab.watcher("hermes", &vars);
    program.await_line("seeded");
    lab.publish("hermes", &good("bad").with("Cmd", json!(["/bin/false"])));
    program.await_line("rolled back container=");
    program.await_line("is rejected until the tag moves on");
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    for line in [
        "imagewatch_swaps_total{outcome=\"rolled_back\"} 1",
        "imagewatch_references{state=\"rejected\"} 1",
        "imagewatch_rejected_digests 1",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line}: {metrics}"
        );
    }
    program.kill();

    let program = lab.watcher("hermes", &vars);
    program.await_line("is rejected until the tag moves on");
    program.await_lines("hermes: unchanged", 2);
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["references"][0]["state"], "rejected");
    assert_eq!(status["history"][0]["outcome"], "rolled_back");
    assert!(!program.has_said("pulled image="));
    let (_, report) = program.refresh("");
    let reason = report["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("this image was rejected: "), "{report}");
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    lab.publish("hermes", &good("v3"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v3");
    let (_, status) = program.ask("GET", "/admin/status");
    assert_eq!(status["history"][0]["outcome"], "recreated");
    let downtime = status["history"][0]["downtime_seconds"].as_f64();
    let (_, _, metrics) = program.ask_text("GET", "/metrics");
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<f64>().ok())
    };
    let swaps = |outcome: &str| value(&format!("imagewatch_swaps_total{{outcome={outcome:?}}}"));
    assert_eq!(
        (swaps("recreated"), swaps("rolled_back")),
        (Some(1.0), Some(0.0))
    );
    assert_eq!(value("imagewatch_downtime_seconds_count"), Some(1.0));
    let (sum, downtime) = (
        value("imagewatch_downtime_seconds_sum"),
        downtime.expect("one"),
    );
    assert!((sum.expect("a sum") - downtime).abs() < 0.002, "{metrics}");
    eventually("no rejection", || {
        let (_, status) = program.ask("GET", "/admin/status");
        (status["rejected"] == json!([])).then_some(())
    });
}

#[test]
fn a_registry_in_trouble_changes_nothing_and_a_revoked_token_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    let id = lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    lab.rules.set_trouble(Some(Answer::new(500, &[], "oops")));
    program.await_line("500 Internal Server Error");
    lab.rules.set_trouble(None);
    lab.rules.revoke_tokens();
    let before = program.log().matches("hermes: unchanged").count();
    program.await_lines("hermes: unchanged", before + 2);
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    let said = program.log();
    let warned = |line: &&str| line.contains("WARN") && line.contains("500 Internal");
    assert_eq!(said.lines().filter(warned).count(), 1, "said once:\n{said}");
}

#[test]
fn an_engine_whose_mirror_is_behind_is_told_the_digest() {
    let Some(lab) = Lab::new() else { return };
    let old = lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    lab.workspace("1", "hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    lab.rules.mirror(Some(old));
    lab.publish("hermes", &good("v2"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
}

#[test]
fn where_tags_may_not_be_moved_a_mirror_that_is_behind_is_waited_for() {
    let Some(lab) = Lab::parted() else { return };
    let old = lab.publish("hermes", &good("v1"));
    lab.pull("hermes");
    let id = lab.workspace("1", "hermes");
    let between = EngineProxy::part(&lab.docker, &lab.prefix);
    between.deny("/tag");
    let program = lab.watcher("hermes", &[("DOCKER_HOST", &between.host())]);
    program.await_line("seeded");
    lab.rules.mirror(Some(old));
    lab.publish("hermes", &good("v2"));
    program.await_line("is there a mirror that is behind?");
    // It is asked again, but not in each round.
    program.await_lines("not tried again yet", 2);
    assert_eq!(lab.inspect("1")["Id"], json!(id));
    let (_, status) = program.ask("GET", "/admin/status");
    let entry = &status["references"][0];
    assert_eq!(entry["state"], "outdated", "{status}");
    assert!(
        entry["last_error"].to_string().contains("mirror"),
        "{status}"
    );
    lab.rules.mirror(None);
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
    let warned = |line: &&str| line.contains("WARN") && line.contains("mirror");
    let said = program.log();
    assert_eq!(said.lines().filter(warned).count(), 1, "said once:\n{said}");
}

#[test]
fn an_engine_that_is_restarted_is_met_again() {
    let Some(lab) = Lab::in_charge() else { return };
    lab.first_workspace("hermes");
    let program = lab.watcher("hermes", &[]);
    program.await_line("seeded");
    assert_eq!(program.ask("GET", "/health").0, 200);
    lab.do_to_engine("restart");
    lab.docker.start(&lab.name("1"));
    eventually("healthy again", || {
        (program.ask("GET", "/health").0 == 200).then_some(())
    });
    lab.publish("hermes", &good("v2"));
    program.await_line("recreated container=");
    assert_eq!(lab.version("1"), "v2");
}
