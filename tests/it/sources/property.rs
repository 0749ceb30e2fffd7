//! Whatever lies wherever: authority, client and key come from one place, or there is an error; and nothing
//! secret is told of either.
//!
//! Each place that is drawn has an authority of its own, and its keys have names of their own, so that the
//! assertion itself tells where each of its parts is from.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::Algorithm;
use maskinporten::SigningKey;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire::{self, Wire};

/// Clients, each with a key of its own.
const CLIENTS: usize = 3;

static KEYS: LazyLock<Vec<SigningPair>> = LazyLock::new(|| {
    let made = |_| {
        let key = SigningKey::generate(2048, Some("drawn")).unwrap();
        SigningPair {
            private: serde_json::from_str(key.private_jwk().expose()).unwrap(),
            public: serde_json::from_str(key.public_jwk()).unwrap(),
        }
    };
    (0..CLIENTS).map(made).collect()
});

struct SigningPair {
    private: Value,
    public: Value,
}

/// What is drawn for one place.
#[derive(Clone, Debug)]
struct Drawn {
    client: usize,
    has_authority: bool,
    has_client: bool,
    key: Key,
    has_kid: bool,
    has_scopes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    None,
    Jwk,
    Base64,
    /// Both of them.
    Two,
    /// Cut somewhere, as a copy of a file may be.
    Cut(usize),
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let key = prop_oneof![
        2 => Just(Key::None),
        6 => Just(Key::Jwk),
        4 => Just(Key::Base64),
        1 => Just(Key::Two),
        1 => (1usize..1500).prop_map(Key::Cut),
    ];
    let mostly = || prop::bool::weighted(0.85);
    (
        0..CLIENTS,
        mostly(),
        mostly(),
        key,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(client, has_authority, has_client, key, has_kid, has_scopes)| Drawn {
                client,
                has_authority,
                has_client,
                key,
                has_kid,
                has_scopes,
            },
        )
}

impl Drawn {
    fn authority(&self, place: usize) -> String {
        format!("https://place-{place}.example.no/")
    }

    fn client_id(&self) -> String {
        format!("client-{}", self.client)
    }

    fn inner_kid(&self, place: usize) -> String {
        format!("key-of-client-{}-in-place-{place}", self.client)
    }

    /// What stands under each of the names that settings have.
    fn members(&self, place: usize) -> Vec<(&'static str, String)> {
        let mut members = Vec::new();
        if self.has_authority {
            members.push(("Authority", self.authority(place)));
        }
        if self.has_client {
            members.push(("ClientId", self.client_id()));
        }
        let mut jwk = KEYS[self.client].private.clone();
        jwk["kid"] = self.inner_kid(place).into();
        let jwk = jwk.to_string();
        match self.key {
            Key::None => {}
            Key::Jwk => members.push(("Jwk", jwk)),
            Key::Base64 => members.push(("JwkBase64", in_base64(jwk))),
            Key::Two => {
                members.push(("JwkBase64", in_base64(&jwk)));
                members.push(("Jwk", jwk));
            }
            Key::Cut(at) => members.push(("Jwk", jwk[..at.min(jwk.len())].to_owned())),
        }
        if self.has_kid {
            members.push(("Kid", format!("beside-{}", self.inner_kid(place))));
        }
        if self.has_scopes {
            members.push(("Scopes", format!("place:{place}")));
        }
        members
    }

    /// The same under digdirator's names.
    fn names(&self, place: usize) -> Vec<(&'static str, String)> {
        let name = |(name, text)| {
            let name = match name {
                "Authority" => "MASKINPORTEN_ISSUER",
                "ClientId" => "MASKINPORTEN_CLIENT_ID",
                "Jwk" | "JwkBase64" => "MASKINPORTEN_CLIENT_JWK",
                "Kid" => "MASKINPORTEN_KID",
                _ => "MASKINPORTEN_SCOPES",
            };
            (name, text)
        };
        let names: HashMap<_, _> = self.members(place).into_iter().map(name).collect();
        names.into_iter().collect()
    }

    fn file(&self, place: usize) -> String {
        let members = self.members(place).into_iter();
        let object: serde_json::Map<String, Value> = members
            .map(|(name, text)| (name.to_owned(), text.into()))
            .collect();
        json!({ SECTION: object }).to_string()
    }
}

/// How many places there are to draw for.
const PLACES: usize = 8;

fn put(given: Given, place: usize, drawn: &Drawn) -> Given {
    let files = |given, directory: &str, files: Vec<(&str, String)>| {
        let put = |given: Given, (name, text)| given.file(&format!("{directory}/{name}"), text);
        files.into_iter().fold(given, put)
    };
    let variables = |given, variables: Vec<(&str, String)>, prefix: &str| {
        let put = |given: Given, (name, text)| given.var(format!("{prefix}{name}"), text);
        variables.into_iter().fold(given, put)
    };
    let (names, members) = (drawn.names(place), drawn.members(place));
    match place {
        0 => given.named_file("MASKINPORTEN_SETTINGS_FILE", "0.json", drawn.file(place)),
        1 => given.named_file("MaskinportenSettingsFilepath", "1.json", drawn.file(place)),
        2 => {
            let path = given.path("secrets");
            let of_vault = |(name, text)| (format!("{SECTION}--{name}"), text);
            let members: Vec<_> = members.into_iter().map(of_vault).collect();
            let put = |given: Given, (name, text): &(String, String)| {
                given.file(&format!("secrets/{name}"), text)
            };
            let given = members.iter().fold(given, put);
            match members.is_empty() {
                true => given,
                false => given.var("MASKINPORTEN_SECRETS_DIR", path),
            }
        }
        3 => files(given, NAIS, names),
        4 => files(given, SKIP, names),
        5 => given.file(ALTINN, drawn.file(place)),
        6 => variables(given, names, ""),
        _ => variables(given, members, "MaskinportenSettings__"),
    }
}

/// Where an assertion's parts are from: the place of its authority, its client, and its key's name.
async fn assertion_of(credentials: Credentials) -> Option<wire::Jws> {
    let wire = Wire::default();
    let answered = wire.answering(|request| {
        let host = request.uri().host().unwrap();
        match request.uri().path() {
            "/token" => wire::token("opaque"),
            _ => wire::answer(
                200,
                format!(
                    r#"{{"issuer":"https://{host}/","token_endpoint":"https://{host}/token"}}"#
                ),
            ),
        }
    });
    let client = MaskinportenClient::builder()
        .credentials(credentials)
        .transport(answered)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            check_no_drawn_secret(&error.to_string());
            check_no_drawn_secret(&format!("{error:?}"));
            return None;
        }
    };
    client.access_token(["a:read"]).await.unwrap();
    wire.assertions().pop()
}

#[track_caller]
fn check_no_drawn_secret(told: &str) {
    for pair in KEYS.iter() {
        for name in ["d", "p", "q", "dp", "dq", "qi"] {
            let secret = pair.private[name].as_str().unwrap();
            // As it is, and in base64 from any of the three places in it.
            let mut forms = vec![secret.to_owned()];
            forms.extend((0..3).map(|skip| in_base64(&secret[skip..])));
            for form in forms {
                let mut pieces = form.as_bytes().chunks_exact(PIECE);
                let leaked =
                    pieces.find(|piece| told.contains(std::str::from_utf8(piece).unwrap()));
                assert!(leaked.is_none(), "{name} in {told:.400}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn authority_client_and_key_are_of_one_place(
        places in prop::collection::btree_map(0..PLACES, drawn(), 0..=PLACES),
    ) {
        let fill = |given, (place, drawn): (&usize, &Drawn)| put(given, *place, drawn);
        let given = places.iter().fold(Given::nothing(), fill);
        let credentials = match given.platform().credentials() {
            Ok(credentials) => credentials,
            Err(error) => {
                check_no_drawn_secret(&error.to_string());
                check_no_drawn_secret(&format!("{error:?}"));
                return Ok(());
            }
        };
        check_no_drawn_secret(&credentials.describe().to_string());
        check_no_drawn_secret(&format!("{credentials:?}"));
        let scopes = credentials.settings().unwrap().scope_set().unwrap();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Some(assertion) = runtime.unwrap().block_on(assertion_of(credentials)) else {
            return Ok(());
        };
        let authority = assertion.claims["aud"].as_str().unwrap();
        let (at, drawn) = places
            .iter()
            .find(|(at, drawn)| drawn.authority(**at) == authority)
            .unwrap();
        prop_assert_eq!(&assertion.claims["iss"], &json!(drawn.client_id()));
        let inner = drawn.inner_kid(*at);
        let kid = if drawn.has_kid { format!("beside-{inner}") } else { inner };
        prop_assert_eq!(&assertion.header["kid"], &json!(kid));
        prop_assert!(assertion.is_signed_by(&KEYS[drawn.client].public, Algorithm::RS256));
        let scopes = scopes.map(|scopes| scopes.to_string());
        prop_assert_eq!(scopes, drawn.has_scopes.then(|| format!("place:{at}")));
        // It had all of it.
        prop_assert!(drawn.has_authority && drawn.has_client && drawn.key != Key::None);
    }
}

// ===== a volume that changes =====

/// What lies in a volume in the state of one number.
fn state(number: usize) -> Vec<(String, String)> {
    let drawn = Drawn {
        client: number % CLIENTS,
        has_authority: true,
        has_client: true,
        key: Key::Jwk,
        has_kid: true,
        has_scopes: true,
    };
    let owned = |(name, text): (&str, String)| (name.to_owned(), text);
    drawn.names(number).into_iter().map(owned).collect()
}

/// As the kubelet does it: a new directory, a link that is swapped, and the old directory gone.
#[test]
fn a_volume_that_is_swapped_while_it_is_read_is_read_in_one_state() {
    const READINGS: usize = 3000;

    let given = Given::nothing();
    let directory = given.root.path().join(NAIS);
    mount(&directory, "..0", &state(0));
    let ends = AtomicBool::new(false);
    // Judged when the swaps have ended: a thread that goes on would keep a failed test from ending.
    let (readings, swaps) = std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                number += 1;
                mount(&directory, &format!("..{number}"), &state(number));
                fs::remove_dir_all(directory.join(format!("..{}", number - 1))).unwrap();
            }
            number
        });
        let read = || given.platform().credentials();
        let readings: Vec<_> = (0..READINGS).map(|_| read()).collect();
        ends.store(true, Ordering::Relaxed);
        (readings, swaps.join().unwrap())
    });
    assert!(swaps > CLIENTS, "too few swaps to tell");

    let mut seen = [0; CLIENTS];
    let mut given_up = 0;
    for found in readings {
        let found = match found {
            Ok(found) => found,
            // It may give up, and say so; it may not take half for whole, nor whole for broken.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.is_transient());
                given_up += 1;
                continue;
            }
        };
        let settings = found.settings().unwrap();
        let place = settings.authority.trim_start_matches("https://place-");
        let number: usize = place.trim_end_matches(".example.no/").parse().unwrap();
        let client = number % CLIENTS;
        assert_eq!(settings.client_id, format!("client-{client}"));
        let kid = format!("beside-key-of-client-{client}-in-place-{number}");
        assert_eq!(settings.kid.as_deref(), Some(&*kid));
        let jwk: Value = serde_json::from_str(settings.jwk.as_ref().unwrap().expose()).unwrap();
        assert_eq!(jwk["n"], KEYS[client].public["n"]);
        assert_eq!(settings.scopes, Some(format!("place:{number}")));
        seen[client] += 1;
    }
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
    assert!(given_up < READINGS / 2, "{given_up} of {READINGS}");
}
