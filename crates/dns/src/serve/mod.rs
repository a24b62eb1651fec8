//! Sockets around [`answer`](crate::answer).
