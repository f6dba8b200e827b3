//! The `siding` command.

fn main() {}
