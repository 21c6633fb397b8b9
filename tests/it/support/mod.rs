//! What several test modules stand on.

pub(crate) mod ministack;
