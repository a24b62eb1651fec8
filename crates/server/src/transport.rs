//! Raft's messages on their way between servers: connections that begin with the byte 1 on the RPC port.
//!
//! A connection carries messages one way. It begins with a greeting, then come frames: length and CRC-32 of the bytes
//! that follow, both little-endian 32 bit numbers. A snapshot has a connection of its own: the message, the state in
//! pieces, an empty frame; the receiver says one byte when the state is stable.
//!
//! Always true: a message is lost rather than waited for; a line, its queue and what is read are bounded; whoever
//! greets in the name of another cluster is sent away.
//!
//! Not here: what messages mean; who may connect besides (the listener).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use replica::{Outbox, Outgoing, Parcel, SnapshotMeta, codec, message};
use serde::{Deserialize, Serialize};
use state::{Limits, State};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::io::SyncIoBridge;

use crate::{Error, Inbox, Request};

/// The first byte of a connection for raft (protocols.md A1).
pub const RAFT: u8 = 1;
/// Messages that wait for a line; raft keeps no more under way than half of that.
const QUEUE: usize = 512;
/// Messages are written together up to this size.
const WRITE_TOGETHER: usize = 1 << 20;
/// A state travels in pieces of this size.
const PIECE: usize = 256 << 10;
const GREETING_MAX: usize = 4 << 10;
const FRAME_HEAD: usize = 8;
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A line that nothing was sent through for so long is taken down.
const IDLE: Duration = Duration::from_secs(60);
/// What is sent and not acknowledged for so long is lost, and the line with it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);
/// The receiver of a snapshot is given so long to store it.
const STORE_WAIT: Duration = Duration::from_secs(600);
/// Lines and what is known of their ends are forgotten beyond this.
const LINES_MAX: usize = 4 * replica::PEERS_MAX;

/// Who speaks, and what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Greeting {
    version: u32,
    #[serde(rename = "ID")]
    id: String,
    address: String,
    cluster: u64,
    purpose: Purpose,
}

const VERSION: u32 = 1;

/// What a connection is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Messages of raft follow.
    #[default]
    Messages,
    /// One message and a state follow.
    Snapshot,
    /// Nothing follows: asks where the server stands.
    Ask,
    /// Asks for the promise to belong to `cluster`, which is about to be founded.
    Promise,
    /// Gives the promise back.
    Release,
}

/// Where a server stands that was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Standing {
    /// It belongs to a cluster that was founded.
    pub is_member: bool,
    /// The cluster that it belongs to, or is promised to.
    pub cluster: u64,
}

/// Asks a server on its RPC port.
pub(crate) async fn ask(address: &str, id: &str, cluster: u64, purpose: Purpose) -> Result<Standing, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
    let greeting = Greeting { version: VERSION, id: id.to_owned(), address: String::new(), cluster, purpose };
    let asking = async {
        let mut stream = connect(address, &greeting).await?;
        let mut bytes = Vec::new();
        read_frame(&mut stream, &mut bytes, GREETING_MAX).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = tokio::time::timeout(2 * CONNECT_WAIT, asking).await.map_err(|error| failed(&error))?;
    let bytes = bytes.map_err(|error| failed(&error))?;
    wire::msgpack::from_slice(&bytes).map_err(|error| failed(&error))
}

/// Where servers are: by what they or gossip said. A server that has moved is found before the configuration says where,
/// and one that has no configuration yet knows whom to answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acquaintances(Arc<Mutex<HashMap<u64, String>>>);

impl Acquaintances {
    pub fn note(&self, id: &str, address: &str) {
        let mut known = self.0.lock();
        if known.len() < LINES_MAX || known.contains_key(&replica::number_of(id)) {
            known.insert(replica::number_of(id), address.to_owned());
        }
    }

    pub fn address(&self, number: u64) -> Option<String> {
        self.0.lock().get(&number).cloned()
    }
}

/// Sends what the replica has to say.
pub(crate) struct Post {
    handle: Handle,
    id: String,
    address: String,
    acquaintances: Acquaintances,
    inbox: Inbox,
    lines: HashMap<u64, Line>,
}

struct Line {
    address: String,
    queue: Sender<Parcel>,
}

impl Post {
    pub fn new(handle: Handle, id: &str, address: &str, acquaintances: Acquaintances, inbox: Inbox) -> Self {
        Post { handle, id: id.to_owned(), address: address.to_owned(), acquaintances, inbox, lines: HashMap::new() }
    }

    fn greeting(&self, parcel: &Parcel) -> Greeting {
        Greeting {
            version: VERSION,
            id: self.id.clone(),
            address: self.address.clone(),
            cluster: parcel.cluster,
            purpose: Purpose::Messages,
        }
    }

    fn line(&mut self, number: u64, address: String, parcel: &Parcel) -> &Sender<Parcel> {
        let is_open = self.lines.get(&number).is_some_and(|line| line.address == address && !line.queue.is_closed());
        if !is_open {
            if self.lines.len() >= LINES_MAX {
                self.lines.retain(|_, line| !line.queue.is_closed());
            }
            let (queue, parcels) = channel(QUEUE);
            let carrying = carry(address.clone(), self.greeting(parcel), number, parcels, self.inbox.clone());
            self.handle.spawn(carrying);
            self.lines.insert(number, Line { address: address.clone(), queue });
        }
        let line = self.lines.entry(number).or_insert_with(|| Line { address, queue: channel(1).0 });
        &line.queue
    }
}

impl Outbox for Post {
    fn send(&mut self, outgoing: Outgoing) {
        let Outgoing { peer, number, parcel, state } = outgoing;
        let known = self.acquaintances.address(number);
        let Some(address) = known.or(Some(peer.address).filter(|address| !address.is_empty())) else { return };
        if let Some(state) = state {
            let greeting = Greeting { purpose: Purpose::Snapshot, ..self.greeting(&parcel) };
            let inbox = self.inbox.clone();
            self.handle.spawn(async move {
                tracing::info!(target: "agent.server.raft", peer = address, "sending a snapshot");
                let sent = send_snapshot(&address, greeting, parcel, state).await;
                if let Err(error) = &sent {
                    tracing::warn!(target: "agent.server.raft", peer = address, %error, "a snapshot could not be sent");
                }
                inbox.offer(Request::SnapshotSent { number, arrived: sent.is_ok() });
            });
            return;
        }
        if self.line(number, address, &parcel).try_send(parcel).is_err() {
            self.inbox.offer(Request::Unreachable { number });
        }
    }
}

async fn connect(address: &str, greeting: &Greeting) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let connecting = TcpStream::connect(address);
    let mut stream = tokio::time::timeout(CONNECT_WAIT, connecting).await.map_err(std::io::Error::other)??;
    stream.set_nodelay(true)?;
    // Without it, messages for a host that vanished would queue in the kernel for a quarter of an hour.
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    let mut begin = vec![RAFT];
    frame(&mut begin, &wire::msgpack::to_vec(greeting).map_err(std::io::Error::other)?);
    stream.write_all(&begin).await?;
    Ok(stream)
}

fn frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Writes what comes through the queue to a peer, for as long as anything does.
async fn carry(address: String, greeting: Greeting, number: u64, mut parcels: Receiver<Parcel>, inbox: Inbox) {
    let mut back_off = Duration::from_millis(20);
    let mut stream = None;
    let mut out = Vec::new();
    while let Ok(Some(first)) = tokio::time::timeout(IDLE, parcels.recv()).await {
        out.clear();
        write_parcel(&mut out, &first);
        while out.len() < WRITE_TOGETHER
            && let Ok(parcel) = parcels.try_recv()
        {
            write_parcel(&mut out, &parcel);
        }
        let sent = async {
            let mut open = match stream.take() {
                Some(open) => open,
                None => connect(&address, &greeting).await?,
            };
            open.write_all(&out).await?;
            stream = Some(open);
            Ok::<_, std::io::Error>(())
        };
        match sent.await {
            Ok(()) => back_off = Duration::from_millis(20),
            Err(error) => {
                tracing::debug!(target: "agent.server.raft", peer = address, %error, "a server cannot be reached");
                inbox.offer(Request::Unreachable { number });
                let pause = back_off.mul_f64(rand::random_range(0.5..1.5));
                tokio::time::sleep(pause).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
                // What queued meanwhile is old; raft says it again.
                while parcels.try_recv().is_ok() {}
            }
        }
        if out.capacity() > 2 * WRITE_TOGETHER {
            out = Vec::new();
        }
    }
}

fn write_parcel(out: &mut Vec<u8>, parcel: &Parcel) {
    let at = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD]);
    if !message::encode(parcel, out) {
        out.truncate(at);
        return;
    }
    let body = at + FRAME_HEAD;
    let (length, sum) = (u32::try_from(out.len() - body).unwrap_or(u32::MAX), crc32fast::hash(&out[body..]));
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    out[at + 4..body].copy_from_slice(&sum.to_le_bytes());
}

/// Puts what is written into frames.
struct Pieces<W: Write> {
    inner: W,
    piece: Vec<u8>,
}

impl<W: Write> Pieces<W> {
    fn end_piece(&mut self) -> std::io::Result<()> {
        let mut out = Vec::with_capacity(self.piece.len() + FRAME_HEAD);
        frame(&mut out, &self.piece);
        self.piece.clear();
        self.inner.write_all(&out)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.end_piece()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.end_piece() }
    }
}

async fn send_snapshot(address: &str, greeting: Greeting, parcel: Parcel, state: State) -> std::io::Result<()> {
    let stream = connect(address, &greeting).await?;
    let sending = tokio::task::spawn_blocking(move || {
        let mut bridge = SyncIoBridge::new(stream);
        let mut begin = Vec::new();
        write_parcel(&mut begin, &parcel);
        bridge.write_all(&begin)?;
        let mut pieces = Pieces { inner: &mut bridge, piece: Vec::with_capacity(PIECE) };
        codec::write_state(&state, &mut pieces).map_err(std::io::Error::other)?;
        pieces.flush()?;
        // An empty piece is the end.
        pieces.end_piece()?;
        bridge.flush()?;
        let mut stored = [0];
        bridge.read_exact(&mut stored)
    });
    tokio::time::timeout(STORE_WAIT, sending).await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?
}

/// What a server needs to take messages in.
#[derive(Clone)]
pub(crate) struct Reception {
    pub inbox: Inbox,
    pub acquaintances: Acquaintances,
    pub data_dir: Option<PathBuf>,
    pub limits: Limits,
    /// One snapshot at a time.
    pub snapshots: Arc<tokio::sync::Semaphore>,
}

impl Reception {
    /// Takes in what a server sends on a connection whose first byte was read. `standing` says where this server stands
    /// at present.
    pub async fn receive<S>(self, mut stream: S, standing: impl Fn() -> Standing) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: std::io::Error| Error::Connection(error.to_string());
        let mut bytes = Vec::new();
        let greeting = tokio::time::timeout(CONNECT_WAIT, read_frame(&mut stream, &mut bytes, GREETING_MAX));
        greeting.await.map_err(|_| Error::Connection("no greeting".to_owned()))?.map_err(broken)?;
        let greeting: Greeting =
            wire::msgpack::from_slice(&bytes).map_err(|error| Error::Connection(format!("bad greeting: {error}")))?;
        if greeting.version != VERSION {
            return Err(Error::Connection(format!("{} speaks version {}", greeting.id, greeting.version)));
        }
        if matches!(greeting.purpose, Purpose::Ask | Purpose::Promise | Purpose::Release) {
            return self.answer(stream, &greeting, standing).await;
        }
        let own = standing().cluster;
        if own != 0 && greeting.cluster != own {
            return Err(Error::Connection(format!("{} is of another cluster", greeting.id)));
        }
        self.acquaintances.note(&greeting.id, &greeting.address);
        if greeting.purpose == Purpose::Snapshot {
            return self.receive_snapshot(stream, &greeting).await;
        }
        loop {
            read_frame(&mut stream, &mut bytes, message::BYTES_MAX).await.map_err(broken)?;
            let parcel = message::decode(&bytes);
            let parcel = parcel.filter(|parcel| parcel.message.from == replica::number_of(&greeting.id));
            let parcel = parcel.ok_or_else(|| Error::Connection("a message that is none".to_owned()))?;
            self.inbox.offer(Request::Step { parcel: Box::new(parcel), state: None, bytes: bytes.len() });
            if bytes.capacity() > WRITE_TOGETHER {
                bytes = Vec::new();
            }
        }
    }

    /// Does what is asked, and says where this server stands then.
    async fn answer<S>(self, mut stream: S, greeting: &Greeting, standing: impl Fn() -> Standing) -> Result<(), Error>
    where
        S: AsyncWrite + Unpin,
    {
        if greeting.purpose != Purpose::Ask {
            let (answer, done) = tokio::sync::oneshot::channel();
            let stands = greeting.purpose == Purpose::Promise;
            self.inbox.send(Request::Promise { cluster: greeting.cluster, stands, answer })?;
            // A refusal shows in where this server stands.
            let _ = done.await;
        }
        let mut out = Vec::new();
        let told = wire::msgpack::to_vec(&standing()).map_err(|error| Error::Connection(error.to_string()))?;
        frame(&mut out, &told);
        stream.write_all(&out).await.map_err(|error| Error::Connection(error.to_string()))
    }

    async fn receive_snapshot<S>(self, stream: S, greeting: &Greeting) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_one) = self.snapshots.clone().try_acquire_owned() else {
            return Err(Error::Connection("another snapshot is being received".to_owned()));
        };
        tracing::info!(target: "agent.server.raft", from = greeting.address, "receiving a snapshot");
        let (data_dir, limits) = (self.data_dir.clone(), self.limits);
        let receiving = tokio::task::spawn_blocking(move || {
            let mut bridge = SyncIoBridge::new(stream);
            let mut frames = Frames::new(&mut bridge);
            let bytes = frames.next(message::BYTES_MAX)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let parcel = message::decode(&bytes).ok_or(std::io::ErrorKind::InvalidData)?;
            let meta = parcel.message.get_snapshot().get_metadata();
            let meta = SnapshotMeta { index: meta.index, term: meta.term };
            let state = codec::read_state(&mut frames, limits).map_err(std::io::Error::other)?;
            if !frames.has_ended {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            if let Some(dir) = &data_dir {
                // Stable before raft says that it has it.
                disk::write_snapshot(dir, meta, &mut |out| {
                    codec::write_state(&state, out).map_err(std::io::Error::other)
                })
                .map_err(std::io::Error::other)?;
            }
            Ok::<_, std::io::Error>((parcel, state, bridge))
        });
        let received = receiving.await.map_err(|error| Error::Connection(error.to_string()))?;
        let (parcel, state, mut bridge) = received.map_err(|error| Error::Connection(error.to_string()))?;
        self.inbox.offer(Request::Step { parcel: Box::new(parcel), state: Some(Box::new(state)), bytes: 0 });
        let told = tokio::task::spawn_blocking(move || bridge.write_all(&[1]).and_then(|()| bridge.flush())).await;
        told.map_err(|error| Error::Connection(error.to_string()))?
            .map_err(|error| Error::Connection(error.to_string()))
    }
}

/// Reads one frame; nothing is made room for that has not arrived.
async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>, max: usize) -> std::io::Result<()> {
    let mut head = [0; FRAME_HEAD];
    stream.read_exact(&mut head).await?;
    let (length, sum) = split_head(head);
    if length > max {
        return Err(std::io::Error::other("a frame that is too long"));
    }
    bytes.clear();
    let read = (&mut *stream).take(length as u64).read_to_end(bytes).await?;
    if read != length || crc32fast::hash(bytes) != sum {
        return Err(std::io::Error::other("a damaged frame"));
    }
    Ok(())
}

fn split_head(head: [u8; FRAME_HEAD]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = head;
    (usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX), u32::from_le_bytes([e, f, g, h]))
}

/// Reads the pieces of a state as if they were one.
struct Frames<R: Read> {
    inner: R,
    piece: std::io::Cursor<Vec<u8>>,
    has_ended: bool,
}

impl<R: Read> Frames<R> {
    fn new(inner: R) -> Self {
        Frames { inner, piece: std::io::Cursor::default(), has_ended: false }
    }

    /// The next frame; `None` for the empty one.
    fn next(&mut self, max: usize) -> std::io::Result<Option<Vec<u8>>> {
        let mut head = [0; FRAME_HEAD];
        self.inner.read_exact(&mut head)?;
        let (length, sum) = split_head(head);
        if length > max {
            return Err(std::io::Error::other("a frame that is too long"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.inner).take(length as u64).read_to_end(&mut bytes)?;
        if read != length || crc32fast::hash(&bytes) != sum {
            return Err(std::io::Error::other("a damaged frame"));
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = Read::read(&mut self.piece, out)?;
        if read > 0 || self.has_ended || out.is_empty() {
            return Ok(read);
        }
        match self.next(PIECE)? {
            None => {
                self.has_ended = true;
                Ok(0)
            }
            Some(piece) => {
                self.piece = std::io::Cursor::new(piece);
                Read::read(&mut self.piece, out)
            }
        }
    }
}
