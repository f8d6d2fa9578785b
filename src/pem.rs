//! PEM (RFC 7468): blocks of base64 between two lines. The parser of the TLS library costs 4 KiB more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The blocks of a text: the label of each, and its content unless it is damaged. Text between blocks is ignored, as in
/// bundles that name their certificates.
#[cold]
pub(crate) fn blocks(text: &str) -> Vec<(&str, Option<Vec<u8>>)> {
    let mut blocks = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").unwrap_or((block, ""));
        blocks.push((label, content(label, rest)));
    }
    blocks
}

fn content(label: &str, rest: &str) -> Option<Vec<u8>> {
    let (lines, end) = rest.split_once("-----END ")?;
    let is_whole = end.strip_prefix(label)?.starts_with("-----");
    let mut base64 = String::new();
    for line in lines.split_whitespace() {
        base64.push_str(line);
    }
    STANDARD.decode(&*base64).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_between_other_text() {
        let text = "# A\r\n-----BEGIN A-----\r\nAAEC\r\nAw==\r\n-----END A-----\r\n# B\n-----BEGIN B C----- AA== -----END B C-----";
        let expected = [("A", Some(vec![0, 1, 2, 3])), ("B C", Some(vec![0]))];
        assert_eq!(blocks(text), expected);
        assert_eq!(blocks("no block"), []);
    }

    #[test]
    fn a_damaged_block_has_no_content() {
        for text in [
            "-----BEGIN A",
            "-----BEGIN A-----",
            "-----BEGIN A-----AA==",
            "-----BEGIN A-----AA==-----END B-----",
            "-----BEGIN A-----AA==-----END A",
            "-----BEGIN A-----AA-----END A-----",
            "-----BEGIN A-----é-----END A-----",
        ] {
            assert_eq!(blocks(text), [("A", None)], "{text}");
        }
    }
}
