//! Go durations: nanoseconds in an `i64`, written `1m30s`.
//!
//! Invariant: `parse` accepts exactly what Go's `time.ParseDuration` accepts, with its error texts, and
//! `parse(d.to_string()) == d` for every duration.
//! Not here: day or week units (Go has none), clocks and deadlines.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A signed span of time in nanoseconds, as Go's `time.Duration`.
///
/// In JSON it is read from a Go duration string or a number of nanoseconds and written as a number (which is what Go
/// does with a bare `time.Duration`); a field that Consul writes as text takes [`as_string`]. In msgpack it is an
/// integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub i64);

impl GoDuration {
    pub const ZERO: GoDuration = GoDuration(0);

    pub const fn from_nanos(nanos: i64) -> GoDuration {
        GoDuration(nanos)
    }

    /// Saturates at about 292 years, which is where Go's type ends.
    pub const fn from_secs(seconds: i64) -> GoDuration {
        GoDuration(seconds.saturating_mul(SECOND))
    }

    /// Saturates at about 292 years, which is where Go's type ends.
    pub const fn from_millis(millis: i64) -> GoDuration {
        GoDuration(millis.saturating_mul(MILLISECOND))
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The span as an unsigned one; anything negative is zero.
    pub fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads a Go duration string: a sequence of decimal numbers with units, such as `-1.5h` or `2h45m`.
    pub fn parse(text: &str) -> Result<GoDuration, ParseDurationError> {
        parse(text)
    }
}

impl From<Duration> for GoDuration {
    /// Saturates at about 292 years, which is where Go's type ends.
    fn from(span: Duration) -> GoDuration {
        GoDuration(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<GoDuration, ParseDurationError> {
        parse(text)
    }
}

/// Why a text is no duration; displays as Go words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseDurationError {
    Invalid { text: String },
    MissingUnit { text: String },
    UnknownUnit { unit: String, text: String },
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseDurationError::Invalid { text } => {
                write!(f, "time: invalid duration {}", quote(text))
            }
            ParseDurationError::MissingUnit { text } => {
                write!(f, "time: missing unit in duration {}", quote(text))
            }
            ParseDurationError::UnknownUnit { unit, text } => {
                write!(f, "time: unknown unit {} in duration {}", quote(unit), quote(text))
            }
        }
    }
}

impl std::error::Error for ParseDurationError {}

/// Quotes as Go's `time` package does in its errors: every byte outside printable ASCII becomes `\xNN`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// The largest magnitude: one more than `i64::MAX`, reachable only with a minus sign.
const LIMIT: u64 = 1 << 63;

fn parse(text: &str) -> Result<GoDuration, ParseDurationError> {
    let invalid = || ParseDurationError::Invalid { text: text.to_owned() };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(GoDuration(0));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (term, after) = parse_term(text, rest)?;
        total = total.checked_add(term).filter(|sum| *sum <= LIMIT).ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        return Ok(GoDuration(0i64.wrapping_sub_unsigned(total)));
    }
    i64::try_from(total).map(GoDuration).map_err(|_| invalid())
}

/// Reads one number with its unit from the front of `rest`; answers nanoseconds and what follows.
fn parse_term<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), ParseDurationError> {
    let invalid = || ParseDurationError::Invalid { text: text.to_owned() };
    let (whole, after_whole) = leading_integer(rest).ok_or_else(invalid)?;
    let had_whole = after_whole.len() < rest.len();
    let (fraction, scale, after_number, had_fraction) = match after_whole.strip_prefix('.') {
        Some(digits) => {
            let (fraction, scale, after) = leading_fraction(digits);
            (fraction, scale, after, after.len() < digits.len())
        }
        None => (0, 1.0, after_whole, false),
    };
    if !had_whole && !had_fraction {
        return Err(invalid());
    }
    let unit_len =
        after_number.bytes().position(|byte| byte == b'.' || byte.is_ascii_digit()).unwrap_or(after_number.len());
    if unit_len == 0 {
        return Err(ParseDurationError::MissingUnit { text: text.to_owned() });
    }
    let (unit, after) = after_number.split_at(unit_len);
    let unit_nanos = unit_nanos(unit)
        .ok_or_else(|| ParseDurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
    let mut nanos = whole.checked_mul(unit_nanos).filter(|nanos| *nanos <= LIMIT).ok_or_else(invalid)?;
    if fraction > 0 {
        // Compat: Go scales the fraction in floating point and truncates; the same order of operations gives the
        // same last digit.
        let part = (fraction as f64 * (unit_nanos as f64 / scale)) as u64;
        nanos = nanos.checked_add(part).filter(|nanos| *nanos <= LIMIT).ok_or_else(invalid)?;
    }
    Ok((nanos, after))
}

fn unit_nanos(unit: &str) -> Option<u64> {
    let nanos = match unit {
        "ns" => 1,
        // U+00B5 MICRO SIGN and U+03BC GREEK SMALL LETTER MU.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    Some(nanos.unsigned_abs())
}

/// Digits at the front of `text`, none giving zero; `None` past the limit.
fn leading_integer(text: &str) -> Option<(u64, &str)> {
    let mut value: u64 = 0;
    let mut len = 0;
    for byte in text.bytes().take_while(u8::is_ascii_digit) {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        if value > LIMIT {
            return None;
        }
        len += 1;
    }
    Some((value, &text[len..]))
}

/// Digits after the point: value, power of ten, rest. Digits that no longer fit are read and ignored.
fn leading_fraction(text: &str) -> (u64, f64, &str) {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    let mut full = false;
    let mut len = 0;
    for byte in text.bytes().take_while(u8::is_ascii_digit) {
        len += 1;
        if full {
            continue;
        }
        let next = if value > (LIMIT - 1) / 10 { LIMIT + 1 } else { value * 10 + u64::from(byte - b'0') };
        if next > LIMIT {
            full = true;
            continue;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale, &text[len..])
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let second = SECOND.unsigned_abs();
        if nanos < second {
            let (unit, name) = if nanos < MICROSECOND.unsigned_abs() {
                return write!(f, "{nanos}ns");
            } else if nanos < MILLISECOND.unsigned_abs() {
                (MICROSECOND.unsigned_abs(), "\u{b5}s")
            } else {
                (MILLISECOND.unsigned_abs(), "ms")
            };
            return write!(f, "{}{name}", decimal(nanos, unit));
        }
        let minutes = nanos / (60 * second);
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write!(f, "{}s", decimal(nanos % (60 * second), second))
    }
}

/// `value / unit` as a decimal without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let whole = value / unit;
    let fraction = value % unit;
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let padded = format!("{fraction:0digits$}");
    format!("{whole}.{}", padded.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(DurationVisitor { empty_is_zero: false })
        } else {
            deserializer.deserialize_i64(DurationVisitor { empty_is_zero: false })
        }
    }
}

struct DurationVisitor {
    empty_is_zero: bool,
}

impl<'de> de::Visitor<'de> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time.Duration")
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
        Ok(GoDuration(nanos))
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
        i64::try_from(nanos).map(GoDuration).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(nanos), &self))
    }

    // Compat: Consul decodes a number into an interface first, so it is a float that Go then truncates.
    fn visit_f64<E: de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
        if nanos >= -(LIMIT as f64) && nanos < LIMIT as f64 {
            Ok(GoDuration(nanos as i64))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(nanos), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        if text.is_empty() && self.empty_is_zero {
            return Ok(GoDuration(0));
        }
        parse(text).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<GoDuration, E> {
        Ok(GoDuration(0))
    }

    fn visit_none<E: de::Error>(self) -> Result<GoDuration, E> {
        Ok(GoDuration(0))
    }

    // Compat: Consul decodes into an interface and looks for a string or a number; anything else passes as nothing
    // said (`{"LockDelay": true}` is accepted).
    fn visit_bool<E: de::Error>(self, _value: bool) -> Result<GoDuration, E> {
        Ok(GoDuration(0))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<GoDuration, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(GoDuration(0))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<GoDuration, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(GoDuration(0))
    }
}

/// For `#[serde(with = "wire::duration::as_string")]`: text in JSON (`"10s"`, and `"0s"` for zero), an integer in
/// msgpack.
pub mod as_string {
    use super::GoDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(span: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(span) } else { span.serialize(serializer) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        GoDuration::deserialize(deserializer)
    }
}

/// For `#[serde(with = "wire::duration::as_string_or_empty")]`: text in JSON with `""` for zero (which is also read
/// as zero), an integer in msgpack.
pub mod as_string_or_empty {
    use super::{DurationVisitor, GoDuration};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(span: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            span.serialize(serializer)
        } else if span.is_zero() {
            serializer.serialize_str("")
        } else {
            serializer.collect_str(span)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(DurationVisitor { empty_is_zero: true })
        } else {
            GoDuration::deserialize(deserializer)
        }
    }
}

/// For `#[serde(with = "wire::duration::as_nanos")]`: an integer everywhere. It is what [`GoDuration`] does by
/// itself; naming it says that the number is meant.
pub mod as_nanos {
    use super::GoDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(span: &GoDuration, serializer: S) -> Result<S::Ok, S::Error> {
        span.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
        GoDuration::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{GoDuration, HOUR, MINUTE, SECOND};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn check(text: &str, expect: &str) {
        let got = match GoDuration::parse(text) {
            Ok(span) => span.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "parsing {text:?}");
    }

    #[test]
    fn parses_and_writes_as_go_does() {
        check("0", "0s");
        check("-0", "0s");
        check("90s", "1m30s");
        check("1.5s", "1.5s");
        check("250us", "250\u{b5}s");
        check("250\u{b5}s", "250\u{b5}s");
        check("250\u{3bc}s", "250\u{b5}s");
        check("1h", "1h0m0s");
        check("-2h45m", "-2h45m0s");
        check("+5ms", "5ms");
        check(".5m", "30s");
        check("1.s", "1s");
        check("999ns", "999ns");
        check("1500ns", "1.5\u{b5}s");
        check("1.0000000000000000000000001s", "1s");
        check("9223372036854775807ns", "2562047h47m16.854775807s");
        check("-9223372036854775808ns", "-2562047h47m16.854775808s");
    }

    #[test]
    fn refuses_with_go_texts() {
        check("", "time: invalid duration \"\"");
        check("-", "time: invalid duration \"-\"");
        check("x", "time: invalid duration \"x\"");
        check(".s", "time: invalid duration \".s\"");
        check("5", "time: missing unit in duration \"5\"");
        check("1h5", "time: missing unit in duration \"1h5\"");
        check("5y", "time: unknown unit \"y\" in duration \"5y\"");
        check("1 day", "time: unknown unit \" day\" in duration \"1 day\"");
        check("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\"");
        check("3000000h", "time: invalid duration \"3000000h\"");
        check("5\u{e9}", "time: unknown unit \"\\xc3\\xa9\" in duration \"5\\xc3\\xa9\"");
        check("a\"b\n", "time: invalid duration \"a\\\"b\\x0a\"");
    }

    #[test]
    fn units_are_what_they_say() {
        assert_eq!(GoDuration::parse("1h1m1s"), Ok(GoDuration(HOUR + MINUTE + SECOND)));
        assert_eq!(GoDuration(-5).to_std(), std::time::Duration::ZERO);
        assert_eq!(GoDuration::from_secs(i64::MAX), GoDuration(i64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<i64>()) {
            let span = GoDuration(nanos);
            prop_assert_eq!(GoDuration::parse(&span.to_string()), Ok(span));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = GoDuration::parse(&text);
        }
    }
}
