//! No input may panic or hang what reads it: what a registry, an Engine, an owner or a disk can hand
//! us, changed at random. What is private is tried by the library's own tests, with the same
//! [`generator`] and the same corpus.

pub(crate) mod generator;
mod inspect;

use crate::support::Folder;
use generator::fuzz;
use imagewatch::config::Config;
use imagewatch::journal::History;
use imagewatch::notify::Letter;
use imagewatch::notify::Level;
use imagewatch::notify::Receiver;
use imagewatch::reference::Digest;
use imagewatch::reference::Reference;
use imagewatch::reference::short;
use imagewatch::registry::Challenge;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

#[test]
fn what_a_reference_prints_is_what_it_is() {
    const WORDS: &[&str] = &[
        ":",
        "@",
        "/",
        "//",
        "[",
        "]",
        "[::1]:5000/",
        ".",
        "..",
        "-",
        "__",
        "localhost/",
        "docker.io/",
        "index.docker.io/",
        "library/",
        "sha256:",
        "sha512:",
        "@sha256:",
        ":65536/",
        ":+1/",
        "é",
        "\0",
        " ",
        "A",
        "latest",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ];
    fuzz("reference", WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let _ = short(&text);
        if let Ok(digest) = text.parse::<Digest>() {
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
        let Ok(reference) = text.parse::<Reference>() else {
            return;
        };
        let printed = reference.to_string();
        assert!(printed.is_ascii(), "{printed}");
        assert_eq!(printed.parse(), Ok(reference.clone()), "{printed}");
        if let Some(digest) = reference.digest() {
            assert!(digest.as_str().starts_with(digest.short()));
        }
    });
}

#[test]
fn no_challenge_makes_a_realm_out_of_nothing() {
    const WORDS: &[&str] = &[
        "Bearer ",
        "Basic ",
        "bearer",
        "realm=",
        "realm=\"",
        "service=\"",
        "scope=",
        "\"",
        "\\",
        "\\\"",
        "=",
        ",",
        ", ,",
        " ",
        "\t",
        "é",
        "https://a/t",
        "//a",
        "\0",
        "\r\n",
    ];
    fuzz("challenge", WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let best = Challenge::best([&*text, &*text]);
        assert_eq!(
            best,
            Challenge::best([&*text]),
            "saying it twice adds nothing"
        );
        if let Some(Challenge::Bearer {
            realm,
            service,
            scopes,
        }) = best
        {
            let service = service.map_or(0, |service| service.len());
            let read = realm.len() + service + scopes.iter().map(String::len).sum::<usize>();
            assert!(read <= text.len(), "{realm}");
        }
    });
}

#[test]
fn no_receiver_panics() {
    const WORDS: &[&str] = &[
        "https://",
        "ntfy://",
        "ntfys://",
        "discord://",
        "slack://",
        "telegram://",
        "gotify://",
        "generic+",
        "@",
        ":",
        "/",
        "?",
        "&",
        "#",
        "chats=1,2",
        "title=",
        "events=",
        "updated,down",
        "digest=daily",
        "%",
        "%zz",
        "é",
        "\0",
        " ",
    ];
    fuzz("receiver", WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        for text in std::iter::once(&*text).chain(text.split(' ')) {
            for receiver in Receiver::parse(text).unwrap_or_default() {
                let _ = receiver.body(&Letter {
                    event: "updated",
                    level: Level::Warning,
                    tag: "warning",
                    title: text.to_owned(),
                    host: Some(text.to_owned()),
                    text: text.to_owned(),
                    facts: serde_json::Map::new(),
                    time: std::time::SystemTime::UNIX_EPOCH,
                });
                let _ = receiver.refusal(text);
                let _ = receiver.mask(text);
            }
        }
    });
}

#[test]
fn no_variable_panics() {
    const WORDS: &[&str] = &[
        "\nIMAGEWATCH_",
        "INTERVAL=",
        "IMAGES=",
        "LISTEN=",
        "NOTIFY=",
        "SELECT=",
        "\nDOCKER_HOST=",
        "unix://",
        "tcp://",
        "\nHTTP_PROXY=",
        "\nNO_PROXY=",
        "_FILE=",
        "=",
        ",",
        ":",
        "h",
        "1e9h",
        "99999999999999999999h",
        "-1",
        "é",
        "true",
    ];
    fuzz("config", WORDS, |input| {
        let lines = input.split(|byte| *byte == b'\n');
        let vars = lines.filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((os(&line[..at]), os(&line[at + 1..])))
        });
        if let Ok((config, _)) = Config::from_vars(vars) {
            assert_eq!(config.summary().lines().count(), 1);
        }
    });
}

#[test]
fn no_state_file_keeps_the_program_from_starting() {
    const WORDS: &[&str] = &[
        "null",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"version\":1",
        "\"history\":[]",
        "\"rejected\":[]",
        "\"times\":",
        "1e999",
        "-1",
        "18446744073709551616",
        "\\ud800",
        "é",
    ];
    fuzz("history", WORDS, |input| {
        let folder = Folder::new();
        folder.write("imagewatch.json", input);
        let history = History::open(Some(folder.path())).expect("a folder that can be used");
        let _ = history.entries();
    });
}
