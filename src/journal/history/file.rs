//! The state file: a small file that is only replaced as a whole.

use crate::process;
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

const NAME: &str = "imagewatch.json";
/// The name of a file that could not be read.
const BAD: &str = "imagewatch.json.bad";
/// The end of the name of a file that is being written.
const PART: &str = ".part";
/// The largest file that is read. Two hundred outcomes and 2,000 sights need a quarter of it.
const LIMIT: u64 = 4 * 1024 * 1024;
/// An unfinished file of this age was left behind by a killed process.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// The folder of the state, and the file in it.
#[derive(Debug)]
pub(super) struct StateFile {
    folder: PathBuf,
}

impl StateFile {
    /// Opens the folder, and removes unfinished files of killed processes.
    ///
    /// # Errors
    /// The reason why the folder cannot be used, on one line.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, String> {
        let name = folder.display();
        let found = fs::read_dir(folder).map_err(|error| {
            let error = process::explain(&error);
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

    /// Tests whether the folder is writable.
    ///
    /// # Errors
    /// The reason why it is not, on one line.
    pub(super) fn try_out(&self) -> Result<(), String> {
        let part = self.part();
        let outcome = File::create_new(&part).and_then(|_| fs::remove_file(&part));
        outcome.map_err(|error| {
            format!(
                "IMAGEWATCH_STATE={}: not writable: {}; new outcomes may be lost at a restart",
                self.folder.display(),
                process::explain(&error)
            )
        })
    }

    /// A unique name for a file that is being written. The process id would not do: it is 1 in every container.
    fn part(&self) -> PathBuf {
        let part = format!("{NAME}.{:016x}{PART}", RandomState::new().hash_one(0));
        self.folder.join(part)
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The reason why the file cannot be read.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let path = self.folder.join(NAME);
        let read = || {
            // Opening a named pipe would wait for a writer.
            let found = fs::metadata(&path)?;
            if !found.is_file() || found.len() > LIMIT {
                return Err(io::Error::other("not a file that imagewatch writes"));
            }
            fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Renames a file that cannot be used, and warns about that.
    ///
    /// # Errors
    /// The reason why the file cannot be renamed.
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

    /// Replaces the file. If the power fails, the file is either the old one or the new one.
    ///
    /// # Errors
    /// The reason why the file was not written, on one line.
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
        // The sync of the folder makes the new name durable. Not every file system can do that, but the file is
        // whole either way.
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
