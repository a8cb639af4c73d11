//! The manifest format; filled in by the repository format.
