//! The binary from outside: transcripts of sessions, exit statuses, messages.

mod bad_input;
mod conditions;
mod core_files;
mod divergence;
mod ongoing;
mod packing;
mod stops;
mod support;
mod surveys;
mod terminal;
mod transcripts;
