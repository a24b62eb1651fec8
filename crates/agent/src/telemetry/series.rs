//! One metric with one set of labels, and the table of all of them.
//!
//! Recording is an uncontended lock on one of a few stripes and a handful of additions, without a clock: an interval
//! ends when its owner drains the stripes, and whatever is recorded after that belongs to the next.
//!
//! Always true: a value is counted in exactly one interval; there are at most [`MAX_SERIES`] series of each kind,
//! and what comes beyond is dropped and counted.
//! Not here: when intervals end (`Telemetry::advance`).

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use parking_lot::{Mutex, RwLock};

use super::aggregate::{Aggregate, Sketch};
use super::name::{Kind, Name};

/// How many series of one kind are kept. The reference's agent has about 400; labels with free values must not eat the memory.
pub const MAX_SERIES: usize = 8192;
/// Threads record into different stripes, so that a hot timer is no point of contention. Power of two.
const STRIPES: usize = 4;
/// Parts of the table with a lock each. Power of two.
const SHARDS: usize = 16;

/// What one stripe of a counter or timer collected.
#[derive(Debug, Default)]
struct Collected {
    interval: Aggregate,
    /// For quantiles; only filled when somebody may ask for them.
    recent: Sketch,
}

/// On its own cache lines, so that neighbours do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(Mutex<Collected>);

/// What outlives an interval.
#[derive(Debug, Default)]
struct Settled {
    /// Sum over all drained intervals; counters and summaries of the Prometheus text only ever grow.
    total_count: u64,
    total_sum: f64,
    /// The half window before the running one.
    before: Sketch,
    /// Seconds since the epoch at which it was last seen to have changed; 0 for never.
    touched: u64,
}

/// A counter or a timer.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) kind: Kind,
    pub(super) name: Name,
    kept: AtomicBool,
    quantiles: bool,
    stripes: [Stripe; STRIPES],
    settled: Mutex<Settled>,
    /// The last value of a counter that is set rather than increased.
    absolute: AtomicU64,
}

/// What the Prometheus text needs of a counter or timer.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) window: Sketch,
    pub(super) touched: u64,
}

impl Sampled {
    /// Collects one value.
    fn add(&self, value: f64) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        // Compat: the reference carries all values in single precision.
        let value = f64::from(value as f32);
        let mut collected = self.stripes[stripe_of_thread()].0.lock();
        collected.interval.add(value);
        if self.quantiles {
            collected.recent.add(value);
        }
    }

    /// What was collected since the last drain.
    pub(super) fn peek(&self) -> Aggregate {
        let mut all = Aggregate::default();
        for stripe in &self.stripes {
            all.merge(&stripe.0.lock().interval);
        }
        all
    }

    /// Takes what was collected since the last drain.
    pub(super) fn drain(&self, now: u64) -> Aggregate {
        // Held across the stripes, so that totals never lose what is on its way from a stripe.
        let mut settled = self.settled.lock();
        let mut all = Aggregate::default();
        for stripe in &self.stripes {
            all.merge(&std::mem::take(&mut stripe.0.lock().interval));
        }
        settled.total_count += all.count;
        settled.total_sum += all.sum;
        if all.count > 0 {
            settled.touched = now;
        }
        all
    }

    /// Ends the half window that quantiles are taken from.
    pub(super) fn turn_window(&self) {
        if !self.quantiles {
            return;
        }
        let mut settled = self.settled.lock();
        settled.before = Sketch::default();
        for stripe in &self.stripes {
            settled.before.merge(&std::mem::take(&mut stripe.0.lock().recent));
        }
    }

    pub(super) fn totals(&self, now: u64) -> Totals {
        let mut settled = self.settled.lock();
        let mut running = Aggregate::default();
        let mut window = settled.before.clone();
        for stripe in &self.stripes {
            let collected = stripe.0.lock();
            running.merge(&collected.interval);
            window.merge(&collected.recent);
        }
        if running.count > 0 {
            settled.touched = now;
        }
        Totals {
            count: settled.total_count + running.count,
            sum: settled.total_sum + running.sum,
            window,
            touched: settled.touched,
        }
    }

    /// Forgets the totals of a series that was not used for so long that it left the Prometheus text.
    pub(super) fn forget_totals(&self) {
        let mut settled = self.settled.lock();
        *settled = Settled::default();
    }
}

impl HistogramFn for Sampled {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl CounterFn for Sampled {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        let before = self.absolute.fetch_max(value, Ordering::Relaxed);
        if value > before {
            self.add((value - before) as f64);
        }
    }
}

/// A gauge.
#[derive(Debug)]
pub(super) struct Gauge {
    pub(super) name: Name,
    kept: AtomicBool,
    /// The bits of the number. Double precision, so that many small steps do not drift.
    value: AtomicU64,
    /// Compat: a gauge is shown in an interval only when it was set in that interval.
    set: AtomicBool,
    touched: AtomicU64,
}

impl Gauge {
    pub(super) fn value(&self) -> f32 {
        f64::from_bits(self.value.load(Ordering::Relaxed)) as f32
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// The value, if it was set since the last drain.
    pub(super) fn drain(&self, now: u64) -> Option<f32> {
        if !self.set.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.touched.store(now, Ordering::Relaxed);
        Some(self.value())
    }

    pub(super) fn touched(&self, now: u64) -> u64 {
        if self.is_set() {
            self.touched.store(now, Ordering::Relaxed);
        }
        self.touched.load(Ordering::Relaxed)
    }

    fn change(&self, next: impl Fn(f64) -> f64) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let step = |bits| Some(next(f64::from_bits(bits)).to_bits());
        // Always succeeds: the closure never declines.
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        self.set.store(true, Ordering::Release);
    }
}

impl GaugeFn for Gauge {
    fn increment(&self, value: f64) {
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

#[derive(Debug, Clone)]
pub(super) enum Series {
    Gauge(Arc<Gauge>),
    Sampled(Arc<Sampled>),
}

impl Series {
    pub(super) fn new(kind: Kind, name: Name, kept: bool, quantiles: bool) -> Series {
        match kind {
            Kind::Gauge => Series::Gauge(Arc::new(Gauge {
                name,
                kept: AtomicBool::new(kept),
                value: AtomicU64::new(0),
                set: AtomicBool::new(false),
                touched: AtomicU64::new(0),
            })),
            Kind::Counter | Kind::Sample => Series::Sampled(Arc::new(Sampled {
                kind,
                name,
                kept: AtomicBool::new(kept),
                quantiles: quantiles && kind == Kind::Sample,
                stripes: Default::default(),
                settled: Mutex::default(),
                absolute: AtomicU64::new(0),
            })),
        }
    }

    pub(super) fn name(&self) -> &Name {
        match self {
            Series::Gauge(gauge) => &gauge.name,
            Series::Sampled(sampled) => &sampled.name,
        }
    }

    pub(super) fn keep(&self, kept: bool) {
        match self {
            Series::Gauge(gauge) => gauge.kept.store(kept, Ordering::Relaxed),
            Series::Sampled(sampled) => sampled.kept.store(kept, Ordering::Relaxed),
        }
    }

    /// Whether nobody but the table holds it and it was last used before `since`.
    fn is_abandoned(&self, since: u64) -> bool {
        match self {
            // A gauge that is counted up and down through passing handles must remember where it stands.
            Series::Gauge(_) => false,
            Series::Sampled(sampled) => {
                Arc::strong_count(sampled) == 1
                    && sampled.absolute.load(Ordering::Relaxed) == 0
                    && sampled.peek().count == 0
                    && sampled.settled.lock().touched < since
            }
        }
    }
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

fn stripe_of_thread() -> usize {
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) & (STRIPES - 1));
        }
        stripe.get()
    })
}

/// A [`Key`] brings its hash along; this passes it on.
#[derive(Debug, Default)]
pub(super) struct PassHash(u64);

impl Hasher for PassHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one number; this keeps the type right for anything else.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Shard = HashMap<Key, Series, BuildHasherDefault<PassHash>>;

/// All series of one kind, found by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    shards: [RwLock<Shard>; SHARDS],
    len: AtomicUsize,
    refused: AtomicU64,
}

impl Table {
    /// The series of the key, made when there is none. `None` when the table is full.
    #[allow(clippy::mutable_key_type)] // The hash of a key is computed once and does not change.
    pub(super) fn get_or_insert(&self, key: &Key, make: impl FnOnce(&Key) -> Series) -> Option<Series> {
        // The low bits choose the bucket inside the shard, so the shard is chosen by others.
        let shard = &self.shards[(key.get_hash() >> 40) as usize & (SHARDS - 1)];
        if let Some(series) = shard.read().get(key) {
            return Some(series.clone());
        }
        let mut shard = shard.write();
        if let Some(series) = shard.get(key) {
            return Some(series.clone());
        }
        if self.len.fetch_add(1, Ordering::Relaxed) >= MAX_SERIES {
            self.len.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let series = make(key);
        shard.insert(key.to_retained(), series.clone());
        Some(series)
    }

    /// How many registrations found the table full.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// All series, in no particular order.
    pub(super) fn all(&self) -> Vec<Series> {
        self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Drops what nobody used since then, so that passing labels do not fill the table for good.
    pub(super) fn drop_abandoned(&self, since: u64) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|_, series| !series.is_abandoned(since));
            self.len.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
    }
}
