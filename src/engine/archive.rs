//! Files in a container: the changes in its layer, and single files as tar archives.

use super::Call;
use super::Engine;
use super::LIST_LIMIT;
use super::segment;
use crate::error::Error;
use crate::error::Result;
use crate::http;
use crate::time::parse_rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::io::Read;
use std::time::SystemTime;
use ureq::http::Method;

/// The header in which an Engine describes a path.
const STAT_HEADER: &str = "X-Docker-Container-Path-Stat";
/// The size of a tar's blocks.
const BLOCK: usize = 512;
/// Largest header of a tar that continues in a block of its own.
const HEADER_LIMIT: u64 = 1024 * 1024;

/// The file, folder or link at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// When the contents changed last.
    pub modified: SystemTime,
    /// How many bytes the contents have.
    pub size: u64,
    /// Whether the path is a file, a folder or a link.
    pub kind: PathKind,
}

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

impl PathKind {
    /// Reads Go's `fs.FileMode`, which an Engine shows.
    fn of(mode: u64) -> Self {
        const TYPES: u64 = 0x8f28_0000;
        match mode & TYPES {
            0 => Self::File,
            0x8000_0000 => Self::Folder,
            0x0800_0000 => Self::Link,
            _ => Self::Other,
        }
    }
}

/// A path in a container's layer that its image does not have, or has with other contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path from the container's root.
    pub path: String,
    /// Whether the image does not have the path.
    pub is_new: bool,
}

/// One file, link or folder of a tar, with all its headers.
#[derive(Debug, Clone)]
pub struct Entry {
    bytes: Vec<u8>,
    /// The place of the last header.
    header: usize,
}

impl Entry {
    /// Reads the first entry, and nothing after it.
    fn read(mut from: impl Read, limit: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        loop {
            let header = bytes.len();
            bytes.resize(header + BLOCK, 0);
            from.read_exact(&mut bytes[header..])?;
            let kind = bytes[header + 156];
            let continues = matches!(kind, b'x' | b'g' | b'L' | b'K');
            let size = match kind {
                _ if continues => {
                    octal(&bytes[header + 124..header + 136]).filter(|size| *size <= HEADER_LIMIT)
                }
                b'0' | 0 => octal(&bytes[header + 124..header + 136]).filter(|size| *size <= limit),
                b'2' | b'5' => Some(0),
                _ => None,
            };
            let size = size.and_then(|size| usize::try_from(size).ok());
            let Some(size) = size else {
                return Err(io::Error::other(
                    "an entry of an archive that cannot be taken over",
                ));
            };
            let at = bytes.len();
            bytes.resize(at + size.next_multiple_of(BLOCK), 0);
            from.read_exact(&mut bytes[at..])?;
            if !continues {
                return Ok(Self { bytes, header });
            }
        }
    }

    /// Sets the time of the last change, in seconds since 1970.
    pub fn set_time(&mut self, seconds: u64) {
        let header = &mut self.bytes[self.header..self.header + BLOCK];
        header[136..148]
            .copy_from_slice(format!("{:011o}\0", seconds & 0o77_777_777_777).as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// A number of a tar's header.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    path: String,
    kind: u8,
}

impl Engine {
    /// The changes in a container's layer: files of its image that were changed, and files that were added
    /// (`GET /containers/{id}/changes`).
    ///
    /// # Errors
    /// See [`Error`], here and for every other method.
    #[cold]
    pub fn changes(&self, id: &str) -> Result<Vec<Change>> {
        const CHANGED: u8 = 0;
        const ADDED: u8 = 1;
        let path = format!("/containers/{}/changes", segment(id));
        let call = Call::new(Method::GET, &path, self.deadlines.heavy);
        let bytes = self.read(&call, LIST_LIMIT)?;
        let list: Option<Vec<Changed>> = serde_json::from_slice(&bytes).map_err(|error| {
            Error::malformed(
                self.named(&Method::GET, &path),
                format!("not a list of changes ({error})"),
            )
        })?;
        let list = list.into_iter().flatten();
        let there = list.filter(|one| matches!(one.kind, CHANGED | ADDED));
        Ok(there
            .map(|one| Change {
                is_new: one.kind == ADDED,
                path: one.path,
            })
            .collect())
    }

    /// Describes a path of a container, if it exists (`HEAD /containers/{id}/archive`).
    pub fn path_stat(&self, id: &str, path: &str) -> Result<Option<PathStat>> {
        let path = archive_path(id, path);
        let call = Call::new(Method::HEAD, &path, self.deadlines.call);
        let answer = match self.call(&call) {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = answer.headers().get(STAT_HEADER);
        let stat = header.and_then(|value| read_stat(value.as_bytes()));
        stat.map(Some).ok_or_else(|| {
            Error::malformed(
                self.named(&Method::HEAD, &path),
                format!("no {STAT_HEADER} that can be read"),
            )
        })
    }

    /// Reads a file, link or folder of a container; a folder without its contents
    /// (`GET /containers/{id}/archive`). `limit` is the size of the largest file that is read.
    pub fn archive_entry(&self, id: &str, path: &str, limit: u64) -> Result<Entry> {
        let path = archive_path(id, path);
        let call = Call::new(Method::GET, &path, self.deadlines.heavy);
        let answer = self.call(&call)?;
        let entry = Entry::read(answer.into_body().into_reader(), limit);
        entry.map_err(|error| http::read_failure(&self.named(&Method::GET, &path), &error))
    }

    /// Puts a file, link or folder into a folder of a container, with its mode and owner
    /// (`PUT /containers/{id}/archive`).
    pub fn put_entry(&self, id: &str, folder: &str, entry: &Entry) -> Result<()> {
        let path = archive_path(id, folder) + "&noOverwriteDirNonDir=true";
        let mut tar = entry.bytes.clone();
        tar.resize(tar.len() + 2 * BLOCK, 0);
        let call = Call {
            archive: Some(&tar),
            ..Call::new(Method::PUT, &path, self.deadlines.heavy)
        };
        self.finish(&call).map(drop)
    }
}

fn archive_path(id: &str, path: &str) -> String {
    let path = http::percent_encode(path, "/");
    format!("/containers/{}/archive?path={path}", segment(id))
}

fn read_stat(header: &[u8]) -> Option<PathStat> {
    let json: Value = serde_json::from_slice(&STANDARD.decode(header).ok()?).ok()?;
    Some(PathStat {
        modified: parse_rfc3339(json["mtime"].as_str()?)?,
        size: json["size"].as_u64().unwrap_or_default(),
        kind: PathKind::of(json["mode"].as_u64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, size: usize) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..4].copy_from_slice(b"name");
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[156] = kind;
        header
    }

    #[test]
    fn the_first_entry_is_taken_with_its_headers_and_no_more() {
        let mut tar = [
            header(b'x', 20),
            vec![b'p'; 512],
            header(b'0', 600),
            vec![b'c'; 1024],
        ]
        .concat();
        let expected = tar.clone();
        tar.extend(header(b'0', 1));
        let entry = Entry::read(&*tar, 600).expect("an entry");
        assert_eq!((entry.bytes.as_slice(), entry.header), (&*expected, 1024));
        assert!(Entry::read(&*tar, 599).is_err(), "too large");
        assert!(Entry::read(&tar[..1000], 600).is_err(), "too short");
        let folder = [header(b'5', 0), header(b'0', 1)].concat();
        assert_eq!(Entry::read(&*folder, 0).expect("a folder").bytes.len(), 512);
        for kind in [b'1', b'3', b'6'] {
            assert!(Entry::read(&*header(kind, 0), 10).is_err());
        }
    }

    #[test]
    fn its_time_is_set_with_the_sum() {
        let mut entry = Entry::read(&*header(b'0', 0), 0).expect("an entry");
        entry.set_time(0o12345);
        assert_eq!(&entry.bytes[136..148], b"00000012345\0");
        let sum = octal(&entry.bytes[148..156]).expect("a sum");
        let blank = |(at, byte): (usize, &u8)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        };
        assert_eq!(entry.bytes.iter().enumerate().map(blank).sum::<u64>(), sum);
    }

    #[test]
    fn what_an_engine_says_of_a_path_is_read() {
        let read = |json: &str| read_stat(STANDARD.encode(json).as_bytes());
        let stat = read(
            r#"{"name":"etc","size":4096,"mode":2147484141,"mtime":"2026-11-29T01:10:07.16+01:00"}"#,
        );
        assert_eq!(
            stat.map(|stat| (stat.size, stat.kind)),
            Some((4096, PathKind::Folder))
        );
        for (mode, kind) in [
            (0o644, PathKind::File),
            (0o644 | 1 << 23, PathKind::File),
            (0o777 | 1 << 27, PathKind::Link),
            (0o644 | 1 << 26 | 1 << 21, PathKind::Other),
            (0o644 | 1 << 25, PathKind::Other),
            (0o644 | 1 << 24, PathKind::Other),
        ] {
            assert_eq!(PathKind::of(mode), kind, "{mode:o}");
        }
        assert_eq!(read("{}"), None);
        assert_eq!(read_stat(b"rubbish"), None);
    }
}
