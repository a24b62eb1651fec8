//! Both sides over loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wire::msgpack;

use super::{BoxedStream, CallError, Handler, Limits, Pool, PoolLimits, serve};

mod hostile;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `Test.*`.
#[derive(Default)]
struct Answers {
    running: Arc<AtomicUsize>,
    calls: AtomicUsize,
    release: Arc<Notify>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Answers {
    fn call(&self, method: &str, args: Bytes, _peer: SocketAddr) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        let release = Arc::clone(&self.release);
        let method = method.to_owned();
        Box::pin(async move {
            let _running = running;
            match method.as_str() {
                "Test.Echo" => Ok(args.to_vec()),
                "Test.Wait" => {
                    release.notified().await;
                    Ok(args.to_vec())
                }
                "Test.Fail" => Err("No cluster leader".to_owned()),
                "Test.Panic" => panic!("a handler panics"),
                _ => Err(format!("rpc: can't find service {method}")),
            }
        })
    }

    fn raft(&self, mut stream: BoxedStream, _peer: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let said = stream.read_u8().await.unwrap();
            stream.write_u8(said + 1).await.unwrap();
        })
    }

    fn snapshot(&self, mut stream: BoxedStream, _peer: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all.reverse();
            stream.write_all(&all).await.unwrap();
        })
    }
}

struct Port {
    address: SocketAddr,
    answers: Arc<Answers>,
    cancel: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Port {
    async fn open(limits: Limits) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Port::on(listener, limits)
    }

    fn on(listener: TcpListener, limits: Limits) -> Port {
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Answers::default());
        let cancel = CancellationToken::new();
        let served = tokio::spawn(serve(listener, answers.clone(), limits, cancel.clone()));
        Port { address, answers, cancel, served }
    }

    async fn close(self) -> SocketAddr {
        self.cancel.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
        self.address
    }

    async fn running(&self, want: usize) {
        eventually(|| self.answers.running.load(Ordering::SeqCst) == want).await;
    }
}

async fn eventually(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "it never came true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn body(text: &str) -> Vec<u8> {
    msgpack::to_vec(text).unwrap()
}

fn pool() -> Pool {
    Pool::new(PoolLimits::default())
}

#[tokio::test]
async fn calls_are_answered() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    for word in ["one", "two", "three"] {
        let answer = pool.call(port.address, "Test.Echo", body(word), PATIENCE).await.unwrap();
        assert_eq!(answer, body(word));
    }
    let failed = pool.call(port.address, "Test.Fail", body(""), PATIENCE).await.unwrap_err();
    assert_eq!(failed, CallError::Remote("No cluster leader".to_owned()));
    assert_eq!(failed.to_string(), "rpc error making call: No cluster leader");
    let unknown = pool.call(port.address, "Test.None", body(""), PATIENCE).await.unwrap_err();
    assert_eq!(unknown, CallError::Remote("rpc: can't find service Test.None".to_owned()));
    // A stream that brought an error was not used again; a new one works.
    pool.call(port.address, "Test.Echo", body("four"), PATIENCE).await.unwrap();
    port.close().await;
}

#[tokio::test]
async fn large_messages_go_both_ways() {
    let port = Port::open(Limits::default()).await;
    let large = msgpack::to_vec(&"x".repeat(5 << 20)).unwrap();
    let answer = pool().call(port.address, "Test.Echo", large.clone(), PATIENCE).await.unwrap();
    assert!(answer == large);
    port.close().await;
}

#[tokio::test]
async fn calls_that_wait_hold_up_no_other() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    let waiting: Vec<_> = (0..300)
        .map(|n| {
            let (pool, address) = (pool.clone(), port.address);
            tokio::spawn(async move { pool.call(address, "Test.Wait", body(&n.to_string()), PATIENCE).await })
        })
        .collect();
    port.running(300).await;
    let answer = pool.call(port.address, "Test.Echo", body("now"), PATIENCE).await.unwrap();
    assert_eq!(answer, body("now"));
    port.answers.release.notify_waiters();
    for (n, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.unwrap().unwrap(), body(&n.to_string()));
    }
    port.close().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_or_late_ends_at_the_other_side() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    let call = tokio::spawn({
        let (pool, address) = (pool.clone(), port.address);
        async move { pool.call(address, "Test.Wait", body(""), PATIENCE).await }
    });
    port.running(1).await;
    call.abort();
    port.running(0).await;
    let late = pool.call(port.address, "Test.Wait", body(""), Duration::from_millis(20)).await;
    assert_eq!(late, Err(CallError::TimedOut));
    port.running(0).await;
    let answer = pool.call(port.address, "Test.Echo", body("still"), PATIENCE).await.unwrap();
    assert_eq!(answer, body("still"));
    port.close().await;
}

#[tokio::test]
async fn calls_that_are_given_up_leave_room_for_others() {
    let port = Port::open(Limits { streams_per_session: 400, ..Limits::default() }).await;
    let pool = Pool::new(PoolLimits { calls_per_session: 100, ..PoolLimits::default() });
    for _ in 0..10 {
        // More than have room at once: the others wait for theirs and are given up before anything was sent.
        let calls: Vec<_> = (0..150)
            .map(|_| {
                let (pool, address) = (pool.clone(), port.address);
                tokio::spawn(async move { pool.call(address, "Test.Wait", body(""), Duration::MAX).await })
            })
            .collect();
        port.running(100).await;
        calls.iter().for_each(|call| call.abort());
        port.running(0).await;
    }
    assert_eq!(port.answers.calls.load(Ordering::SeqCst), 1000);
    let answer = pool.call(port.address, "Test.Echo", body("still"), PATIENCE).await.unwrap();
    assert_eq!(answer, body("still"));
    port.close().await;
}

#[tokio::test]
async fn a_panic_ends_its_stream_only() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    let waiting = tokio::spawn({
        let (pool, address) = (pool.clone(), port.address);
        async move { pool.call(address, "Test.Wait", body("w"), PATIENCE).await }
    });
    port.running(1).await;
    let panicked = pool.call(port.address, "Test.Panic", body(""), PATIENCE).await;
    assert_eq!(panicked, Err(CallError::Closed { never_sent: false }));
    port.answers.release.notify_waiters();
    assert_eq!(waiting.await.unwrap().unwrap(), body("w"));
    port.close().await;
}

#[tokio::test]
async fn a_server_that_went_and_came_is_found_again() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    pool.call(port.address, "Test.Echo", body("1"), PATIENCE).await.unwrap();
    let waiting = tokio::spawn({
        let (pool, address) = (pool.clone(), port.address);
        async move { pool.call(address, "Test.Wait", body("w"), PATIENCE).await }
    });
    port.running(1).await;
    let address = port.close().await;
    assert_eq!(waiting.await.unwrap(), Err(CallError::Closed { never_sent: false }));
    let gone = pool.call(address, "Test.Echo", body("2"), PATIENCE).await.unwrap_err();
    assert!(gone.never_sent(), "{gone:?}");
    assert_eq!(
        gone.to_string(),
        format!("rpc error getting client: failed to get conn: dial tcp {address}: connect: connection refused")
    );
    let port = Port::on(TcpListener::bind(address).await.unwrap(), Limits::default());
    let end = Instant::now() + PATIENCE;
    while let Err(error) = pool.call(address, "Test.Echo", body("3"), PATIENCE).await {
        assert!(error.never_sent() && Instant::now() < end, "{error:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    port.close().await;
}

#[tokio::test]
async fn raft_and_snapshot_connections_are_handed_over() {
    let port = Port::open(Limits::default()).await;
    let pool = pool();
    let mut raft = pool.raft(port.address).await.unwrap();
    raft.write_u8(7).await.unwrap();
    assert_eq!(raft.read_u8().await.unwrap(), 8);
    let mut snapshot = pool.snapshot(port.address, b"abc".to_vec()).await.unwrap();
    snapshot.write_all(b"def").await.unwrap();
    snapshot.shutdown().await.unwrap();
    let mut all = Vec::new();
    snapshot.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"fedcba");
    port.close().await;
}

/// One conversation without a session.
#[tokio::test]
async fn a_connection_can_be_one_conversation() {
    let port = Port::open(Limits::default()).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let call = |seq: u8, word: &str| {
        let mut call = vec![0x82, 0xa3];
        call.extend_from_slice(b"Seq");
        call.push(seq);
        call.push(0xad);
        call.extend_from_slice(b"ServiceMethod\xa9Test.Echo");
        call.extend(body(word));
        call
    };
    let mut all = vec![0];
    all.extend(call(1, "a"));
    all.extend(call(2, "b"));
    stream.write_all(&all).await.unwrap();
    let answer = |seq: u8, word: &str| {
        let mut answer = b"\x83\xa5Error\xa0\xa3Seq".to_vec();
        answer.push(seq);
        answer.extend_from_slice(b"\xadServiceMethod\xa9Test.Echo");
        answer.extend(body(word));
        answer
    };
    let want = [answer(1, "a"), answer(2, "b")].concat();
    let mut got = vec![0; want.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, want);
    port.close().await;
}
