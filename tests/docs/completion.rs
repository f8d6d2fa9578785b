//! Completion for bash, zsh and fish.

use super::assert_mentions;
use super::commands;
use super::default_of;
use super::options;
use super::path_of;
use super::verdict;
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

/// What bash offers for the last of these words, with this list of runtimes.
fn offered(words: &[&str], runtimes: &str) -> Vec<String> {
    const SCRIPT: &str = r#"
        source "$1"; shift
        [[ $(complete -p imagewatch) == 'complete -F _imagewatch imagewatch' ]] || exit 1
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _imagewatch; printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["-uc", SCRIPT, "bash", &path_of(FILES[0].1)])
        .args(words)
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
        (&["imagewatch", "check", ""], "", &["--json"]),
        (&["imagewatch", "plan", "--json", ""], "", &[]),
        (&["imagewatch", "healthcheck", ""], "", &[]),
        (&["imagewatch", "rollback", "-"], "", &["--json", "--only"]),
        (&["imagewatch", "hold", "web", ""], "", &["--for", "--json"]),
        (&["imagewatch", "hold", "--for", ""], "", &[]),
        (&["imagewatch", "skip", "--json", ""], "", &["--undo"]),
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
                "--json",
                "--no-recreate",
                "--pull",
                "--runtime",
            ],
        ),
        (
            &["imagewatch", "refresh", "--force", "--json", "--"],
            "",
            &["--dry-run", "--no-recreate", "--pull", "--runtime"],
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
