//! The text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

/// Before every name.
const PREFIX: &str = "imagewatch_";

/// A page that is being written, metric after metric.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    /// The metric that is being written.
    name: &'static str,
}

/// A number of either kind. Whole ones stay whole, however large.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl Page {
    pub(super) fn counter(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "counter");
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "gauge");
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "histogram");
    }

    /// A sample of the metric begun last.
    pub(super) fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl Into<Number>,
    ) {
        self.write_sample(suffix, labels, value.into());
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    // Writing to a string cannot fail.

    fn begin(&mut self, name: &'static str, help: &str, kind: &str) {
        self.name = name;
        let _ = writeln!(self.text, "# HELP {PREFIX}{name} {help}");
        let _ = writeln!(self.text, "# TYPE {PREFIX}{name} {kind}");
    }

    fn write_sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: Number) {
        let _ = write!(self.text, "{PREFIX}{}{suffix}", self.name);
        let mut mark = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{mark}{label}=\"{}\"", escaped(value));
            mark = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = match value {
            Number::Whole(number) => writeln!(self.text, " {number}"),
            Number::Float(number) => writeln!(self.text, " {number}"),
        };
    }
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_look_as_prometheus_wants_them() {
        let mut page = Page::default();
        page.gauge("things", "Some things.");
        page.sample("", &[], 2);
        page.sample("_sum", &[("a", "x\"y\\z\n"), ("b", "")], 0.5);
        assert_eq!(
            page.text(),
            "# HELP imagewatch_things Some things.\n\
             # TYPE imagewatch_things gauge\n\
             imagewatch_things 2\n\
             imagewatch_things_sum{a=\"x\\\"y\\\\z\\n\",b=\"\"} 0.5\n"
        );
    }
}
