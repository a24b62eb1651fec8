//! Configuration files, and the two languages they are written in.

use config::debug_config::debug_config;
use config::sources::Source;
use config::{Flags, Format, Host, Sources};

/// One file, in the language that the first byte picks, over the defaults of a `-dev` agent.
pub fn config_files(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let (name, format) = if first % 2 == 0 { ("f.hcl", Format::Hcl) } else { ("f.json", Format::Json) };
    let sources = Sources {
        flags: Flags { dev: true, ..Flags::default() },
        files: vec![Source { name: name.to_owned(), format, text: text.to_vec() }],
        warnings: Vec::new(),
    };
    let host = Host { hostname: "fuzzed".to_owned(), ..Host::default() };
    match config::load(&sources, &host) {
        Ok(loaded) => drop(debug_config(&loaded.runtime)),
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says why"),
    }
}

/// HCL 1, in its own form and as JSON.
pub fn hcl_texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if hcl::parse_unique(text).is_ok() {
        assert!(hcl::parse(text).is_ok(), "the stricter reading takes what the other refuses");
    }
    let _ = hcl::json::parse(text);
    let _ = hcl::json::parse_value(text);
}
