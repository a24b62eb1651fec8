//! Metrics in the reference's intervals: what the agent counts and measures, and how it is read.
//!
//! [`Telemetry`] is a recorder for the `metrics` crate. Call sites say `counter!("consul.raft.apply")`,
//! `histogram!("consul.api.http", "method" => ..)` in milliseconds, `gauge!("consul.server.isLeader")`; the summary of
//! the last complete interval of ten seconds is what `/v1/agent/metrics` answers, and the same series are written as
//! Prometheus text.
//!
//! Always true: recording asks no clock and takes no lock that is held longer than a few additions; intervals start
//! at multiples of ten seconds; the number of series, intervals and waiting stream items is bounded.
//! Not here: pushing to statsd, statsite or DogStatsD, HTTP (`api`).

mod aggregate;
mod gauges;
mod name;
mod prometheus;
mod series;
mod summary;

pub use gauges::{Members, StateUsage, record_runtime, record_usage};
pub use name::Filter;
pub use series::MAX_SERIES;
pub use summary::{GaugeValue, MetricsSummary, PointValue, SampledValue};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use wire::time::GoTime;

use aggregate::Aggregate;
use name::{Kind, Name, Naming};
use series::{Series, Table};

/// Seconds in an interval.
const INTERVAL: u64 = 10;
/// How many intervals are kept, the running one included: one minute.
const INTERVALS_KEPT: usize = 6;
/// Half of the ten seconds that the quantiles of the Prometheus text look back.
const HALF_WINDOW: u64 = 5;
/// How often the runtime gauges are set and the end of an interval is looked for: at every whole second.
const TICK: Duration = Duration::from_secs(1);
/// A series that was not used for so long is dropped, if it also left the Prometheus text.
const ABANDONED_AFTER: u64 = 120;

/// What the operator says about metrics (`telemetry` in the configuration).
#[derive(Debug, Clone)]
pub struct Config {
    /// The first part of all names.
    pub metrics_prefix: String,
    /// Goes into the names of gauges; empty when the operator disabled it or the host has no name.
    pub hostname: String,
    pub filter: Filter,
    /// How long the Prometheus text shows what is not updated; zero turns the text off.
    pub prometheus_retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            metrics_prefix: "consul".to_owned(),
            hostname: String::new(),
            filter: Filter::default(),
            prometheus_retention: Duration::ZERO,
        }
    }
}

/// The recorder and what it recorded.
#[derive(Debug)]
pub struct Telemetry {
    naming: Naming,
    /// Reloadable; read when a series is made, not when something is recorded.
    filter: RwLock<Filter>,
    prometheus_retention: u64,
    gauges: Table,
    counters: Table,
    samples: Table,
    /// What call sites described: these stand in the Prometheus text even before their first value.
    described: Mutex<BTreeMap<(Kind, String), String>>,
    /// A lock because ending an interval and reading the last one must not mix.
    intervals: Mutex<Intervals>,
    finished: broadcast::Sender<Arc<MetricsSummary>>,
}

#[derive(Debug)]
struct Intervals {
    /// Start of the running interval, in seconds since the epoch.
    start: u64,
    half_window: u64,
    finished: VecDeque<Arc<MetricsSummary>>,
}

impl Telemetry {
    /// A recorder that nothing records into yet.
    #[must_use]
    pub fn new(config: Config, now: SystemTime) -> Arc<Telemetry> {
        let now = unix_seconds(now);
        Arc::new(Telemetry {
            naming: Naming { prefix: config.metrics_prefix, host: config.hostname },
            filter: RwLock::new(config.filter),
            prometheus_retention: config.prometheus_retention.as_secs_f64().ceil() as u64,
            gauges: Table::default(),
            counters: Table::default(),
            samples: Table::default(),
            described: Mutex::default(),
            intervals: Mutex::new(Intervals {
                start: now - now % INTERVAL,
                half_window: now / HALF_WINDOW,
                finished: VecDeque::new(),
            }),
            finished: broadcast::channel(INTERVALS_KEPT).0,
        })
    }

    /// Makes a recorder the one of this process. When there was one already, that one stays in use by the call sites
    /// and this one records nothing.
    #[must_use]
    pub fn install(config: Config) -> Arc<Telemetry> {
        let telemetry = Telemetry::new(config, SystemTime::now());
        if metrics::set_global_recorder(Arc::clone(&telemetry)).is_err() {
            tracing::warn!("another recorder of metrics is already installed");
        }
        telemetry
    }

    /// Sets the runtime gauges and ends the intervals on time. Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            // Before the gauges, so that what is set after the boundary belongs to the interval that began there.
            self.advance(SystemTime::now());
            metrics::with_local_recorder(&*self, record_runtime);
            // At whole seconds, so that an interval ends where it says it does.
            let into_second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            tokio::time::sleep(TICK.saturating_sub(Duration::from_nanos(u64::from(into_second)))).await;
        }
    }

    /// Replaces the filter, also for the series that exist.
    pub fn set_filter(&self, filter: Filter) {
        // First the rule, then what exists: a series that is made meanwhile either reads the new rule or is found below.
        *self.filter.write() = filter.clone();
        for table in [&self.gauges, &self.counters, &self.samples] {
            for series in table.all() {
                series.keep(filter.allows(&series.name().text));
            }
        }
    }

    /// Ends the running interval if its time is over.
    pub fn advance(&self, now: SystemTime) {
        let now = unix_seconds(now);
        let mut intervals = self.intervals.lock();
        self.advance_locked(&mut intervals, now);
    }

    fn advance_locked(&self, intervals: &mut Intervals, now: u64) {
        if now / HALF_WINDOW != intervals.half_window {
            intervals.half_window = now / HALF_WINDOW;
            for series in self.samples.all() {
                if let Series::Sampled(sampled) = series {
                    sampled.turn_window();
                }
            }
        }
        let start = now - now % INTERVAL;
        // A clock that is set back also ends an interval.
        if start == intervals.start {
            return;
        }
        let summary = Arc::new(self.summarize(intervals.start, |gauge| gauge.drain(now), |sampled| sampled.drain(now)));
        intervals.start = start;
        if intervals.finished.len() == INTERVALS_KEPT - 1 {
            intervals.finished.pop_front();
        }
        intervals.finished.push_back(Arc::clone(&summary));
        // Nobody listening is fine.
        let _ = self.finished.send(summary);
        let unused_since = now.saturating_sub(ABANDONED_AFTER.max(self.prometheus_retention));
        for table in [&self.counters, &self.samples] {
            table.drop_abandoned(unused_since);
        }
    }

    /// The last complete interval, or the running one when none is complete.
    #[must_use]
    pub fn snapshot(&self) -> Arc<MetricsSummary> {
        self.snapshot_at(SystemTime::now())
    }

    #[must_use]
    pub fn snapshot_at(&self, now: SystemTime) -> Arc<MetricsSummary> {
        let mut intervals = self.intervals.lock();
        self.advance_locked(&mut intervals, unix_seconds(now));
        match intervals.finished.back() {
            Some(finished) => Arc::clone(finished),
            None => Arc::new(self.summarize(
                intervals.start,
                |gauge| gauge.is_set().then(|| gauge.value()),
                series::Sampled::peek,
            )),
        }
    }

    /// The Prometheus text, `None` when it is turned off.
    #[must_use]
    pub fn prometheus(&self) -> Option<String> {
        self.prometheus_at(SystemTime::now())
    }

    #[must_use]
    pub fn prometheus_at(&self, now: SystemTime) -> Option<String> {
        if self.prometheus_retention == 0 {
            return None;
        }
        let now = unix_seconds(now);
        let mut text = prometheus::Text::default();
        for ((kind, name), help) in &*self.described.lock() {
            text.describe(*kind, &self.naming.text(*kind, name), help);
        }
        let is_shown = |touched: u64| touched != 0 && touched.saturating_add(self.prometheus_retention) >= now;
        for table in [&self.gauges, &self.counters, &self.samples] {
            for series in table.all() {
                match series {
                    Series::Gauge(gauge) if is_shown(gauge.touched(now)) => text.gauge(&gauge.name, gauge.value()),
                    Series::Gauge(_) => {}
                    Series::Sampled(sampled) => {
                        let totals = sampled.totals(now);
                        if is_shown(totals.touched) {
                            text.sampled(sampled.kind, &sampled.name, &totals);
                        } else if totals.touched != 0 {
                            sampled.forget_totals();
                        }
                    }
                }
            }
        }
        prometheus::add_process(&mut text);
        Some(text.finish())
    }

    /// The intervals as they end, from now on.
    #[must_use]
    pub fn interval_stream(&self) -> IntervalStream {
        IntervalStream { receiver: self.finished.subscribe() }
    }

    /// How many times something could not be recorded because there were too many series.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.gauges.refused() + self.counters.refused() + self.samples.refused()
    }

    fn summarize(
        &self,
        start: u64,
        gauge_value: impl Fn(&series::Gauge) -> Option<f32>,
        collected: impl Fn(&series::Sampled) -> Aggregate,
    ) -> MetricsSummary {
        let mut gauges = BTreeMap::new();
        for series in self.gauges.all() {
            let Series::Gauge(gauge) = series else { continue };
            if let Some(value) = gauge_value(&gauge) {
                let Name { text, sort_key, labels } = gauge.name.clone();
                gauges.insert(sort_key, GaugeValue { name: text, value, labels });
            }
        }
        let sampled = |table: &Table| {
            let mut found = BTreeMap::new();
            for series in table.all() {
                let Series::Sampled(sampled) = series else { continue };
                let values = collected(&sampled);
                if values.count > 0 {
                    let name = sampled.name.clone();
                    found.insert(name.sort_key.clone(), sampled_value(name, &values));
                }
            }
            found.into_values().collect()
        };
        MetricsSummary {
            timestamp: timestamp(start),
            gauges: gauges.into_values().collect(),
            points: Vec::new(),
            counters: sampled(&self.counters),
            samples: sampled(&self.samples),
        }
    }

    fn series(&self, kind: Kind, key: &Key) -> Option<Series> {
        let table = match kind {
            Kind::Gauge => &self.gauges,
            Kind::Counter => &self.counters,
            Kind::Sample => &self.samples,
        };
        table.get_or_insert(key, |key| {
            let name = self.naming.name(kind, key);
            let kept = self.filter.read().allows(&name.text);
            Series::new(kind, name, kept, self.prometheus_retention > 0)
        })
    }

    fn describe(&self, kind: Kind, name: &KeyName, help: &SharedString) {
        let mut described = self.described.lock();
        if described.len() < MAX_SERIES {
            described.insert((kind, name.as_str().to_owned()), help.to_string());
        }
    }
}

fn sampled_value(name: Name, values: &Aggregate) -> SampledValue {
    SampledValue {
        name: name.text,
        count: values.count,
        rate: values.sum / INTERVAL as f64,
        sum: values.sum,
        min: values.min,
        max: values.max,
        mean: values.mean(),
        stddev: values.stddev(),
        labels: name.labels,
    }
}

/// As Go prints a time in UTC without a fraction: `2006-01-02 15:04:05 +0000 UTC`.
fn timestamp(unix_seconds: u64) -> String {
    let rfc3339 = GoTime::from_unix(i64::try_from(unix_seconds).unwrap_or(i64::MAX), 0).to_string();
    format!("{} +0000 UTC", rfc3339.trim_end_matches('Z').replace('T', " "))
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Finished intervals, one after the other.
#[derive(Debug)]
pub struct IntervalStream {
    receiver: broadcast::Receiver<Arc<MetricsSummary>>,
}

impl IntervalStream {
    /// The next interval that ends. A reader that is a minute late loses the oldest. `None` when the recorder is gone.
    pub async fn next(&mut self) -> Option<Arc<MetricsSummary>> {
        loop {
            match self.receiver.recv().await {
                Ok(summary) => return Some(summary),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Recorder for Telemetry {
    fn describe_counter(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(Kind::Counter, &name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(Kind::Gauge, &name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.describe(Kind::Sample, &name, &description);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        match self.series(Kind::Counter, key) {
            Some(Series::Sampled(sampled)) => Counter::from_arc(sampled),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        match self.series(Kind::Gauge, key) {
            Some(Series::Gauge(gauge)) => Gauge::from_arc(gauge),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        match self.series(Kind::Sample, key) {
            Some(Series::Sampled(sampled)) => Histogram::from_arc(sampled),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests;
