//! The creation of the helper, with the rights of the own container and nothing else of it.

use super::Part;
use super::Swap;
use super::helper::COMMAND;
use super::helper::NAME;
use super::helper::OwnUpdate;
use super::helper::Stage;
use super::never_replaced::run_folder;
use crate::engine::Container;
use crate::engine::Endpoint;
use crate::engine::Removal;
use crate::error::Error;
use crate::error::Result;
use crate::http::TLS_FILES;
use crate::labels::HELPER;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::path::Path;

/// The variables that the helper gets from the own container. It gets no token, no login, and no receiver of messages.
const VARIABLES: [&str; 7] = [
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "IMAGEWATCH_SETTLE",
    "IMAGEWATCH_HEALTH_TIMEOUT",
    "IMAGEWATCH_LOG",
    "MOLECULE_IMAGE_PLATFORM",
    "TZ",
];
/// The settings of the host that the helper shares with the own container, because they decide whether it may speak
/// with the Engine.
const RIGHTS: [&str; 8] = [
    "CapAdd",
    "CapDrop",
    "GroupAdd",
    "Privileged",
    "ReadonlyRootfs",
    "Runtime",
    "SecurityOpt",
    "UsernsMode",
];

impl Swap<'_> {
    /// Creates and starts the helper that updates the own container.
    ///
    /// # Errors
    /// When the Engine refuses. Nothing is left then.
    #[cold]
    pub fn start_helper(&self, own: &Container, update: &OwnUpdate) -> Result<()> {
        let image = self.engine.image(own.image_id())?;
        let plan = self.plan(&Part::new(own, &image), &[], &[])?;
        let endpoint = self.engine.endpoint();
        let networks = match endpoint {
            Endpoint::Unix(_) => Vec::new(),
            Endpoint::Tcp(_) | Endpoint::Tls(..) => networks(own),
        };
        let body = body(
            &plan.replacement.body,
            update,
            endpoint,
            &networks,
            self.about.is_podman(),
        )
        .ok_or_else(|| {
            Error::malformed(
                format!("create {NAME}"),
                "the Engine's socket is no mount of imagewatch's own container",
            )
        })?;
        let id = self.engine.create(NAME, plan.platform.as_deref(), &body)?;
        let mut joined = networks.iter().skip(1);
        let started = joined
            .try_for_each(|network| self.engine.connect(network, &id, &json!({})))
            .and_then(|()| self.engine.start(&id));
        started.inspect_err(|_| {
            if let Err(error) = self.engine.remove(&id, Removal::ForceWithAnonymousVolumes) {
                log::warn!("{NAME} could not be removed: {error}");
            }
        })
    }
}

/// The networks by which the own container reaches an Engine at an address.
fn networks(own: &Container) -> Vec<String> {
    let mode = own.host_config().get("NetworkMode").and_then(Value::as_str);
    match mode {
        Some("host") => vec!["host".to_owned()],
        _ => own.networks().keys().cloned().collect(),
    }
}

/// The body of the create call. `own` is the body from which the own container would be created again. The result is
/// `None` if the Engine's socket is in none of its mounts.
fn body(
    own: &Value,
    update: &OwnUpdate,
    endpoint: &Endpoint,
    networks: &[String],
    is_podman: bool,
) -> Option<Value> {
    let mut host = Map::new();
    for right in RIGHTS {
        if let Some(value) = own["HostConfig"]
            .get(right)
            .filter(|value| !value.is_null())
        {
            host.insert(right.to_owned(), value.clone());
        }
    }
    for (kind, mount) in mounts(&own["HostConfig"], endpoint)? {
        let known = host.entry(kind).or_insert_with(|| json!([]));
        if let Some(known) = known.as_array_mut()
            && !known.contains(mount)
        {
            known.push(mount.clone());
        }
    }
    let network = networks.first().map_or("none", String::as_str);
    host.insert("NetworkMode".to_owned(), json!(network));
    host.insert("RestartPolicy".to_owned(), Stage::AtWork.policy(is_podman));
    if !is_podman {
        // The result of the swap is read from the log, whatever the default of the Engine is.
        host.insert(
            "LogConfig".to_owned(),
            json!({"Type": "json-file", "Config": {"max-size": "1m"}}),
        );
    }
    let variables = own["Env"].as_array().into_iter().flatten();
    let is_for_helper = |variable: &&Value| {
        let name = variable.as_str().and_then(|text| text.split('=').next());
        name.is_some_and(|name| VARIABLES.contains(&name))
    };
    let program = std::env::current_exe().unwrap_or_default();
    let mut body = json!({
        "Image": update.from,
        "Entrypoint": [program],
        "Cmd": [COMMAND, update.name, update.to],
        "Env": variables.filter(is_for_helper).collect::<Vec<_>>(),
        "Labels": { HELPER: update.to_label() },
        "Healthcheck": { "Test": ["NONE"] },
        "WorkingDir": "/",
        "HostConfig": host,
    });
    if let (Endpoint::Tls(_, tls), Some(env)) = (endpoint, body["Env"].as_array_mut()) {
        let folder = tls.folder.display();
        env.push(json!(format!("DOCKER_CERT_PATH={folder}")));
    }
    if let Some(user) = own.get("User") {
        body["User"] = user.clone();
    }
    Some(body)
}

/// The mounts by which the Engine is reached; `None` if its socket is in none.
fn mounts<'b>(host: &'b Value, endpoint: &Endpoint) -> Option<Vec<(&'static str, &'b Value)>> {
    match endpoint {
        Endpoint::Unix(path) => mount_of(host, path).map(|mount| vec![mount]),
        Endpoint::Tcp(_) => Some(Vec::new()),
        // A file that is in no mount is in the image, which the helper has too.
        Endpoint::Tls(_, tls) => {
            let mount = |file| mount_of(host, &tls.folder.join(file));
            Some(TLS_FILES.into_iter().filter_map(mount).collect())
        }
    }
}

/// The mount that holds a path, and the setting that has it: the innermost one, if there are several.
fn mount_of<'b>(host: &'b Value, path: &Path) -> Option<(&'static str, &'b Value)> {
    let of = |kind: &'static str| {
        let all = host[kind].as_array().into_iter().flatten();
        all.filter_map(move |mount| {
            let target = match mount.as_str() {
                Some(bind) => bind.split(':').nth(1)?,
                None => mount["Target"].as_str()?,
            };
            run_folder(path)
                .strip_prefix(run_folder(Path::new(target)))
                .ok()?;
            Some((target.len(), kind, mount))
        })
    };
    let all = of("Binds").chain(of("Mounts"));
    all.max_by_key(|(length, ..)| *length)
        .map(|(_, kind, mount)| (kind, mount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::EngineTls;

    fn update() -> OwnUpdate {
        OwnUpdate {
            name: "iw".to_owned(),
            from: "sha256:a".to_owned(),
            to: "sha256:b".to_owned(),
            digest: None,
            back_by: None,
        }
    }

    #[test]
    fn a_helper_has_the_rights_of_the_own_container_and_nothing_else() {
        let own = json!({
            "User": "65534:999", "ExposedPorts": {"8080/tcp": {}},
            "Env": ["ADMIN_TOKEN=s3cret", "IMAGEWATCH_SETTLE=3s", "GHCR_TOKEN=s3cret", "IMAGEWATCH_NOTIFY=https://x",
                    "IMAGEWATCH_SETTLES=1", "TZ"],
            "Labels": {"com.docker.compose.project": "p", "imagewatch.enable": "true"},
            "HostConfig": {
                "PortBindings": {"8080/tcp": [{"HostPort": "8080"}]}, "ReadonlyRootfs": true, "CapDrop": ["ALL"],
                "GroupAdd": ["999"], "SecurityOpt": ["no-new-privileges"], "Memory": 1,
                "Binds": ["/srv/state:/state", "/var/run/docker.sock:/run/docker.sock:ro"],
            },
        });
        let socket = Endpoint::Unix("/var/run/docker.sock".into());
        let made = body(&own, &update(), &socket, &[], false).expect("a body");
        let program = std::env::current_exe().expect("a path");
        assert_eq!(
            made,
            json!({
                "Image": "sha256:a", "Entrypoint": [program], "Cmd": ["swap", "iw", "sha256:b"], "User": "65534:999",
                "Env": ["IMAGEWATCH_SETTLE=3s", "TZ"], "WorkingDir": "/", "Healthcheck": {"Test": ["NONE"]},
                "Labels": {HELPER: update().to_label()},
                "HostConfig": {
                    "ReadonlyRootfs": true, "CapDrop": ["ALL"], "GroupAdd": ["999"], "SecurityOpt": ["no-new-privileges"],
                    "Binds": ["/var/run/docker.sock:/run/docker.sock:ro"], "NetworkMode": "none",
                    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 0},
                    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
                },
            })
        );
        // By way of a proxy, on Podman.
        let proxy = Endpoint::Tcp("proxy:2375".to_owned());
        let made =
            body(&own, &update(), &proxy, &["stack_inner".to_owned()], true).expect("a body");
        assert_eq!(made["HostConfig"]["NetworkMode"], "stack_inner");
        assert_eq!(made["HostConfig"]["RestartPolicy"]["Name"], "always");
        assert_eq!(made["HostConfig"]["Binds"], Value::Null);
        // The socket is in no mount.
        assert_eq!(
            body(
                &own,
                &update(),
                &Endpoint::Unix("/elsewhere/s".into()),
                &[],
                false
            ),
            None
        );
    }

    #[test]
    fn a_helper_that_speaks_tls_gets_the_files_for_it() {
        let tls = |folder: &str| {
            Endpoint::Tls(
                "e:2376".to_owned(),
                EngineTls::new(folder.into(), &[], None),
            )
        };
        let binds = |own: &Value, endpoint: &Endpoint| {
            let networks = ["n".to_owned()];
            let mut made = body(own, &update(), endpoint, &networks, false).expect("a body");
            (made["HostConfig"]["Binds"].take(), made["Env"].clone())
        };
        let folder = json!({"Env": ["DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs"], "HostConfig": {
            "Binds": ["/srv/state:/state", "/srv/certs:/certs:ro"],
        }});
        assert_eq!(
            binds(&folder, &tls("/certs")),
            (
                json!(["/srv/certs:/certs:ro"]),
                json!(["DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs"])
            )
        );
        let files = json!({"HostConfig": {"Binds": ["/a:/run/secrets/ca.pem", "/b:/run/secrets/key.pem", "/c:/c"]}});
        assert_eq!(
            binds(&files, &tls("/run/secrets")).0,
            json!(["/a:/run/secrets/ca.pem", "/b:/run/secrets/key.pem"])
        );
        // They may be in the image.
        assert_eq!(
            binds(&json!({"HostConfig": {}}), &tls("/certs")).0,
            Value::Null
        );
    }

    #[test]
    fn the_innermost_mount_holds_the_socket() {
        let host = json!({
            "Binds": ["/run:/host/run"],
            "Mounts": [{"Type": "volume", "Source": "s", "Target": "/host/run/proxy"}, {"Target": "/other"}],
        });
        for (socket, kind) in [
            ("/host/run/docker.sock", Some("Binds")),
            ("/host/run/proxy/docker.sock", Some("Mounts")),
            ("/host/docker.sock", None),
        ] {
            let found = mount_of(&host, Path::new(socket));
            assert_eq!(found.map(|(kind, _)| kind), kind, "{socket}");
        }
    }
}
