//! The loop that owns a machine: what arrives goes in, what comes out is done.
//!
//! Always true: the machine is touched by one task only; outputs are performed in their order, and an output for the
//! layer above is handed over before the next packet is sealed, so that changed keys count at once. What waits is
//! bounded: packets by the kernel's buffer, streams and exchanges by number and bytes, commands by their queue.
//! Not here: what a packet means.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gossip::envelope::Envelope;
use gossip::io::{ExchangeError, ExchangeId, Input, Level, Now, Output, Peer, StreamId};
use gossip::machine::{Machine, Route};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::nonce;
use super::sockets::{Sockets, canonical};
use super::streams::{NoMessage, Shared};

/// Packets read in one go before others have their turn.
const PACKETS_AT_ONCE: usize = 64;
/// The largest packet that UDP has.
const PACKET_MAX: usize = 65_536;
/// Streams that others may have open to us; the reference takes so many push/pulls. More are closed at once.
pub const STREAMS_MAX: usize = 128;
/// Streams that we have open to others. More fail at once.
pub const EXCHANGES_MAX: usize = 128;
/// Commands that may wait.
const COMMANDS_MAX: usize = 256;
/// How long a stream that was opened to us may take, from its first byte to our answer.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Ticks are at least so far apart, whatever the machine asks for.
const TICK_MIN: Duration = Duration::from_millis(1);
/// The longest sleep: a machine may mean never by its deadline, which no timer holds.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);
/// After an accept that failed (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are being written may take once we are told to stop.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// A machine's time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Its zero is now.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        self.start.elapsed()
    }
}

type Command<M> = Box<dyn FnOnce(&mut M, Now, &mut Vec<<M as Machine>::Output>) + Send>;

/// Reaches a machine that is being driven.
pub struct Handle<M: Machine> {
    commands: mpsc::Sender<Command<M>>,
    address: SocketAddr,
}

impl<M: Machine> Clone for Handle<M> {
    fn clone(&self) -> Handle<M> {
        Handle { commands: self.commands.clone(), address: self.address }
    }
}

/// The machine is not driven any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gossip has stopped")]
pub struct Stopped;

/// A command that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("gossip has stopped")]
    Stopped,
    #[error("too many commands wait for gossip")]
    Busy,
}

impl<M: Machine + 'static> Handle<M> {
    /// Where its sockets listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs `command` on the machine, between two inputs, and answers what it answers.
    pub async fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut M, Now, &mut Vec<M::Output>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        let command: Command<M> = Box::new(move |machine, now, outputs| {
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(command(machine, now, outputs));
        });
        self.commands.send(command).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// The same without waiting, for callers that may not, such as the layer above within its callback.
    pub fn tell(
        &self,
        command: impl FnOnce(&mut M, Now, &mut Vec<M::Output>) + Send + 'static,
    ) -> Result<(), NotTaken> {
        self.commands.try_send(Box::new(command)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::Busy,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Stopped,
        })
    }
}

/// A machine, and what it is driven with.
pub struct Member<M: Machine, A> {
    pub machine: M,
    /// What the machine wanted done when it was made.
    pub outputs: Vec<M::Output>,
    /// The clock that it was made with.
    pub clock: Clock,
    /// Replaced, say when keys change, it counts from the next packet and stream on.
    pub envelope: Arc<ArcSwap<Envelope>>,
    /// Takes what is not for sockets. Called within the loop: it may not wait.
    pub above: A,
    /// [`STREAM_TIMEOUT`], but for tests.
    pub stream_timeout: Duration,
    pub stop: CancellationToken,
}

/// Drives the machine until it is told to stop; the task answers the machine.
pub fn drive<M, A>(sockets: Sockets, member: Member<M, A>) -> (Handle<M>, JoinHandle<M>)
where
    M: Machine + Send + 'static,
    M::Output: Send,
    A: FnMut(M::Output) + Send + 'static,
{
    let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
    let handle = Handle { commands, address: sockets.address() };
    let driver = Driver {
        shared: Shared::new(member.envelope),
        sockets,
        machine: member.machine,
        outputs: member.outputs,
        clock: member.clock,
        above: member.above,
        stream_timeout: member.stream_timeout,
        waiting: BTreeMap::new(),
        next_stream: 0,
        arriving: JoinSet::new(),
        answering: JoinSet::new(),
        exchanges: JoinSet::new(),
        not_begun: VecDeque::new(),
        complaints: Complaints::default(),
        last_tick: Now::ZERO,
        accept_after: None,
    };
    (handle, tokio::spawn(driver.run(waiting, member.stop)))
}

/// A stream whose message is with the machine.
struct Waiting {
    stream: TcpStream,
    until: Instant,
}

/// A stream that was read, or not.
struct Arrived {
    from: SocketAddr,
    stream: TcpStream,
    until: Instant,
    read: Result<Bytes, NoMessage>,
}

struct Driver<M: Machine, A> {
    shared: Shared,
    sockets: Sockets,
    machine: M,
    outputs: Vec<M::Output>,
    clock: Clock,
    above: A,
    stream_timeout: Duration,
    waiting: BTreeMap<StreamId, Waiting>,
    next_stream: u64,
    arriving: JoinSet<Arrived>,
    answering: JoinSet<()>,
    exchanges: JoinSet<Input>,
    /// Exchanges that were not even begun.
    not_begun: VecDeque<Input>,
    complaints: Complaints,
    last_tick: Now,
    accept_after: Option<Instant>,
}

/// What woke the loop.
enum Woken<M: Machine> {
    Stop,
    Readable,
    Accepted(std::io::Result<(TcpStream, SocketAddr)>),
    Arrived(Arrived),
    Exchanged(Input),
    Command(Command<M>),
    /// Exchanges beyond [`EXCHANGES_MAX`] wait for their failure to be told.
    NotBegun,
    Time,
    /// A task ended that says nothing.
    Nothing,
}

impl<M, A> Driver<M, A>
where
    M: Machine + Send + 'static,
    M::Output: Send,
    A: FnMut(M::Output) + Send + 'static,
{
    async fn run(mut self, mut commands: mpsc::Receiver<Command<M>>, stop: CancellationToken) -> M {
        let mut buffer = vec![0; PACKET_MAX];
        self.perform().await;
        loop {
            match self.wait(&mut commands, &stop).await {
                Woken::Stop => break,
                Woken::Readable => self.read_packets(&mut buffer).await,
                Woken::Accepted(Ok((stream, from))) => self.admit(stream, canonical(from)),
                Woken::Accepted(Err(error)) => {
                    self.complaints.say("-", format_args!("Error accepting TCP connection: {error}"));
                    self.accept_after = Some(Instant::now() + ACCEPT_PAUSE);
                }
                Woken::Arrived(arrived) => self.take_stream(arrived).await,
                Woken::Exchanged(input) => self.handle(input).await,
                Woken::Command(command) => {
                    command(&mut self.machine, self.clock.now(), &mut self.outputs);
                    self.perform().await;
                }
                Woken::NotBegun => {
                    if let Some(input) = self.not_begun.pop_front() {
                        self.handle(input).await;
                    }
                }
                Woken::Time => self.tick().await,
                Woken::Nothing => {}
            }
        }
        let answers = async { while self.answering.join_next().await.is_some() {} };
        // Who is slower than that has to ask again.
        let _ = tokio::time::timeout(STOP_WAIT, answers).await;
        self.machine
    }

    async fn wait(&mut self, commands: &mut mpsc::Receiver<Command<M>>, stop: &CancellationToken) -> Woken<M> {
        let wake_at = self.wake_at();
        tokio::select! {
            () = stop.cancelled() => Woken::Stop,
            // An error shows again when reading.
            _ = self.sockets.udp.readable() => Woken::Readable,
            accepted = self.sockets.tcp.accept(), if self.accept_after.is_none() => Woken::Accepted(accepted),
            Some(arrived) = self.arriving.join_next() => arrived.map_or(Woken::Nothing, Woken::Arrived),
            Some(input) = self.exchanges.join_next() => input.map_or(Woken::Nothing, Woken::Exchanged),
            Some(_) = self.answering.join_next() => Woken::Nothing,
            Some(command) = commands.recv() => Woken::Command(command),
            () = std::future::ready(()), if !self.not_begun.is_empty() => Woken::NotBegun,
            () = sleep_until(wake_at) => Woken::Time,
        }
    }

    fn wake_at(&self) -> Instant {
        let tick =
            self.clock.start + self.machine.deadline().max(self.last_tick + TICK_MIN).min(self.clock.now() + SLEEP_MAX);
        let streams = self.waiting.values().map(|waiting| waiting.until).min();
        [streams, self.accept_after].into_iter().flatten().fold(tick, Instant::min)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        self.accept_after = self.accept_after.filter(|after| *after > now);
        self.waiting.retain(|_, waiting| waiting.until > now);
        if self.clock.now() >= self.machine.deadline() {
            self.last_tick = self.clock.now();
            self.handle(Input::Tick).await;
        }
    }

    async fn handle(&mut self, input: Input) {
        self.machine.handle(self.clock.now(), input, &mut self.outputs);
        self.perform().await;
    }

    /// Reads what is there, up to a bound.
    async fn read_packets(&mut self, buffer: &mut [u8]) {
        for _ in 0..PACKETS_AT_ONCE {
            let (len, from) = match self.sockets.udp.try_recv_from(buffer) {
                Ok((len, from)) => (len, canonical(from)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // An earlier packet of ours came back as unreachable: nothing that concerns the next.
                Err(_) => continue,
            };
            metrics::counter!("consul.memberlist.udp.received").increment(len as u64);
            let opened = self.shared.envelope.load().open_packet(&buffer[..len]);
            let messages = match opened {
                Ok(opened) => {
                    if let Some(refusal) = opened.refused {
                        metrics::counter!("curule.gossip.packet.refused").increment(1);
                        self.complaints.say(from, refusal);
                    }
                    opened.messages
                }
                Err(refusal) => {
                    metrics::counter!("curule.gossip.packet.refused").increment(1);
                    self.complaints.say(from, refusal);
                    continue;
                }
            };
            self.handle(Input::Packet { from, messages }).await;
        }
        // A flood would keep the others from their turn.
        tokio::task::yield_now().await;
    }

    /// Begins to read a stream that was opened to us.
    fn admit(&mut self, mut stream: TcpStream, from: SocketAddr) {
        metrics::counter!("consul.memberlist.tcp.accept").increment(1);
        if self.arriving.len() + self.waiting.len() + self.answering.len() >= STREAMS_MAX {
            metrics::counter!("curule.gossip.stream.refused").increment(1);
            self.complaints.say(from, "Too many streams are open");
            return;
        }
        let until = Instant::now() + self.stream_timeout;
        let shared = self.shared.clone();
        self.arriving.spawn(async move {
            let read = shared.accept(&mut stream, until).await;
            Arrived { from, stream, until, read }
        });
    }

    async fn take_stream(&mut self, arrived: Arrived) {
        let Arrived { from, stream, until, read } = arrived;
        match read {
            Ok(message) => {
                let id = StreamId(self.next_stream);
                self.next_stream += 1;
                self.waiting.insert(id, Waiting { stream, until });
                self.handle(Input::Stream { stream: id, from, message }).await;
            }
            // Compat: whoever only connects, as health checks of load balancers do, is not worth a line.
            Err(NoMessage::Ended { untouched: true }) => {}
            Err(why) => {
                metrics::counter!("curule.gossip.stream.refused").increment(1);
                let why = match why {
                    NoMessage::Refused(refusal) => refusal.to_string(),
                    NoMessage::Io(error) => error.to_string(),
                    NoMessage::Late => "i/o timeout".to_owned(),
                    NoMessage::Crowded => "Too many streams keep too much".to_owned(),
                    NoMessage::Ended { .. } => "unexpected EOF".to_owned(),
                };
                self.complaints.say(from, format_args!("failed to receive: {why}"));
            }
        }
    }

    /// Does what the machine wants.
    async fn perform(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match M::route(output) {
                Route::Sockets(output) => self.perform_one(output).await,
                Route::Above(output) => (self.above)(output),
            }
        }
    }

    async fn perform_one(&mut self, output: Output) {
        match output {
            Output::Packet { to, messages, checksum } => self.send_packet(to.address, &messages, checksum).await,
            Output::Exchange { exchange, to, message, reply, timeout } => {
                self.begin_exchange(exchange, to, message, reply, timeout);
            }
            Output::Answer { stream, message } => self.begin_answer(stream, message),
            Output::Hangup { stream } => {
                self.waiting.remove(&stream);
            }
            Output::Log { level, line } => log(level, &line),
            Output::Count { name, by } => metrics::counter!(format!("consul.{name}")).increment(by),
            Output::Sample { name, value } => metrics::histogram!(format!("consul.{name}")).record(value),
        }
    }

    async fn send_packet(&mut self, to: SocketAddr, messages: &[Bytes], checksum: bool) {
        let sealed = self.shared.envelope.load().seal_packet(messages, checksum, nonce());
        let Ok(packet) = sealed else {
            tracing::error!("memberlist: {} messages do not fit into a packet", messages.len());
            return;
        };
        metrics::counter!("consul.memberlist.udp.sent").increment(packet.len() as u64);
        if let Err(error) = self.sockets.send(to, &packet).await {
            // Whoever waits for an answer finds out.
            tracing::debug!("memberlist: failed to send a packet to {to}: {error}");
        }
    }

    fn begin_exchange(&mut self, exchange: ExchangeId, to: Peer, message: Bytes, reply: bool, timeout: Duration) {
        if self.exchanges.len() >= EXCHANGES_MAX {
            let result = Err(ExchangeError::Unreachable("too many streams are open to others".to_owned()));
            self.not_begun.push_back(Input::Exchanged { exchange, result });
            return;
        }
        let shared = self.shared.clone();
        self.exchanges.spawn(async move {
            let result = shared.exchange(&to, &message, reply, timeout).await;
            Input::Exchanged { exchange, result }
        });
    }

    fn begin_answer(&mut self, stream: StreamId, message: Bytes) {
        let Some(Waiting { mut stream, until }) = self.waiting.remove(&stream) else {
            return;
        };
        let shared = self.shared.clone();
        self.answering.spawn(async move {
            if let Err(error) = shared.answer(&mut stream, &message, until).await {
                tracing::debug!("memberlist: failed to answer a stream: {error}");
            }
        });
    }
}

fn log(level: Level, line: &str) {
    match level {
        Level::Debug => tracing::debug!("{line}"),
        Level::Info => tracing::info!("{line}"),
        Level::Warn => tracing::warn!("{line}"),
        Level::Error => tracing::error!("{line}"),
    }
}
