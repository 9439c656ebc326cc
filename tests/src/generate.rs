//! Programs from seeds.
