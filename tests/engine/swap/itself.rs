//! The program's own container: known wherever it lives, never stopped, and never undone by itself.

use crate::engine::lab::Lab;
use crate::engine::lab::good;
use crate::engine::program_in_container::Contained;
use crate::engine::program_in_container::IMAGE;
use crate::engine::program_in_container::image;
use crate::support::eventually;
use serde_json::Value;
use serde_json::json;

/// Both images, and a workspace.
fn prepare(lab: &Lab) {
    lab.publish(IMAGE, &image());
    lab.pull(IMAGE);
    lab.first_workspace("hermes");
}

fn id(lab: &Lab, name: &str) -> String {
    lab.inspect(name)["Id"].as_str().expect("an id").to_owned()
}

/// The program in another container's network, and in a control group namespace of its own: what the kernel
/// shows there is the other container's.
#[test]
fn in_anothers_network_it_knows_itself_and_goes_on_after_a_kill() {
    let Some(lab) = Lab::alone() else { return };
    prepare(&lab);
    let body = json!({"Image": lab.reference("hermes"), "HostConfig": {"NetworkMode": "host"}});
    lab.docker.run(&lab.name("net"), &body);
    let prefix = format!("IMAGEWATCH_PREFIX={}", lab.name(""));
    let mode = format!("container:{}", id(&lab, "net"));
    let config = json!({"HostConfig": {"NetworkMode": mode, "CgroupnsMode": "private"}});
    let env = [
        &*prefix,
        "IMAGEWATCH_SETTLE=8s",
        "IMAGEWATCH_INTERVAL=1s",
        "IMAGE_AUTO_REFRESH=true",
    ];
    let inside = Contained::run(&lab, "iw", &env, &config);
    inside.await_line("hermes: seeded");
    lab.publish("hermes", &good("v2"));
    inside.await_line("waiting for it to be accepted");
    let claim = lab.docker.inspect("imagewatch.claim");
    let holder = claim["Config"]["Labels"]["io.imagewatch.claim"].as_str();
    let holder: Value = serde_json::from_str(holder.expect("a claim")).expect("JSON");
    assert_eq!(holder["in"], json!(id(&lab, "iw")), "{holder}");

    let kill = format!("/containers/{}/kill", inside.name);
    assert_eq!(lab.docker.ask("POST", &kill, b"").0, 204);
    eventually("its end", || {
        (lab.inspect("iw")["State"]["Running"] == false).then_some(())
    });
    lab.docker.start(&inside.name);
    inside.await_line("taking over from imagewatch");
    inside.await_line("a swap was found half done and is finished now");
    eventually("nothing half done", || {
        (lab.names() == ["1", "iw", "net"]).then_some(())
    });

    // Whose network it uses is left alone, before anything is stopped.
    let net = lab.inspect("net")["State"]["StartedAt"].clone();
    let report = inside.refresh();
    let skipped = &report["skipped"][0];
    assert_eq!(skipped["name"], json!(lab.name("net")), "{report}");
    let reason = skipped["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("imagewatch itself uses its network"),
        "{report}"
    );
    assert_eq!(lab.inspect("net")["State"]["StartedAt"], net);
    assert_eq!(lab.version("1"), "v2");
}

/// Somebody else swapped the program's container and died after the start.
#[test]
fn a_successor_finishes_its_own_swap_and_never_undoes_it() {
    let Some(lab) = Lab::alone() else { return };
    prepare(&lab);
    let network = json!({"NetworkMode": "host"});
    let config = json!({"HostConfig": network, "Labels": {"half": "old"}});
    Contained::create(&lab, "iw", &[], &config);
    let old = id(&lab, "iw");
    let aside = format!("iw.iw-old-{}", &old[..8]);
    let rename = |from: &str, to: &str| {
        let path = format!(
            "/containers/{}/rename?name={}",
            lab.name(from),
            lab.name(to)
        );
        assert_eq!(lab.docker.ask("POST", &path, b"").0, 204);
    };
    let record = |provider: Option<&str>| {
        let mut record = json!({"v": 1, "name": lab.name("iw"), "old": old, "was": "running",
                                "restart": {"Name": "unless-stopped", "MaximumRetryCount": 0}});
        if let Some(provider) = provider {
            record["provider"] = json!(provider);
        }
        record.to_string()
    };
    rename("iw", &aside);

    // What it lives in has no successor that runs, so the whole swap is to be undone.
    let provider = lab
        .docker
        .create(&lab.name("net"), &json!({"Image": lab.reference("hermes")}));
    rename("net", &format!("net.iw-old-{}", &provider[..8]));
    let net = json!({"v": 1, "name": lab.name("net"), "old": provider, "was": "running", "restart": {"Name": "no"}});
    let body =
        json!({"Image": lab.reference("hermes"), "Labels": {"io.imagewatch.txn": net.to_string()}});
    lab.docker.create(&lab.name("net"), &body);
    let labels = json!({"half": "new", "io.imagewatch.txn": record(Some(&provider))});
    let new = Contained::run(
        &lab,
        "iw",
        &[],
        &json!({"HostConfig": network, "Labels": labels}),
    );
    let line = new.await_line("could not be settled");
    assert!(
        line.contains("its successor is imagewatch itself"),
        "{line}"
    );
    assert!(line.contains("run outside of it"), "{line}");
    assert_eq!(lab.inspect("iw")["State"]["Running"], true);
    assert_eq!(lab.names().len(), 5, "{:?}", lab.names());
    for name in ["iw", "net"] {
        lab.docker.remove(&lab.name(name));
    }
    lab.docker.remove(&provider);

    // It is unhealthy. (Podman checks nothing here.)
    if !lab.is_podman {
        let check = json!({"Test": ["CMD", "/imagewatch", "no-such-command"], "Interval": 500_000_000,
                           "Retries": 1});
        let labels = json!({"half": "new", "io.imagewatch.txn": record(None)});
        let config = json!({"HostConfig": network, "Labels": labels, "Healthcheck": check});
        let new = Contained::run(&lab, "iw", &[], &config);
        let line = new.await_line("could not be settled");
        assert!(
            line.contains("its successor is imagewatch itself, it is unhealthy"),
            "{line}"
        );
        assert_eq!(lab.inspect("iw")["State"]["Running"], true);
        assert_eq!(lab.names(), ["1", "iw", &*aside]);
        // Whoever is outside of it can.
        let mut outside = lab.program("hermes", &[]);
        outside.await_line("a swap was found half done and is undone now");
        assert_eq!(lab.inspect("iw")["Config"]["Labels"]["half"], "old");
        assert_eq!(lab.inspect("iw")["State"]["Running"], true);
        assert_eq!(lab.names(), ["1", "iw"]);
        // If it were killed before it gives back the lock, those in another PID namespace would wait for it.
        outside.signal("TERM");
        outside.await_exit();
        lab.docker.stop(&lab.name("iw"));
        rename("iw", &aside);
    }

    // It is accepted.
    let labels = json!({"half": "new", "io.imagewatch.txn": record(None)});
    let new = Contained::run(
        &lab,
        "iw",
        &[],
        &json!({"HostConfig": network, "Labels": labels}),
    );
    new.await_line("a swap was found half done and is finished now");
    assert_eq!(lab.names(), ["1", "iw"]);
    assert_eq!(lab.inspect("iw")["Config"]["Labels"]["half"], "new");
}

#[test]
fn a_claim_that_somebody_removes_is_taken_again_before_the_next_swap() {
    let Some(lab) = Lab::new() else { return };
    lab.first_workspace("hermes");
    lab.workspace("2", "hermes");
    let program = lab.program("hermes", &[("IMAGEWATCH_SETTLE", "2s")]);
    let claim = || lab.inspect("imagewatch.claim")["Id"].clone();
    lab.publish("hermes", &good("v2"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            program.await_line("waiting for it to be accepted");
            let first = claim();
            lab.docker.remove(first.as_str().expect("a claim"));
            eventually("the second swap", || {
                let waits = "waiting for it to be accepted";
                (program.log().matches(waits).count() == 2).then_some(())
            });
            let second = claim();
            assert!(second.is_string() && second != first, "{second}");
        });
        let (_, report) = program.refresh("");
        let both = json!([lab.name("1"), lab.name("2")]);
        assert_eq!(report["recreated"], both, "{report}");
    });
    let gone = eventually("it to be given back", || Some(claim().is_null()));
    assert!(gone);
}
