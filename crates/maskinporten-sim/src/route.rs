//! The path decides who answers; the host does not matter.

/// The doors of a world, for faults and for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// `/.well-known/oauth-authorization-server`, with or without a slash at its end
    Metadata,
    /// `/jwk`
    Jwks,
    /// `/token`
    Token,
    /// `/authentication/api/v1/exchange/{provider}`
    Exchange,
    /// `/api/v1/token`, which hands tokens out and asks for none
    Sidecar,
    /// Everything else under `/api/`
    Api,
}

impl Route {
    pub(crate) const ALL: [Self; 6] = [
        Self::Metadata,
        Self::Jwks,
        Self::Token,
        Self::Exchange,
        Self::Sidecar,
        Self::Api,
    ];

    /// The route of a path, below the path of the issuer if it has one.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/.well-known/oauth-authorization-server"
            | "/.well-known/oauth-authorization-server/" => Some(Self::Metadata),
            "/jwk" => Some(Self::Jwks),
            "/token" => Some(Self::Token),
            "/api/v1/token" => Some(Self::Sidecar),
            path if exchange_provider(path).is_some() => Some(Self::Exchange),
            path if path.starts_with("/api/") => Some(Self::Api),
            _ => None,
        }
    }

    /// The name in the JSON of the journal and of the faults.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Jwks => "jwks",
            Self::Token => "token",
            Self::Exchange => "exchange",
            Self::Sidecar => "sidecar",
            Self::Api => "api",
        }
    }
}

pub(crate) fn exchange_provider(path: &str) -> Option<&str> {
    path.strip_prefix("/authentication/api/v1/exchange/")
        .filter(|provider| !provider.is_empty() && !provider.contains('/'))
}

/// True for `prefix` itself and all below it, whether that ends in a slash or not.
pub(crate) fn lies_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// True for the simulator's own pages, which are no part of the world.
pub(crate) fn is_observer(path: &str) -> bool {
    path.starts_with("/_sim/")
}
