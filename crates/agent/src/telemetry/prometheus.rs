//! The Prometheus text format, as the reference's sink writes it.
//!
//! Always true: families are sorted by name and have one kind each; within a family every set of labels stands once.
//! Not here: which series are recent enough to be shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::gauges::Process;
use super::name::{Kind, Name};
use super::series::Totals;

/// The quantiles of a summary.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

#[derive(Debug, Default)]
pub(super) struct Text {
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    /// By rendered labels; `""` is none.
    values: BTreeMap<String, Value>,
}

#[derive(Debug)]
enum Value {
    Single(f64),
    Summary { quantiles: [f64; 3], sum: f64, count: f64 },
}

impl Text {
    /// A described metric is there from the start, at zero and without labels.
    pub(super) fn describe(&mut self, kind: Kind, name: &str, help: &str) {
        let value = match kind {
            Kind::Gauge | Kind::Counter => Value::Single(0.0),
            Kind::Sample => Value::Summary { quantiles: [f64::NAN; 3], sum: 0.0, count: 0.0 },
        };
        if let Some(family) = self.family(kind, name) {
            help.clone_into(&mut family.help);
            family.values.entry(String::new()).or_insert(value);
        }
    }

    pub(super) fn gauge(&mut self, name: &Name, value: f32) {
        self.put(Kind::Gauge, name, Value::Single(f64::from(value)));
    }

    pub(super) fn sampled(&mut self, kind: Kind, name: &Name, totals: &Totals) {
        let value = match kind {
            Kind::Sample => Value::Summary {
                quantiles: QUANTILES.map(|(_, quantile)| totals.window.quantile(quantile)),
                sum: totals.sum,
                count: totals.count as f64,
            },
            Kind::Gauge | Kind::Counter => Value::Single(totals.sum),
        };
        self.put(kind, name, value);
    }

    fn put(&mut self, kind: Kind, name: &Name, value: Value) {
        let labels = rendered(&name.labels);
        if let Some(family) = self.family(kind, &name.text) {
            family.values.insert(labels, value);
        }
    }

    /// The family of that name. `None` when it has another kind: one name cannot be two things in this format, and
    /// the first wins.
    fn family(&mut self, kind: Kind, name: &str) -> Option<&mut Family> {
        let name = flattened(name);
        let help = name.clone();
        let family = self.families.entry(name).or_insert_with(|| Family { kind, help, values: BTreeMap::new() });
        (family.kind == kind).then_some(family)
    }

    pub(super) fn finish(self) -> String {
        let mut text = String::new();
        for (name, family) in &self.families {
            write_family(&mut text, name, family);
        }
        text
    }
}

fn write_family(text: &mut String, name: &str, family: &Family) {
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Sample => "summary",
    };
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in &family.values {
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match value {
            Value::Single(value) => {
                let _ = writeln!(text, "{name}{braced} {}", go_float(*value));
            }
            Value::Summary { quantiles, sum, count } => {
                let comma = if labels.is_empty() { "" } else { "," };
                for ((quantile, _), value) in QUANTILES.iter().zip(quantiles) {
                    let _ = writeln!(text, "{name}{{{labels}{comma}quantile=\"{quantile}\"}} {}", go_float(*value));
                }
                let _ = writeln!(text, "{name}_sum{braced} {}", go_float(*sum));
                let _ = writeln!(text, "{name}_count{braced} {}", go_float(*count));
            }
        }
    }
}

/// Names have no dots, spaces, dashes, slashes or equals signs in this format.
fn flattened(name: &str) -> String {
    name.replace(['.', ' ', '-', '/', '='], "_")
}

fn rendered(labels: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{name}=\"{value}\"");
    }
    text
}

/// As Go's `%g` with the shortest digits: an exponent below 1e-4 and from 1e6 on.
pub(super) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// What every Prometheus client says about its process.
pub(super) fn add_process(text: &mut Text) {
    let Some(process) = Process::read() else { return };
    let gauges = [
        ("process_max_fds", "Maximum number of open file descriptors.", process.max_fds),
        ("process_open_fds", "Number of open file descriptors.", process.open_fds),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident_bytes),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", process.start_seconds),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes),
    ];
    for (name, help, value) in gauges {
        text.put_plain(Kind::Gauge, name, help, value);
    }
    let cpu = "Total user and system CPU time spent in seconds.";
    text.put_plain(Kind::Counter, "process_cpu_seconds_total", cpu, process.cpu_seconds);
}

impl Text {
    fn put_plain(&mut self, kind: Kind, name: &str, help: &str, value: f64) {
        if let Some(family) = self.family(kind, name) {
            help.clone_into(&mut family.help);
            family.values.insert(String::new(), Value::Single(value));
        }
    }
}
