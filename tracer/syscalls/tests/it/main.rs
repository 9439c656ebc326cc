//! What the table promises, held against the kernel's own list, against made-up memory for the structures,
//! and against the running kernel itself.

mod arena;
mod kernel_files;
mod kernel_ipc;
mod kernel_processes;
mod kernel_time;
mod made_up;
mod rows;
