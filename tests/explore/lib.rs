//! Nothing: the tests are in `exhaustive` and `random`.
