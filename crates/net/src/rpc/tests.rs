//! Both sides over loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{CallError, Handler, Limits, Pool, serve};

const WAIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Echo {
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Echo {
    fn call(&self, method: &str, args: Bytes, _peer: SocketAddr) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let method = method.to_owned();
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        Box::pin(async move {
            let _running = running;
            match method.as_str() {
                "Test.Echo" => Ok(args.to_vec()),
                "Test.Wait" => std::future::pending().await,
                other => Err(format!("rpc: can't find service {other}")),
            }
        })
    }
    fn raft(&self, mut stream: TcpStream, _peer: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = stream.write_all(b"raft").await;
        })
    }
    fn snapshot(&self, mut stream: TcpStream, _peer: SocketAddr) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let _ = stream.write_all(b"snapshot").await;
        })
    }
}

async fn start(limits: Limits) -> (SocketAddr, Arc<AtomicUsize>, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (echo, cancel) = (Echo::default(), CancellationToken::new());
    let running = Arc::clone(&echo.running);
    tokio::spawn(serve(listener, Arc::new(echo), limits, cancel.clone()));
    (address, running, cancel)
}

const LIMITS: Limits = Limits { handshake: Duration::from_millis(200), connections_per_client: 100 };

fn args(text: &str) -> Vec<u8> {
    wire::msgpack::to_vec(text).unwrap()
}

#[tokio::test]
async fn calls_are_answered_and_refused() {
    let (server, _, _) = start(LIMITS).await;
    let pool = Pool::new();
    for text in ["a", "b", &"c".repeat(3 << 20)] {
        assert_eq!(pool.call(server, "Test.Echo", &args(text), WAIT).await.unwrap(), args(text));
    }
    let refused = pool.call(server, "No.Such", &args("a"), WAIT).await;
    assert_eq!(refused, Err(CallError::Remote("rpc: can't find service No.Such".to_owned())));
    let calls = (0..200).map(|at| {
        let pool = pool.clone();
        async move { pool.call(server, "Test.Echo", &args(&at.to_string()), WAIT).await.unwrap() == args(&at.to_string()) }
    });
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|same| same));
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_on_the_far_side() {
    let (server, running, _) = start(LIMITS).await;
    let pool = Pool::new();
    let given_up = pool.call(server, "Test.Wait", &args("a"), Duration::from_millis(100)).await;
    assert_eq!(given_up, Err(CallError::TimedOut));
    for _ in 0..1000 {
        if running.load(Ordering::SeqCst) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.load(Ordering::SeqCst), 0);
    assert_eq!(pool.call(server, "Test.Echo", &args("a"), WAIT).await.unwrap(), args("a"));
}

#[tokio::test]
async fn a_server_that_goes_and_comes_is_called_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, Arc::new(Echo::default()), LIMITS, cancel.clone()));
    let pool = Pool::new();
    pool.call(server, "Test.Echo", &args("a"), WAIT).await.unwrap();
    cancel.cancel();
    serving.await.unwrap();
    let mut refused = pool.call(server, "Test.Echo", &args("a"), WAIT).await;
    for _ in 0..100 {
        if refused.as_ref().is_err_and(CallError::is_unsent) {
            break;
        }
        refused = pool.call(server, "Test.Echo", &args("a"), WAIT).await;
    }
    assert!(refused.as_ref().is_err_and(CallError::is_unsent), "{refused:?}");
    let listener = TcpListener::bind(server).await.unwrap();
    tokio::spawn(serve(listener, Arc::new(Echo::default()), LIMITS, CancellationToken::new()));
    assert_eq!(pool.call(server, "Test.Echo", &args("a"), WAIT).await.unwrap(), args("a"));
}

#[tokio::test]
async fn first_bytes_say_what_a_connection_is_for() {
    let (server, _, _) = start(LIMITS).await;
    for (first, says) in [(1, &b"raft"[..]), (5, b"snapshot"), (2, b""), (9, b""), (3, b"")] {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(&[first]).await.unwrap();
        let mut said = Vec::new();
        let read = tokio::time::timeout(WAIT, stream.read_to_end(&mut said)).await.unwrap();
        assert!(read.is_ok() && said == says, "{first}: {said:?}");
    }
    // Who says nothing is sent away.
    let mut stream = TcpStream::connect(server).await.unwrap();
    assert_eq!(tokio::time::timeout(WAIT, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn one_client_has_a_bounded_number_of_connections() {
    let limits = Limits { handshake: WAIT, connections_per_client: 3 };
    let (server, _, _) = start(limits).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        stream.write_all(&super::conversation::request("Test.Echo", 1, &args("a"))).await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        open.push(stream);
    }
    let mut refused = TcpStream::connect(server).await.unwrap();
    assert!(matches!(refused.read(&mut [0]).await, Ok(0) | Err(_)));
    open.pop();
    let mut again = false;
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let _ = stream.write_all(&[5]).await;
        let mut said = Vec::new();
        again = stream.read_to_end(&mut said).await.is_ok() && said == b"snapshot";
        if again {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(again);
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let (server, running, _) = start(LIMITS).await;
    for first in [0, 4] {
        for garbage in [&[0xff; 64][..], &[0xc1; 64], &[0xdb, 0xff, 0xff, 0xff, 0xff, 1, 2], b"\x00\x07\x00\x00"] {
            let mut stream = TcpStream::connect(server).await.unwrap();
            stream.write_all(&[first]).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = Vec::new();
            let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut said)).await.unwrap();
        }
    }
    assert_eq!(running.load(Ordering::SeqCst), 0);
    assert_eq!(Pool::new().call(server, "Test.Echo", &args("a"), WAIT).await.unwrap(), args("a"));
}
