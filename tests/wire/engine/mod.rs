//! An Engine that does as it is told.

mod client;
mod hang;
mod tls;
