//! Everything that is tested from outside: the program and its modules over real sockets against
//! servers that do as they are told (`wire`), with inputs changed at random (`fuzz`), the page in a
//! real browser (`browser`), and against real Engines and a real registry (`engine`). The last two
//! need `scripts/lab/lab.sh`; `scripts/test.sh` runs it all.

mod architecture;
mod browser;
mod budget;
mod docs;
mod engine;
mod fuzz;
mod month;
mod supply;
mod support;
mod wire;
