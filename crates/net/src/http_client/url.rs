//! Addresses of HTTP requests, read and printed by the rules of Go's `net/url`.
//!
//! Always true: a parsed [`Url`] shows itself as Go would inside an error (password hidden), and its request target
//! holds only bytes that may stand in a request line.
//! Not here: resolving of relative references beyond what a redirect needs.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::go_text::quote;

/// Where to connect and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: Scheme,
    user: Option<User>,
    /// As written: `host`, `host:port`, `[v6]:port`; percent-encoded socket path for [`Scheme::Unix`].
    host: String,
    /// Percent-encoded, may be empty.
    path: String,
    /// As written, without `?`.
    query: Option<String>,
    fragment: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// HTTP over a Unix socket at this path.
    Unix(PathBuf),
    /// Parsed well, but nothing here can speak it. Holds the scheme's name and the text after its colon.
    Other {
        name: String,
        rest: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    password: Option<String>,
}

/// Why a text is no URL; displays as Go words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseUrlError {
    text: String,
    reason: String,
}

impl fmt::Display for ParseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse {}: {}", quote(&self.text), self.reason)
    }
}

impl std::error::Error for ParseUrlError {}

impl Url {
    /// Reads `http://…` and `https://…`. Other schemes parse, and fail when they are used.
    pub fn parse(text: &str) -> Result<Url, ParseUrlError> {
        let fail = |reason: String| ParseUrlError { text: text.to_owned(), reason };
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(fail("net/url: invalid control character in URL".to_owned()));
        }
        let (before, fragment) = cut(text, '#');
        let (scheme, rest) = split_scheme(before).map_err(&fail)?;
        let (rest, query) = cut(rest, '?');
        let query = query.map(str::to_owned);
        let fragment = fragment.map(str::to_owned);
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Url::unsupported(scheme, rest, query, fragment));
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err(fail("first path segment in URL cannot contain colon".to_owned()));
            }
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
                after.split_at(after.find('/').unwrap_or(after.len()))
            }
            _ => ("", rest),
        };
        let (user, host) = split_authority(authority).map_err(&fail)?;
        check_escapes(path).map_err(&fail)?;
        match scheme.as_str() {
            "http" | "https" => Ok(Url {
                scheme: if scheme == "http" { Scheme::Http } else { Scheme::Https },
                user,
                host,
                path: encode(path, PATH_EXTRA),
                query,
                fragment,
            }),
            _ => Ok(Url::unsupported(scheme, rest, query, fragment)),
        }
    }

    fn unsupported(name: String, rest: &str, query: Option<String>, fragment: Option<String>) -> Url {
        Url {
            scheme: Scheme::Other { name, rest: rest.to_owned() },
            user: None,
            host: String::new(),
            path: String::new(),
            query,
            fragment,
        }
    }

    /// HTTP over the Unix socket at `socket`, asking for `path_and_query`, which starts with a slash.
    pub fn over_unix(socket: impl Into<PathBuf>, path_and_query: &str) -> Url {
        let socket = socket.into();
        let (path, query) = cut(path_and_query, '?');
        Url {
            host: encode(&socket.to_string_lossy(), ""),
            scheme: Scheme::Unix(socket),
            user: None,
            path: encode(path, PATH_EXTRA),
            query: query.map(str::to_owned),
            fragment: None,
        }
    }

    /// The same server, another target. `path_and_query` starts with a slash.
    pub fn with_target(&self, path_and_query: &str) -> Url {
        let (path, query) = cut(path_and_query, '?');
        Url { path: encode(path, PATH_EXTRA), query: query.map(str::to_owned), fragment: None, ..self.clone() }
    }

    /// The host and port as written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host alone, without brackets.
    pub fn host_name(&self) -> &str {
        let host = match (self.host.rfind(':'), self.host.rfind(']')) {
            (Some(colon), Some(bracket)) if colon < bracket => &self.host,
            (Some(colon), _) => &self.host[..colon],
            (None, _) => &self.host,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// What to dial: the host with the scheme's port when none is written.
    pub(crate) fn dial_address(&self) -> String {
        let port = if self.scheme == Scheme::Https { 443 } else { 80 };
        let bare = match (self.host.rfind(':'), self.host.rfind(']')) {
            (Some(colon), Some(bracket)) => colon < bracket,
            (Some(_), None) => false,
            (None, _) => true,
        };
        match self.host.strip_suffix(':') {
            Some(host) if !bare => format!("{host}:{port}"),
            _ if bare => format!("{}:{port}", self.host),
            _ => self.host.clone(),
        }
    }

    /// Path and query as they stand in the request line.
    pub(crate) fn request_target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.query {
            Some(query) => format!("{path}?{}", encode(query, QUERY_EXTRA)),
            None => path.to_owned(),
        }
    }

    pub(crate) fn basic_authorization(&self) -> Option<String> {
        let user = self.user.as_ref()?;
        let pair = format!("{}:{}", decode(&user.name), decode(user.password.as_deref().unwrap_or_default()));
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }

    /// Where a `Location` leads from here.
    pub(crate) fn join(&self, location: &str) -> Result<Url, String> {
        let wrap = |error: ParseUrlError| format!("failed to parse Location header {}: {error}", quote(location));
        if let Err(error) = Url::parse(location) {
            return Err(wrap(error));
        }
        let base = format!("{}://{}{}", self.plain_scheme(), self.host, self.request_target());
        let joined = match &self.scheme {
            // A socket path is no host name that the resolver below would take.
            Scheme::Unix(_) if location.starts_with('/') => return Ok(self.with_target(location)),
            _ => url::Url::parse(&base)
                .and_then(|base| base.join(location))
                .map_err(|error| format!("failed to parse Location header {}: {error}", quote(location)))?,
        };
        Url::parse(joined.as_str()).map_err(wrap)
    }

    fn plain_scheme(&self) -> &str {
        match &self.scheme {
            Scheme::Http | Scheme::Unix(_) => "http",
            Scheme::Https => "https",
            Scheme::Other { name, .. } => name,
        }
    }

    /// For `Referer`: no user, no fragment.
    pub(crate) fn referer(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{}{query}", self.plain_scheme(), self.host, self.path)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            Scheme::Other { name, rest } if name.is_empty() => f.write_str(rest)?,
            Scheme::Other { name, rest } => write!(f, "{name}:{rest}")?,
            _ => {
                write!(f, "{}://", self.plain_scheme())?;
                if let Some(user) = &self.user {
                    f.write_str(&user.name)?;
                    if user.password.is_some() {
                        f.write_str(":***")?;
                    }
                    f.write_str("@")?;
                }
                write!(f, "{}{}", self.host, self.path)?;
            }
        }
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if let Some(fragment) = &self.fragment {
            write!(f, "#{fragment}")?;
        }
        Ok(())
    }
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn split_authority(authority: &str) -> Result<(Option<User>, String), String> {
    let (user, host) = match authority.rfind('@') {
        Some(at) => {
            let info = &authority[..at];
            let (name, password) = cut(info, ':');
            let user = User { name: name.to_owned(), password: password.map(str::to_owned) };
            (Some(user), &authority[at + 1..])
        }
        None => (None, authority),
    };
    let port = if let Some(start) = host.find('[') {
        if start > 0 {
            return Err("invalid IP-literal".to_owned());
        }
        let end = host.rfind(']').ok_or_else(|| "missing ']' in host".to_owned())?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |colon| &host[colon..])
    };
    let digits = port.strip_prefix(':');
    if !port.is_empty() && !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    if let Some(odd) =
        host.chars().find(|letter| matches!(letter, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        return Err(format!("invalid character {} in host name", quote(&odd.to_string())));
    }
    check_escapes(host)?;
    Ok((user, host.to_owned()))
}

/// Every `%` is followed by two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let escape = &bytes[at..bytes.len().min(at + 3)];
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("invalid URL escape {}", quote(&String::from_utf8_lossy(escape))));
        }
    }
    Ok(())
}

/// What may stand unescaped in a path beside letters, digits and `-_.~`.
const PATH_EXTRA: &str = "!$&'()*+,;=:@[]/%";
/// What stays as it is in a query; Go sends queries as written, but a space would break the request line.
const QUERY_EXTRA: &str = "!$&'()*+,;=:@[]/%?\"<>\\^`{|}";

fn encode(text: &str, extra: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || extra.as_bytes().contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Url};

    fn check(text: &str, expect: &str) {
        let got = match Url::parse(text) {
            Ok(url) => url.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "parsing {text:?}");
    }

    /// The expectations were read off the reference's HTTP checks.
    #[test]
    fn texts_parse_and_fail_as_in_go() {
        check("http://127.0.0.1:1", "http://127.0.0.1:1");
        check("HTTP://LOCALHOST:1/", "http://LOCALHOST:1/");
        check("http://127.0.0.1:1/a b?x=y z", "http://127.0.0.1:1/a%20b?x=y z");
        check("http://u:secret@127.0.0.1:1/x y", "http://u:***@127.0.0.1:1/x%20y");
        check("http://h/a%20b/ü#f", "http://h/a%20b/%C3%BC#f");
        check("127.0.0.1:80", "parse \"127.0.0.1:80\": first path segment in URL cannot contain colon");
        check("localhost:80/x", "localhost:80/x");
        check("/foo", "/foo");
        check("http:///foo", "http:///foo");
        check("unix:///tmp/none.sock", "unix:///tmp/none.sock");
        check("http://[::1", "parse \"http://[::1\": missing ']' in host");
        check("http://127.0.0.1:abc/", "parse \"http://127.0.0.1:abc/\": invalid port \":abc\" after host");
        check("http://127.0.0.1/%zz", "parse \"http://127.0.0.1/%zz\": invalid URL escape \"%zz\"");
        check("http://h/a\u{1}b", "parse \"http://h/a\\x01b\": net/url: invalid control character in URL");
        check(":x", "parse \":x\": missing protocol scheme");
    }

    #[test]
    fn what_is_dialled_and_sent() {
        let url = Url::parse("http://u:pw@[::1]/ü?q=a b").unwrap();
        assert_eq!(url.dial_address(), "[::1]:80");
        assert_eq!(url.host_name(), "::1");
        assert_eq!(url.request_target(), "/%C3%BC?q=a%20b");
        assert_eq!(url.basic_authorization().unwrap(), "Basic dTpwdw==");
        let url = Url::parse("https://host").unwrap();
        assert_eq!(url.dial_address(), "host:443");
        assert_eq!(url.request_target(), "/");
        assert_eq!(Url::parse("https://host:8501").unwrap().dial_address(), "host:8501");
        assert_eq!(Url::parse("https://[::1]:8501").unwrap().host_name(), "::1");
    }

    #[test]
    fn unix_sockets_show_as_an_escaped_host() {
        let url = Url::over_unix("/var/run/docker.sock", "/exec/1/json");
        assert_eq!(url.to_string(), "http://%2Fvar%2Frun%2Fdocker.sock/exec/1/json");
        assert!(matches!(url.scheme, Scheme::Unix(_)));
        assert_eq!(url.with_target("/x?y").request_target(), "/x?y");
    }

    #[test]
    fn locations_resolve() {
        let base = Url::parse("http://127.0.0.1:1/a/b?c").unwrap();
        assert_eq!(base.join("/next").unwrap().to_string(), "http://127.0.0.1:1/next");
        assert_eq!(base.join("d e").unwrap().to_string(), "http://127.0.0.1:1/a/d%20e");
        assert_eq!(base.join("ftp://h/x").unwrap().to_string(), "ftp://h/x");
        assert_eq!(
            base.join("http://[bad").unwrap_err(),
            "failed to parse Location header \"http://[bad\": parse \"http://[bad\": missing ']' in host"
        );
    }
}
