//! Properties of the trace on disk: what is written is read, and what is damaged neither panics nor eats the memory.

mod damage;
mod roundtrip;
mod support;
