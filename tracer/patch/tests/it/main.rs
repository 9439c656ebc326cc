//! Runs planted stubs for real: the machine (`machine`) executes made-up programs in this process and does at each
//! signal what the debugger does at the stop.

mod binaries;
mod faults;
mod loops;
mod machine;
mod predicates;
mod refusals;
mod sequences;
