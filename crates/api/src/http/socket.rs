//! A client's connection, of which two may hold a handle: who reads and writes, and who waits for its end.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[derive(Clone)]
pub(super) enum Socket {
    Tcp(Arc<TcpStream>),
    Unix(Arc<UnixStream>),
}

impl Socket {
    /// Returns once the client has closed its side; never if more of its bytes arrive first, since then it is still
    /// there and whoever reads will see its end.
    pub(super) async fn closed(&self) {
        if self.goes_on().await {
            std::future::pending().await
        }
    }

    /// Waits until the client sends something, which stays unread, or closes its side; says whether it sent something.
    pub(super) async fn goes_on(&self) -> bool {
        loop {
            let looked = match self {
                Socket::Tcp(stream) => match stream.ready(Interest::READABLE).await {
                    Ok(_) => stream.try_io(Interest::READABLE, || look(SockRef::from(&**stream))),
                    Err(error) => Err(error),
                },
                Socket::Unix(stream) => match stream.ready(Interest::READABLE).await {
                    Ok(_) => stream.try_io(Interest::READABLE, || look(SockRef::from(&**stream))),
                    Err(error) => Err(error),
                },
            };
            match looked {
                Ok(waiting) => return waiting > 0,
                // What made it ready was read before.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write_ready(cx),
            Socket::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }

    fn try_write_vectored(&self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write_vectored(parts),
            Socket::Unix(stream) => stream.try_write_vectored(parts),
        }
    }

    /// Writes as much as goes, once it goes.
    fn poll_try(&self, cx: &mut Context<'_>, write: impl Fn(&Self) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match write(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

/// Parts that are together no longer than this are put together first: writing one piece costs the kernel less.
const WHOLE_BYTES: usize = 1024;

/// How many bytes wait, up to one; zero at the end.
fn look(socket: SockRef<'_>) -> io::Result<usize> {
    socket.peek(&mut [MaybeUninit::uninit(); 1])
}

/// Takes note of a read. Where it left room it has taken everything there was, which is told as if the next read had
/// been tried: that saves it.
fn all(read: io::Result<usize>, buf: &ReadBuf<'_>, some: &mut bool) -> io::Result<()> {
    let read = read?;
    *some = read > 0;
    if *some && buf.remaining() > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let mut some = false;
            let read = match &*self {
                Socket::Tcp(stream) => {
                    stream.try_io(Interest::READABLE, || all(stream.try_read_buf(buf), buf, &mut some))
                }
                Socket::Unix(stream) => {
                    stream.try_io(Interest::READABLE, || all(stream.try_read_buf(buf), buf, &mut some))
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !some => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |socket| socket.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        let mut whole = [0; WHOLE_BYTES];
        let Some(whole) = whole.get_mut(..length) else {
            return self.poll_try(cx, |socket| socket.try_write_vectored(bufs));
        };
        let mut rest = &mut *whole;
        for buf in bufs {
            let (room, behind) = std::mem::take(&mut rest).split_at_mut(buf.len());
            room.copy_from_slice(buf);
            rest = behind;
        }
        self.poll_try(cx, |socket| socket.try_write(whole))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the client that no more comes.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match &*self {
            Socket::Tcp(stream) => SockRef::from(&**stream).shutdown(std::net::Shutdown::Write),
            Socket::Unix(stream) => SockRef::from(&**stream).shutdown(std::net::Shutdown::Write),
        };
        match done {
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::Socket;

    #[tokio::test]
    async fn the_end_is_seen_while_others_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Socket::Tcp(std::sync::Arc::new(listener.accept().await.unwrap().0));
        let watching = server.clone();
        client.write_all(b"abc").await.unwrap();
        let mut read = [0; 3];
        server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abc");
        server.write_all(b"de").await.unwrap();
        client.read_exact(&mut read[..2]).await.unwrap();
        // Nothing has ended yet, though the socket was readable before.
        assert!(tokio::time::timeout(Duration::from_millis(50), watching.closed()).await.is_err());
        drop(client);
        tokio::time::timeout(Duration::from_secs(10), watching.closed()).await.unwrap();
        assert_eq!(server.read(&mut read).await.unwrap(), 0);
    }
}
