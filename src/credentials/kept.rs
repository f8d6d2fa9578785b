//! A file that is read again only when it has changed.

use super::lock;
use crate::process;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

/// A file system notes the time of a change in steps, at worst of two seconds. A second change within one step
/// may look like the first. So a file that has just changed is read once more after that time.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// An error is the fault of the file, in words that hold none of its contents.
pub(super) type Reading<T> = Result<T, String>;

/// A file, and its contents as they were read last.
pub(super) struct Kept<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Reading<T>,
    last: Mutex<Option<Last<T>>>,
}

struct Last<T> {
    stamp: Option<Stamp>,
    /// When the stamp was seen first.
    since: Instant,
    /// Whether any further change changes the stamp.
    is_settled: bool,
    contents: Reading<Arc<T>>,
}

/// Differs after each change of a file: device, inode, size, and the time when the contents or the rights changed.
/// It is zero without a file.
type Stamp = (u64, u64, u64, i64, i64);

impl<T> Kept<T> {
    /// `parse` reads the contents. A file that does not exist counts as an empty one.
    pub(super) fn new(path: PathBuf, parse: fn(&[u8]) -> Reading<T>) -> Self {
        Self {
            path,
            parse,
            last: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file if it may have changed. Otherwise this costs one `stat`.
    pub(super) fn renew(&self) {
        let mut last = lock(&self.last);
        let stamp = stamp(&self.path);
        let known = last
            .as_ref()
            .filter(|last| stamp.is_some() && last.stamp == stamp);
        if known.is_some_and(|last| last.is_settled) {
            return;
        }
        let since = known.map_or_else(Instant::now, |last| last.since);
        let is_old = since.elapsed() > COARSEST_CLOCK;
        let contents = self.read();
        *last = Some(Last {
            stamp,
            since,
            is_settled: is_old && contents.is_ok(),
            contents: contents.map(Arc::new),
        });
    }

    /// The contents at the last renewal.
    pub(super) fn contents(&self) -> Reading<Arc<T>> {
        let contents = |last: &Last<T>| last.contents.clone();
        let known = lock(&self.last).as_ref().map(contents);
        known.unwrap_or_else(|| {
            self.renew();
            self.contents()
        })
    }

    fn read(&self) -> Reading<T> {
        match std::fs::read(&self.path) {
            Ok(bytes) => (self.parse)(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => (self.parse)(&[]),
            Err(error) => Err(format!("cannot be read ({})", process::explain(&error))),
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    /// The contents are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.path.display())
    }
}

/// The stamp of a file. `None` if that cannot be told.
fn stamp(path: &Path) -> Option<Stamp> {
    match std::fs::metadata(path) {
        Ok(file) => {
            let changed = (file.ctime(), file.ctime_nsec());
            Some((file.dev(), file.ino(), file.size(), changed.0, changed.1))
        }
        Err(error) => (error.kind() == ErrorKind::NotFound).then(Stamp::default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    static READ: AtomicUsize = AtomicUsize::new(0);

    fn parse(bytes: &[u8]) -> Reading<String> {
        READ.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| "is not text".to_owned())
    }

    #[test]
    fn a_file_is_read_again_after_each_change_and_only_then() {
        let path = std::env::temp_dir().join(format!("iw-kept-{}", std::process::id()));
        let other = path.with_extension("new");
        let file = Kept::new(path.clone(), parse);
        let now = || {
            file.renew();
            file.contents().map(|text| String::clone(&text))
        };
        assert_eq!(now(), Ok(String::new()), "there is none");
        // Each text has the same length, and may be written within one step of the clock.
        for number in 0..20 {
            let text = format!("{number:02}");
            std::fs::write(&path, &text).expect("written");
            assert_eq!(now(), Ok(text));
        }
        std::thread::sleep(COARSEST_CLOCK + Duration::from_millis(50));
        assert_eq!(now().as_deref(), Ok("19"));
        let before = READ.load(Ordering::SeqCst);
        for _ in 0..5 {
            assert_eq!(now().as_deref(), Ok("19"));
        }
        assert_eq!(READ.load(Ordering::SeqCst), before, "it is settled");
        std::fs::write(&other, "20").expect("written");
        std::fs::rename(&other, &path).expect("renamed");
        assert_eq!(now().as_deref(), Ok("20"), "another file has its name");
        std::fs::write(&path, b"\xff\xff").expect("written");
        assert_eq!(now(), Err("is not text".to_owned()));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(now(), Ok(String::new()));
    }

    #[test]
    fn the_contents_do_not_show_in_debug() {
        let file = Kept::new("/no/such/file".into(), |_| Ok("hunter2".to_owned()));
        file.renew();
        assert_eq!(format!("{file:?}"), "Kept(/no/such/file)");
    }
}
