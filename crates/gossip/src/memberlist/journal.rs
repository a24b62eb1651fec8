//! Lines for the log, no more than somebody may want to read.
//!
//! Always true: there are no more than [`COMPLAINTS_MAX`] lines in [`EVERY`] about what others send, and no more than
//! [`DEEDS_MAX`] about what we came to think of members, so that noise does not drown news.

use std::time::Duration;

use crate::io::{Level, Now, Output};

const COMPLAINTS_MAX: u32 = 20;
/// A rack or two may fail at once.
const DEEDS_MAX: u32 = 200;
const EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Journal {
    since: Now,
    complaints: u32,
    deeds: u32,
    withheld: u64,
}

impl Journal {
    pub(super) fn line(&mut self, now: Now, outputs: &mut Vec<Output>, level: Level, line: impl FnOnce() -> String) {
        if now.saturating_sub(self.since) >= EVERY {
            if self.withheld > 0 {
                let line = format!("memberlist: {} more lines withheld", self.withheld);
                outputs.push(Output::Log { level: Level::Warn, line });
            }
            *self = Journal { since: now, ..Journal::default() };
        }
        let (made, most) = match level {
            Level::Info => (&mut self.deeds, DEEDS_MAX),
            Level::Debug | Level::Warn | Level::Error => (&mut self.complaints, COMPLAINTS_MAX),
        };
        if *made < most {
            *made += 1;
            outputs.push(Output::Log { level, line: format!("memberlist: {}", line()) });
        } else {
            self.withheld += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPLAINTS_MAX, Duration, EVERY, Journal, Level, Output};

    #[test]
    fn what_is_withheld_is_counted() {
        let mut journal = Journal::default();
        let mut outputs = Vec::new();
        for _ in 0..COMPLAINTS_MAX + 5 {
            journal.line(Duration::ZERO, &mut outputs, Level::Error, || "no".to_owned());
        }
        assert_eq!(outputs.len(), COMPLAINTS_MAX as usize);
        outputs.clear();
        journal.line(Duration::ZERO, &mut outputs, Level::Info, || "it failed".to_owned());
        assert_eq!(outputs.len(), 1, "news is not withheld for noise");
        outputs.clear();
        journal.line(EVERY, &mut outputs, Level::Error, || "no".to_owned());
        let lines = outputs.iter().map(|output| match output {
            Output::Log { line, .. } => line.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(lines.collect::<Vec<_>>(), ["memberlist: 5 more lines withheld", "memberlist: no"]);
    }
}
