//! Who asks for what.

use std::time::Duration;

use maskinporten::TokenRequest;
use maskinporten_sim::SimClient;

/// All that tells one token from another, as servers see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) altinn: bool,
    pub(super) client: String,
    pub(super) scope: String,
    pub(super) consumer: Option<String>,
    pub(super) audience: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) altinn: bool,
    pub(super) client: usize,
    pub(super) scope: &'static str,
    consumer: Option<&'static str>,
    audience: Option<&'static str>,
}

const fn plan(altinn: bool, scope: &'static str) -> Plan {
    Plan {
        altinn,
        client: 0,
        scope,
        consumer: None,
        audience: None,
    }
}

/// The lives of tokens by scope, in seconds. The last three are parents of Altinn's.
pub(super) const SCOPES: [(&str, u64); 8] = [
    ("soak:half", 30),
    ("soak:two", 120),
    ("soak:ten", 599),
    ("soak:thirty", 1800),
    ("soak:hours", 7200),
    ("soak:parent.half", 30),
    ("soak:parent.two", 120),
    ("soak:parent.thirty", 1800),
];

pub(super) const CONSUMERS: [&str; 2] = ["311169963", "405003309"];
const AUDIENCE: &str = "https://api.example.no";

pub(super) const PLANS: [Plan; 13] = [
    plan(false, "soak:half"),
    plan(false, "soak:two"),
    plan(false, "soak:ten"),
    plan(false, "soak:thirty"),
    plan(false, "soak:hours"),
    // The same scope for another client, for two organisations, and for one API.
    Plan {
        client: 1,
        ..plan(false, "soak:two")
    },
    Plan {
        consumer: Some(CONSUMERS[0]),
        ..plan(false, "soak:two")
    },
    Plan {
        consumer: Some(CONSUMERS[1]),
        ..plan(false, "soak:two")
    },
    Plan {
        audience: Some(AUDIENCE),
        ..plan(false, "soak:two")
    },
    plan(true, "soak:parent.half"),
    plan(true, "soak:parent.two"),
    plan(true, "soak:parent.thirty"),
    Plan {
        consumer: Some(CONSUMERS[0]),
        client: 1,
        ..plan(true, "soak:parent.two")
    },
];

impl Plan {
    pub(super) fn identity(&self, clients: &[SimClient]) -> Identity {
        Identity {
            altinn: self.altinn,
            client: clients[self.client].client_id().to_owned(),
            scope: self.scope.to_owned(),
            consumer: self.consumer.map(str::to_owned),
            audience: self.audience.map(str::to_owned),
        }
    }

    pub(super) fn request(&self) -> TokenRequest {
        let mut request = TokenRequest::scopes([self.scope]).unwrap();
        if let Some(consumer) = self.consumer {
            request = request.consumer_org(consumer).unwrap();
        }
        if let Some(audience) = self.audience {
            request = request.resource(audience).unwrap();
        }
        request
    }

    pub(super) fn life(&self) -> Duration {
        let found = SCOPES.iter().find(|(scope, _)| *scope == self.scope);
        Duration::from_secs(if self.altinn { 1800 } else { found.unwrap().1 })
    }
}
