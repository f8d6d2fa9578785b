//! Completion for bash, zsh and fish.

use super::assert_mentions;
use super::commands;
use super::default_of;
use super::options;
use super::path_of;
use super::verdict;
use crate::support::Folder;
use std::process::Command;

const FILES: [(&str, &str); 3] = [
    ("bash", "contrib/completion/imagewatch.bash"),
    ("zsh", "contrib/completion/_imagewatch"),
    ("fish", "contrib/completion/imagewatch.fish"),
];

#[test]
fn each_shell_knows_every_command_option_and_runtime() {
    for (shell, name) in FILES {
        let text = std::fs::read_to_string(path_of(name)).expect("a file");
        assert_mentions(name, &text, commands());
        // fish wants `-l force` for `--force`.
        let options = options().into_iter().map(|option| match shell {
            "fish" => option.trim_start_matches('-'),
            _ => option,
        });
        assert_mentions(name, &text, options);
        let runtimes = default_of("IMAGEWATCH_RUNTIMES");
        assert!(text.contains(runtimes), "{name}: other runtimes");
    }
}

#[test]
fn each_shell_can_read_its_file() {
    for (shell, name) in FILES {
        if let Some((good, text)) = verdict(shell, &["-n", &path_of(name)]) {
            assert!(good && text.is_empty(), "{name}: {text}");
        }
    }
}

/// A folder with a program that knows some names.
fn names() -> Folder {
    let folder = Folder::new();
    let script =
        "#!/bin/sh\n[ \"$*\" = names ] && printf 'web\\ndatabase\\nghcr.io/acme/web:1\\n'\n";
    let program = folder.write("imagewatch", script);
    let status = Command::new("chmod").args(["+x", &program]).status();
    assert!(status.expect("chmod").success());
    folder
}

#[test]
fn fish_and_zsh_ask_for_names_too() {
    let folder = names();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    for (line, expected) in [
        ("imagewatch plan d", "database\tContainer\n"),
        ("imagewatch hold we", "web\tContainer\n"),
        ("imagewatch skip g", "ghcr.io/acme/web:1\tReference\n"),
        ("imagewatch refresh d", "database\ndeepagents\tRuntime\n"),
    ] {
        let script = format!("source {}; complete -C '{line}'", path_of(FILES[2].1));
        let fish = Command::new("fish")
            .args(["--private", "--no-config", "-c", &script])
            .env("PATH", &path)
            .env("HOME", folder.path())
            .env_remove("IMAGEWATCH_RUNTIMES")
            .output();
        let Ok(fish) = fish else { break };
        let said = String::from_utf8_lossy(&fish.stdout);
        assert_eq!(
            said,
            expected,
            "{line}: {}",
            String::from_utf8_lossy(&fish.stderr)
        );
    }
    let zsh = std::fs::read_to_string(path_of(FILES[1].1)).expect("a file");
    for kind in [
        "1:container:_imagewatch_containers",
        "1:reference:_imagewatch_references",
    ] {
        assert!(zsh.contains(kind), "{kind}");
    }
}

/// What bash offers for the last of these words, with this list of runtimes.
fn offered(words: &[&str], runtimes: &str) -> Vec<String> {
    const SCRIPT: &str = r#"
        source "$1"; shift
        [[ $(complete -p imagewatch) == 'complete -F _imagewatch imagewatch' ]] || exit 1
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _imagewatch; printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = names();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let output = Command::new("bash")
        .args(["-uc", SCRIPT, "bash", &path_of(FILES[0].1)])
        .args(words)
        .env("PATH", path)
        .env("IMAGEWATCH_RUNTIMES", runtimes)
        .output()
        .expect("bash");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut offered: Vec<String> = text(&output.stdout)
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    offered.sort_unstable();
    offered
}

#[test]
fn bash_offers_what_fits() {
    for (words, runtimes, expected) in [
        (
            &["imagewatch", "h"][..],
            "",
            &["healthcheck", "help", "hold"][..],
        ),
        (
            &["imagewatch", "-"],
            "",
            &["--help", "--version", "-V", "-h"],
        ),
        (&["imagewatch", "check", ""], "", &["--help", "--json"]),
        (
            &["imagewatch", "plan", "--json", ""],
            "",
            &["--full", "--help", "database", "web"],
        ),
        (&["imagewatch", "plan", "d"], "", &["database"]),
        (&["imagewatch", "skip", "g"], "", &["ghcr.io/acme/web:1"]),
        (&["imagewatch", "help", "re"], "", &["refresh", "release"]),
        (&["imagewatch", "healthcheck", ""], "", &[]),
        (
            &["imagewatch", "rollback", "-"],
            "",
            &["--help", "--json", "--only"],
        ),
        (
            &["imagewatch", "hold", "web", "--"],
            "",
            &["--for", "--help", "--json"],
        ),
        (&["imagewatch", "hold", "--for", ""], "", &[]),
        (
            &["imagewatch", "skip", "--json", "-"],
            "",
            &["--help", "--undo"],
        ),
        (&["imagewatch", "serve", ""], "", &[]),
        (
            &["imagewatch", "refresh", "c"],
            "",
            &["claude-code", "crewai"],
        ),
        (&["imagewatch", "refresh", "a"], "a1,b,a2", &["a1", "a2"]),
        (
            &["imagewatch", "refresh", "--"],
            "",
            &[
                "--dry-run",
                "--force",
                "--help",
                "--json",
                "--no-recreate",
                "--pull",
                "--runtime",
            ],
        ),
        (
            &["imagewatch", "refresh", "--force", "--json", "--"],
            "",
            &[
                "--dry-run",
                "--help",
                "--no-recreate",
                "--pull",
                "--runtime",
            ],
        ),
        (
            &["imagewatch", "refresh", "--runtime", ""],
            "b,a",
            &["a", "b"],
        ),
        (&["imagewatch", "refresh", "--runtime", ""], "none", &[]),
    ] {
        assert_eq!(offered(words, runtimes), expected, "{words:?}");
    }
    let commands = offered(&["imagewatch", ""], "");
    assert_mentions("bash", &commands.join(" "), super::commands());
}
