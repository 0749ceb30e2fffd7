//! Over real sockets: time cannot be paused here, so limits are short and only kinds are asserted.
