//! Kinds of configurations that people have for Watchtower: the guide names all of their variables, and what they
//! become is a configuration of ours.

use super::Document;
use super::mentions;
use crate::support::Folder;
use crate::support::tls::Authority;
use imagewatch::config::Config;
use imagewatch::config::Problem;
use std::ffi::OsString;

/// What is written in a Compose file for Watchtower, and for us.
struct Kind {
    name: &'static str,
    /// Variables, flags and other words, separated by blanks.
    theirs: &'static str,
    ours: &'static [(&'static str, &'static str)],
}

const ON: (&str, &str) = ("IMAGE_AUTO_REFRESH", "true");
const ALL: (&str, &str) = ("IMAGEWATCH_SELECT", "all");
const LABELLED: (&str, &str) = ("IMAGEWATCH_SELECT", "labelled");
const APPRISE: (&str, &str) = (
    "IMAGEWATCH_NOTIFY",
    "generic://apprise:8000/notify/?template=json&messagekey=body&levelkey=type&disabletls=yes",
);

/// As they are found in public Compose files.
const KINDS: [Kind; 20] = [
    Kind {
        name: "every container, once a day, old images removed",
        theirs: "--interval --cleanup WATCHTOWER_POLL_INTERVAL WATCHTOWER_CLEANUP",
        ours: &[
            ON,
            ALL,
            ("IMAGEWATCH_INTERVAL", "24h"),
            ("IMAGEWATCH_CLEANUP", "true"),
            ("IMAGEWATCH_KEEP", "0"),
        ],
    },
    Kind {
        name: "only containers with the label",
        theirs: "--label-enable WATCHTOWER_LABEL_ENABLE WATCHTOWER_LABEL_TAKE_PRECEDENCE",
        ours: &[ON, LABELLED],
    },
    Kind {
        name: "by cron, in a time zone",
        theirs: "--schedule WATCHTOWER_SCHEDULE TZ /etc/localtime",
        ours: &[
            ON,
            ALL,
            ("IMAGEWATCH_WINDOW", "Sun 03:30-04:30"),
            ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3"),
        ],
    },
    Kind {
        name: "once, from cron or by hand",
        theirs: "--run-once WATCHTOWER_RUN_ONCE",
        ours: &[ALL],
    },
    Kind {
        name: "some containers, by their names",
        theirs: "arguments --disable-containers WATCHTOWER_DISABLE_CONTAINERS",
        ours: &[ON, LABELLED],
    },
    Kind {
        name: "scopes",
        theirs: "--scope WATCHTOWER_SCOPE .scope",
        ours: &[ON, LABELLED],
    },
    Kind {
        name: "only messages, by URLs of several services",
        theirs: "--monitor-only WATCHTOWER_MONITOR_ONLY WATCHTOWER_NOTIFICATIONS --notification-url \
                 WATCHTOWER_NOTIFICATION_URL ntfy:// gotify:// discord:// slack:// telegram:// generic://",
        ours: &[
            ON,
            ALL,
            ("IMAGEWATCH_MODE", "notify"),
            (
                "IMAGEWATCH_NOTIFY",
                "ntfy://ntfy.sh/TOPIC gotify://HOST/TOKENTOKENTOKE discord://TOKEN@1234 \
                 slack://hook:A-B-C@webhook telegram://1:TOKEN@telegram?chats=@channel generic://HOST/PATH",
            ),
        ],
    },
    Kind {
        name: "stopped and restarting containers",
        theirs: "--include-stopped WATCHTOWER_INCLUDE_STOPPED WATCHTOWER_INCLUDE_RESTARTING",
        ours: &[ON, ALL, ("IMAGEWATCH_INCLUDE_STOPPED", "true")],
    },
    Kind {
        name: "one after the other, with time to stop",
        theirs: "--rolling-restart WATCHTOWER_ROLLING_RESTART --stop-timeout WATCHTOWER_TIMEOUT",
        ours: &[ON, ALL, ("IMAGEWATCH_PARALLEL", "1")],
    },
    Kind {
        name: "only pulls",
        theirs: "--no-restart WATCHTOWER_NO_RESTART",
        ours: &[ALL],
    },
    Kind {
        name: "commands around an update",
        theirs: "--enable-lifecycle-hooks WATCHTOWER_LIFECYCLE_HOOKS .lifecycle.pre-update .lifecycle.post-update",
        ours: &[ON, LABELLED],
    },
    Kind {
        name: "by a call of the API",
        theirs: "--http-api-update WATCHTOWER_HTTP_API_UPDATE WATCHTOWER_HTTP_API_TOKEN /v1/update \
                 WATCHTOWER_HTTP_API_PERIODIC_POLLS WATCHTOWER_HTTP_API_METRICS",
        ours: &[
            ALL,
            ("IMAGEWATCH_LISTEN", "0.0.0.0:8080"),
            ("ADMIN_TOKEN", "mytoken"),
        ],
    },
    Kind {
        name: "a private registry, by its login file",
        theirs: "/config.json DOCKER_CONFIG",
        ours: &[ON, ALL, ("DOCKER_CONFIG", "/docker")],
    },
    Kind {
        name: "a private registry, by user and password",
        theirs: "REPO_USER REPO_PASS",
        ours: &[ON, ALL, ("GHCR_USER", "me"), ("GHCR_TOKEN", "token")],
    },
    Kind {
        name: "behind a socket proxy",
        theirs: "--host DOCKER_HOST DOCKER_API_VERSION",
        ours: &[ON, ALL, ("DOCKER_HOST", "tcp://proxy:2375")],
    },
    Kind {
        name: "e-mail",
        theirs: "WATCHTOWER_NOTIFICATION_EMAIL_FROM WATCHTOWER_NOTIFICATION_EMAIL_TO smtp:// \
                 WATCHTOWER_NOTIFICATION_EMAIL_SERVER WATCHTOWER_NOTIFICATION_EMAIL_SERVER_PORT \
                 WATCHTOWER_NOTIFICATION_EMAIL_SERVER_USER WATCHTOWER_NOTIFICATION_EMAIL_SERVER_PASSWORD \
                 WATCHTOWER_NOTIFICATION_EMAIL_DELAY WATCHTOWER_NOTIFICATION_EMAIL_SUBJECTTAG mailtos",
        ours: &[ON, ALL, APPRISE],
    },
    Kind {
        name: "Teams and other services",
        theirs: "WATCHTOWER_NOTIFICATION_MSTEAMS_HOOK_URL pushover:// matrix:// teams:// workflows://",
        ours: &[ON, ALL, APPRISE],
    },
    Kind {
        name: "Gotify and Slack, by variables of their own",
        theirs: "WATCHTOWER_NOTIFICATION_GOTIFY_URL WATCHTOWER_NOTIFICATION_GOTIFY_TOKEN \
                 WATCHTOWER_NOTIFICATION_GOTIFY_TLS_SKIP_VERIFY WATCHTOWER_NOTIFICATION_SLACK_HOOK_URL \
                 WATCHTOWER_NOTIFICATION_SLACK_IDENTIFIER WATCHTOWER_NOTIFICATION_SLACK_CHANNEL",
        ours: &[
            ON,
            ALL,
            (
                "IMAGEWATCH_NOTIFY",
                "gotify://HOST/TOKENTOKENTOKE?disabletls=yes slack://hook:A-B-C@webhook?botname=IDENTIFIER \
                 generic+https://HOST/hooks/KEY?template=json&titlekey=text&messagekey=text",
            ),
        ],
    },
    Kind {
        name: "fewer messages, with a title of their own",
        theirs: "WATCHTOWER_NOTIFICATIONS_LEVEL WATCHTOWER_NOTIFICATIONS_DELAY WATCHTOWER_NOTIFICATIONS_HOSTNAME \
                 WATCHTOWER_NOTIFICATION_TITLE_TAG WATCHTOWER_NOTIFICATION_TEMPLATE WATCHTOWER_NOTIFICATION_REPORT \
                 WATCHTOWER_NO_STARTUP_MESSAGE",
        ours: &[
            ON,
            ALL,
            (
                "IMAGEWATCH_NOTIFY",
                "ntfy://ntfy.sh/TOPIC?events=failed,rolled_back,down&digest=daily&title=TAG",
            ),
        ],
    },
    Kind {
        name: "the log",
        theirs: "--debug --trace WATCHTOWER_DEBUG WATCHTOWER_TRACE WATCHTOWER_LOG_LEVEL WATCHTOWER_LOG_FORMAT \
                 NO_COLOR --porcelain WATCHTOWER_PORCELAIN WATCHTOWER_WARN_ON_HEAD_FAILURE",
        ours: &[
            ON,
            ALL,
            ("IMAGEWATCH_LOG", "debug"),
            ("IMAGEWATCH_LOG_FORMAT", "json"),
        ],
    },
];

/// Moves like the others, with the folder of the certificates in `DOCKER_CERT_PATH` besides.
const TLS: Kind = Kind {
    name: "an Engine elsewhere, by TLS",
    theirs: "--tlsverify DOCKER_TLS_VERIFY DOCKER_CERT_PATH",
    ours: &[
        ON,
        ALL,
        ("DOCKER_HOST", "tcp://box:2376"),
        ("DOCKER_TLS_VERIFY", "1"),
    ],
};

/// Does not move, and the guide says why.
const REFUSED: Kind = Kind {
    name: "images that are built on the box",
    theirs: "--no-pull WATCHTOWER_NO_PULL .no-pull",
    ours: &[],
};

fn read(vars: &[(&str, &str)]) -> Result<Vec<String>, Vec<Problem>> {
    let vars = vars
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::from_vars(vars).map(|(_, warnings)| warnings)
}

/// What a kind has that the text does not name.
fn missing<'a>(kind: &'a Kind, text: &str) -> Vec<&'a str> {
    let theirs = kind.theirs.split_whitespace();
    let ours = kind.ours.iter().map(|(name, _)| *name);
    theirs
        .chain(ours)
        .filter(|word| !mentions(text, word))
        .collect()
}

#[test]
fn each_kind_moves_by_the_guide_alone() {
    let guide = Document::of("docs/from-watchtower.md");
    let mut wrong = Vec::new();
    for kind in &KINDS {
        let missing = missing(kind, &guide.text);
        if !missing.is_empty() {
            wrong.push(format!(
                "{}: {}: not named: {missing:?}",
                guide.path, kind.name
            ));
        }
        match read(kind.ours) {
            Ok(warnings) if warnings.is_empty() => {}
            other => wrong.push(format!("{}: {other:?}", kind.name)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_engine_elsewhere_moves_with_its_folder_of_certificates() {
    let guide = Document::of("docs/from-watchtower.md");
    assert_eq!(missing(&TLS, &guide.text), [""; 0], "{}", TLS.name);
    let authority = Authority::new();
    let identity = authority.issue(&["client"]);
    let (cert, key) = identity.pems();
    let folder = Folder::new();
    for (name, contents) in [
        ("ca.pem", authority.pem()),
        ("cert.pem", cert),
        ("key.pem", key),
    ] {
        folder.write(name, contents);
    }
    let path = folder.path().to_str().expect("UTF-8");
    let ours = [TLS.ours, &[("DOCKER_CERT_PATH", path)]].concat();
    let warnings = read(&ours).expect("TLS to the Engine");
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn the_guide_says_why_one_kind_does_not_move() {
    let guide = Document::of("docs/from-watchtower.md");
    let (_, section) = guide
        .text
        .split_once("## No counterpart\n")
        .expect("a section");
    let (rows, _) = section.split_once("\n## ").expect("its end");
    assert_eq!(missing(&REFUSED, rows), [""; 0], "{}", REFUSED.name);
    // The other kind moves, so no row refuses it.
    assert!(!mentions(rows, "DOCKER_TLS_VERIFY"));
}
