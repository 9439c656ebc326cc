//! Integration tests: programs compiled here, stopped by gdb into core files, and compared with what gdb says.

mod differential;
mod expressions;
mod fuzz;
mod live;
mod loading;
mod lookup;
mod sources;
mod support;
mod unwinding;
mod values;
