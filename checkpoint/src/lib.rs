//! The second floor of Siding: keypoints, restart, trimming.
