//! JWKs as .NET's `JsonWebKey` reads them, and as its serialisers write them.

use proptest::prelude::*;

use super::*;

const MEMBERS: [&str; 12] = [
    "kty", "use", "alg", "kid", "n", "e", "d", "p", "q", "dp", "dq", "qi",
];

fn read(json: &str) -> Result<SigningKey> {
    SigningKey::read(json.as_bytes(), &KeyOptions::new())
}

/// The vector with members renamed.
fn renamed(rename: impl Fn(&str) -> String) -> Map<String, Value> {
    let jwk: Map<String, Value> = serde_json::from_str(JWK).unwrap();
    jwk.into_iter()
        .map(|(name, value)| (rename(&name), value))
        .collect()
}

#[test]
fn what_system_text_json_writes_is_read() {
    let jwk = jwk_with(|jwk| {
        for name in ["oth", "key_ops", "x5c"] {
            jwk.insert(name.to_owned(), Vec::<Value>::new().into());
        }
    });
    accepted(read(&jwk));
    accepted(SigningKey::from_jwk_base64(&base64(jwk), None));
}

#[test]
fn what_newtonsoft_writes_is_read() {
    let capital = |name: &str| match name {
        "dp" | "dq" | "qi" => name.to_ascii_uppercase(),
        name => format!("{}{}", name[..1].to_ascii_uppercase(), &name[1..]),
    };
    let mut jwk = renamed(capital);
    for name in ["Crv", "K", "X", "X5t", "X5tS256", "X5u", "Y"] {
        jwk.insert(name.to_owned(), Value::Null);
    }
    for name in ["KeyOps", "Oth", "X5c"] {
        jwk.insert(name.to_owned(), Vec::<Value>::new().into());
    }
    jwk.insert("KeyId".to_owned(), KID.into());
    jwk.insert("AdditionalData".to_owned(), Map::new().into());
    jwk.insert("KeySize".to_owned(), 2048.into());
    jwk.insert("HasPrivateKey".to_owned(), true.into());
    let provider = serde_json::json!({"CryptoProviderCache": {}, "CustomCryptoProvider": null});
    jwk.insert("CryptoProviderFactory".to_owned(), provider);
    accepted(read(&Value::from(jwk.clone()).to_string()));
    let set = serde_json::json!({"Keys": [jwk], "AdditionalData": {}});
    accepted(read(&set.to_string()));
}

#[test]
fn a_json_string_that_holds_a_key_is_read() {
    let quoted = |text: &str| Value::from(text).to_string();
    accepted(read(&quoted(JWK)));
    accepted(read(&format!(" {}\n", quoted(&base64(JWK)))));
    accepted(read(&base64(quoted(JWK))));
    accepted(SigningKey::from_jwk_base64(&base64(quoted(JWK)), None));
    let options = KeyOptions::new().with_kid(KID);
    accepted(SigningKey::read(quoted(PKCS8).as_bytes(), &options));
    // Once: what is quoted twice was escaped by mistake.
    assert!(read(&quoted(&quoted(JWK))).is_err());
}

#[test]
fn numbers_are_read_in_either_alphabet() {
    let standard = |jwk: &mut Map<String, Value>| {
        for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
            jwk.insert(name.to_owned(), base64(bytes).into());
        }
    };
    let jwk = jwk_with(standard);
    assert!(jwk.contains('+') && jwk.contains('/') && jwk.contains('='));
    accepted(read(&jwk));
}

#[test]
fn the_key_that_altinns_tool_appends_signs_first() {
    let named = |kid: &str| jwk_where("kid", kid);
    let set = format!(
        "{{\"keys\": [{}, {}, {}]}}",
        named("ours-TEST.old1"),
        named("ours-TEST.old2"),
        named("ours-TEST.new-")
    );
    assert_eq!(read(&set).unwrap().kid(), Some("ours-TEST.new-"));
}

/// A spelling of a name: its letters in any case.
fn spelled(name: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<bool>(), name.len()).prop_map(move |upper| {
        let letters = name.chars().zip(upper);
        let spell = |(letter, upper): (char, bool)| match upper {
            true => letter.to_ascii_uppercase(),
            false => letter,
        };
        letters.map(spell).collect()
    })
}

fn empty() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        "".into(),
        " \t".into(),
        Vec::<Value>::new().into(),
        Map::new().into(),
    ])
}

/// A value of any shape.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Members that no reader of keys knows.
fn unknown() -> impl Strategy<Value = Vec<(String, Value)>> {
    prop::collection::vec(("z[a-zA-Z0-9_]{0,8}", any_value()), 0..4)
}

/// One of the optional members: left out, empty, or as it is.
fn optional() -> impl Strategy<Value = Option<Option<Value>>> {
    prop_oneof![
        Just(None),
        Just(Some(None)),
        empty().prop_map(|value| Some(Some(value)))
    ]
}

fn spellings() -> impl Strategy<Value = Vec<String>> {
    Vec::from(MEMBERS.map(spelled))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_jwk_reads_as_the_plain_one_however_it_is_written(
        names in spellings(),
        optionals in prop::collection::vec(optional(), 2),
        empties in prop::collection::vec(
            (prop::sample::select(vec!["oth", "key_ops", "x5c", "exp", "x5t", "x5u", "crv"]), empty()),
            0..4,
        ),
        shadows in prop::collection::vec((prop::sample::select(&MEMBERS[..]), empty()), 0..4),
        unknown in unknown(),
        order in any::<u64>(),
    ) {
        let plain: Map<String, Value> = serde_json::from_str(JWK).unwrap();
        let mut written: Vec<(String, Value)> = Vec::new();
        for (member, spelled) in MEMBERS.iter().zip(&names) {
            let value = plain[*member].clone();
            let left = match *member {
                "use" => &optionals[0],
                "alg" => &optionals[1],
                _ => &None,
            };
            match left {
                None => written.push((spelled.clone(), value)),
                Some(None) => {}
                Some(Some(empty)) => written.push((spelled.clone(), empty.clone())),
            }
        }
        let own = |name: &str| (name.to_owned(), Value::Null);
        written.extend(empties.into_iter().map(|(name, value)| (own(name).0, value)));
        // An empty member does not hide one that is given under another spelling.
        written.extend(shadows.into_iter().map(|(name, value)| (name.to_owned(), value)));
        written.extend(unknown);
        let length = written.len();
        written.rotate_left(usize::try_from(order % length as u64).unwrap());
        // By hand, since a map would drop doubles.
        let members: Vec<String> = written
            .iter()
            .map(|(name, value)| format!("{}: {value}", Value::from(name.as_str())))
            .collect();
        let json = format!("{{{}}}", members.join(", "));
        let key = read(&json);
        prop_assert!(key.is_ok(), "{json}: {key:?}");
        prop_assert_eq!(key.unwrap().public_jwk(), PUBLIC_JWK);
    }

    #[test]
    fn what_is_no_private_rsa_key_never_reads_as_one(
        missing in prop::sample::select(vec!["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi"]),
        instead in prop_oneof![Just(None), empty().prop_map(Some), any_value().prop_map(Some)],
        unknown in unknown(),
    ) {
        let jwk = jwk_with(|jwk| {
            jwk.remove(missing);
            jwk.extend(unknown);
            if let Some(instead) = instead {
                jwk.insert(missing.to_owned(), instead);
            }
        });
        let key = read(&jwk);
        prop_assert!(key.is_err(), "{jwk}");
        tells_no_secret(&key.unwrap_err());
    }

    #[test]
    fn two_values_under_one_name_are_refused(
        (name, spelled) in prop::sample::select(&MEMBERS[..]).prop_flat_map(|name| (Just(name), spelled(name))),
    ) {
        let json = format!("{{\"{spelled}\": \"another\", {}", JWK.trim_start().trim_start_matches('{'));
        let error = read(&json).unwrap_err();
        prop_assert!(error.to_string().contains(&format!("`{name}` stands in the key twice")), "{error}");
    }
}
