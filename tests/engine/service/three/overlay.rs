//! A client on an overlay network, which loses no request during updates that start the new tasks first.

use super::Three;
use crate::engine::lab::good;
use crate::support::images::ImageSpec;
use crate::support::patiently;
use serde_json::Value;
use serde_json::json;

/// A web server that answers with its mark, is looked after each second, and has time for the last requests.
fn server(mark: &str) -> ImageSpec {
    let script = format!(
        "mkdir /w; echo {mark} > /w/index.html; trap 'sleep 3; exit 0' TERM; \
         busybox httpd -f -p 8080 -h /w & while :; do sleep 1 & wait $!; done"
    );
    good(mark)
        .with("Cmd", json!(["/bin/busybox", "sh", "-c", script]))
        .with(
            "Healthcheck",
            check("busybox wget -q -O /dev/null http://127.0.0.1:8080/"),
        )
}

fn check(command: &str) -> Value {
    json!({
        "Test": ["CMD", "/bin/busybox", "sh", "-c", command],
        "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "Retries": 3,
    })
}

impl Three {
    fn network(&self) -> String {
        let name = self.swarm.lab.name("net");
        let body = json!({"Name": name, "Driver": "overlay", "Attachable": true});
        let (status, answer) = self.swarm.api.json("POST", "/networks/create", &body);
        assert_eq!(status, 201, "{answer}");
        name
    }

    /// What the client has seen: the number of answers by their text.
    fn seen(&self, client: &str) -> Vec<(String, usize)> {
        let path = format!("/containers/{client}/logs?stdout=1&stderr=1");
        let (_, log) = self.swarm.lab.docker.ask("GET", &path, b"");
        let log = String::from_utf8_lossy(&log).replace('\r', "");
        let mut counts: Vec<(String, usize)> = Vec::new();
        for line in log.lines() {
            match counts.iter_mut().find(|(text, _)| text == line) {
                Some((_, count)) => *count += 1,
                None => counts.push((line.to_owned(), 1)),
            }
        }
        counts
    }
}

#[test]
fn a_client_sees_no_failed_request_during_good_and_bad_updates() {
    let Some(three) = Three::new() else { return };
    let swarm = &three.swarm;
    let network = three.network();
    let service = swarm.lab.name("web");
    swarm.create_of("web", &server("v1"), &|spec| {
        spec["Mode"] = json!({"Replicated": {"Replicas": 3}});
        spec["TaskTemplate"]["Networks"] = json!([{"Target": network}]);
        spec["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"] = json!(10_000_000_000_u64);
        spec["EndpointSpec"] = json!({"Mode": "dnsrr"});
        spec["UpdateConfig"]["Parallelism"] = json!(1);
        spec["UpdateConfig"]["Order"] = json!("start-first");
    });
    swarm.lab.publish("client", &good("client"));
    swarm.lab.pull("client");
    let ask = format!(
        "while :; do busybox timeout 3 busybox wget -q -O - http://{service}:8080/ 2>/dev/null || echo FAILED; \
         busybox usleep 100000; done"
    );
    let client = swarm.lab.name("client");
    swarm.lab.docker.run(
        &client,
        &json!({
            "Image": swarm.lab.reference("client"), "Tty": true,
            "Cmd": ["/bin/busybox", "sh", "-c", ask],
            "HostConfig": {"NetworkMode": network},
        }),
    );
    let count = |text: &str| {
        let all = three.seen(&client);
        let found = all.iter().find(|(line, _)| line == text);
        found.map_or(0, |(_, count)| *count)
    };
    patiently("answers", || (count("v1") > 20).then_some(()));
    let failed_before = count("FAILED");
    let program = swarm.watcher(&[]);
    swarm.lab.publish("web", &server("v2"));
    program.await_line(&format!("updated service={service}"));
    let bad = server("bad").with("Cmd", json!(["/bin/busybox", "false"]));
    let sick = server("sick").with("Healthcheck", check("false"));
    for (number, image) in [bad, sick].into_iter().enumerate() {
        swarm.lab.publish("web", &image);
        program.await_lines(&format!("rolled back container={service}"), number + 1);
    }
    let v2 = count("v2");
    patiently("more answers", || (count("v2") > v2 + 20).then_some(()));
    let all = three.seen(&client);
    assert_eq!(count("FAILED"), failed_before, "{all:?}");
    assert_eq!(count("sick") + count("bad"), 0, "{all:?}");
    swarm.lab.docker.remove(&client);
    swarm
        .api
        .json("DELETE", &format!("/services/{service}"), &Value::Null);
    patiently("the network is gone", || {
        let path = format!("/networks/{network}");
        let (status, _) = swarm.api.json("DELETE", &path, &Value::Null);
        (status == 204 || status == 404).then_some(())
    });
}
