//! What drives a machine needs to know of it.
//!
//! Always true: a machine does nothing by itself; all it wants done it adds to `outputs`, in the order in which it is to
//! be done.

use crate::io::{self, Input, Now};

/// A member that sockets, or a simulation, can drive.
pub trait Machine {
    /// All that it wants done, for sockets and for the layer above them.
    type Output;

    fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Self::Output>);

    /// When to hand it [`Input::Tick`] at the latest.
    fn deadline(&self) -> Now;

    /// Whose business an output is.
    fn route(output: Self::Output) -> Route<Self::Output>;
}

/// Whose business an output is.
#[derive(Debug)]
pub enum Route<Above> {
    /// The sockets'.
    Sockets(io::Output),
    /// The layer's above them: events, files, keys.
    Above(Above),
}
