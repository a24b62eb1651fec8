//! Messages of Go's `net/rpc` with the msgpack codec: a header value, then a body value, no length prefix.
//!
//! Invariant: a message is found only when both values are whole, and is never larger than [`MAX_MESSAGE`].
//! Not here: connections, first bytes, multiplexing, matching replies to calls (`net`).

use serde::{Deserialize, Serialize};

use crate::msgpack::{self, Error, ValueScanner};

/// The largest message that is buffered: a snapshot restore is streamed elsewhere, the largest ordinary call is a
/// transaction of 128 values of half a MiB.
pub const MAX_MESSAGE: usize = 128 << 20;

/// Goes before the arguments of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RequestHeader {
    /// `Catalog.Register` and the like.
    pub service_method: String,
    pub seq: u64,
}

/// Goes before the answer to a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ResponseHeader {
    /// Empty for success; else the body says nothing.
    pub error: String,
    pub seq: u64,
    pub service_method: String,
}

/// The body that goes with an error: a struct without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Appends a call to `out`.
pub fn write_request<T: Serialize + ?Sized>(out: &mut Vec<u8>, header: &RequestHeader, body: &T) -> Result<(), Error> {
    msgpack::write_to(out, header)?;
    msgpack::write_to(out, body)
}

/// Appends the answer to a call to `out`.
pub fn write_response<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    header: &ResponseHeader,
    body: &T,
) -> Result<(), Error> {
    msgpack::write_to(out, header)?;
    msgpack::write_to(out, body)
}

/// Where the two values of a message lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub header_len: usize,
    /// Header and body together.
    pub message_len: usize,
}

impl Extent {
    pub fn header<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[..self.header_len]
    }

    pub fn body<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.header_len..self.message_len]
    }
}

/// Finds the end of one message in bytes that arrive piecemeal, looking at each byte once.
#[derive(Clone, Debug, Default)]
pub struct MessageScanner {
    header_len: Option<usize>,
    current: ValueScanner,
}

impl MessageScanner {
    pub fn new() -> MessageScanner {
        MessageScanner::default()
    }

    /// Call with all bytes of the message so far whenever there are more. After an answer, begin a new scanner at
    /// `message_len`.
    pub fn advance(&mut self, buffer: &[u8]) -> Result<Option<Extent>, Error> {
        loop {
            let start = self.header_len.unwrap_or(0);
            let rest = buffer.get(start..).unwrap_or_default();
            let found = self.current.advance(rest)?;
            if start.saturating_add(self.current.needed()) > MAX_MESSAGE {
                return Err(Error::TooLong);
            }
            match (found, self.header_len) {
                (None, _) => return Ok(None),
                (Some(len), None) => {
                    self.header_len = Some(len);
                    self.current = ValueScanner::new();
                }
                (Some(len), Some(header_len)) => {
                    return Ok(Some(Extent { header_len, message_len: header_len + len }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Empty, MAX_MESSAGE, MessageScanner, RequestHeader, ResponseHeader, write_request, write_response};
    use crate::msgpack::{Error, from_slice};

    #[test]
    fn a_call_and_its_failure() {
        let mut out = Vec::new();
        let request = RequestHeader { service_method: "Status.Ping".to_owned(), seq: 7 };
        write_request(&mut out, &request, &Empty {}).unwrap();
        assert_eq!(
            hex::encode(&out),
            concat!("82", "a3536571", "07", "ad536572766963654d6574686f64", "ab5374617475732e50696e67", "80")
        );
        let response = ResponseHeader { error: "no".to_owned(), seq: 7, service_method: "Status.Ping".to_owned() };
        let mut out = Vec::new();
        write_response(&mut out, &response, &Empty {}).unwrap();
        assert_eq!(
            hex::encode(&out),
            concat!(
                "83",
                "a54572726f72",
                "a26e6f",
                "a3536571",
                "07",
                "ad536572766963654d6574686f64",
                "ab5374617475732e50696e67",
                "80"
            )
        );
    }

    #[test]
    fn messages_are_found_byte_by_byte() {
        let mut buffer = Vec::new();
        let header = RequestHeader { service_method: "KVS.Get".to_owned(), seq: 1 };
        write_request(&mut buffer, &header, &["a", "b"]).unwrap();
        let len = buffer.len();
        buffer.push(0x82);
        let mut scanner = MessageScanner::new();
        for seen in 0..len {
            assert_eq!(scanner.advance(&buffer[..seen]), Ok(None));
        }
        let extent = scanner.advance(&buffer).unwrap().unwrap();
        assert_eq!(extent.message_len, len);
        assert_eq!(from_slice(extent.header(&buffer)), Ok(header));
        assert_eq!(from_slice(extent.body(&buffer)), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_message_that_promises_too_much_is_refused_at_once() {
        let mut buffer = vec![0x80, 0xdb];
        buffer.extend_from_slice(&u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes());
        assert_eq!(MessageScanner::new().advance(&buffer), Err(Error::TooLong));
    }
}
