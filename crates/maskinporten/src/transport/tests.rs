//! What holds for every transport.
