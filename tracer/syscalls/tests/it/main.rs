//! What the table promises, held against the kernel's own list, against made-up memory for the structures,
//! and against the running kernel itself.

mod made_up;
mod rows;
