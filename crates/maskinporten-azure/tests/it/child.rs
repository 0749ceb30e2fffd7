//! One test run again in a process of its own: for what belongs to a process, its environment and
//! all that it says.

use std::process::Command;

/// Set in a process that [`run`] started.
const CHILD: &str = "MASKINPORTEN_TESTS_CHILD";

/// Whether this process is one that [`run`] started.
pub(crate) fn is_here() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs one test of this binary with these variables and no others; returns all that it said.
pub(crate) fn run(test: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    // A name that fits no test would succeed as well, having run none.
    let passed = output.status.success() && said.contains("1 passed");
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(passed, "{said}");
    said
}
