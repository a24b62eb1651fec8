//! Levels, watchers and what reaches them.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;

use super::{Config, Level, Logbook, Subscription, WAITING_LINES, level_of};

#[derive(Clone, Default)]
struct Terminal(Arc<Mutex<Vec<u8>>>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Terminal {
    /// What was written since the last call, without the times.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap();
        text.lines().map(without_time).collect()
    }
}

fn without_time(line: &str) -> String {
    line.split_once(' ').unwrap().1.trim_end().to_owned()
}

fn waiting(subscription: &mut Subscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.try_next()).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

/// Runs with a log of its own.
fn with(config: Config, run: impl FnOnce(&Arc<Logbook>, &Terminal)) {
    let terminal = Terminal::default();
    let logbook = Logbook::new(config, Box::new(terminal.clone())).unwrap();
    let subscriber = tracing_subscriber::registry().with(logbook.layer());
    tracing::subscriber::with_default(subscriber, || run(&logbook, &terminal));
}

#[test]
fn level_names() {
    for (name, level) in [
        ("TRACE", Some(Level::Trace)),
        ("debug", Some(Level::Debug)),
        ("Info", Some(Level::Info)),
        ("WARN", Some(Level::Warn)),
        ("err", Some(Level::Error)),
        ("error", Some(Level::Error)),
        ("warning", None),
        ("", None),
    ] {
        assert_eq!(level_of(name), level, "{name}");
    }
}

#[test]
fn the_terminal_has_a_level_that_can_change() {
    with(Config::default(), |logbook, terminal| {
        let say = || {
            tracing::debug!(target: "server::turn", "quiet");
            tracing::info!(target: "server::turn", index = 7, error = "no room", "loud");
            tracing::info!(target: "h2::codec", "frames");
        };
        say();
        assert_eq!(terminal.lines(), ["[INFO]  agent.server.raft: loud: index=7 error=\"no room\""]);
        logbook.set_level(Level::Debug);
        say();
        assert_eq!(terminal.lines().len(), 2);
        logbook.set_level(Level::Error);
        say();
        assert!(terminal.lines().is_empty());
    });
}

#[test]
fn watchers_have_levels_and_forms_of_their_own() {
    with(Config { level: Level::Warn, ..Config::default() }, |logbook, terminal| {
        let mut trace = logbook.subscribe(Level::Trace, false);
        let mut info = logbook.subscribe(Level::Info, true);
        let say = || {
            tracing::trace!(target: "agent.http", "one");
            tracing::info!(target: "agent.http", ok = true, "two");
        };
        say();
        assert!(terminal.lines().is_empty());
        let lines: Vec<String> = waiting(&mut trace).iter().map(|line| without_time(line)).collect();
        assert_eq!(lines, ["[TRACE] agent.http: one", "[INFO]  agent.http: two: ok=true"]);
        let lines = waiting(&mut info);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with(r#"{"@level":"info","@message":"two","@module":"agent.http","@timestamp":""#));
        assert!(lines[0].ends_with("\",\"ok\":true}\n"), "{lines:?}");

        drop(trace);
        assert_eq!(Level::from_number(logbook.lowest.load(std::sync::atomic::Ordering::Relaxed)), Level::Info);
        say();
        assert_eq!(waiting(&mut info).len(), 1);
    });
}

#[test]
fn a_slow_watcher_loses_lines_and_is_told_of() {
    with(Config { level: Level::Warn, ..Config::default() }, |logbook, terminal| {
        let mut slow = logbook.subscribe(Level::Info, false);
        for number in 0..WAITING_LINES + 3 {
            tracing::info!(target: "agent", number, "line");
        }
        assert_eq!(slow.dropped(), 3);
        let lines = waiting(&mut slow);
        assert_eq!(lines.len(), WAITING_LINES);
        assert!(lines[0].ends_with(" number=0\n"));
        drop(slow);
        assert_eq!(terminal.lines(), ["[WARN]  agent: Dropped logs during monitor request: dropped_count=3"]);
    });
}

#[test]
fn held_lines_come_with_the_release() {
    with(Config { held: true, json: true, ..Config::default() }, |logbook, terminal| {
        tracing::info!(target: "agent", "early");
        assert!(terminal.lines().is_empty());
        terminal.0.lock().extend_from_slice(b"the banner\n");
        logbook.release();
        tracing::info!(target: "agent", "late");
        let text = String::from_utf8(terminal.0.lock().clone()).unwrap();
        let order: Vec<usize> = ["banner", "early", "late"].iter().map(|word| text.find(word).unwrap()).collect();
        assert!(order.is_sorted(), "{text}");
    });
}

#[test]
fn errors_and_odd_values_become_fields() {
    with(Config::default(), |_, terminal| {
        let error: Box<dyn std::error::Error> = "it broke".into();
        tracing::error!(target: "agent.server", error = error.as_ref(), list = ?["a", "b"], r#type = %1, "failed {}", 1);
        assert_eq!(
            terminal.lines(),
            [r#"[ERROR] agent.server: failed 1: error="it broke" list="[\"a\", \"b\"]" type=1"#]
        );
    });
}
