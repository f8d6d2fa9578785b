//! The guard, attacked over real sockets in the ways that kill or hang a bare tiny_http.
//!
//! What needs a process of its own, because it is measured or because it runs out of descriptors,
//! runs this test binary again with [`process::host`] as its only test.

mod flood;
mod framing;
mod process;
mod served;
mod slow;
mod waiting;
