//! The output of containers, and the frames in which an Engine sends it.

use super::Engine;
use super::request::Call;
use super::segment;
use crate::error::Result;
use ureq::http::Method;

/// Longest piece of a container's log that is read.
const LOG_LIMIT: u64 = 64 * 1024;

impl Engine {
    /// The last lines a container printed, of both streams (`GET /containers/{id}/logs`).
    #[cold]
    pub fn last_lines(&self, id: &str, count: u32) -> Result<String> {
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&tail={count}",
            segment(id)
        );
        let call = Call::new(Method::GET, &path, self.deadlines.call);
        let bytes = self.read(&call, LOG_LIMIT)?;
        Ok(String::from_utf8_lossy(&demultiplexed(&bytes)).into_owned())
    }
}

/// Takes the payloads out of the Engine's log frames: eight bytes of header, the last four of
/// which are the length (Engine API, "ContainerAttach"). A terminal's output has no frames.
pub(super) fn demultiplexed(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        if header[0] > 2 || header[1..4] != [0, 0, 0] {
            return bytes.to_vec();
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let end = length.min(after.len());
        text.extend_from_slice(&after[..end]);
        rest = &after[end..];
    }
    text.extend_from_slice(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_frames_are_taken_apart() {
        let framed = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x02de";
        assert_eq!(demultiplexed(framed), b"abcde");
        assert_eq!(
            demultiplexed(b"plain text of a terminal"),
            b"plain text of a terminal"
        );
        assert_eq!(demultiplexed(b"\x01\0\0\0\0\0\x03\xe8cut"), b"cut");
        assert_eq!(demultiplexed(b""), b"");
    }
}
