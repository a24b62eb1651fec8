//! Canonical paths: what Go's `ServeMux` redirects, and what Consul refuses to route.

/// The canonical form of a decoded path: no empty, `.` or `..` segments, trailing slash kept. `None` when
/// the path is canonical already.
#[must_use]
pub fn cleaned(path: &str) -> Option<String> {
    // Nearly all paths are clean, which is seen without building anything.
    let is_doubtful = |two: &[u8]| two[0] == b'/' && matches!(two[1], b'/' | b'.');
    if path.starts_with('/') && !path.as_bytes().windows(2).any(is_doubtful) {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut clean = String::with_capacity(path.len());
    for segment in &segments {
        clean.push('/');
        clean.push_str(segment);
    }
    if path.ends_with('/') || clean.is_empty() {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// Whether every `%` begins an escape.
#[must_use]
pub fn is_decodable(path: &str) -> bool {
    if !is_escaped(path) {
        return true;
    }
    path.split('%')
        .skip(1)
        .all(|rest| matches!(rest.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
}

/// Whether anything in a path is escaped.
pub(super) fn is_escaped(path: &str) -> bool {
    path.as_bytes().contains(&b'%')
}

/// Whether every character may stand in a path (`disable_http_unprintable_char_filter` is off).
#[must_use]
pub fn is_printable(path: &str) -> bool {
    // Without an early end this runs over many bytes at a time, and nearly all paths end here.
    if path.bytes().fold(true, |all, byte| all & (0x20..0x7f).contains(&byte)) {
        return true;
    }
    path.chars().all(|character| {
        character == ' '
            || !(character.is_control()
                || character.is_whitespace()
                || matches!(character,
                    '\u{ad}' | '\u{600}'..='\u{605}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{10ffff}'))
    })
}

#[cfg(test)]
mod tests {
    use super::{cleaned, is_decodable, is_printable};

    #[test]
    fn paths_are_cleaned_like_go_does() {
        for (path, clean) in [
            ("/v1/kv/a", None),
            ("/v1/kv/a/", None),
            ("/", None),
            ("/v1/kv//a", Some("/v1/kv/a")),
            ("/v1/kv/../agent/self", Some("/v1/agent/self")),
            ("/v1/kv/./a/", Some("/v1/kv/a/")),
            ("/../..", Some("/")),
            ("/v1/kv/.a/..b/c..", None),
            ("/v1/kv/a//", Some("/v1/kv/a/")),
            ("//", Some("/")),
            ("/.", Some("/")),
            ("v1/kv/a", Some("/v1/kv/a")),
            ("", Some("/")),
        ] {
            assert_eq!(cleaned(path).as_deref(), clean, "{path}");
        }
    }

    #[test]
    fn escapes_are_two_digits() {
        assert!(is_decodable("/v1/kv/a%20b%2F"));
        for bad in ["/%", "/%4", "/%zz", "/%%41"] {
            assert!(!is_decodable(bad), "{bad}");
        }
    }

    #[test]
    fn unprintable_paths_are_told_apart() {
        assert!(is_printable("/v1/kv/a b/ü/\u{fffd}"));
        for bad in ["/\0", "/\n", "/\u{200b}", "/\u{a0}", "/\u{7f}"] {
            assert!(!is_printable(bad), "{bad:?}");
        }
    }
}
