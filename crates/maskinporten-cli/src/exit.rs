//! What the exit code says: one table, for the code and for `--help`.

use std::process::ExitCode;

use maskinporten::ErrorKind;

/// How the program ended, where it did not end well. Zero is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Output = 1,
    Usage = 2,
    Configuration = 3,
    Key = 4,
    Network = 5,
    SetUp = 6,
    Scope = 7,
    Organisation = 8,
    Exchange = 9,
}

const TABLE: [(Exit, &str); 9] = [
    (Exit::Output, "what was made could not be printed"),
    (Exit::Usage, "the command line cannot be used"),
    (Exit::Configuration, "settings are missing or wrong"),
    (Exit::Key, "the key cannot be used"),
    (
        Exit::Network,
        "the server was not reached, cannot serve, or gave no usable answer",
    ),
    (
        Exit::SetUp,
        "refused: client, key or environment are not set up for it",
    ),
    (Exit::Scope, "refused: the scope"),
    (
        Exit::Organisation,
        "refused: the organisation has no access, or has not delegated or approved it",
    ),
    (Exit::Exchange, "Altinn did not exchange the token"),
];

impl Exit {
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Request | ErrorKind::Origin => Self::Usage,
            ErrorKind::Key => Self::Key,
            ErrorKind::Unreachable | ErrorKind::Unavailable | ErrorKind::Protocol => Self::Network,
            ErrorKind::Rejected => Self::SetUp,
            ErrorKind::ScopeRejected => Self::Scope,
            ErrorKind::OrganisationRejected => Self::Organisation,
            ErrorKind::Exchange => Self::Exchange,
            // And a kind that is newer than this table: nobody is known to mend it but the operator.
            ErrorKind::Settings | ErrorKind::Runtime | _ => Self::Configuration,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The table as `--help` shows it.
pub(crate) fn help() -> String {
    let mut text = "Exit codes:\n  0  done".to_owned();
    for (exit, meaning) in TABLE {
        text.push_str(&format!("\n  {}  {meaning}", exit as u8));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_in_order() {
        for (at, (exit, _)) in TABLE.iter().enumerate() {
            assert_eq!(*exit as usize, at + 1);
        }
    }
}
