//! The binary: hands its arguments to the command line and exits with what that answers.

fn main() {}
