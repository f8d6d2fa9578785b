//! Files that a container's owner put into its layer: Compose's inline `configs:` and `secrets:`, or `docker cp`.
//!
//! A layer does not say who wrote a file, so the times of the files decide. Before a container's first start only
//! its owner can have written. A file from an archive has a time without fractions of a second.
//!
//! | the container | files of its owner |
//! |---|---|
//! | was never started | all files in its layer |
//! | is in its first run | files made between its creation and its start, and files in a folder that was last changed then |
//! | was started again since | files made in the first seconds after its creation |

use super::Outcome;
use super::Part;
use super::Swap;
use crate::engine::Change;
use crate::engine::Container;
use crate::engine::Engine;
use crate::engine::Entry;
use crate::engine::PathKind;
use crate::engine::PathStat;
use crate::engine::State;
use crate::error::Result;
use crate::labels::COMPOSE_PROJECT;
use crate::logging::debug;
use crate::sort::sort;
use crate::time::parse_rfc3339;
use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// How many paths of a layer are looked at, those near the root first.
const LOOKS: usize = 1000;
/// How many files are carried over.
const COUNT: usize = 256;
/// How large these files may be together.
const SIZE: u64 = 16 * 1024 * 1024;
/// How long after a container's creation its owner may put files in, if its first start is not known.
const PUT_IN: Duration = Duration::from_secs(10);
/// An archive's times are rounded.
const ROUNDED: Duration = Duration::from_secs(1);
/// Paths that the Engine itself puts into a container.
const OF_ENGINE: [&str; 8] = [
    "/.dockerenv",
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/run/.containerenv",
    "/sys",
];

/// The files that a container's owner put into its layer.
#[derive(Debug, Default)]
pub struct Files {
    /// The paths, each after its folder.
    pub paths: Vec<String>,
    /// Why the container must not be replaced, if the files cannot be kept.
    pub left_alone: Option<String>,
}

impl Files {
    fn cannot_be_kept(reason: String) -> Self {
        Self {
            paths: Vec::new(),
            left_alone: Some(reason),
        }
    }

    /// Finds the files. Nothing is changed, and no contents are read.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    pub(super) fn of(container: &Container, engine: &Engine) -> Result<Self> {
        // No files can be put into a container whose root is read-only.
        if container.host_config().get("ReadonlyRootfs") == Some(&true.into()) {
            return Ok(Self::default());
        }
        match Search::new(container, engine).run() {
            Err(error) if error.is_denied() && container.label(COMPOSE_PROJECT).is_some() => {
                Ok(Self::cannot_be_kept(format!(
                    "files that Compose may have put into it (`content:`, `environment:`) cannot be seen, and would be lost: {error}"
                )))
            }
            // Without Compose, such files are unlikely. An Engine may also not know the call.
            Err(error) if error.is_denied() || error.is_not_found() => {
                debug(format_args!("{}: {error}", container.name()));
                Ok(Self::default())
            }
            outcome => outcome,
        }
    }

    /// Copies the files from one container to another that was never started, and returns the copies.
    ///
    /// # Errors
    /// When the Engine cannot be asked, or refuses.
    #[cold]
    pub(super) fn copy(&self, engine: &Engine, old: &str, new: &str) -> Result<Copies> {
        let mut known = HashSet::from(["/".to_owned()]);
        let mut copies = Copies::default();
        for path in &self.paths {
            copy_one(engine, old, new, path, &mut known, &mut copies)?;
        }
        Ok(copies)
    }
}

/// The files with their folders, in case the container has to be made again.
#[derive(Default)]
pub(super) struct Copies(Vec<(String, Entry)>);

impl Copies {
    /// Puts the files into a container that was never started.
    ///
    /// # Errors
    /// When the Engine refuses.
    pub(super) fn put(&self, engine: &Engine, id: &str) -> Result<()> {
        let mut all = self.0.iter();
        all.try_for_each(|(folder, entry)| engine.put_entry(id, folder, entry))
    }
}

impl Swap<'_> {
    /// The files that a container's owner put into its layer.
    ///
    /// # Errors
    /// When the Engine cannot be asked.
    #[cold]
    pub fn files(&self, container: &Container) -> Result<Files> {
        Files::of(container, self.engine)
    }

    /// The files of all parts of a swap, or why that swap must not begin.
    pub(super) fn files_of(&self, parts: &[Part]) -> std::result::Result<Vec<Files>, Outcome> {
        let of = |part: &Part| {
            let name = part.old.name();
            let files = self.files(part.old).map_err(|error| Outcome::NotBegun {
                reason: error.to_string(),
            })?;
            match &files.left_alone {
                None => Ok(files),
                Some(reason) if std::ptr::eq(part, &parts[0]) => Err(Outcome::Skipped {
                    reason: reason.clone(),
                }),
                Some(reason) => Err(Outcome::Skipped {
                    reason: format!("{name}, which lives in it, cannot be recreated: {reason}"),
                }),
            }
        };
        parts.iter().map(of).collect()
    }
}

/// Copies one file, and its folders if the new image does not have them.
#[cold]
fn copy_one(
    engine: &Engine,
    old: &str,
    new: &str,
    path: &str,
    known: &mut HashSet<String>,
    copies: &mut Copies,
) -> Result<()> {
    let folder = parent(path);
    if !known.contains(folder) {
        if engine.path_stat(new, folder)?.is_none() {
            copy_one(engine, old, new, folder, known, copies)?;
        }
        known.insert(folder.to_owned());
    }
    let mut entry = engine.archive_entry(old, path, SIZE)?;
    // The present time, as Compose would set it: the next update has to find the file as well.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    entry.set_time(now.map_or(0, |now| now.as_secs()));
    engine.put_entry(new, folder, &entry)?;
    copies.0.push((folder.to_owned(), entry));
    known.insert(path.to_owned());
    Ok(())
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

/// The run of a container, which bounds the time in which only its owner can have written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Run {
    /// The container did not run yet.
    None,
    /// The container runs for the first time.
    First {
        created: SystemTime,
        started: SystemTime,
    },
    /// The container ran before; its first start is not known.
    Another { created: SystemTime },
    /// The container shows no time of its creation.
    Unknown,
}

impl Run {
    fn of(container: &Container) -> Self {
        let time = |value: &serde_json::Value| value.as_str().and_then(parse_rfc3339);
        let json = container.json();
        let Some(created) = time(&json["Created"]) else {
            return Self::Unknown;
        };
        if !container.was_started() {
            return Self::None;
        }
        let ended = time(&json["State"]["FinishedAt"]).is_some_and(|at| at > UNIX_EPOCH);
        match parse_rfc3339(container.started_at()) {
            Some(started) if container.state() == State::Running && !ended => {
                Self::First { created, started }
            }
            _ => Self::Another { created },
        }
    }

    /// Whether the owner made a file, by the time of the file.
    fn made(self, stat: &PathStat) -> bool {
        let (created, until) = match self {
            Self::None => return true,
            Self::First { created, started } => (created, started),
            Self::Another { created } => (created, created + PUT_IN),
            Self::Unknown => return false,
        };
        is_whole(stat) && created <= stat.modified + ROUNDED && stat.modified <= until + ROUNDED
    }

    /// Whether no file came into a folder after the first start.
    fn is_unchanged(self, folder: &PathStat) -> bool {
        matches!(self, Self::First { created, started }
            if created <= folder.modified && folder.modified <= started)
    }
}

/// Whether a file's time comes from an archive. Files that a program writes have fractions of a second.
fn is_whole(stat: &PathStat) -> bool {
    let since = stat.modified.duration_since(UNIX_EPOCH);
    since.is_ok_and(|since| since.subsec_nanos() == 0)
}

/// The search for the owner's files in one container.
struct Search<'a> {
    engine: &'a Engine,
    container: &'a Container,
    run: Run,
    /// Paths that are not in the layer.
    hidden: Vec<String>,
    seen: HashMap<String, Option<PathStat>>,
}

impl<'a> Search<'a> {
    fn new(container: &'a Container, engine: &'a Engine) -> Self {
        let mounts = container.mounts().iter();
        let mounts = mounts.filter_map(|mount| mount["Destination"].as_str());
        let tmpfs = container.host_config().get("Tmpfs");
        let tmpfs = tmpfs.and_then(|tmpfs| tmpfs.as_object()).into_iter();
        let tmpfs = tmpfs.flat_map(|map| map.keys().map(String::as_str));
        let hidden = mounts.chain(tmpfs).chain(OF_ENGINE);
        Self {
            engine,
            container,
            run: Run::of(container),
            hidden: hidden
                .map(|path| path.trim_end_matches('/').to_owned())
                .collect(),
            seen: HashMap::new(),
        }
    }

    #[cold]
    fn run(mut self) -> Result<Files> {
        let mut changes = self.engine.changes(self.container.id())?;
        changes.retain(|change| !self.is_hidden(&change.path));
        let depth = |path: &str| path.matches('/').count();
        sort(&mut changes, |one, other| {
            (depth(&one.path), &one.path) < (depth(&other.path), &other.path)
        });
        let folders: HashSet<&str> = changes.iter().map(|change| parent(&change.path)).collect();
        let mut kept: HashSet<&str> = HashSet::new();
        let mut files = Files::default();
        let mut size = 0;
        for change in &changes {
            let is_folder = folders.contains(&*change.path);
            // A folder that is needed only for its files is copied with them.
            if is_folder && !(change.is_new && matches!(self.run, Run::None | Run::First { .. })) {
                continue;
            }
            if self.seen.len() > LOOKS {
                log::warn!(
                    "{}: of {} changes in its layer only {LOOKS} were looked at for files that its owner put in",
                    self.container.name(),
                    changes.len()
                );
                break;
            }
            let Some(stat) = self.look(&change.path)? else {
                continue;
            };
            if stat.kind == PathKind::Other || !self.is_owners(change, &stat, &kept)? {
                continue;
            }
            kept.insert(&change.path);
            files.paths.push(change.path.clone());
            size += stat.size * u64::from(stat.kind == PathKind::File);
            if files.paths.len() > COUNT || size > SIZE {
                return Ok(Files::cannot_be_kept(format!(
                    "its owner put more files into it than are carried over ({COUNT}, and {} MiB): mount them",
                    SIZE / 1024 / 1024
                )));
            }
        }
        Ok(files)
    }

    fn is_owners(
        &mut self,
        change: &Change,
        stat: &PathStat,
        kept: &HashSet<&str>,
    ) -> Result<bool> {
        let is_folder = stat.kind == PathKind::Folder;
        if self.run.made(stat) && (change.is_new || !is_folder) {
            return Ok(true);
        }
        let Run::First { started, .. } = self.run else {
            return Ok(false);
        };
        if !change.is_new || !is_whole(stat) {
            return Ok(false);
        }
        // A file that is put into a folder changes the folder's time, unless both came together.
        let folder = parent(&change.path);
        let found = self.look(folder)?;
        Ok(found.is_some_and(|found| {
            self.run.is_unchanged(&found) || kept.contains(folder) && found.modified <= started
        }))
    }

    fn look(&mut self, path: &str) -> Result<Option<PathStat>> {
        if let Some(seen) = self.seen.get(path) {
            return Ok(seen.clone());
        }
        let found = self.engine.path_stat(self.container.id(), path)?;
        self.seen.insert(path.to_owned(), found.clone());
        Ok(found)
    }

    fn is_hidden(&self, path: &str) -> bool {
        let is_in = |folder: &String| {
            let rest = path.strip_prefix(&**folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.hidden.iter().any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + millis)
    }

    fn file(modified: SystemTime) -> PathStat {
        PathStat {
            modified,
            size: 1,
            kind: PathKind::File,
        }
    }

    #[test]
    fn files_are_the_owners_by_their_time() {
        let first = Run::First {
            created: at(500),
            started: at(90_200),
        };
        let another = Run::Another { created: at(500) };
        for (run, millis, expected) in [
            (Run::None, 123, true),
            (Run::Unknown, 1_000, false),
            // Files of Compose: rounded either way, or put in once all earlier services of the project are healthy.
            (first, 0, true),
            (first, 1_000, true),
            (first, 90_000, true),
            (another, 0, true),
            (another, 1_000, true),
            // Files of the program itself.
            (first, 1_001, false),
            (first, 95_000, false),
            (another, 90_000, false),
            (another, 1_001, false),
        ] {
            assert_eq!(run.made(&file(at(millis))), expected, "{run:?} {millis}");
        }
        let old = UNIX_EPOCH + Duration::from_secs(1);
        assert!(!first.made(&file(old)) && !another.made(&file(old)) && Run::None.made(&file(old)));
        assert!(first.is_unchanged(&file(at(600))) && !first.is_unchanged(&file(at(90_300))));
        assert!(!first.is_unchanged(&file(old)) && !another.is_unchanged(&file(at(600))));
    }

    #[test]
    fn a_run_is_the_first_while_it_has_not_ended() {
        let never = "0001-01-01T00:00:00Z";
        let (created, started) = ("2023-11-14T22:13:20Z", "2023-11-14T22:13:21.5Z");
        for (status, started_at, ended, expected) in [
            ("created", never, never, Run::None),
            (
                "running",
                started,
                never,
                Run::First {
                    created: at(0),
                    started: at(1_500),
                },
            ),
            ("running", started, started, Run::Another { created: at(0) }),
            ("exited", started, started, Run::Another { created: at(0) }),
        ] {
            let json = json!({"Created": created, "State":
                {"Status": status, "StartedAt": started_at, "FinishedAt": ended}});
            assert_eq!(Run::of(&Container::new(json)), expected, "{status}");
        }
        assert_eq!(Run::of(&Container::new(json!({}))), Run::Unknown);
    }

    #[test]
    fn what_is_mounted_is_not_in_the_layer() {
        let container = Container::new(json!({
            "Mounts": [{"Destination": "/data/"}], "HostConfig": {"Tmpfs": {"/run": ""}},
        }));
        let engine = Engine::new(&crate::engine::Endpoint::Unix("/nowhere".into()));
        let search = Search::new(&container, &engine);
        for (path, expected) in [
            ("/data", true),
            ("/data/x", true),
            ("/database", false),
            ("/run/secrets/x", true),
            ("/etc/hosts", true),
            ("/etc/hosts.allow", false),
            ("/cfg", false),
        ] {
            assert_eq!(search.is_hidden(path), expected, "{path}");
        }
        assert_eq!((parent("/a/b"), parent("/a")), ("/a", "/"));
    }
}
