//! Why a configuration cannot be used.

use std::fmt;

/// One text, complete as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Error {
        Error { message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Several faults as one text, the way the reference lists them.
pub(crate) fn several(faults: &[String]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("* {fault}")).collect();
    let title = match faults.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    format!("{title}\n\t{}\n\n", lines.join("\n\t"))
}
