//! The limits of the fetch queue: read in every place that settings can stand in, and refused by name.

use maskinporten::MaskinportenSettings;
use serde_json::json;

use super::table::{by_each_name, in_each_place, named, of_client, section};
use super::*;

/// A text under a wrong name, which no message repeats.
const HUSH: &str = "hush-hush";

/// All that a client needs, and a limit: in both shapes, each in every place it can stand in.
fn in_every_place(limit: Limit, text: &str) -> Vec<(&'static str, Given)> {
    let mut names = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", JWK)]);
    names.extend(named([(limit.variable, text)]));
    let mut members = section(CLIENT, [("Jwk", JWK)]);
    members.extend(named([(limit.member, text)]));
    let mut places = by_each_name(&names);
    places.extend(in_each_place(&members));
    places
}

#[derive(Clone, Copy)]
struct Limit {
    variable: &'static str,
    member: &'static str,
}

const PERMITS: Limit = Limit {
    variable: "MASKINPORTEN_MAX_CONCURRENT_FETCHES",
    member: "MaxConcurrentFetches",
};

const WAIT: Limit = Limit {
    variable: "MASKINPORTEN_FETCH_QUEUE_TIMEOUT",
    member: "FetchQueueTimeout",
};

impl Limit {
    /// Whether a text has its name and what stands behind it, in whichever case the place writes the name.
    fn is_in(self, told: &str, behind: &str) -> bool {
        let told = told.to_lowercase();
        [self.variable, self.member]
            .iter()
            .any(|name| told.contains(&format!("{}{behind}", name.to_lowercase())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_read_in_every_place_and_described() {
    for (limit, text) in [(PERMITS, "8"), (WAIT, "60")] {
        for (place, given) in in_every_place(limit, text) {
            let told = given.platform().credentials().unwrap();
            let told = told.describe().to_string();
            assert!(limit.is_in(&told, &format!(" {text}")), "{place}: {told}");
            assert!(!told.contains("not used"), "{place}: {told}");
            drop(accepted(&sim(), given.platform()).await);
        }
    }
}

#[test]
fn a_limit_that_is_out_of_its_range_is_refused_by_name_and_place() {
    let permits = [HUSH, "0", "-1", "1025", "8.5", "true"];
    let permits = permits.map(|text| (PERMITS, text, " is not a whole number from 1 to 1024"));
    let wait = [HUSH, "0", "3601", "60s", "00:01:00"];
    let wait = wait.map(|text| {
        (
            WAIT,
            text,
            " is not a whole number of seconds from 1 to 3600",
        )
    });
    for (limit, text, why) in permits.into_iter().chain(wait) {
        for (place, given) in in_every_place(limit, text) {
            let error = refused(&given.platform(), ErrorKind::Settings, &[limit.variable]);
            assert!(limit.is_in(&error.to_string(), why), "{place}: {error}");
            assert!(error.to_string().contains('('), "{place}: {error}");
            assert!(!format!("{error:?}").contains(HUSH), "{place}: {error:?}");
            let told = given.platform().credentials().unwrap();
            assert!(!format!("{told:?} {}", told.describe()).contains(HUSH));
        }
    }
}

#[test]
fn json_takes_a_number_and_refuses_an_object() {
    let refusal = |limit: serde_json::Value| {
        let mut json = json!({ "Authority": "dev", "ClientId": CLIENT, "Jwk": jwk() });
        json["maxConcurrentFetches"] = limit;
        let settings = MaskinportenSettings::from_json(&json.to_string(), SECTION).unwrap();
        let client = client(&sim(), settings.into());
        client.err().map(|error| error.to_string())
    };
    assert_eq!(refusal(json!(8)), None);
    assert_eq!(refusal(json!("8")), None);
    assert_eq!(refusal(json!(null)), None);
    let error = refusal(json!({ "permits": 8 })).unwrap();
    assert!(
        error.starts_with("`maxConcurrentFetches` is an object"),
        "{error}"
    );
}

#[test]
fn a_variable_counts_wherever_the_credentials_are_from() {
    let mut file = json!({ SECTION: { "Authority": "dev", "ClientId": CLIENT, "Jwk": jwk() } });
    file[SECTION]["MaxConcurrentFetches"] = 4.into();
    let sidecar = "http://localhost:3000/api/v1/token";
    for given in [
        Given::nothing().file(ALTINN, file.to_string()),
        Given::nothing().var("NAIS_TOKEN_ENDPOINT", sidecar),
    ] {
        let given = given.var("MaskinportenSettings__MaxConcurrentFetches", "8");
        let told = given.platform().credentials().unwrap();
        let told = told.describe().to_string();
        let on_top = "MaskinportenSettings__MaxConcurrentFetches 8 of the environment";
        assert!(
            told.contains(on_top) && !told.contains("not used"),
            "{told}"
        );
        let given = given.var("MASKINPORTEN_MAX_CONCURRENT_FETCHES", "9");
        let words = [
            "MASKINPORTEN_MAX_CONCURRENT_FETCHES and",
            "__MaxConcurrentFetches differ",
        ];
        drop(refused(&given.platform(), ErrorKind::Settings, &words));
    }
    // Alone it is no place of credentials.
    let given = Given::nothing().var("MaskinportenSettings__MaxConcurrentFetches", "8");
    let error = given.platform().credentials().unwrap_err();
    assert!(!error.to_string().contains("lacks"), "{error}");
}

/// Whether a description asks if the right name is meant; members of JSON stand in backquotes.
fn limit_is_meant(told: &str, right: &str) -> bool {
    let told = told.replace('`', "");
    told.contains(&format!("{right} meant?)"))
}

#[test]
fn a_name_that_is_nearly_a_limits_is_described_with_the_right_one() {
    let told_of = |wrong: &str, right: &str, places: Vec<(&'static str, Given)>| {
        for (place, given) in places {
            let told = given
                .platform()
                .credentials()
                .unwrap()
                .describe()
                .to_string();
            let is_told = told.contains(wrong) && limit_is_meant(&told, right);
            assert!(is_told, "{wrong} in {place}: {told}");
            assert!(!told.contains(HUSH), "{told}");
        }
    };
    for (wrong, limit) in [
        ("MASKINPORTEN_MAX_CONCURRENCY", PERMITS),
        ("MASKINPORTEN_MAXCONCURRENTFETCHES", PERMITS),
        ("MASKINPORTEN_QUEUE_TIMEOUT", WAIT),
    ] {
        let mut names = of_client(CLIENT, [("MASKINPORTEN_CLIENT_JWK", JWK)]);
        names.extend(named([(wrong, HUSH)]));
        told_of(wrong, limit.variable, by_each_name(&names));
    }
    for (wrong, limit) in [
        ("MaxConcurrentRequests", PERMITS),
        ("FetchQueueTimeoutSeconds", WAIT),
    ] {
        let mut members = section(CLIENT, [("Jwk", JWK)]);
        members.extend(named([(wrong, HUSH)]));
        let places = in_each_place(&members).into_iter();
        let places = places
            .filter(|(place, _)| !place.contains("case"))
            .collect();
        told_of(wrong, limit.member, places);
    }
}

#[test]
fn code_is_refused_by_the_name_of_its_method() {
    let builder = || {
        let credentials = Given::nothing()
            .var("MASKINPORTEN_ISSUER", "dev")
            .var("MASKINPORTEN_CLIENT_ID", CLIENT)
            .var("MASKINPORTEN_CLIENT_JWK", JWK)
            .platform()
            .credentials();
        MaskinportenClient::builder().credentials(credentials.unwrap())
    };
    let refusal = |builder: maskinporten::MaskinportenClientBuilder| {
        let built = builder.transport(Transport::new(sim())).build();
        built.err().map(|error| error.to_string())
    };
    for good in [1, 1024] {
        assert_eq!(refusal(builder().max_concurrent_fetches(good)), None);
    }
    for bad in [0, 1025] {
        let error = refusal(builder().max_concurrent_fetches(bad)).unwrap();
        assert!(
            error.starts_with("max_concurrent_fetches is not"),
            "{error}"
        );
    }
    for good in [1, 3600] {
        let good = Duration::from_secs(good);
        assert_eq!(refusal(builder().fetch_queue_timeout(good)), None);
    }
    for bad in [Duration::ZERO, Duration::MAX] {
        let error = refusal(builder().fetch_queue_timeout(bad)).unwrap();
        assert!(error.starts_with("fetch_queue_timeout is not"), "{error}");
    }
}
