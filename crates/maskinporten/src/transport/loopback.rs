//! Which hosts are this machine, judged by their spelling alone.

use std::net::{IpAddr, Ipv6Addr};

/// Whether `host`, as [`Uri::host`](http::Uri::host) gives it, can only be this machine.
///
/// That is 127.0.0.0/8, `::1` (with or without brackets) and `localhost`, in any case and with or
/// without the root's dot. No name is looked up, so a name that merely points here is no loopback, and
/// neither is an old spelling such as `127.1`, which a resolver may read as it likes.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Some(address) = bracketed {
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host
            .strip_suffix('.')
            .unwrap_or(host)
            .eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: bool) {
        assert_eq!(is_loopback(host), expected, "{host}");
    }

    #[test]
    fn this_machine_is_known_by_its_spelling() {
        check("localhost", true);
        check("LocalHost", true);
        check("localhost.", true);
        check("127.0.0.1", true);
        check("127.255.0.9", true);
        check("[::1]", true);
        check("::1", true);
        check("[0:0:0:0:0:0:0:1]", true);
    }

    #[test]
    fn nothing_else_is_this_machine() {
        for host in [
            "",
            ".",
            "localhost..",
            "localhost.example.no",
            "my.localhost",
            "127.0.0.1.example.no",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[127.0.0.1]",
            "[localhost]",
            "192.168.0.1",
            "maskinporten.no",
        ] {
            check(host, false);
        }
    }
}
