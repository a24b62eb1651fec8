//! The `watches` of the configuration, run by the agent over its own HTTP API.
//!
//! Always true: what is wrong with any of them is told before one is started; they end when [`Running`] is dropped.
//! Not here: what a watch is and does (`api::watch`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::cli::Io;
use api::watch::{Configured, Own};
use config::runtime::{Listen, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Watches that make sense, and where they will ask.
pub struct Compiled {
    watches: Vec<Configured>,
    own: Option<Own>,
}

/// Watches that run; they stop when this is dropped.
pub struct Running {
    _stop: DropGuard,
}

pub fn compile(runtime: &Runtime) -> Result<Compiled, String> {
    let own = own(&runtime.addresses.http);
    if !runtime.watches.is_empty() && own.is_none() {
        return Err("watch plans require an HTTP or HTTPS endpoint".to_owned());
    }
    let watches = runtime.watches.iter().map(|watch| {
        let watch = Configured::compile(watch.parameters.clone().into_iter().collect())?;
        if watch.is_old_style {
            tracing::warn!(
                target: "agent",
                "The 'handler' field in watches has been deprecated and replaced with the 'args' field. See \
                 https://developer.hashicorp.com/docs/agent/watches"
            );
        }
        Ok(watch)
    });
    Ok(Compiled { watches: watches.collect::<Result<_, String>>()?, own })
}

impl Compiled {
    pub fn start(self) -> Running {
        let stop = CancellationToken::new();
        if let Some(own) = self.own.filter(|_| !self.watches.is_empty()) {
            let environment = Arc::new(Io::of_process().environment);
            for watch in self.watches {
                let stopped = stop.clone().cancelled_owned();
                tokio::spawn(watch.run(own.clone(), Arc::clone(&environment), stopped));
            }
        }
        Running { _stop: stop.drop_guard() }
    }
}

/// The first socket, on loopback if it listens everywhere; otherwise the first Unix socket.
fn own(listeners: &[Listen]) -> Option<Own> {
    let socket = listeners.iter().find_map(|listen| match listen {
        Listen::Socket(address) => Some(*address),
        Listen::Unix(_) => None,
    });
    let path = || {
        listeners.iter().find_map(|listen| match listen {
            Listen::Unix(path) => Some(path.clone()),
            Listen::Socket(_) => None,
        })
    };
    let loopback = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    };
    match socket {
        Some(address) => Some(Own::Tcp(loopback(address).to_string())),
        None => path().map(Own::Unix),
    }
}
