//! Emergency first.
