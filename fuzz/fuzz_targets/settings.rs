//! What an operator writes: a settings file, or flat names and their values.
//!
//! The input is a section, and then either one text, which is read as JSON, or names and values in turn,
//! which are read as a vault's and as an environment's.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use maskinporten::{
    Error, ErrorKind, Finding, LegacySettings, MaskinportenSettings, Result, Secret, TokenKind,
};
use maskinporten_fuzz::{CANARY, DIVIDER, holds_canary, planted, told, was_kept};
use serde_json::Value;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(input) = str::from_utf8(input) else {
        return Corpus::Reject;
    };
    if holds_canary(input.as_bytes()) {
        return Corpus::Reject;
    }
    let parts: Vec<&str> = input.split(DIVIDER).collect();
    match parts.as_slice() {
        [section, json] => read_json(&planted(json), section),
        [section, flat @ ..] if flat.len() % 2 == 0 && !flat.is_empty() => {
            let values: Vec<(String, String)> = flat
                .chunks_exact(2)
                .map(|pair| (pair[0].to_owned(), planted(pair[1])))
                .collect();
            read_values(&values, section);
            read_variables(&values, section);
        }
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

/// Names of what lies on the disk, where it would be looked for.
fn is_elsewhere(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["FILE", "DIR", "PATH"]
        .iter()
        .any(|part| name.contains(part))
}

fn read_json(json: &str, section: &str) {
    if is_elsewhere(json) {
        return;
    }
    let read = || MaskinportenSettings::from_json(json, section);
    assert_eq!(
        outcome(&read()),
        outcome(&read()),
        "reading depends on more than its input"
    );
    match read() {
        Ok(settings) => are_whole(&settings),
        // Two clients among the variables of `Values` are told apart by their ids.
        Err(error) if json.to_ascii_uppercase().contains("VALUES") => {
            assert_eq!(error.kind(), ErrorKind::Settings);
        }
        Err(error) => is_of_settings(&error),
    }
    are_whole_too(LegacySettings::from_json(json, section));
}

fn read_values(values: &[(String, String)], section: &str) {
    let values = values
        .iter()
        .filter(|(name, _)| !is_elsewhere(name))
        .map(|(name, value)| (name.clone(), Secret::from(value.as_str())));
    match Finding::of_values(values.clone(), section, "the place") {
        Ok(Finding::Complete(settings)) => are_whole(&settings),
        Ok(Finding::Incomplete(missing) | Finding::Misnamed(missing)) => {
            assert!(!missing.is_empty());
            assert!(!missing.concat().contains(CANARY));
        }
        Ok(_) => {}
        Err(error) => is_of_settings(&error),
    }
    are_whole_too(LegacySettings::from_values(values, section, "the place"));
}

fn read_variables(values: &[(String, String)], section: &str) {
    let values: Vec<_> = values
        .iter()
        .filter(|(name, _)| !is_elsewhere(name))
        .cloned()
        .collect();
    match MaskinportenSettings::from_vars(values.clone(), section) {
        Ok(settings) => are_whole(&settings),
        Err(error) => {
            // Two clients are told apart by their ids, and a URL that is none is shown.
            let is_plain = |name: &str| {
                let name = name.to_ascii_uppercase();
                !name.contains("JWK") && !name.contains("PEM") && !name.contains("PASSWORD")
            };
            let shown = values
                .iter()
                .any(|(name, value)| is_plain(name) && value.contains(CANARY));
            if !shown {
                is_of_settings(&error);
            }
        }
    }
}

fn outcome(read: &Result<MaskinportenSettings>) -> Result<String, String> {
    match read {
        Ok(settings) => Ok(format!("{settings:?} {}", settings.describe())),
        Err(error) => Err(told(error)),
    }
}

fn is_of_settings(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.hint().is_some(), "what to do is not told: {error}");
    was_kept(error);
}

/// What all settings are that were read, wherever they were read.
fn are_whole(settings: &MaskinportenSettings) {
    let given = |key: &Option<Secret>| {
        key.as_ref()
            .is_some_and(|key| !key.expose().trim().is_empty())
    };
    let one = [
        &settings.jwk,
        &settings.jwk_base64,
        &settings.pem,
        &settings.key,
    ];
    let keys = one.into_iter().filter(|key| given(key)).count();
    assert!(
        keys == 1 || (keys == 0 && given(&settings.jwks)),
        "{keys} keys: {settings:?}"
    );
    assert!(!settings.authority.is_empty() && !settings.client_id.is_empty());

    let plain = [
        Some(&settings.authority),
        Some(&settings.client_id),
        settings.kid.as_ref(),
        settings.token_endpoint.as_ref(),
        settings.scopes.as_ref(),
    ];
    let planted_in = |text: &&String| text.contains(CANARY);
    if plain.into_iter().flatten().any(|text| planted_in(&text)) {
        return;
    }
    assert!(!format!("{settings:?}").contains(CANARY));
    // The identifier of a key is public, and part of the description.
    let inside = settings.jwk.as_ref().and_then(|jwk| {
        let jwk: Value = serde_json::from_str(jwk.expose()).ok()?;
        Some(jwk["kid"].as_str()?.contains(CANARY))
    });
    if inside != Some(true) {
        assert!(!settings.describe().to_string().contains(CANARY));
    }

    for error in [
        settings.authority().err(),
        settings.scope_set().err(),
        settings.signing_keys().err(),
    ]
    .into_iter()
    .flatten()
    {
        was_kept(&error);
        assert!(
            told(&error).contains(settings.source()),
            "where it came from is not told"
        );
    }
    match settings.signing_keys() {
        Ok(keys) => {
            let first = settings
                .signing_key()
                .expect("there is a key where there are keys");
            assert_eq!(first.public_jwk(), keys[0].public_jwk());
        }
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Key | ErrorKind::Settings)),
    }
}

/// The same for those of the .NET package, which say more.
fn are_whole_too(read: Result<LegacySettings>) {
    let legacy = match read {
        Ok(legacy) => legacy,
        Err(error) => return is_of_settings(&error),
    };
    are_whole(&legacy.settings());
    let altinn = legacy.altinn();
    if let Err(error) = &altinn {
        was_kept(error);
    }
    let wants_altinn = legacy.token_kind() == TokenKind::Altinn;
    assert!(altinn.is_err() || altinn.is_ok_and(|altinn| altinn.is_some() == wants_altinn));
    // What is asked for is told where it cannot be asked.
    let told = [&legacy.scope, &legacy.resource, &legacy.consumer_org_no];
    let mut told = told.into_iter().flatten();
    if let Err(error) = legacy.token_request()
        && !told.any(|text| text.contains(CANARY))
    {
        was_kept(&error);
    }
}
