//! The reference embedder of Siding: an ordered map.
