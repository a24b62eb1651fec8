//! Where configuration comes from: files and directories, fragments, flags; and how they become one [`Written`].
//!
//! Always true: directories are read in the order of file names and not into their subdirectories; files in a directory
//! that are neither `.json` nor `.hcl` are skipped with a warning unless a format was forced, files named one by one are
//! an error; a later source wins over an earlier one.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::decode::{self, Fault, Format};
use crate::error::{Error, several};
use crate::flags::Flags;
use crate::written::{Setting, Written};
use crate::{defaults, deprecated, unbuilt};

/// Largest configuration file that is read.
const MAX_FILE_BYTES: u64 = hcl::MAX_TEXT_BYTES as u64;

/// Keys of the 1.7 series that 1.22 no longer knows and that did nothing in the end.
/// Compat: 1.22 still forgives the first one; the others are forgiven likewise, so that an old file starts.
const FORGOTTEN_KEYS: &[&str] = &["acl_enforce_version_8", "acl_disabled_ttl", "acl.disabled_ttl"];

/// A configuration text and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub format: Format,
    pub text: Vec<u8>,
}

impl fmt::Debug for Source {
    /// Without the text: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Everything that one start is configured by.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub flags: Flags,
    /// The files of `-config-file` and `-config-dir`, in order.
    pub files: Vec<Source>,
    /// What was noticed while collecting them.
    pub warnings: Vec<String>,
}

impl Sources {
    /// Reads the files that the flags name.
    pub fn read(flags: Flags) -> Result<Sources, Error> {
        let forced = match flags.config_format.as_deref() {
            None | Some("") => None,
            Some("hcl") => Some(Format::Hcl),
            Some("json") => Some(Format::Json),
            Some(_) => {
                return Err(Error::new("config: -config-format must be either 'hcl' or 'json'"));
            }
        };
        let mut sources = Sources::default();
        for path in &flags.config_paths {
            sources.read_path(Path::new(path), forced)?;
        }
        sources.warnings.splice(0..0, flags.warnings.iter().cloned());
        sources.flags = flags;
        Ok(sources)
    }

    fn read_path(&mut self, path: &Path, forced: Option<Format>) -> Result<(), Error> {
        let shown = path.display();
        let metadata = fs::metadata(path).map_err(|error| {
            Error::new(format!("config: Open failed on {shown}. open {shown}: {}", go_reason(&error)))
        })?;
        if !metadata.is_dir() {
            let Some(format) = forced.or_else(|| format_of(path)) else {
                return Err(Error::new(format!(
                    "file {shown} has unknown extension; must be .hcl or .json, or config format must be set"
                )));
            };
            self.files.push(read_file(path, format)?);
            return Ok(());
        }
        let failed =
            |error: &std::io::Error| Error::new(format!("config: Readdir failed on {shown}. {}", go_reason(error)));
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
            names.push(entry.map_err(|error| failed(&error))?.file_name());
        }
        names.sort();
        for name in names {
            let listed = path.join(&name);
            let is_link = fs::symlink_metadata(&listed).is_ok_and(|metadata| metadata.file_type().is_symlink());
            // Compat: a link is read, judged and named as what it points to.
            let file = if is_link {
                fs::canonicalize(&listed)
                    .map_err(|error| Error::new(format!("lstat {}: {}", listed.display(), go_reason(&error))))?
            } else {
                listed
            };
            if file.is_dir() {
                continue;
            }
            match forced.or_else(|| format_of(&file)) {
                Some(format) => self.files.push(read_file(&file, format)?),
                None => self.warnings.push(format!(
                    "skipping file {}, extension must be .hcl or .json, or config format must be set",
                    file.display()
                )),
            }
        }
        Ok(())
    }

    /// Merges all sources, with the defaults under and over them. Gives warnings too.
    pub fn merge(&self) -> Result<(Written, Vec<String>), Error> {
        let mut warnings = self.warnings.clone();
        let (flag_lists, mut flag_values) = self.flags.written.clone().split_lists();
        let mut merged = defaults::under(self.flags.dev);
        for mut from_flags in [flag_lists.clone(), flag_values.clone()] {
            warnings.extend(unbuilt::without_effect(&from_flags));
            warnings.extend(unbuilt::enterprise(&mut from_flags));
        }
        merged.merge(flag_lists);
        for file in &self.files {
            merged.merge(self.one(file, &mut warnings)?);
        }
        merged.merge(std::mem::take(&mut flag_values));
        for (index, fragment) in self.flags.hcl.iter().enumerate() {
            let source =
                Source { name: format!("flags-{index}.hcl"), format: Format::Hcl, text: fragment.clone().into_bytes() };
            merged.merge(self.one(&source, &mut warnings)?);
        }
        merged.merge(defaults::over(self.flags.dev));
        Ok((merged, warnings))
    }

    fn one(&self, source: &Source, warnings: &mut Vec<String>) -> Result<Written, Error> {
        let mut written = parse(source, warnings)?;
        warnings.extend(unbuilt::enterprise(&mut written));
        warnings.extend(deprecated::renew(&mut written));
        warnings.extend(unbuilt::without_effect(&written));
        // A lone `check` or `service` joins the others now: merged as it is, a later one would replace it.
        for (one, many) in [("check", "checks"), ("service", "services")] {
            if let Some(Setting::Section(single)) = written.root.remove(one) {
                let mut all = written.root.sections(many).to_vec();
                all.push(single);
                written.put(many, Setting::Sections(all));
            }
        }
        Ok(written)
    }
}

/// Reads one text against the schema.
fn parse(source: &Source, warnings: &mut Vec<String>) -> Result<Written, Error> {
    if source.text.is_empty() {
        return Ok(Written::default());
    }
    let failed = |reason: &str| Error::new(format!("failed to parse {}: {reason}", source.name));
    let object = match source.format {
        Format::Json => hcl::json::parse(&String::from_utf8_lossy(&source.text)),
        Format::Hcl => match std::str::from_utf8(&source.text) {
            Ok(text) => hcl::parse(text),
            Err(error) => {
                let before = &source.text[..error.valid_up_to()];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let column = String::from_utf8_lossy(before.rsplit(|byte| *byte == b'\n').next().unwrap_or(before))
                    .chars()
                    .count()
                    + 1;
                return Err(failed(&format!("At {line}:{column}: illegal UTF-8 encoding")));
            }
        },
    };
    let mut object = object.map_err(|error| failed(&error.to_string()))?;
    warnings.extend(drop_forgotten_keys(&mut object));
    decode::decode(&object, source.format).map_err(|fault| match fault {
        Fault::Types(wrong) => {
            let lines: Vec<String> = wrong.iter().map(|message| format!("* {message}")).collect();
            failed(&format!("{} error(s) decoding:\n\n{}", wrong.len(), lines.join("\n")))
        }
        Fault::UnknownKeys(keys) => {
            let messages: Vec<String> = keys.iter().map(|key| format!("invalid config key {key}")).collect();
            failed(&several(&messages))
        }
    })
}

fn drop_forgotten_keys(object: &mut hcl::Object) -> Vec<String> {
    let mut warnings = Vec::new();
    for path in FORGOTTEN_KEYS {
        let found = match path.split_once('.') {
            None => remove(object, path),
            Some((section, name)) => {
                let mut found = false;
                for entry in object.entries.iter_mut().filter(|entry| entry.key == section) {
                    if let hcl::Kind::Object(inner) = &mut entry.value.kind {
                        found |= remove(inner, name);
                    }
                }
                found
            }
        };
        if found {
            warnings.push(format!("config key {path:?} is deprecated and should be removed"));
        }
    }
    warnings
}

fn remove(object: &mut hcl::Object, key: &str) -> bool {
    let before = object.entries.len();
    object.entries.retain(|entry| entry.key != key);
    object.entries.len() < before
}

fn read_file(path: &Path, format: Format) -> Result<Source, Error> {
    let shown = path.display();
    let failed = |reason: &str| Error::new(format!("config: failed to read {shown}: {reason}"));
    let length = fs::metadata(path).map_err(|error| failed(&go_reason(&error)))?.len();
    if length > MAX_FILE_BYTES {
        return Err(failed(&format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    let text = fs::read(path).map_err(|error| failed(&format!("open {shown}: {}", go_reason(&error))))?;
    Ok(Source { name: shown.to_string(), format, text })
}

fn format_of(path: &Path) -> Option<Format> {
    let name = path.as_os_str().as_encoded_bytes();
    if name.ends_with(b".json") {
        Some(Format::Json)
    } else if name.ends_with(b".hcl") {
        Some(Format::Hcl)
    } else {
        None
    }
}

/// An I/O error in the words of Go.
fn go_reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}
