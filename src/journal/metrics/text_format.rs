//! The text format of Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;
use std::time::Duration;

/// The prefix of every metric.
const PREFIX: &str = "imagewatch_";

/// A page of metrics that is being written, one metric after the other.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    /// The metric that is being written.
    name: &'static str,
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

    /// Writes a sample of the current metric.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: u64) {
        self.write_name(suffix, labels);
        let _ = writeln!(self.text, " {value}");
    }

    /// Writes a time to the millisecond. The code for printing a float would weigh 15 KB.
    pub(super) fn seconds(&mut self, suffix: &str, time: Duration) {
        self.write_name(suffix, &[]);
        let (secs, millis) = (time.as_secs(), time.subsec_millis());
        let _ = writeln!(self.text, " {secs}.{millis:03}");
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

    fn write_name(&mut self, suffix: &str, labels: &[(&str, &str)]) {
        let _ = write!(self.text, "{PREFIX}{}{suffix}", self.name);
        let mut mark = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{mark}{label}=\"{}\"", escaped(value));
            mark = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
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
        page.sample("_sum", &[("a", "x\"y\\z\n"), ("b", "")], 5);
        page.seconds("", Duration::from_millis(62_007));
        assert_eq!(
            page.text(),
            "# HELP imagewatch_things Some things.\n\
             # TYPE imagewatch_things gauge\n\
             imagewatch_things 2\n\
             imagewatch_things_sum{a=\"x\\\"y\\\\z\\n\",b=\"\"} 5\n\
             imagewatch_things 62.007\n"
        );
    }
}
