//! The other end of the contract: what `warmcut load` and `warmcut doctor` are made of.
//!
//! A small client of our own servers opens sessions over each transport, sends photos and awaits
//! cutouts as a browser would. It stands on [`crate::protocol`] and on nothing else of ours: a
//! check that shared code with the server would share its mistakes. So it must not know sessions'
//! logs, the model or the router.
//!
//! One photo's way: [`Channel::open`] → `session` event → [`Socket::announce`] and
//! [`Socket::send_photo`], or [`upload`] over HTTP → `cutout` event, with its bytes on the socket
//! or at its `url` for [`download`].

mod channel;
pub mod doctor;
mod error;
pub mod load;
mod photo;
mod picture;
mod poll;
mod request;
mod server;
mod socket;
mod sse;
mod stream;

pub use channel::{Arrival, Channel, Pass, Resume, Transport};
pub use doctor::{DoctorArgs, doctor};
pub use error::ClientError;
pub use load::{LoadArgs, load};
pub use photo::Photo;
pub use picture::{Format, Picture};
pub use poll::{Poll, Snapshot, snapshot};
pub use request::{Download, Received, cancel, download, upload};
pub(crate) use server::plain_client;
pub use server::{Identity, Server, parse_address};
pub use socket::{SUBPROTOCOL, Socket};
pub use sse::{SseEvent, SseFrame, SseParser};
pub use stream::Stream;
