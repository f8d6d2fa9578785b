//! The `imagewatch` command: reads its arguments and the environment, and is the only one to say
//! how the process ends.

use imagewatch::config::Config;
use imagewatch::config::VARIABLES;
use imagewatch::once::Ended;
use imagewatch::once::Wish;
use imagewatch::refresh::Extent;
use imagewatch::status::Worst;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the configuration cannot be used.
const USAGE: u8 = 2;
/// Something is outdated (`check`).
const OUTDATED: u8 = 10;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|a| a.to_str().unwrap_or("?"))
        .collect();
    match words.as_slice() {
        ["-h" | "--help" | "help"] | [_, "-h" | "--help"] => print(&help()),
        [] | ["serve"] => serve(),
        ["check", rest @ ..] => check(rest),
        ["refresh", rest @ ..] => refresh(rest),
        ["plan", rest @ ..] => plan(rest),
        ["healthcheck"] => healthcheck(),
        ["-V" | "--version"] => print(concat!("imagewatch ", env!("CARGO_PKG_VERSION"), "\n")),
        [command, ..] => {
            complain(&format!(
                "{command:?} is not a command, or takes no arguments; see imagewatch --help"
            ));
            ExitCode::from(USAGE)
        }
    }
}

fn serve() -> ExitCode {
    let Some((config, warnings)) = configuration() else {
        return ExitCode::from(USAGE);
    };
    imagewatch::logging::start(&config.log_filter, config.log_format);
    for warning in warnings {
        log::warn!("{warning}");
    }
    log::info!(
        "imagewatch {} starts with {}",
        env!("CARGO_PKG_VERSION"),
        config.summary()
    );
    match imagewatch::serve::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log::error!("cannot start: {reason}");
            ExitCode::from(FAILED)
        }
    }
}

fn check(arguments: &[&str]) -> ExitCode {
    let as_json = match arguments {
        [] => false,
        ["--json"] => true,
        _ => {
            complain("usage: imagewatch check [--json]");
            return ExitCode::from(USAGE);
        }
    };
    let Some(config) = quiet_configuration() else {
        return ExitCode::from(USAGE);
    };
    match imagewatch::check::check(&config) {
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
        Ok(table) => {
            let shown = print(&if as_json { json(&table) } else { table.text() });
            if table.is_outdated() {
                ExitCode::from(OUTDATED)
            } else if table.has_failed() {
                ExitCode::from(FAILED)
            } else {
                shown
            }
        }
    }
}

fn refresh(arguments: &[&str]) -> ExitCode {
    let (mut recreate, mut force, mut rehearse, mut as_json) = (true, false, false, false);
    let mut names = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--no-recreate" => recreate = false,
            "--force" => force = true,
            "--dry-run" => rehearse = true,
            "--json" => as_json = true,
            // As the platform's script was called.
            "--runtime" if words.len() > 0 => names.extend(words.next().map(|&w| w.to_owned())),
            name if !name.starts_with('-') && !name.is_empty() => names.push(name.to_owned()),
            _ => {
                complain(
                    "usage: imagewatch refresh [NAME...] [--no-recreate] [--force] [--dry-run] [--json]",
                );
                return ExitCode::from(USAGE);
            }
        }
    }
    let extent = match (recreate, force) {
        (false, _) => Extent::Pull,
        (true, false) => Extent::Recreate,
        (true, true) => Extent::Force,
    };
    let Some(config) = quiet_configuration() else {
        return ExitCode::from(USAGE);
    };
    let wish = Wish { names, extent };
    if rehearse {
        return match imagewatch::once::rehearse(&config, &wish) {
            Ok(found) => {
                let shown = print(&if as_json { json(&found) } else { found.text() });
                if found.failed.is_empty() {
                    shown
                } else {
                    ExitCode::from(FAILED)
                }
            }
            Err(reason) => {
                complain(&reason);
                ExitCode::from(FAILED)
            }
        };
    }
    match imagewatch::once::refresh(&config, &wish) {
        Ok(Ended::Done(outcomes)) => {
            if let Some(error) = &outcomes.list_error {
                complain(&format!("container list: {error}"));
            }
            let shown = print(&if as_json {
                json(&outcomes.report)
            } else {
                outcomes.report.text()
            });
            if Worst::of(&outcomes) == Worst::Done {
                shown
            } else {
                ExitCode::from(FAILED)
            }
        }
        Ok(Ended::Broken) => {
            complain("a bug in imagewatch ended this refresh; see above");
            ExitCode::from(FAILED)
        }
        Ok(Ended::Interrupted) => {
            complain("interrupted; every container is as it was, or recreated");
            ExitCode::from(FAILED)
        }
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

/// The configuration of a command whose answer says all there is to say: of the log only trouble is
/// shown, unless more was asked for.
fn quiet_configuration() -> Option<Config> {
    let (config, warnings) = configuration()?;
    for warning in warnings {
        complain(&warning);
    }
    let filter = match config.log_filter.as_str() {
        "info" => "error",
        filter => filter,
    };
    imagewatch::logging::start(filter, config.log_format);
    Some(config)
}

fn plan(arguments: &[&str]) -> ExitCode {
    let (options, names): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|word| word.starts_with('-'));
    let ([name], true) = (
        names.as_slice(),
        options.iter().all(|option| *option == "--json"),
    ) else {
        complain("usage: imagewatch plan [--json] CONTAINER");
        return ExitCode::from(USAGE);
    };
    let Some((config, _)) = configuration() else {
        return ExitCode::from(USAGE);
    };
    imagewatch::logging::start(&config.log_filter, config.log_format);
    match imagewatch::plan::plan(&config, name, !options.is_empty()) {
        Ok(text) => print(&text),
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

fn healthcheck() -> ExitCode {
    let Some((config, _)) = configuration() else {
        return ExitCode::from(USAGE);
    };
    let Some(address) = config.listen else {
        complain(
            "IMAGEWATCH_LISTEN is off, so there is no server to ask: switch the health check off too",
        );
        return ExitCode::from(USAGE);
    };
    match imagewatch::healthcheck::ask(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

/// Reads the environment; says all that is wrong with it.
fn configuration() -> Option<(Config, Vec<String>)> {
    match Config::from_env() {
        Ok(read) => Some(read),
        Err(problems) => {
            for problem in problems {
                complain(&problem.to_string());
            }
            None
        }
    }
}

fn help() -> String {
    let mut text = String::from(
        "imagewatch keeps running containers on the newest image, and never loses one.

Usage: imagewatch [serve]        watch and serve the admin endpoint
       imagewatch check [--json] what runs, what the registries have; pulls nothing
       imagewatch refresh [NAME...] [--no-recreate] [--force] [--dry-run] [--json]
                                 one refresh, of all that is watched or of these: a runtime,
                                 a container or a reference
       imagewatch plan [--json] CONTAINER
                                 show what a swap would create, and what changes
       imagewatch healthcheck    ask the running server whether it is well
       imagewatch -h | -V

Exit: 0 done, 1 failed or rolled back, 2 usage or configuration, 10 outdated (check).

Environment (a secret X may also be given as X_FILE, the path of a file):
",
    );
    for row in VARIABLES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<31} {}", row.name, row.meaning);
        if !row.default.is_empty() {
            let _ = writeln!(text, "  {:<31} [{}]", "", row.default);
        }
    }
    text
}

/// Not `print!`, which panics when nobody reads.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "imagewatch: {text}");
}
