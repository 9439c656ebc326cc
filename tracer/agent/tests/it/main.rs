//! Tests of the agent.

mod image;
mod layout;
