//! Decompression with the reference's words for what can go wrong.
//!
//! Not here: the offset at which a deflate stream is corrupt; the reference prints one, this library does not know it.

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::Error;

/// Ten bytes begin every gzip member.
const HEADER: usize = 10;

/// How far unread content is counted before counting is given up.
const MAX_DRAIN: u64 = 64 << 20;

/// A decompressor whose errors read as Go's do.
pub(super) struct Gzip<R: Read>(MultiGzDecoder<Chain<Cursor<Vec<u8>>, R>>);

/// Looks at the first header at once, so that what is no gzip at all is told apart from what is damaged.
pub(super) fn open<R: Read>(mut input: R) -> Result<Gzip<R>, Error> {
    let refused = |cause: &dyn std::fmt::Display| Error::at("failed to decompress snapshot", cause);
    let mut start = Vec::with_capacity(HEADER);
    input.by_ref().take(HEADER as u64).read_to_end(&mut start).map_err(|error| refused(&error))?;
    match start.as_slice() {
        [] => return Err(refused(&"EOF")),
        short if short.len() < HEADER => return Err(refused(&"unexpected EOF")),
        [0x1f, 0x8b, 8, ..] => {}
        _ => return Err(refused(&"gzip: invalid header")),
    }
    Ok(Gzip(MultiGzDecoder::new(Cursor::new(start).chain(input))))
}

/// Reads to the end, which verifies the checksum; answers how many bytes there still were.
pub(super) fn drain<R: Read>(gzip: &mut Gzip<R>) -> Result<u64, Error> {
    io::copy(&mut gzip.take(MAX_DRAIN), &mut io::sink()).map_err(|error| Error::new(error.to_string()))
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(in_go_words)
    }
}

fn in_go_words(error: io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF",
        // flate2 has one kind for everything that is wrong with the bytes.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => match error.to_string() {
            text if text.contains("checksum") => "gzip: invalid checksum",
            text if text.contains("header") => "gzip: invalid header",
            _ => "flate: corrupt input",
        },
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}
