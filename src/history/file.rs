//! A small file that is only ever replaced as a whole.

use crate::user;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The file's name.
const NAME: &str = "imagewatch.json";
/// Where one that cannot be read goes.
const BAD: &str = "imagewatch.json.bad";
/// How the name of one that is being written ends.
const PART: &str = ".part";
/// The largest file that is read; two hundred outcomes are a tenth of it.
const LIMIT: u64 = 1024 * 1024;
/// A part as old as this was left behind by a process that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Where the state is kept.
#[derive(Debug)]
pub(super) struct StateFile {
    folder: PathBuf,
}

impl StateFile {
    /// # Errors
    /// Why there can be none, on one line.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, String> {
        let name = folder.display();
        let found = fs::read_dir(folder).map_err(|error| {
            let error = user::explain(&error);
            format!("IMAGEWATCH_STATE={name}: {error} (it names a folder that has to exist)")
        })?;
        for entry in found.flatten() {
            if is_left_behind(&entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Whether it could be written.
    ///
    /// # Errors
    /// Why not, on one line.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let part = self.part();
        let outcome = File::create_new(&part).and_then(|_| fs::remove_file(&part));
        outcome.map_err(|error| {
            format!(
                "IMAGEWATCH_STATE={}: not writable: {}; what happens may be forgotten at a restart",
                self.folder.display(),
                user::explain(&error)
            )
        })
    }

    /// A name of its own for what is being written: the process id is 1 in every container.
    fn part(&self) -> PathBuf {
        let part = format!("{NAME}.{:016x}{PART}", RandomState::new().hash_one(0));
        self.folder.join(part)
    }

    /// What it holds; `None` if it is not there.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let path = self.folder.join(NAME);
        let read = || {
            // Opening a named pipe would wait for somebody to write into it.
            let found = fs::metadata(&path)?;
            if !found.is_file() || found.len() > LIMIT {
                return Err(io::Error::other("not a file of ours"));
            }
            fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Moves one that cannot be used out of the way, and says so.
    ///
    /// # Errors
    /// Why that is not possible.
    pub(super) fn set_aside(&self, reason: &str) -> Result<(), String> {
        let path = self.folder.join(NAME);
        let name = path.display();
        match fs::rename(&path, self.folder.join(BAD)) {
            Ok(()) => {
                log::warn!("{name}: {reason}; renamed to {BAD}, starting without it");
                Ok(())
            }
            Err(error) => Err(format!(
                "{name}: {reason}, and it cannot be renamed ({error})"
            )),
        }
    }

    /// Puts `contents` in its place. Whenever the power fails, it is the old one or this.
    ///
    /// # Errors
    /// What could not be done, on one line.
    pub(super) fn replace(&self, contents: &[u8]) -> Result<(), String> {
        let part = self.part();
        let outcome = self.write_and_rename(&part, contents);
        if outcome.is_err() {
            let _ = fs::remove_file(&part);
        }
        outcome.map_err(|error| {
            let name = self.folder.join(NAME);
            format!("{}: not written: {error}", name.display())
        })
    }

    fn write_and_rename(&self, part: &Path, contents: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(part)?;
        file.write_all(contents)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(part, self.folder.join(NAME))?;
        // Makes the new name last. Not every file system can; what is there is whole either way.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn is_left_behind(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let is_part = name
        .to_str()
        .is_some_and(|name| name.starts_with(NAME) && name.ends_with(PART));
    let age = entry.metadata().and_then(|found| found.modified());
    is_part && age.is_ok_and(|then| then.elapsed().is_ok_and(|age| age > LEFT_BEHIND))
}
