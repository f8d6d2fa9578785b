//! The refusals of an Engine: their words, their kinds, and hints for the operator.

use crate::engine::Endpoint;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Obstacle;
use crate::error::one_line;
use crate::http;
use crate::json;
use crate::process;
use crate::reference::Reference;
use serde_json::Value;
use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use ureq::Body;
use ureq::http::Response;

/// The call that starts a container, as [`rule`] spells it.
const START: &str = "POST /containers/{id}/start";

/// The hint after a refusal by a proxy or plugin that allows only some calls.
const ALLOW: &str = " (the socket proxy or authorization plugin has to allow ";

/// The error for a refusal: the Engine's `{"message": …}`, or the words of a proxy in front of it.
pub(super) fn refused(request: &str, answer: Response<Body>) -> Error {
    let status = answer.status().as_u16();
    let words = http::read_words(answer);
    let json: Option<Value> = json::parse(&words).ok();
    let message = json.as_ref().and_then(|json| json["message"].as_str());
    let rule = rule(request);
    let hint = if matches!(status, 401 | 403 | 405) && !is_engines_own(&rule, message) {
        format!("{ALLOW}{rule})")
    } else {
        String::new()
    };
    let text = without_tags(&words);
    let message = message.unwrap_or(&text);
    let (request, status) = (request.to_owned(), meant(request, status, message));
    let shown = format!("{}{hint}", said(message));
    // A proxy answers 502 to 504 for an Engine that does not answer.
    if rule == START && !matches!(status, 502..=504) {
        return Error::not_started(request, status, shown, obstacle(message));
    }
    Error::refused(request, status, shown, None)
}

/// The obstacle to a start. The image is at fault only if the words are about executing the container's own
/// command, or about its users. Each of these texts was seen on an Engine (see the tests). Many other errors also
/// speak of missing files and programs.
fn obstacle(words: &str) -> Obstacle {
    const OF_CRUN: [&str; 4] = [
        "executable file `",
        "cannot find `",
        "open executable: ",
        "the path `",
    ];
    const OF_RUNC: [&str; 3] = ["exec: ", "exec /", "exec user process caused"];
    const OF_USERS: [&str; 2] = ["unable to find user ", "unable to find group "];
    let of_crun = words.strip_prefix("crun: ");
    let of_runc = process_trouble(words);
    let is_command = of_runc
        .is_some_and(|trouble| OF_RUNC.iter().any(|begin| trouble.starts_with(begin)))
        || of_crun.is_some_and(|trouble| OF_CRUN.iter().any(|begin| trouble.starts_with(begin)));
    if is_command || OF_USERS.iter().any(|begin| words.starts_with(begin)) {
        Obstacle::Image
    } else if words.contains("already in use") || words.contains("already allocated") {
        Obstacle::Taken
    } else {
        Obstacle::Surroundings
    }
}

/// The part of runc's words that says what went wrong with the container's process.
fn process_trouble(words: &str) -> Option<&str> {
    const BEGINNINGS: [&str; 2] = [
        "unable to start container process",
        "starting container process caused",
    ];
    let mut found = BEGINNINGS
        .iter()
        .filter_map(|begin| words.split_once(begin));
    let (_, trouble) = found.next()?;
    let trouble = trouble.trim_start_matches([':', ' ', '"']);
    Some(
        trouble
            .strip_prefix("error during container init: ")
            .unwrap_or(trouble),
    )
}

/// An Engine's words on one line, with a hint if there is one.
pub(super) fn said(words: &str) -> String {
    let hint = if tells_of_a_full_disk(words) {
        " (the Engine's disk is full: docker system df shows with what; docker image prune gives some back, and \
         IMAGEWATCH_CLEANUP=true keeps replaced images from piling up)"
    } else {
        ""
    };
    format!("{}{hint}", one_line(words))
}

fn tells_of_a_full_disk(words: &str) -> bool {
    words.contains("no space left on device")
}

/// The text of an HTML page, which a proxy may answer. Any other text stays as it is.
fn without_tags(words: &str) -> Cow<'_, str> {
    if !words.starts_with('<') {
        return Cow::Borrowed(words);
    }
    let texts = words.split('<').filter_map(|part| part.split_once('>'));
    Cow::Owned(texts.map(|(_, text)| text).collect::<Vec<_>>().join(" "))
}

/// Whether the Engine itself forbids the call. That happens for a pull that a registry forbids, a network that cannot
/// be joined, or an address that is in use.
fn is_engines_own(rule: &str, message: Option<&str>) -> bool {
    let is_of_rule = match rule {
        "POST /images/create" | "POST /networks/{id}/connect" => true,
        START => message.is_some_and(|words| obstacle(words) == Obstacle::Taken),
        _ => false,
    };
    is_of_rule && message.is_some_and(|words| !words.contains("authorization denied by plugin"))
}

/// The call as `docs/security.md` lists it: `POST /containers/{id}/start` for
/// `POST tcp://proxy:2375 /containers/web/start`.
fn rule(request: &str) -> String {
    let method = request.split(' ').next().unwrap_or_default();
    let path = request.rsplit(' ').next().unwrap_or_default();
    let begin = if path.starts_with("/libpod/") { 2 } else { 1 };
    let mut slashes = path.match_indices('/').map(|(at, _)| at + 1);
    let Some(id) = slashes.nth(begin) else {
        return format!("{method} {path}");
    };
    let (family, rest) = path.split_at(id);
    // The name of an image has slashes itself.
    match rest.rsplit_once('/') {
        Some((_, what)) => format!("{method} {family}{{id}}/{what}"),
        None if matches!(rest, "json" | "create") => format!("{method} {path}"),
        None => format!("{method} {family}{{id}}"),
    }
}

/// The status that Docker would answer. Podman (5.8) answers 500 if another call came in between, and only its
/// words tell what happened.
fn meant(request: &str, status: u16, message: &str) -> u16 {
    const TAKEN: [&str; 3] = [
        "container already exists",
        "name is already in use",
        "UNIQUE constraint failed: ContainerConfig.Name",
    ];
    let is_post = request.starts_with("POST ");
    match status {
        500 if is_post && TAKEN.iter().any(|words| message.contains(words)) => 409,
        // After a POST, the words may be about another container, which this one needs.
        500 if !is_post && message.ends_with("no such container") => 404,
        _ => status,
    }
}

/// Whether the Engine is unsure for now whether an image exists. Podman (4.3) answers so for an existing image
/// while another process changes its store.
pub(super) fn is_unsure_of_image(error: &Error) -> bool {
    error.is_refusal() && error.status() == Some(500) && error.words().contains("image not known")
}

/// The hint for an Engine that cannot be reached.
pub(super) fn hint(endpoint: &Endpoint, reason: &str) -> String {
    if reason.contains("No such file") {
        return " (is the Engine running, and its socket mounted here?)".to_owned();
    }
    if reason.contains("refused") {
        return " (is the Engine running?)".to_owned();
    }
    if !reason.contains("denied") {
        return String::new();
    }
    let socket = match endpoint {
        Endpoint::Unix(path) => std::fs::metadata(path).ok(),
        Endpoint::Tcp(_) | Endpoint::Tls(..) => None,
    };
    let me = process::name();
    if me == "user 0" {
        return format!(
            " (this is {me}: does SELinux forbid it? security_opt: [\"label=disable\"])"
        );
    }
    let Some(socket) = socket else {
        // The folder of the socket cannot be read either.
        return format!(" (this is {me}: run as root, or in the socket's group)");
    };
    let (owner, group, mode) = (socket.uid(), socket.gid(), socket.mode() & 0o777);
    let by_group = match mode & 0o020 {
        0 => String::new(),
        _ => format!("group_add: [\"{group}\"], or "),
    };
    format!(
        " (the socket is for user {owner} and group {group}, mode {mode:o}, and this is {me}: \
         {by_group}user: \"{owner}\")"
    )
}

/// Adds the file to look at to the words of a TLS connection that failed.
#[cold]
pub(super) fn tls_hint(words: &mut String) {
    let unknown = words.find(http::PRIVATE_CA);
    words.truncate(unknown.unwrap_or(words.len()));
    // Two authorities may have one name. Then only the signature tells them apart.
    if unknown.is_some() || words.contains("BadSignature") {
        words.push_str(" (has the CA in DOCKER_CERT_PATH/ca.pem signed the Engine's certificate?)");
    } else if words.contains("fatal alert") {
        words.push_str(" (does the Engine accept DOCKER_CERT_PATH/cert.pem?)");
    }
}

/// Whether a registry refused the Engine an image for want of rights, as far as the words tell.
#[must_use]
pub fn is_denial(error: &Error) -> bool {
    const DENIALS: [&str; 5] = [
        "denied",
        "unauthorized",
        "authentication",
        "no basic auth",
        "http status: 403",
    ];
    if !error.is_refusal() {
        return false;
    }
    let lower = error.words().to_ascii_lowercase();
    DENIALS.iter().any(|word| lower.contains(word))
}

/// Names the image in the error of a refused pull, and adds a hint about a denial.
#[cold]
pub(super) fn pull_error(error: Error, request: &str, reference: &Reference) -> Error {
    let Kind::Refused { status, .. } = *error.kind() else {
        return error;
    };
    let message = error.words();
    let hint = if is_denial(&error) && !message.contains(ALLOW) {
        format!(
            " (are the credentials for {} set and valid?)",
            reference.registry()
        )
    } else {
        String::new()
    };
    Error::refused(request, status, format!("{message}{hint}"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_behind_any_number_of_words() {
        let words = format!("{}: write /x: no space left on device", "long ".repeat(100));
        let error = Error::refused("POST", 500, said(&words), None);
        assert!(error.to_string().contains("docker system df"), "{error}");
    }

    #[test]
    fn a_call_is_named_as_it_is_listed() {
        for (request, expected) in [
            ("GET tcp://p:1 /_ping", "GET /_ping"),
            ("GET tcp://p:1 /version", "GET /version"),
            ("GET tcp://p:1 /containers/json", "GET /containers/json"),
            (
                "GET tcp://p:1 /containers/json/json",
                "GET /containers/{id}/json",
            ),
            (
                "POST unix:///a b/s /containers/create",
                "POST /containers/create",
            ),
            ("POST tcp://p:1 /images/create", "POST /images/create"),
            (
                "GET tcp://p:1 /images/ghcr.io/a/b:1/json",
                "GET /images/{id}/json",
            ),
            ("DELETE tcp://p:1 /images/sha256:ab", "DELETE /images/{id}"),
            (
                "DELETE tcp://p:1 /containers/web",
                "DELETE /containers/{id}",
            ),
            (
                "POST tcp://p:1 /networks/n/connect",
                "POST /networks/{id}/connect",
            ),
            (
                "GET tcp://p:1 /libpod/images/a/json",
                "GET /libpod/images/{id}/json",
            ),
        ] {
            assert_eq!(rule(request), expected, "{request}");
        }
    }

    #[test]
    fn of_a_page_only_what_it_says_is_shown() {
        let page = "<html><body><h1>403 Forbidden</h1>\nNot <b>you.</b>\n</body></html>\n";
        for (words, expected) in [
            (page, "403 Forbidden Not you."),
            ("a < b > c", "a < b > c"),
            ("<", ""),
        ] {
            assert_eq!(one_line(&without_tags(words)), expected);
        }
    }

    #[test]
    fn what_the_engine_itself_forbids_is_not_the_proxys() {
        let (pull, start) = ("POST /images/create", "POST /containers/{id}/start");
        let plugin = "authorization denied by plugin opa: no";
        for (rule, message, expected) in [
            (pull, Some("denied: requested access to the resource"), true),
            (pull, Some(plugin), false),
            (pull, None, false),
            (start, Some("access denied"), false),
            (start, Some("Address already in use"), true),
        ] {
            assert_eq!(
                is_engines_own(rule, message),
                expected,
                "{rule} {message:?}"
            );
        }
    }

    /// Texts of Docker 28.5 (runc 1.3), Docker 20.10 (runc 1.1), Podman 5.8 (crun) and, from their sources, older ones.
    #[test]
    fn only_what_an_image_can_help_is_laid_to_its_charge() {
        const D28: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: \
                           runc create failed: unable to start container process: error during container init: ";
        const D20: &str = "failed to create shim task: OCI runtime create failed: runc create failed: \
                           unable to start container process: ";
        const NOT_FOUND: &str = "No such file or directory: OCI runtime attempted to invoke a command that was not found";
        let (image, taken, other) = (Obstacle::Image, Obstacle::Taken, Obstacle::Surroundings);
        for (before, words, expected) in [
            (
                D28,
                "exec: \"/start\": stat /start: no such file or directory",
                image,
            ),
            (
                D28,
                "exec: \"start\": executable file not found in $PATH",
                image,
            ),
            (D28, "exec: \"/start\": permission denied", image),
            (
                D28,
                "exec: \"/bin\": is a directory: permission denied",
                image,
            ),
            (
                D20,
                "exec: \"/start\": stat /start: no such file or directory: unknown",
                image,
            ),
            (
                D20,
                "exec: \"start\": executable file not found in $PATH: unknown",
                image,
            ),
            (D20, "exec /start: exec format error: unknown", image),
            (
                "",
                "OCI runtime create failed: container_linux.go:349: starting container process caused \
                  \"exec: \\\"start\\\": executable file not found in $PATH\": unknown",
                image,
            ),
            (
                "",
                "unable to find user app: no matching entries in passwd file",
                image,
            ),
            (
                "",
                "unable to find group app: no matching entries in group file",
                image,
            ),
            (
                "crun: ",
                "executable file `/start` not found: No such file or directory",
                image,
            ),
            (
                "crun: ",
                "executable file `start` not found in $PATH: No such file or directory",
                image,
            ),
            (
                "crun: ",
                "the path `/start` exists but it is not executable: Operation not permitted",
                image,
            ),
            (
                "crun: ",
                "the path `/bin` is not a regular file: Operation not permitted",
                image,
            ),
            (
                "crun: ",
                "cannot find `` in $PATH: No such file or directory",
                image,
            ),
            (
                "runc: runc create failed: ",
                "unable to start container process: exec: \"/start\": stat /start: \
              no such file or directory: OCI runtime attempted to invoke a command that was not found",
                image,
            ),
            (
                "",
                "Bind for 0.0.0.0:80 failed: port is already allocated",
                taken,
            ),
            (
                "",
                "failed to set up container networking: Address already in use",
                taken,
            ),
            (
                "",
                "cannot listen on the TCP port: listen tcp4 127.0.0.1:80: bind: address already in use",
                taken,
            ),
            (
                D28,
                "error mounting \"/a\" to rootfs at \"/bin/app\": not a directory: Are you trying to mount a \
                   directory onto a file (or vice-versa)?",
                other,
            ),
            (
                D28,
                "error mounting \"/a\" to rootfs at \"/m\": make mountpoint \"/m\": read-only file system",
                other,
            ),
            (
                D28,
                "error setting rlimit type 7: operation not permitted",
                other,
            ),
            (
                D28,
                "open sysctl net.ipv4.nosuch file: no such file or directory",
                other,
            ),
            (
                D28,
                "error running prestart hook #0: exec: \"nvidia\": executable file not found in $PATH",
                other,
            ),
            (
                D20,
                "error during container init: error running hook #0: no such file or directory",
                other,
            ),
            (
                "",
                "exec: \"docker-init\": executable file not found in $PATH: unknown",
                other,
            ),
            (
                "",
                "failed to start shim: exec: \"containerd-shim-runc-v2\": executable file not found in $PATH",
                other,
            ),
            (
                "",
                "OCI runtime create failed: runc create failed: string X is not a valid action for seccomp",
                other,
            ),
            (
                "",
                "error gathering device information while adding custom device \"/dev/x\": no such file",
                other,
            ),
            (
                "",
                "CDI device injection failed: unresolvable CDI devices vendor.com/class=x",
                other,
            ),
            (
                "",
                "could not select device driver \"nvidia\" with capabilities: [[gpu]]",
                other,
            ),
            (
                "",
                "invalid mount config for type \"bind\": bind source path does not exist: /a",
                other,
            ),
            (
                "",
                "cannot join network namespace of a non running container: container vpn is exited",
                other,
            ),
            (
                "",
                "joining network namespace of container: No such container: 42",
                other,
            ),
            (
                "",
                "failed to join PID namespace: No such container: 42",
                other,
            ),
            (
                "",
                "Cannot link to a non running container: /db AS /web/db",
                other,
            ),
            (
                "",
                "failed to initialize logging driver: dial tcp 127.0.0.1:1: connect: connection refused",
                other,
            ),
            ("", "authorization denied by plugin opa: no", other),
            ("crun: cannot stat `/a`: ", NOT_FOUND, other),
            ("crun: open `/proc/sys/net/ipv4/nosuch`: ", NOT_FOUND, other),
            (
                "crun: ",
                "mount `/a` to `bin/app`: Not a directory: OCI runtime error",
                other,
            ),
            (
                "crun: ",
                "setrlimit `RLIMIT_NOFILE`: Operation not permitted: OCI permission denied",
                other,
            ),
            ("", "", other),
        ] {
            assert_eq!(
                obstacle(&format!("{before}{words}")),
                expected,
                "{before}{words}"
            );
        }
    }

    #[test]
    fn podmans_words_tell_what_a_500_means() {
        let gone = "no container with ID 42 found in database: no such container";
        let taken = "container create: name \"a\" is in use: container already exists";
        for (request, status, message, expected) in [
            ("GET /containers/42/json", 500, gone, 404),
            ("DELETE /containers/42", 500, gone, 404),
            ("POST /containers/42/start", 500, gone, 500),
            ("POST /containers/create", 500, taken, 409),
            ("GET /containers/42/json", 500, "database is locked", 500),
            ("GET /containers/42/json", 403, gone, 403),
        ] {
            assert_eq!(
                meant(request, status, message),
                expected,
                "{request} {message}"
            );
        }
    }
}
