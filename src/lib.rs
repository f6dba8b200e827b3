//! The front door of Siding.
