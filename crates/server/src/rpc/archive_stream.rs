//! Saving and restoring archives over a connection of their own (protocols.md A6).

use bytes::Bytes;
use net::rpc::BoxedStream;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::msgpack::{self, ValueScanner};

use super::envelope::Meta;
use super::{Dispatcher, Far};
use crate::{Error, QueryMeta, ReadMode};

const SAVE: u8 = 0;
const RESTORE: u8 = 1;
/// The longest head of a message.
const HEAD_MAX: usize = 64 << 10;

/// `structs.SnapshotRequest`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Request {
    datacenter: String,
    token: String,
    allow_stale: bool,
    op: u8,
}

/// `structs.SnapshotResponse`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Response {
    /// Empty for success.
    error: String,
    #[serde(rename = "QueryMeta")]
    meta: Meta,
}

fn broken(error: std::io::Error) -> Error {
    Error::Interrupted(error.to_string())
}

/// Reads one value, and what came with it.
async fn read_head(stream: &mut BoxedStream) -> Result<(Bytes, Vec<u8>), Error> {
    let (mut bytes, mut scanner) = (Vec::new(), ValueScanner::new());
    loop {
        if stream.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err(Error::Connection("a head that is cut short".to_owned()));
        }
        let found = scanner.advance(&bytes).map_err(|error| Error::Connection(error.to_string()))?;
        if let Some(length) = found {
            let rest = bytes.split_off(length);
            return Ok((bytes.into(), rest));
        }
        if bytes.len() > HEAD_MAX {
            return Err(Error::Connection("a head that is too long".to_owned()));
        }
    }
}

async fn read_archive(stream: &mut BoxedStream, mut archive: Vec<u8>) -> Result<Bytes, Error> {
    let max = replica::restore::ARCHIVE_MAX as u64;
    (&mut *stream).take(max + 1).read_to_end(&mut archive).await.map_err(broken)?;
    if archive.len() as u64 > max {
        return Err(Error::BadArchive("the archive is too large".to_owned()));
    }
    Ok(archive.into())
}

/// Answers one connection, whose first byte was read.
pub(super) async fn answer(dispatcher: &Dispatcher, mut stream: BoxedStream) -> Result<(), Error> {
    let (head, rest) = read_head(&mut stream).await?;
    let request: Request = msgpack::from_slice(&head).map_err(|error| Error::Connection(error.to_string()))?;
    let is_here = dispatcher.server.is_leader() || (request.op == SAVE && request.allow_stale);
    if !is_here && let Some(leader) = dispatcher.leader_elsewhere() {
        // As it came, both ways.
        let mut far = dispatcher.far.pool.snapshot(leader, head.to_vec()).await.map_err(broken)?;
        far.write_all(&rest).await.map_err(broken)?;
        tokio::io::copy_bidirectional(&mut stream, &mut far).await.map_err(broken)?;
        return Ok(());
    }
    let done = if is_here { run(dispatcher, &mut stream, &request, rest).await } else { Err(Error::NoLeader) };
    let (response, archive) = match done {
        Ok((meta, archive)) => (Response { meta, ..Response::default() }, archive),
        Err(error) => (Response { error: error.to_string(), ..Response::default() }, Bytes::new()),
    };
    let head = msgpack::to_vec(&response).map_err(|error| Error::Connection(error.to_string()))?;
    stream.write_all(&head).await.map_err(broken)?;
    stream.write_all(&archive).await.map_err(broken)?;
    stream.shutdown().await.map_err(broken)
}

async fn run(
    dispatcher: &Dispatcher,
    stream: &mut BoxedStream,
    request: &Request,
    rest: Vec<u8>,
) -> Result<(Meta, Bytes), Error> {
    let server = &dispatcher.server;
    match request.op {
        SAVE => {
            let (archive, index) = server.save_snapshot().await?;
            let mode = if request.allow_stale { ReadMode::Stale } else { ReadMode::Default };
            Ok((Meta::from(server.meta(index, mode)), archive))
        }
        RESTORE => {
            let archive = read_archive(stream, rest).await?;
            server.restore_snapshot(archive).await?;
            Ok((Meta::default(), Bytes::new()))
        }
        unknown => Err(Error::Connection(format!("unrecognized snapshot op: {unknown}"))),
    }
}

impl Far {
    async fn exchange(&self, server: SocketAddr, request: &Request, archive: &[u8]) -> Result<(Meta, Bytes), Error> {
        let head = msgpack::to_vec(request).map_err(|error| Error::Remote(error.to_string()))?;
        let far = self.pool.snapshot(server, head).await;
        let mut far = far.map_err(|error| Error::Unreachable(error.to_string()))?;
        far.write_all(archive).await.map_err(broken)?;
        far.shutdown().await.map_err(broken)?;
        let (head, rest) = read_head(&mut far).await?;
        let response: Response = msgpack::from_slice(&head).map_err(|error| Error::Remote(error.to_string()))?;
        match response.error.as_str() {
            "" => Ok((response.meta, read_archive(&mut far, rest).await?)),
            "No cluster leader" => Err(Error::NoLeader),
            text => Err(Error::Remote(text.to_owned())),
        }
    }

    /// The whole state as an archive.
    pub async fn save(&self, server: SocketAddr, mode: ReadMode) -> Result<(Bytes, QueryMeta), Error> {
        let allow_stale = mode == ReadMode::Stale;
        let request = Request { datacenter: self.datacenter.to_string(), allow_stale, op: SAVE, ..Request::default() };
        let (meta, archive) = self.exchange(server, &request, &[]).await?;
        Ok((archive, meta.facts(mode)))
    }

    /// Puts an archive's state in the place of the present one.
    pub async fn restore(&self, server: SocketAddr, archive: &[u8]) -> Result<(), Error> {
        let request = Request { datacenter: self.datacenter.to_string(), op: RESTORE, ..Request::default() };
        self.exchange(server, &request, archive).await.map(drop)
    }
}
