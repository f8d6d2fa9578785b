//! The usage of each command: for its help, and for a word on the command line that it does not know.

use crate::config::VARIABLES;
use crate::text::did_you_mean;
use std::fmt::Write as _;

/// The usage of one command.
struct Usage {
    name: &'static str,
    /// The words after the options.
    arguments: &'static str,
    /// What the command does, on one line.
    summary: &'static str,
    /// More about that; it may be empty.
    details: &'static str,
    /// Each option, and its effect.
    options: &'static [(&'static str, &'static str)],
}

const JSON: (&str, &str) = ("--json", "print JSON, for a script");
/// The commands from here on ask the running server.
const FIRST_OF_SERVER: &str = "rollback";

const COMMANDS: [Usage; 10] = [
    Usage {
        name: "serve",
        arguments: "",
        summary: "watch, and serve the admin endpoint; the default",
        details: "",
        options: &[],
    },
    Usage {
        name: "check",
        arguments: "",
        summary: "show what runs and what the registries have",
        details: "Nothing is pulled or changed. On a terminal the images are grouped, problems first; NO_COLOR=1 leaves out\n\
                  the colours. Exit 10 if something is outdated.",
        options: &[JSON],
    },
    Usage {
        name: "refresh",
        arguments: "[NAME...]",
        summary: "pull newer images, and recreate what runs the older ones",
        details: "NAME is a runtime, a container or a reference that something here runs. Without a name: all that is watched.",
        options: &[
            ("--no-recreate", "only pull"),
            (
                "--force",
                "recreate also what runs the newest image, and try rejected images again",
            ),
            ("--pull", "take also a reference that nobody runs"),
            ("--dry-run", "only say what would be done"),
            JSON,
        ],
    },
    Usage {
        name: "plan",
        arguments: "CONTAINER",
        summary: "show what an update of a container changes",
        details: "The plan compares with the image that is here: nothing is pulled or changed.",
        options: &[
            ("--full", "show the bodies of the Engine calls too"),
            ("--json", "print everything as JSON, for a script"),
        ],
    },
    Usage {
        name: "names",
        arguments: "",
        summary: "list containers and the references they follow, for the completion of a shell",
        details: "",
        options: &[],
    },
    Usage {
        name: "healthcheck",
        arguments: "",
        summary: "ask the running server whether it is well",
        details: "For an image without a shell. Exit 1 if it is not.",
        options: &[],
    },
    Usage {
        name: FIRST_OF_SERVER,
        arguments: "CONTAINER",
        summary: "go back to the image that the container ran before",
        details: "All containers that were updated with it go back too. The image that they leave is skipped. Make a backup:\n\
                  a database that was migrated may not start on an older image.",
        options: &[("--only", "put only this container back"), JSON],
    },
    Usage {
        name: "hold",
        arguments: "CONTAINER",
        summary: "leave a container where it is, whatever comes",
        details: "",
        options: &[
            (
                "--for",
                "end the hold after this time, for example --for 7d",
            ),
            JSON,
        ],
    },
    Usage {
        name: "release",
        arguments: "CONTAINER",
        summary: "end the hold of a container",
        details: "",
        options: &[JSON],
    },
    Usage {
        name: "skip",
        arguments: "REFERENCE",
        summary: "never apply the newest image of a reference",
        details: "The next image is applied again.",
        options: &[("--undo", "do not skip the image any more"), JSON],
    },
];

/// The help of one command, if there is such a command.
#[must_use]
#[cold]
pub fn help_of(command: &str) -> Option<String> {
    let usage = find(command)?;
    let mut text = format!("Usage: {}\n\n{}.\n", line(usage), capital(usage.summary));
    if !usage.details.is_empty() {
        text.push_str(usage.details);
        text.push('\n');
    }
    if !usage.options.is_empty() {
        text.push('\n');
    }
    for (option, effect) in usage.options {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {option:<14} {effect}");
    }
    Some(text)
}

/// The help of the program, with every variable.
#[must_use]
#[cold]
pub fn help() -> String {
    let mut text = String::from(
        "imagewatch keeps running containers on the newest image, and never loses one.\n\n\
         Usage: imagewatch [COMMAND]\n\n",
    );
    for usage in &COMMANDS {
        if usage.name == FIRST_OF_SERVER {
            text.push_str(
                "\nThese commands ask the running server (IMAGEWATCH_LISTEN, ADMIN_TOKEN):\n\n",
            );
        }
        let _ = writeln!(text, "  {:<12} {}", usage.name, usage.summary);
    }
    text.push_str(
        "\nimagewatch COMMAND --help tells the options of a command, and imagewatch -V the version.\n\
         \nExit: 0 done, 1 failed or rolled back, 2 usage or configuration, 10 outdated (check).\n\
         \nEnvironment (a secret X may also be given as X_FILE, the path of a file):\n",
    );
    for row in VARIABLES {
        let _ = writeln!(text, "  {:<31} {}", row.name, row.meaning);
        if !row.default.is_empty() {
            let _ = writeln!(text, "  {:<31} [{}]", "", row.default);
        }
    }
    text
}

/// The complaint about a command line that cannot be used, with the next step.
#[must_use]
#[cold]
pub fn misused(command: &str, arguments: &[&str]) -> String {
    let Some(usage) = find(command) else {
        let near = did_you_mean(command, COMMANDS.iter().map(|one| one.name));
        return format!("{command:?} is not a command{near} (imagewatch --help lists all)");
    };
    let known = || usage.options.iter().map(|(option, _)| *option);
    let is_unknown = |word: &&&str| word.starts_with('-') && !known().any(|one| one == **word);
    match arguments.iter().find(is_unknown) {
        // The platform's script has this option, which nobody else needs.
        Some(word) if *word != "--runtime" => {
            let near = did_you_mean(word, known());
            format!("{command} does not know {word}{near} (imagewatch {command} --help tells more)")
        }
        _ => format!(
            "usage: {} (imagewatch {command} --help tells more)",
            line(usage)
        ),
    }
}

fn find(command: &str) -> Option<&'static Usage> {
    COMMANDS.iter().find(|usage| usage.name == command)
}

fn line(usage: &Usage) -> String {
    let mut line = format!("imagewatch {}", usage.name);
    for (option, _) in usage.options {
        let value = if *option == "--for" { " TIME" } else { "" };
        let _ = write!(line, " [{option}{value}]");
    }
    if !usage.arguments.is_empty() {
        let _ = write!(line, " {}", usage.arguments);
    }
    line
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misused_command_says_the_next_step() {
        for (command, arguments, expected) in [
            (
                "chekc",
                &[][..],
                "\"chekc\" is not a command: did you mean check? (imagewatch --help lists all)",
            ),
            (
                "check",
                &["--jsn"],
                "check does not know --jsn: did you mean --json? (imagewatch check --help tells more)",
            ),
            (
                "serve",
                &["--now"],
                "serve does not know --now (imagewatch serve --help tells more)",
            ),
            (
                "hold",
                &["--for"],
                "usage: imagewatch hold [--for TIME] [--json] CONTAINER (imagewatch hold --help tells more)",
            ),
            (
                "refresh",
                &["--runtime"],
                "usage: imagewatch refresh [--no-recreate] [--force] [--pull] [--dry-run] [--json] [NAME...] \
                 (imagewatch refresh --help tells more)",
            ),
        ] {
            assert_eq!(misused(command, arguments), expected);
        }
    }

    #[test]
    fn each_command_has_a_help_of_its_own() {
        for usage in &COMMANDS {
            let text = help_of(usage.name).expect("a help");
            assert!(text.starts_with(&format!("Usage: imagewatch {}", usage.name)));
            assert!(help().contains(usage.summary));
            for (option, _) in usage.options {
                assert!(text.contains(&format!("\n  {option} ")), "{text}");
            }
        }
        assert_eq!(help_of("dance"), None);
    }
}
