//! The deterministic disk and world that Siding is tested in.
