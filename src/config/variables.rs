//! The table of variables: names, defaults and meanings.

/// One row of the table of variables.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// The value that an unset variable has. Empty means none.
    pub default: &'static str,
    /// The meaning, as `--help` prints it.
    pub meaning: &'static str,
    /// Whether `NAME_FILE` may hold the path of a file with the value.
    pub secret: bool,
}

/// Every variable that this version reads. `--help` prints the table, and tests compare the pages with it.
pub const VARIABLES: &[Variable] = &[
    plain("IMAGE_AUTO_REFRESH", "false", "true starts the watcher"),
    plain(
        "IMAGEWATCH_INTERVAL",
        "5m",
        "time between rounds, at least 1s",
    ),
    plain(
        "IMAGEWATCH_RUNTIMES",
        "claude-code,langgraph,crewai,autogen,deepagents,hermes,gemini-cli,openclaw",
        "the runtimes; none for no catalogue",
    ),
    plain(
        "IMAGEWATCH_IMAGE",
        "ghcr.io/molecule-ai/workspace-template-{runtime}:latest",
        "reference of a runtime's image",
    ),
    plain(
        "IMAGEWATCH_PREFIX",
        "ws-",
        "a workspace container's name starts with this",
    ),
    plain(
        "IMAGEWATCH_SELECT",
        "workspaces,labelled",
        "which containers are managed: workspaces, labelled, all",
    ),
    plain(
        "IMAGEWATCH_RECREATE",
        "swap",
        "swap recreates in place; remove only force-removes",
    ),
    plain(
        "IMAGEWATCH_CATCH_UP",
        "false",
        "true also refreshes what is behind at the first look",
    ),
    plain(
        "IMAGEWATCH_MODE",
        "update",
        "notify: containers are not updated, and their owners are told, unless their label says update",
    ),
    plain(
        "IMAGEWATCH_MIN_AGE",
        "0",
        "how long a tag must have pointed at an image before it is applied",
    ),
    plain(
        "IMAGEWATCH_WINDOW",
        "",
        "when updates may be applied, e.g. Mon-Fri 02:00-05:00, Sat 00:00-24:00",
    ),
    plain(
        "IMAGEWATCH_WINDOW_PULL",
        "false",
        "true pulls images before their window opens",
    ),
    plain(
        "TZ",
        "",
        "time zone of the window and of shown times: a name or a POSIX rule",
    ),
    plain(
        "IMAGEWATCH_INCLUDE_STOPPED",
        "false",
        "true also recreates containers that are stopped, which stay stopped",
    ),
    plain(
        "IMAGEWATCH_PARALLEL",
        "8",
        "how many containers may wait to be accepted at the same time",
    ),
    plain(
        "IMAGEWATCH_SETTLE",
        "10s",
        "how long a container without HEALTHCHECK must stay up",
    ),
    plain(
        "IMAGEWATCH_HEALTH_TIMEOUT",
        "0",
        "longest wait for healthy; 0 derives it from the HEALTHCHECK",
    ),
    plain(
        "IMAGEWATCH_CLEANUP",
        "false",
        "true removes the replaced image when nothing uses it",
    ),
    plain(
        "IMAGEWATCH_KEEP",
        "1",
        "how many earlier images of a reference stay for a roll-back by hand",
    ),
    plain(
        "IMAGEWATCH_LISTEN",
        "127.0.0.1:8080",
        "address of the admin endpoint; off for none",
    ),
    secret(
        "IMAGEWATCH_VERIFY",
        "PEM public keys, one of which must have signed an image before it is pulled",
    ),
    plain(
        "IMAGEWATCH_VERIFY_FOR",
        "",
        "beginnings of the names that need a signature, e.g. ghcr.io/acme/; all if unset",
    ),
    plain(
        "IMAGEWATCH_VERIFY_IDENTITY",
        "",
        "imagewatch:keyless only: workflows of GitHub Actions that may sign too",
    ),
    plain(
        "IMAGEWATCH_TRUSTED_ROOT",
        "",
        "imagewatch:keyless only: another trusted_root.json",
    ),
    secret("ADMIN_TOKEN", "bearer token of the admin endpoint"),
    secret(
        "IMAGEWATCH_READ_TOKEN",
        "a second bearer token, for reading status, summary and metrics only",
    ),
    secret(
        "IMAGEWATCH_HOOK_SECRET",
        "switches push hooks on; what their senders sign with, or send",
    ),
    secret("GHCR_USER", "user name for ghcr.io"),
    secret("GHCR_TOKEN", "access token for ghcr.io"),
    secret(
        "IMAGEWATCH_NOTIFY",
        "URLs that get a message per outcome, separated by spaces",
    ),
    plain(
        "REGISTRY_AUTH_FILE",
        "",
        "Podman's auth.json, if it is not where it usually is",
    ),
    plain("DOCKER_CONFIG", "~/.docker", "folder of config.json"),
    plain(
        "DOCKER_HOST",
        "unix:///var/run/docker.sock",
        "the Engine: unix://PATH or tcp://HOST:PORT",
    ),
    plain(
        "DOCKER_TLS_VERIFY",
        "",
        "any value asks for TLS to the Engine, tcp://localhost:2376 if DOCKER_HOST is unset",
    ),
    plain(
        "DOCKER_CERT_PATH",
        "",
        "folder of ca.pem, cert.pem and key.pem for TLS to the Engine; DOCKER_CONFIG if unset",
    ),
    plain(
        "MOLECULE_IMAGE_PLATFORM",
        "",
        "platform for pull and create, e.g. linux/amd64",
    ),
    plain(
        "IMAGEWATCH_INSECURE_REGISTRIES",
        "",
        "hosts spoken to over plain HTTP",
    ),
    plain(
        "SSL_CERT_FILE",
        "",
        "PEM bundle of certificates to trust besides the built-in ones",
    ),
    plain("HTTPS_PROXY", "", "proxy for https"),
    plain("HTTP_PROXY", "", "proxy for plain HTTP"),
    plain("NO_PROXY", "", "hosts, domains and networks without proxy"),
    plain(
        "IMAGEWATCH_STATE",
        "",
        "folder in which history and rejected images survive a restart",
    ),
    plain(
        "IMAGEWATCH_LOG",
        "info",
        "error, warn, info, debug, or an env_logger filter",
    ),
    plain("IMAGEWATCH_LOG_FORMAT", "text", "text or json"),
    plain(
        "IMAGEWATCH_SWARM_AUTH",
        "false",
        "true hands logins to Swarm with the update of a service",
    ),
];

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default,
        meaning,
        secret: false,
    }
}

const fn secret(name: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        default: "",
        meaning,
        secret: true,
    }
}
