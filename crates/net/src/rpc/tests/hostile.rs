//! What comes of those who do not keep the rules, and that nobody else feels it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Bytes, CallError, Limits, PATIENCE, Pool, PoolLimits, Port, body, eventually, pool};

const SHORT: Duration = Duration::from_millis(50);

/// A connection that begins with these bytes.
async fn begin(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Everything until the other side closes, which it does.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A connection that is closed with something unread in it is reset.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is closed");
    all
}

/// A call that waits on a session of its own while others misbehave.
struct Bystander {
    waiting: JoinHandle<Result<Bytes, CallError>>,
}

impl Bystander {
    async fn on(port: &Port) -> Bystander {
        let address = port.address;
        let waiting = tokio::spawn(async move { pool().call(address, "Test.Wait", body("w"), PATIENCE).await });
        port.running(1).await;
        Bystander { waiting }
    }

    async fn goes_on(self, port: Port) {
        port.answers.release.notify_waiters();
        assert_eq!(self.waiting.await.unwrap().unwrap(), body("w"));
        port.close().await;
    }
}

fn request(method: &str, args: &[u8]) -> Vec<u8> {
    let mut request = b"\x82\xa3Seq\x01\xadServiceMethod".to_vec();
    request.push(0xa0 | u8::try_from(method.len()).unwrap());
    request.extend_from_slice(method.as_bytes());
    request.extend_from_slice(args);
    request
}

/// A frame of a session: what, flags, stream, length.
fn frame(what: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut frame = vec![0, what];
    frame.extend_from_slice(&flags.to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&length.to_be_bytes());
    frame
}

const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const SYN: u16 = 1;

#[tokio::test]
async fn other_first_bytes_are_closed() {
    let port = Port::open(Limits::default()).await;
    let bystander = Bystander::on(&port).await;
    for byte in [2, 3, 6, 7, 8, 9, 0x16, b'G', 0xff] {
        let mut stream = begin(port.address, &[byte, 1, 2, 3]).await;
        assert_eq!(until_closed(&mut stream).await, b"");
    }
    bystander.goes_on(port).await;
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let port = Port::open(Limits { handshake_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = begin(port.address, &[]).await;
    assert_eq!(until_closed(&mut stream).await, b"");
    // The time is for the first byte only.
    let mut stream = begin(port.address, &[0]).await;
    tokio::time::sleep(SHORT * 2).await;
    stream.write_all(&request("Test.Echo", &[7])).await.unwrap();
    let mut answer = [0; 8];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    port.close().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let port = Port::open(Limits { connections_per_client: 2, ..Limits::default() }).await;
    let mut first = begin(port.address, &[0]).await;
    first.write_all(&request("Test.Wait", &[7])).await.unwrap();
    let mut second = begin(port.address, &[0]).await;
    second.write_all(&request("Test.Wait", &[7])).await.unwrap();
    port.running(2).await;
    let mut third = begin(port.address, &[0]).await;
    assert_eq!(until_closed(&mut third).await, b"");
    drop(first);
    port.running(1).await;
    // Leaving is noticed a moment after its call was dropped.
    let mut got = false;
    for _ in 0..1000 {
        let mut again = begin(port.address, &[0]).await;
        let asked = again.write_all(&request("Test.Echo", &[7])).await;
        let mut answer = [0; 8];
        if asked.is_ok() && timeout(PATIENCE, again.read_exact(&mut answer)).await.unwrap().is_ok() {
            got = true;
            break;
        }
    }
    assert!(got);
    port.close().await;
}

#[tokio::test]
async fn malformed_and_endless_messages_are_closed() {
    let port = Port::open(Limits { buffered_max: 1 << 20, ..Limits::default() }).await;
    let bystander = Bystander::on(&port).await;
    let messages: [&[u8]; 7] = [
        // Not msgpack.
        b"\xc1",
        // A header that is none.
        b"\xa5hello\x80",
        b"\x91\x01\x80",
        // A sequence number below zero.
        b"\x81\xa3Seq\xff\x80",
        // More than any message.
        b"\x80\xdb\xff\xff\xff\xff",
        b"\x80\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ];
    for message in messages {
        let mut stream = begin(port.address, &[&[0], message].concat()).await;
        assert_eq!(until_closed(&mut stream).await, b"", "{message:x?}");
    }
    // No more than any message, but more than there is room for.
    let mut stream = begin(port.address, &[&[0], &request("Test.Echo", b"\xdb\x04\x00\x00\x00")[..]].concat()).await;
    let piece = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while timeout(PATIENCE, stream.write_all(&piece)).await.unwrap().is_ok() {
        sent += piece.len();
        // What the kernel keeps of it comes on top.
        assert!(sent < 32 << 20, "it is never closed");
    }
    bystander.goes_on(port).await;
}

#[tokio::test]
async fn a_message_that_does_not_come_on_is_closed() {
    let port = Port::open(Limits { message_grace: SHORT, ..Limits::default() }).await;
    let bystander = Bystander::on(&port).await;
    let whole = request("Test.Echo", &body("word"));
    for cut in [1, whole.len() - 1] {
        let mut stream = begin(port.address, &[&[0], &whole[..cut]].concat()).await;
        assert_eq!(until_closed(&mut stream).await, b"");
    }
    // As a stream of a session: the stream ends, the session does not.
    let cut = u32::try_from(whole.len()).unwrap() - 1;
    let mut stream =
        begin(port.address, &[&[4], &frame(DATA, SYN, 1, cut)[..], &whole[..whole.len() - 1]].concat()).await;
    let mut heads = Vec::new();
    loop {
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        heads.push(head);
        // Reset.
        if head[3] & 8 != 0 {
            break;
        }
    }
    // It asks for life, takes the stream, ends the stream.
    assert!(heads.contains(&[0, DATA, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0]), "acknowledged at once: {heads:?}");
    bystander.goes_on(port).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let port = Port::open(Limits { answer_stall: SHORT, ..Limits::default() }).await;
    let long = wire::msgpack::to_vec(&"x".repeat(32 << 20)).unwrap();
    let mut stream = begin(port.address, &[&[0], &request("Test.Echo", &long)[..]].concat()).await;
    // It is over before anything was read.
    let watched = port.address;
    eventually(|| port.answers.calls.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    tokio::time::sleep(SHORT * 4).await;
    let got = until_closed(&mut stream).await;
    assert!(got.len() < long.len(), "{watched} sent all of it");
    port.close().await;
}

#[tokio::test]
async fn malformed_frames_end_their_session_only() {
    let port = Port::open(Limits::default()).await;
    let bystander = Bystander::on(&port).await;
    let frames = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // Another version, another kind.
        [&[1u8], &frame(DATA, SYN, 1, 0)[1..]].concat(),
        frame(9, 0, 0, 0),
        // Longer than a frame may be.
        frame(DATA, SYN, 1, u32::MAX),
        // Good-bye.
        frame(3, 0, 0, 0),
    ];
    for frame in frames {
        let mut stream = begin(port.address, &[&[4], &frame[..]].concat()).await;
        until_closed(&mut stream).await;
    }
    bystander.goes_on(port).await;
}

#[tokio::test]
async fn frames_against_the_protocol_are_answered_with_good_bye() {
    let port = Port::open(Limits { streams_per_session: 8, ..Limits::default() }).await;
    let bystander = Bystander::on(&port).await;
    let mut many = Vec::new();
    for stream in 0..20 {
        many.extend(frame(WINDOW, SYN, 2 * stream + 1, 0));
    }
    let cases = [
        // A stream that is ours to open; one twice; more than there may be; credit beyond measure.
        frame(WINDOW, SYN, 2, 0),
        [frame(WINDOW, SYN, 1, 0), frame(WINDOW, SYN, 1, 0)].concat(),
        many,
        frame(WINDOW, SYN, 1, u32::MAX),
    ];
    for case in cases {
        let mut stream = begin(port.address, &[&[4], &case[..]].concat()).await;
        let mut head = [0; 12];
        while head[1] != 3 {
            timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        }
    }
    bystander.goes_on(port).await;
}

#[tokio::test]
async fn a_session_without_a_sign_of_life_is_closed() {
    let port = Port::open(Limits { keep_alive: SHORT, keep_alive_timeout: SHORT, ..Limits::default() }).await;
    // It had a call under way.
    let call = request("Test.Wait", &[7]);
    let head = frame(DATA, SYN, 1, u32::try_from(call.len()).unwrap());
    let mut stream = begin(port.address, &[&[4], &head[..], &call].concat()).await;
    port.running(1).await;
    until_closed(&mut stream).await;
    port.running(0).await;
    port.close().await;
}

#[tokio::test]
async fn a_session_that_reads_nothing_is_closed() {
    let port = Port::open(Limits { keep_alive: SHORT, keep_alive_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = begin(port.address, &[4]).await;
    // Pings want answers.
    let pings = frame(PING, SYN, 0, 1).repeat(1000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("it is closed");
    port.close().await;
}

/// A server that takes connections, reads so many bytes, says these and reads on.
async fn mock(first: usize, says: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, ends) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let ended = ended.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                if stream.read_exact(&mut vec![0; first]).await.is_ok() {
                    let _ = stream.write_all(says).await;
                }
                let _ = stream.read_to_end(&mut all).await;
                let _ = ended.send(all.len());
            });
        }
    });
    (address, ends)
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_call_its_time() {
    let (address, _ends) = mock(0, b"").await;
    let late = pool().call(address, "Test.Echo", body(""), SHORT).await;
    assert_eq!(late, Err(CallError::TimedOut));
}

#[tokio::test]
async fn a_server_that_died_in_silence_is_noticed() {
    let (address, mut ends) = mock(0, b"").await;
    let pool = Pool::new(PoolLimits { keep_alive: SHORT, keep_alive_timeout: SHORT, ..PoolLimits::default() });
    let closed = pool.call(address, "Test.Echo", body(""), PATIENCE).await;
    assert_eq!(closed, Err(CallError::Closed { never_sent: false }));
    timeout(PATIENCE, ends.recv()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nonsense_is_left_alone_for_a_while() {
    let (address, mut ends) = mock(0, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let pool = pool();
    for _ in 0..50 {
        pool.call(address, "Test.Echo", body(""), PATIENCE).await.unwrap_err();
    }
    let mut dialled = 0;
    while ends.try_recv().is_ok() {
        dialled += 1;
    }
    assert!(dialled < 20, "{dialled}");
}

#[tokio::test]
async fn an_answer_to_another_call_is_none() {
    // The first byte, a ping, and the head of the call have come; this takes the stream and answers call 9.
    let (address, _ends) =
        mock(25, b"\0\0\0\x02\0\0\0\x01\0\0\0\x1e\x83\xa5Error\xa0\xa3Seq\x09\xadServiceMethod\xa1x\x80").await;
    let wrong = pool().call(address, "Test.Echo", body(""), PATIENCE).await;
    assert_eq!(wrong, Err(CallError::Closed { never_sent: false }));
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_closed() {
    let (address, mut ends) = mock(0, b"").await;
    let pool = Pool::new(PoolLimits {
        idle_session: Duration::from_millis(1),
        keep_alive: SHORT,
        keep_alive_timeout: PATIENCE,
        ..PoolLimits::default()
    });
    // The session is not used from here on.
    pool.call(address, "Test.Echo", body(""), Duration::from_millis(5)).await.unwrap_err();
    timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn sessions_end_with_their_pool() {
    let (address, mut ends) = mock(0, b"").await;
    let pool = pool();
    pool.call(address, "Test.Echo", body(""), Duration::from_millis(5)).await.unwrap_err();
    drop(pool);
    timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
}
