//! Reads values of variables: a word, a list, a time, a secret.

use super::Problem;
use super::VARIABLES;
use super::vars::Vars;
use crate::labels;
use crate::process;
use crate::time::parse_duration;
use std::ops::RangeInclusive;
use std::time::Duration;

impl Vars {
    pub(super) fn problem(&mut self, variable: &str, value: &str, expected: impl Into<String>) {
        self.problems.push(Problem {
            variable: variable.to_owned(),
            value: value.to_owned(),
            expected: expected.into(),
        });
    }

    /// Returns the value, unless the variable is unset or empty.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// Returns the value, or the default of the table.
    pub(super) fn text(&self, name: &str) -> String {
        let default = || VARIABLES.iter().find(|row| row.name == name);
        self.given(name)
            .unwrap_or_else(|| default().map_or("", |row| row.default).to_owned())
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let mut items: Vec<String> = Vec::new();
        for item in self.text(name).split(',') {
            let item = item.trim().to_owned();
            if !item.is_empty() && !items.contains(&item) {
                items.push(item);
            }
        }
        items
    }

    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        choices[self.chosen(name, &words)].1
    }

    /// Returns the place of the word that is the value.
    fn chosen(&mut self, name: &str, words: &[&str]) -> usize {
        let value = self.text(name);
        let lower = value.trim().to_ascii_lowercase();
        let place = words.iter().position(|word| *word == lower);
        place.unwrap_or_else(|| {
            self.problem(name, &value, words.join(" or "));
            0
        })
    }

    pub(super) fn count(&mut self, name: &str, range: RangeInclusive<usize>) -> usize {
        let value = self.text(name);
        match value.trim().parse() {
            Ok(count) if range.contains(&count) => count,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.problem(name, &value, format!("a number from {least} to {most}"));
                *least
            }
        }
    }

    pub(super) fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let value = self.text(name);
        match parse_duration(value.trim()) {
            Some(duration) if duration >= least => duration,
            _ => {
                let floor = match least.as_secs() {
                    0 => String::new(),
                    secs => format!(", at least {secs}s"),
                };
                self.problem(name, &value, format!("a time such as 30s, 5m or 1h{floor}"));
                least
            }
        }
    }

    /// Returns `X`, or the content of the file that `X_FILE` names, without white space around it.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let given = self.given(name);
        let Some(path) = self.given(&file_name) else {
            return given.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        };
        if given.is_some() {
            self.problem(
                &file_name,
                &path,
                format!("only one of {name} and {file_name}"),
            );
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned())
                .filter(|v| !v.is_empty())
                .or_else(|| {
                    self.problem(&file_name, &path, "a file that is not empty");
                    None
                }),
            Err(error) => {
                self.problem(
                    &file_name,
                    &path,
                    format!("a readable file ({})", process::explain(&error)),
                );
                None
            }
        }
    }

    /// Reads true or false with the words that labels accept.
    pub(super) fn switch(&mut self, name: &str) -> bool {
        let value = self.text(name);
        labels::switch(&value).unwrap_or_else(|| {
            self.problem(name, &value, "true or false");
            false
        })
    }
}
