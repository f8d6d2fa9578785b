//! The `imagewatch` command: reads its arguments and the environment, and is the only one to say
//! how the process ends.

use imagewatch::config::Config;
use imagewatch::config::VARIABLES;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Something failed.
const FAILED: u8 = 1;
/// The command line or the configuration cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|a| a.to_str().unwrap_or("?"))
        .collect();
    match words.as_slice() {
        [] | ["serve"] => serve(),
        ["plan", rest @ ..] => plan(rest),
        ["healthcheck"] => healthcheck(),
        ["-h" | "--help" | "help"] => print(&help()),
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
       imagewatch plan [--json] CONTAINER
                                 show what a swap would create, and what changes
       imagewatch healthcheck    ask the running server whether it is well
       imagewatch -h | -V

Exit: 0 done, 1 failed, 2 usage or configuration.

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
