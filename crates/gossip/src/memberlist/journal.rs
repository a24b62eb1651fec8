//! Lines for the log, no more than somebody may want to read.
//!
//! Always true: what others send makes no more than [`COMPLAINTS_MAX`] lines in [`COMPLAINTS_EVERY`].

use std::time::Duration;

use crate::io::{Level, Now, Output};

const COMPLAINTS_MAX: u32 = 20;
const COMPLAINTS_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Journal {
    since: Now,
    made: u32,
    withheld: u64,
}

impl Journal {
    pub(super) fn line(&mut self, now: Now, outputs: &mut Vec<Output>, level: Level, line: impl FnOnce() -> String) {
        if now.saturating_sub(self.since) >= COMPLAINTS_EVERY {
            if self.withheld > 0 {
                let line = format!("memberlist: {} more lines withheld", self.withheld);
                outputs.push(Output::Log { level: Level::Warn, line });
            }
            *self = Journal { since: now, ..Journal::default() };
        }
        if self.made < COMPLAINTS_MAX {
            self.made += 1;
            outputs.push(Output::Log { level, line: format!("memberlist: {}", line()) });
        } else {
            self.withheld += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPLAINTS_EVERY, COMPLAINTS_MAX, Duration, Journal, Level, Output};

    #[test]
    fn what_is_withheld_is_counted() {
        let mut journal = Journal::default();
        let mut outputs = Vec::new();
        for _ in 0..COMPLAINTS_MAX + 5 {
            journal.line(Duration::ZERO, &mut outputs, Level::Error, || "no".to_owned());
        }
        assert_eq!(outputs.len(), COMPLAINTS_MAX as usize);
        outputs.clear();
        journal.line(COMPLAINTS_EVERY, &mut outputs, Level::Error, || "no".to_owned());
        let lines = outputs.iter().map(|output| match output {
            Output::Log { line, .. } => line.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(lines.collect::<Vec<_>>(), ["memberlist: 5 more lines withheld", "memberlist: no"]);
    }
}
