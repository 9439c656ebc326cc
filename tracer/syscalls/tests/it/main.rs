//! What the table promises, held against the kernel's own list and against the kernel itself.

mod rows;
