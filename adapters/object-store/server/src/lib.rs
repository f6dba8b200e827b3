//! A real S3 server on the loopback interface, and a proxy before it that fails as networks and
//! servers do.

#![forbid(unsafe_code)]

mod proxy;
mod server;

pub use proxy::{Fault, Proxy};
pub use server::{KEY, SECRET, Server};
