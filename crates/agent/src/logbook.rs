//! The agent's log: events of `tracing` as the reference's lines, to the terminal, to a file, and to whoever watches
//! through `/v1/agent/monitor`.
//!
//! Each destination has its own level; an event that no destination wants costs nothing, because the call site is told.
//!
//! Always true: a line goes to a destination whole, in the order of the events; a slow watcher loses lines (which are
//! counted) and never delays the agent.
//! Not here: syslog; fields of spans (call sites say what a line needs); HTTP (`api`).

mod file;
mod line;
mod module;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use file::LogFile;
pub use line::timestamp;
use line::Line;

/// Lines that wait for one watcher, as in the reference.
pub const WAITING_LINES: usize = 512;
/// Lines that wait until [`Logbook::release`]; a start-up writes a few dozen.
const HELD_LINES: usize = 4096;

/// How important a line is, and how important it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The names an operator may use, and what they mean.
const LEVEL_NAMES: [(&str, Level); 6] = [
    ("TRACE", Level::Trace),
    ("DEBUG", Level::Debug),
    ("INFO", Level::Info),
    ("WARN", Level::Warn),
    // Compat: the older name.
    ("ERR", Level::Error),
    ("ERROR", Level::Error),
];

/// The level of that name in any case; `None` when there is none.
#[must_use]
pub fn level_of(name: &str) -> Option<Level> {
    LEVEL_NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| level)
}

impl Level {
    fn of(level: tracing::Level) -> Level {
        match level {
            tracing::Level::TRACE => Level::Trace,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::INFO => Level::Info,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::ERROR => Level::Error,
        }
    }

    fn from_number(number: u8) -> Level {
        match number {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            _ => Level::Error,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        }
    }
}

/// A file that the log is also written to.
#[derive(Debug, Clone)]
pub struct FileConfig {
    /// A file, or a directory with a slash at its end for `consul.log` in it. The directory must exist.
    pub path: PathBuf,
    /// Zero for a day.
    pub rotate_after: Duration,
    /// Zero for no limit.
    pub rotate_bytes: u64,
    /// How many rotated files stay: 0 for all, negative for none.
    pub keep: i64,
}

/// What the operator says about the log.
#[derive(Debug, Clone)]
pub struct Config {
    pub level: Level,
    /// Lines of JSON instead of text.
    pub json: bool,
    pub file: Option<FileConfig>,
    /// Whether lines wait until [`Logbook::release`], so that they come after what start-up prints.
    pub held: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { level: Level::Info, json: false, file: None, held: false }
    }
}

/// The log of this process.
pub struct Logbook {
    json: bool,
    /// The level of the terminal and the file, as a number.
    level: AtomicU8,
    /// The lowest level that any destination wants; what call sites are told.
    lowest: AtomicU8,
    /// A lock because lines of several threads must not mix.
    output: Mutex<Output>,
    watchers: RwLock<Vec<Watcher>>,
    next_watcher: AtomicU64,
}

impl fmt::Debug for Logbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logbook").field("level", &self.level()).field("json", &self.json).finish_non_exhaustive()
    }
}

struct Output {
    terminal: Box<dyn Write + Send>,
    file: Option<LogFile>,
    /// Lines that wait for [`Logbook::release`]; `None` once it was called.
    held: Option<Vec<Bytes>>,
}

impl Output {
    fn write(&mut self, line: &[u8]) {
        // There is nowhere to say that the log cannot be written; the agent goes on without.
        let _ = self.terminal.write_all(line).and_then(|()| self.terminal.flush());
        if let Some(file) = &mut self.file {
            let _ = file.write(line, SystemTime::now());
        }
    }
}

#[derive(Debug)]
struct Watcher {
    number: u64,
    level: Level,
    json: bool,
    lines: mpsc::Sender<Bytes>,
    dropped: Arc<AtomicU64>,
}

impl Logbook {
    /// A log that nothing writes to yet; see [`Logbook::layer`]. Fails when the file cannot be opened.
    pub fn new(config: Config, terminal: Box<dyn Write + Send>) -> io::Result<Arc<Logbook>> {
        let file = config.file.map(LogFile::open).transpose()?;
        Ok(Arc::new(Logbook {
            json: config.json,
            level: AtomicU8::new(config.level as u8),
            lowest: AtomicU8::new(config.level as u8),
            output: Mutex::new(Output { terminal, file, held: config.held.then(Vec::new) }),
            watchers: RwLock::default(),
            next_watcher: AtomicU64::new(0),
        }))
    }

    /// Makes a log to the standard output the log of this process. When there was one already, that one stays in use.
    pub fn install(config: Config) -> io::Result<Arc<Logbook>> {
        let logbook = Logbook::new(config, Box::new(io::stdout()))?;
        let subscriber = tracing_subscriber::registry().with(logbook.layer());
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            tracing::warn!("another log is already installed");
        }
        Ok(logbook)
    }

    /// What feeds this log with the events of a `tracing` subscriber.
    #[must_use]
    pub fn layer(self: &Arc<Self>) -> LogLayer {
        LogLayer { logbook: Arc::clone(self) }
    }

    #[must_use]
    pub fn level(&self) -> Level {
        Level::from_number(self.level.load(Ordering::Relaxed))
    }

    /// Changes the level of the terminal and the file.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        self.tell_call_sites();
    }

    /// Writes the lines that were held back, and from now on all lines at once.
    pub fn release(&self) {
        let mut output = self.output.lock();
        for line in output.held.take().unwrap_or_default() {
            output.write(&line);
        }
    }

    /// The lines from now on, for a watcher with its own level and form.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, level: Level, json: bool) -> Subscription {
        let (sender, lines) = mpsc::channel(WAITING_LINES);
        let number = self.next_watcher.fetch_add(1, Ordering::Relaxed);
        let dropped = Arc::new(AtomicU64::new(0));
        let watcher = Watcher { number, level, json, lines: sender, dropped: Arc::clone(&dropped) };
        self.watchers.write().push(watcher);
        self.tell_call_sites();
        Subscription { number, lines, dropped, logbook: Arc::downgrade(self) }
    }

    fn tell_call_sites(&self) {
        {
            // Computed and stored under the lock, so that the last change is the one that stays.
            let watchers = self.watchers.write();
            let lowest = watchers.iter().map(|watcher| watcher.level).fold(self.level(), Level::min);
            self.lowest.store(lowest as u8, Ordering::Relaxed);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = Level::of(*metadata.level());
        level >= Level::from_number(self.lowest.load(Ordering::Relaxed)) && level >= module::floor(metadata.target())
    }

    fn write(&self, line: &Line) {
        // Each form is made once, and only when somebody wants it.
        let (mut text, mut json) = (None, None);
        let mut form = |as_json: bool| -> Bytes {
            let kept = if as_json { &mut json } else { &mut text };
            kept.get_or_insert_with(|| if as_json { line.to_json() } else { line.to_text() }).clone()
        };
        if line.level >= self.level() {
            let written = form(self.json);
            let mut output = self.output.lock();
            match &mut output.held {
                Some(held) if held.len() < HELD_LINES => held.push(written),
                Some(_) => {}
                None => output.write(&written),
            }
        }
        for watcher in &*self.watchers.read() {
            if line.level >= watcher.level && watcher.lines.try_send(form(watcher.json)).is_err() {
                watcher.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The lines for one watcher. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    number: u64,
    lines: mpsc::Receiver<Bytes>,
    dropped: Arc<AtomicU64>,
    logbook: Weak<Logbook>,
}

impl Subscription {
    /// The next line with its line end. `None` when the log is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.lines.recv().await
    }

    /// The next line if one waits.
    pub fn try_next(&mut self) -> Option<Bytes> {
        self.lines.try_recv().ok()
    }

    /// How many lines were lost because too many were waiting.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(logbook) = self.logbook.upgrade() else { return };
        logbook.watchers.write().retain(|watcher| watcher.number != self.number);
        logbook.tell_call_sites();
        if self.dropped() > 0 {
            tracing::warn!(target: "agent", dropped_count = self.dropped(), "Dropped logs during monitor request");
        }
    }
}

/// The part of a [`Logbook`] that `tracing` calls.
#[derive(Debug)]
pub struct LogLayer {
    logbook: Arc<Logbook>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.logbook.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.logbook.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Level::from_number(self.logbook.lowest.load(Ordering::Relaxed)).filter())
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.logbook.write(&Line::of(event, SystemTime::now()));
    }
}

#[cfg(test)]
mod tests;
