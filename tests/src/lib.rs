//! End-to-end, interop and kernel tests live in `tests/`.
