//! The engine's view of everything outside it. Each trait states its crash semantics.
