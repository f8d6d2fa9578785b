//! JSON as text, text as JSON, the objects of a long array, and values by their path, compiled once. `Value`'s own
//! `Display` brings another printer along, which can indent too, and `serde_json::from_str` another parser.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::io::Read;

/// How much of an array is read at a time, at least.
const CHUNK: usize = 64 * 1024;

/// Returns a value on one line. An object keeps the order of its keys.
pub(crate) fn print(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a value, or nothing if the bytes are no JSON.
#[inline(never)]
pub(crate) fn read(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// Reads a value.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_slice(text.as_bytes())
}

/// The value at a path such as `package.owner.login`; `null` if there is none.
#[inline(never)]
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    let step = |value: &'v Value, key| value.get(key).unwrap_or(&Value::Null);
    path.split('.').fold(value, step)
}

/// The text at such a path; empty if there is none.
pub(crate) fn text_at<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).as_str().unwrap_or_default()
}

/// The list at such a path; empty if there is none.
pub(crate) fn list_at<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The reason why an array could not be read.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The source failed.
    Source(io::Error),
    /// The text is no array of such objects. The words say why.
    Text(String),
}

/// Reads an array of objects and hands them over one at a time. A list of thousands of containers has megabytes, which
/// are not kept.
pub(crate) fn objects<T: DeserializeOwned>(
    source: &mut dyn Read,
    take: &mut dyn FnMut(T),
) -> Result<(), Broken> {
    let mut text = Text {
        source,
        bytes: Vec::new(),
        at: 0,
    };
    if text.next()? != Some(b'[') {
        return Err(Broken::Text("expected an array".to_owned()));
    }
    let mut is_first = true;
    loop {
        match text.next()? {
            Some(b'{') => text.at -= 1,
            Some(b']') if is_first => break,
            _ => return Err(Broken::Text("expected an object".to_owned())),
        }
        is_first = false;
        take(text.object()?);
        match text.next()? {
            Some(b',') => {}
            Some(b']') => break,
            _ => return Err(Broken::Text("expected a comma or the end".to_owned())),
        }
    }
    match text.next()? {
        None => Ok(()),
        Some(_) => Err(Broken::Text("more text after the array".to_owned())),
    }
}

/// The text of an array, read up to a place.
struct Text<'s> {
    source: &'s mut dyn Read,
    bytes: Vec<u8>,
    at: usize,
}

impl Text<'_> {
    /// The next byte that is no space, if there is one.
    fn next(&mut self) -> Result<Option<u8>, Broken> {
        loop {
            while let Some(&byte) = self.bytes.get(self.at) {
                self.at += 1;
                if !byte.is_ascii_whitespace() {
                    return Ok(Some(byte));
                }
            }
            if !self.read_on()? {
                return Ok(None);
            }
        }
    }

    /// The object that begins here. If it is not read to its end, it is read again once there is more of it.
    fn object<T: DeserializeOwned>(&mut self) -> Result<T, Broken> {
        loop {
            let rest = &self.bytes[self.at..];
            let mut parser = serde_json::Deserializer::from_slice(rest).into_iter();
            match parser.next() {
                Some(Ok(object)) => {
                    self.at += parser.byte_offset();
                    return Ok(object);
                }
                Some(Err(error)) if error.is_eof() && self.read_on()? => {}
                Some(Err(error)) => return Err(Broken::Text(error.to_string())),
                None => return Err(Broken::Text("expected an object".to_owned())),
            }
        }
    }

    /// Reads more: as much again as is waiting, so that an object of any length is read again only a few times.
    /// Returns whether there was more.
    fn read_on(&mut self) -> Result<bool, Broken> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let before = self.bytes.len();
        let more = before.max(CHUNK) as u64;
        let mut source = (&mut *self.source).take(more);
        let read = source.read_to_end(&mut self.bytes);
        read.map_err(Broken::Source)?;
        Ok(self.bytes.len() > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// So many bytes at a time.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read(text: &str, at_once: usize) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        let mut source = Slow(text.as_bytes(), at_once);
        match objects(&mut source, &mut |one| all.push(one)) {
            Ok(()) => Ok(all),
            Err(Broken::Text(reason)) => Err(reason),
            Err(Broken::Source(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn an_array_of_objects_is_read_as_serde_json_reads_it() {
        let one = r#"{"a": "]},{[\\\"", "b": [1, {"c": []}]}, "#;
        let many = format!("[{}{{}}]", one.repeat(4000));
        let long = format!(r#"[{{"a": "{}"}}, {{"b": 1}}]"#, "x".repeat(5 * CHUNK));
        for text in [
            "[]",
            " [ ] ",
            "[{}]",
            "[{},{}]",
            " [ {\"a\":1} , {\"b\":[2]} ]\n",
            r#"[{"a":{"b":"}]"}},{"\\":"\""}]"#,
            "",
            " ",
            "[",
            "[{",
            "[{}",
            "[{},",
            "[,]",
            "[,{}]",
            "[{},,{}]",
            "[{},]",
            "[{}}",
            "[{}]]",
            "[{}] {}",
            "]",
            "{}",
            "{\"a\":[1]}",
            "null",
            "[{} {}]",
            "[{\"a]",
            "[{]",
            "[{]}]",
            "[{\"a\"}]",
            "[{\"a\":nul}]",
            "\"[]\"",
            &many,
            &long,
        ] {
            let expected: Option<Vec<Value>> = serde_json::from_str(text).ok();
            for at_once in [1, 2, 3, 7, CHUNK, usize::MAX] {
                let outcome = read(text, at_once);
                assert_eq!(outcome.as_ref().ok(), expected.as_ref(), "{outcome:?}");
            }
        }
        // An Engine lists nothing but objects.
        for text in ["[1]", "[{},1]", "[null]", "[[]]", "[\"a\"]"] {
            assert!(read(text, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failed_source_and_an_object_of_another_kind_end_it() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cut"))
            }
        }
        let outcome = objects(&mut Failing, &mut |_: Value| {});
        assert!(matches!(outcome, Err(Broken::Source(_))), "{outcome:?}");
        let mut taken = Vec::new();
        let mut source = &br#"[{"a":"b"},{"a":1},{"a":"c"}]"#[..];
        let outcome = objects(&mut source, &mut |one: HashMap<String, String>| {
            taken.push(one)
        });
        assert!(matches!(outcome, Err(Broken::Text(_))), "{outcome:?}");
        assert_eq!(taken.len(), 1);
    }
}
