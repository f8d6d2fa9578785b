//! The `imagewatch` command: reads the arguments and the environment, and decides the exit code of the process.

use imagewatch::commands::Ended;
use imagewatch::commands::Form;
use imagewatch::commands::OwnersLine;
use imagewatch::commands::Wish;
use imagewatch::commands::help;
use imagewatch::commands::help_of;
use imagewatch::commands::misused;
use imagewatch::config::Config;
use imagewatch::config::has_colours;
use imagewatch::journal::Worst;
use imagewatch::update::Extent;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::net::SocketAddr;
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
        [] => serve(),
        ["-h" | "--help" | "help"] => print(&help()),
        ["-V" | "--version"] => print(concat!("imagewatch ", env!("CARGO_PKG_VERSION"), "\n")),
        [command, _, _] if *command == imagewatch::commands::SWAP => swap(),
        ["help", command] => help_with(command),
        [command, rest @ ..] if rest.contains(&"-h") || rest.contains(&"--help") => {
            help_with(command)
        }
        [command, rest @ ..] => {
            run(command, rest).unwrap_or_else(|| usage(&misused(command, rest)))
        }
    }
}

/// Runs a command. Returns nothing if there is no such command, or if it cannot use its arguments.
fn run(command: &str, arguments: &[&str]) -> Option<ExitCode> {
    match [command] {
        ["serve"] => arguments.is_empty().then(serve),
        ["check"] => check(arguments),
        ["refresh"] => Some(refresh(&Asked::parse(arguments)?)),
        ["plan"] => plan(arguments),
        ["names"] => arguments.is_empty().then(names),
        ["healthcheck"] => arguments.is_empty().then(healthcheck),
        ["rollback"] | ["hold"] | ["release"] | ["skip"] => {
            Some(decide(&OwnersLine::parse(command, arguments)?))
        }
        _ => None,
    }
}

fn help_with(command: &str) -> ExitCode {
    help_of(command).map_or_else(|| usage(&misused(command, &[])), |text| print(&text))
}

fn usage(complaint: &str) -> ExitCode {
    complain(complaint);
    ExitCode::from(USAGE)
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
    match imagewatch::commands::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            log::error!("cannot start: {reason}");
            ExitCode::from(FAILED)
        }
    }
}

#[cold]
fn check(arguments: &[&str]) -> Option<ExitCode> {
    let as_json = match arguments {
        [] => false,
        ["--json"] => true,
        _ => return None,
    };
    let Some(config) = quiet_configuration() else {
        return Some(ExitCode::from(USAGE));
    };
    Some(match imagewatch::commands::check(&config) {
        Err(reason) => failed(&reason),
        Ok(table) => {
            let shown = print(&match (as_json, std::io::stdout().is_terminal()) {
                (true, _) => json(&table),
                (false, true) => table.for_people(has_colours()),
                (false, false) => table.text(),
            });
            if table.is_outdated() {
                ExitCode::from(OUTDATED)
            } else if table.has_failed() {
                ExitCode::from(FAILED)
            } else {
                shown
            }
        }
    })
}

/// The command line of `refresh`.
struct Asked {
    wish: Wish,
    dry_run: bool,
    as_json: bool,
}

impl Asked {
    /// Reads the arguments. Returns `None` if they cannot be used.
    fn parse(arguments: &[&str]) -> Option<Self> {
        let (mut recreate, mut force, mut pull) = (true, false, false);
        let (mut dry_run, mut as_json) = (false, false);
        let mut names = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "--no-recreate" => recreate = false,
                "--force" => force = true,
                "--pull" => pull = true,
                "--dry-run" => dry_run = true,
                "--json" => as_json = true,
                // The platform's script has this option.
                "--runtime" if words.len() > 0 => names.extend(words.next().map(|&w| w.to_owned())),
                name if !name.starts_with('-') && !name.is_empty() => names.push(name.to_owned()),
                _ => return None,
            }
        }
        let extent = match (recreate, force) {
            (false, _) => Extent::Pull,
            (true, false) => Extent::Recreate,
            (true, true) => Extent::Force,
        };
        let wish = Wish {
            names,
            extent,
            pull,
        };
        Some(Self {
            wish,
            dry_run,
            as_json,
        })
    }
}

#[cold]
fn refresh(asked: &Asked) -> ExitCode {
    let Some(config) = quiet_configuration() else {
        return ExitCode::from(USAGE);
    };
    let outcome = if asked.dry_run {
        dry_run(&config, asked)
    } else {
        do_refresh(&config, asked)
    };
    outcome.unwrap_or_else(|reason| {
        complain(&reason);
        ExitCode::from(FAILED)
    })
}

#[cold]
fn dry_run(config: &Config, asked: &Asked) -> Result<ExitCode, String> {
    let found = imagewatch::commands::dry_run(config, &asked.wish)?;
    let text = if asked.as_json {
        json(&found)
    } else {
        found.text()
    };
    let shown = print(&text);
    Ok(if found.failed.is_empty() {
        shown
    } else {
        ExitCode::from(FAILED)
    })
}

#[cold]
fn do_refresh(config: &Config, asked: &Asked) -> Result<ExitCode, String> {
    let (outcomes, troubles) = match imagewatch::commands::refresh(config, &asked.wish)? {
        Ended::Done(outcomes, troubles) => (outcomes, troubles),
        Ended::Broken => return Err("a bug in imagewatch ended this refresh; see above".to_owned()),
        Ended::Interrupted => {
            return Err("interrupted; every container is as it was, or recreated".to_owned());
        }
    };
    for trouble in &troubles {
        complain(trouble);
    }
    if let Some(error) = &outcomes.list_error {
        complain(&format!("container list: {error}"));
    }
    let text = if asked.as_json {
        json(&outcomes.report)
    } else {
        outcomes.report.text()
    };
    let shown = print(&text);
    Ok(
        if Worst::of(&outcomes) == Worst::Done && troubles.is_empty() {
            shown
        } else {
            ExitCode::from(FAILED)
        },
    )
}

fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads the configuration of a command whose answer is its output. The log shows only warnings and errors, unless
/// `IMAGEWATCH_LOG` asks for another level.
fn quiet_configuration() -> Option<Config> {
    let (config, warnings) = configuration()?;
    for warning in warnings {
        complain(&warning);
    }
    let filter = match config.log_filter.as_str() {
        "info" => "warn",
        filter => filter,
    };
    imagewatch::logging::start(filter, config.log_format);
    Some(config)
}

#[cold]
fn plan(arguments: &[&str]) -> Option<ExitCode> {
    let (mut form, mut names) = (Form::default(), Vec::new());
    for word in arguments {
        match *word {
            "--json" => form.as_json = true,
            "--full" => form.is_full = true,
            option if option.starts_with('-') => return None,
            name => names.push(name),
        }
    }
    let [name] = names.as_slice() else {
        return None;
    };
    let Some(config) = quiet_configuration() else {
        return Some(ExitCode::from(USAGE));
    };
    let plan = imagewatch::commands::plan(&config, name, form);
    Some(plan.map_or_else(|reason| failed(&reason), |text| print(&text)))
}

#[cold]
fn names() -> ExitCode {
    let Some(config) = quiet_configuration() else {
        return ExitCode::from(USAGE);
    };
    let names = imagewatch::commands::names(&config);
    names.map_or_else(|reason| failed(&reason), |text| print(&text))
}

#[cold]
fn healthcheck() -> ExitCode {
    let (_, address) = match server(": switch the health check off too") {
        Ok(found) => found,
        Err(code) => return code,
    };
    ended(imagewatch::commands::ask(address))
}

/// Does the work of imagewatch.helper.
#[cold]
fn swap() -> ExitCode {
    let Some((config, _)) = configuration() else {
        return ExitCode::from(USAGE);
    };
    imagewatch::logging::start(&config.log_filter, config.log_format);
    ended(imagewatch::commands::swap(&config))
}

fn ended(outcome: Result<(), String>) -> ExitCode {
    outcome.map_or_else(|reason| failed(&reason), |()| ExitCode::SUCCESS)
}

fn failed(reason: &str) -> ExitCode {
    complain(reason);
    ExitCode::from(FAILED)
}

/// Lets the running server take a decision of its owner.
fn decide(asked: &OwnersLine) -> ExitCode {
    let (config, address) = match server("") {
        Ok(found) => found,
        Err(code) => return code,
    };
    match asked.decision.ask(address, config.admin_token.as_ref()) {
        Ok(answer) => {
            let shown = print(&if asked.as_json {
                json(&answer)
            } else {
                asked.decision.in_words(&answer)
            });
            if asked.decision.is_done(&answer) {
                shown
            } else {
                ExitCode::from(FAILED)
            }
        }
        Err(reason) => failed(&reason),
    }
}

/// Reads the configuration of a command that asks the running server, and the server's address.
#[cold]
fn server(hint: &str) -> Result<(Config, SocketAddr), ExitCode> {
    let (config, _) = configuration().ok_or(ExitCode::from(USAGE))?;
    let Some(address) = config.listen else {
        complain(&format!(
            "IMAGEWATCH_LISTEN is off, so there is no server to ask{hint}"
        ));
        return Err(ExitCode::from(USAGE));
    };
    Ok((config, address))
}

/// Reads the environment, and prints every problem.
fn configuration() -> Option<(Config, Vec<String>)> {
    match Config::from_env() {
        Ok(read) => {
            imagewatch::time::show_times_in(read.0.zone.clone());
            Some(read)
        }
        Err(problems) => {
            for problem in problems {
                complain(&problem.to_string());
            }
            None
        }
    }
}

/// Prints to the standard output. `print!` would panic if the reader has gone.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "imagewatch: {text}");
}
