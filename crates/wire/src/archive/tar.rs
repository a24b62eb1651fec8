//! As much of tar as a snapshot archive has: regular files with short names, one after the other.
//!
//! The reference writes plain ustar for anything below 8 GiB. Reading needs to stop at exactly the blocks where the
//! reference's reader stops, with its texts, and must not follow extensions; that is why this is not the `tar` crate.
//! Invariant: a file's content is read only up to the size its header says.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
const MODE: u64 = 0o600;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;
const PREFIX: std::ops::Range<usize> = 345..500;

/// Writes one file of exactly `size` bytes.
pub(super) fn write_file<W: Write>(
    out: &mut W,
    name: &str,
    size: u64,
    modified: u64,
    content: impl Read,
) -> io::Result<()> {
    out.write_all(&header(name, size, modified)?)?;
    let copied = io::copy(&mut content.take(size), out)?;
    if copied < size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF"));
    }
    out.write_all(&[0; BLOCK][..padding(size)])
}

/// Two blocks of zeros end the archive.
pub(super) fn write_end<W: Write>(out: &mut W) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn header(name: &str, size: u64, modified: u64) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    put_octal(&mut block[100..108], MODE)?;
    put_octal(&mut block[108..116], 0)?;
    put_octal(&mut block[116..124], 0)?;
    put_octal(&mut block[SIZE], size)?;
    put_octal(&mut block[136..148], modified)?;
    block[TYPE] = b'0';
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], 0)?;
    put_octal(&mut block[337..345], 0)?;
    let sum = checksum(&block);
    put_octal(&mut block[148..155], sum)?;
    block[155] = b' ';
    Ok(block)
}

/// Octal digits that fill all but the last byte of the field, which stays zero.
fn put_octal(field: &mut [u8], value: u64) -> io::Result<()> {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() > digits {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "archive/tar: cannot encode header: value too large"));
    }
    field[..digits].copy_from_slice(text.as_bytes());
    Ok(())
}

/// The sum of all bytes, those of the checksum itself counting as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let all: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = block[CHECKSUM].iter().map(|byte| u64::from(*byte)).sum();
    all - own + u64::from(b' ') * CHECKSUM.len() as u64
}

/// Bytes that fill the last block of a file.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
}

/// The files of an archive in order.
pub(super) struct Files<R> {
    input: R,
    /// Content of the current file that was not copied yet.
    unread: u64,
    /// What fills up its last block.
    padding: usize,
}

impl<R: Read> Files<R> {
    pub(super) fn new(input: R) -> Files<R> {
        Files { input, unread: 0, padding: 0 }
    }

    /// Goes to the next file; `None` at the end, which is two blocks of zeros or the end of the input.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        self.copy(&mut io::sink())?;
        let mut block = [0; BLOCK];
        // Compat: an archive that ends within padding ends there without complaint.
        if fill(&mut self.input, &mut block[..self.padding])? < self.padding {
            return Ok(None);
        }
        self.padding = 0;
        if !self.read_block(&mut block)? {
            return Ok(None);
        }
        if block == [0; BLOCK] {
            let ended = !self.read_block(&mut block)? || block == [0; BLOCK];
            return if ended { Ok(None) } else { Err(invalid()) };
        }
        let entry = parse_header(&block)?;
        self.unread = entry.size;
        self.padding = padding(entry.size);
        Ok(Some(entry))
    }

    /// Copies the rest of the current file.
    pub(super) fn copy<W: Write>(&mut self, out: &mut W) -> io::Result<()> {
        let copied = io::copy(&mut self.input.by_ref().take(self.unread), out)?;
        if copied < self.unread {
            return Err(unexpected_eof());
        }
        self.unread = 0;
        Ok(())
    }

    /// False at the end of the input.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        match fill(&mut self.input, block)? {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(unexpected_eof()),
        }
    }
}

/// Reads until the buffer is full or the input ends; answers how much was read.
fn fill<R: Read>(input: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn parse_header(block: &[u8; BLOCK]) -> io::Result<Entry> {
    let stated = octal(&block[CHECKSUM]).ok_or_else(invalid)?;
    if stated != checksum(block) {
        return Err(invalid());
    }
    let size = octal(&block[SIZE]).ok_or_else(invalid)?;
    let mut name = text(&block[NAME]);
    let prefix = text(&block[PREFIX]);
    if block[MAGIC].starts_with(b"ustar\0") && !prefix.is_empty() {
        name = format!("{prefix}/{name}");
    }
    // Links, directories, sparse files and extended headers have no place in a snapshot.
    match block[TYPE] {
        b'0' | 0 => Ok(Entry { name, size }),
        _ => Err(invalid()),
    }
}

/// The field up to its first zero byte.
fn text(field: &[u8]) -> String {
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..len]).into_owned()
}

/// An octal number among zeros and spaces.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "archive/tar: invalid tar header")
}

fn unexpected_eof() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF")
}
