//! Go's reading of numbers and booleans, with its words of refusal.

use crate::quote::quote;

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// `strconv.ParseInt(text, 0, 64)`.
pub(crate) fn int(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let number = magnitude(digits).and_then(|number| {
        let signed = if negative { -i128::from(number) } else { i128::from(number) };
        i64::try_from(signed).map_err(|_| RANGE)
    });
    number.map_err(|why| refusal("ParseInt", text, why))
}

/// `strconv.ParseUint(text, 0, bits)`.
pub(crate) fn uint(text: &str, bits: u32) -> Result<u64, String> {
    let fits = |number: u64| if number.leading_zeros() >= u64::BITS - bits { Ok(number) } else { Err(RANGE) };
    magnitude(text).and_then(fits).map_err(|why| refusal("ParseUint", text, why))
}

/// `strconv.ParseFloat(text, 64)`, but for hexadecimal floats and underscores.
pub(crate) fn float(text: &str) -> Result<f64, String> {
    let signed_nan = text.strip_prefix(['+', '-']).is_some_and(|rest| rest.eq_ignore_ascii_case("nan"));
    let number: f64 = (if signed_nan { "" } else { text }).parse().map_err(|_| refusal("ParseFloat", text, SYNTAX))?;
    if number.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(refusal("ParseFloat", text, RANGE));
    }
    Ok(number)
}

/// `strconv.ParseBool(text)`.
pub(crate) fn bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(refusal("ParseBool", text, SYNTAX)),
    }
}

fn refusal(function: &str, text: &str, why: &str) -> String {
    format!("strconv.{function}: parsing {}: {why}", quote(text))
}

/// An unsigned number whose prefix tells its base, with underscores where a Go literal may have them.
fn magnitude(text: &str) -> Result<u64, &'static str> {
    let bytes = text.as_bytes();
    let (radix, digits, prefixed) = match (bytes.first(), bytes.get(1).map(u8::to_ascii_lowercase)) {
        (Some(b'0'), Some(b'x')) => (16, &bytes[2..], true),
        (Some(b'0'), Some(b'b')) => (2, &bytes[2..], true),
        (Some(b'0'), Some(b'o')) => (8, &bytes[2..], true),
        (Some(b'0'), Some(_)) => (8, &bytes[1..], true),
        _ => (10, bytes, false),
    };
    let mut number = Ok(0_u64);
    // An underscore stands between digits, or between the prefix and a digit.
    let (mut digit_before, mut any) = (prefixed, false);
    for byte in digits {
        if *byte == b'_' {
            if !digit_before {
                return Err(SYNTAX);
            }
            digit_before = false;
            continue;
        }
        let digit = char::from(*byte).to_digit(radix).ok_or(SYNTAX)?;
        number = number.and_then(|number: u64| {
            number.checked_mul(u64::from(radix)).and_then(|n| n.checked_add(u64::from(digit))).ok_or(RANGE)
        });
        (digit_before, any) = (true, true);
    }
    if any && digit_before { number } else { Err(SYNTAX) }
}
