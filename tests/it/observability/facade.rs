//! The `metrics` facade: the numbers of `stats()`, by names and labels that are bounded.
//!
//! The recorder is this thread's, on which all tasks of a test run.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use http::StatusCode;
use maskinporten::{MaskinportenClient, Metric, MetricKind, TokenRequest};
use maskinporten_sim::{Fault, Route, Sim};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::{seconds, settle, stats};
use crate::world::{self, SCOPES};

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets(&maskinporten::Durations::BOUNDS)
        .unwrap()
        .build_recorder()
}

/// Every series of a page, `name{label="value",…}`, and its value.
fn series(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The name of a series, and those of its labels.
fn shape(series: &str) -> (&str, BTreeSet<&str>) {
    let Some((name, labels)) = series.split_once('{') else {
        return (series, BTreeSet::new());
    };
    let labels = labels.trim_end_matches('}').split("\",");
    let names = labels.filter_map(|label| Some(label.split_once('=')?.0));
    (name, names.collect())
}

fn value(page: &str, name: &str, labels: &str) -> f64 {
    let wanted: BTreeSet<&str> = labels.split(',').collect();
    let series = series(page);
    let found: Vec<f64> = series
        .iter()
        .filter(|(series, _)| {
            let rest = series
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('{'));
            let labels = rest.map(|rest| rest.trim_end_matches('}').split(',').collect());
            labels.is_some_and(|labels: BTreeSet<&str>| wanted.is_subset(&labels))
        })
        .map(|(_, value)| *value)
        .collect();
    assert!(!found.is_empty(), "{name} {labels} in\n{page}");
    found.iter().sum()
}

#[tokio::test(start_paused = true)]
async fn what_a_recorder_is_given_is_what_stats_tell() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (sim, client) = world::world();
    sim.fault(
        Route::Token,
        Fault::latency(std::time::Duration::from_millis(80)).times(1),
    );

    join_all((0..10).map(|_| client.access_token(SCOPES))).await;
    for _ in 0..7 {
        client.access_token(SCOPES).await.unwrap();
    }
    let _ = client.access_token(["not:mine"]).await.unwrap_err();
    sim.fault(Route::Token, Fault::status(StatusCode::BAD_GATEWAY));
    let other = TokenRequest::scopes(SCOPES)
        .unwrap()
        .resource("urn:b")
        .unwrap();
    let _ = client.access_token(other).await.unwrap_err();
    client.publish_metrics();
    client.publish_metrics();

    let page = recorder.handle().render();
    let told = stats(&client);
    let lookups = |result: &str| {
        let labels = format!("authority=\"maskinporten\",result=\"{result}\"");
        value(&page, "maskinporten_token_lookups_total", &labels) as u64
    };
    assert_eq!(lookups("hit"), told.lookups.hit);
    assert_eq!(lookups("stale"), told.lookups.stale);
    assert_eq!(lookups("joined"), told.lookups.joined);
    assert_eq!(lookups("miss"), told.lookups.miss);
    assert_eq!(lookups("failed"), told.lookups.failed);
    assert_eq!(super::counts(told.lookups), [7, 0, 9, 1, 2]);
    let requests = |labels: &str| {
        let labels = format!("authority=\"maskinporten\",{labels}");
        value(&page, "maskinporten_token_requests_total", &labels) as u64
    };
    assert_eq!(requests("outcome=\"ok\""), told.requests.ok);
    assert_eq!(requests("outcome=\"lost\""), told.requests.lost);
    assert_eq!(requests("outcome=\"failed\""), told.error());
    assert_eq!(
        requests("error_type=\"unavailable\",error_code=\"none\""),
        3
    );
    assert_eq!(requests("error_type=\"scope_rejected\""), 1);
    let sum = "maskinporten_token_request_duration_seconds_sum";
    let took = value(&page, sum, "authority=\"maskinporten\",outcome=\"ok\"");
    assert!((took - 0.08).abs() < 1e-9, "{took}");
    let end = value(
        &page,
        "maskinporten_token_expiry_timestamp_seconds",
        "authority=\"maskinporten\",client=\"default\"",
    );
    let soonest = told.soonest_end.unwrap();
    let soonest = soonest.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((end - soonest.as_secs_f64()).abs() < 1e-3);
    let entries = value(
        &page,
        "maskinporten_token_cache_entries",
        "authority=\"maskinporten\",client=\"default\"",
    );
    assert_eq!(entries as usize, told.entries);
    // What has not happened is a zero and no gap.
    let altinn = "authority=\"altinn\"";
    assert_eq!(
        value(&page, "maskinporten_rejected_tokens_total", altinn),
        0.0
    );
    assert_eq!(value(&page, "maskinporten_replays_total", altinn), 0.0);
    assert_eq!(
        value(
            &page,
            "maskinporten_config_reloads_total",
            "outcome=\"failed\""
        ),
        0.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_good_token_that_is_evicted_is_one_in_stats_in_health_and_in_the_metric() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sim = Sim::new();
    let registered = sim.new_client(["altinn:serviceowner"]);
    let client = world::builder(&sim, &registered)
        .max_identities(2)
        .build()
        .unwrap();
    let evicted = |authority: &str| {
        let labels = format!("authority=\"{authority}\"");
        let page = recorder.handle().render();
        value(&page, "maskinporten_evicted_tokens_total", &labels) as u64
    };
    assert_eq!((evicted("maskinporten"), evicted("altinn")), (0, 0));

    for number in 0..5 {
        let request = TokenRequest::scopes(["altinn:serviceowner"])
            .unwrap()
            .resource(format!("urn:{number}"))
            .unwrap();
        client.altinn_token(request).await.unwrap();
    }

    let told = client.stats();
    // Three of Altinn's went. A Maskinporten token goes after that which was made of it.
    assert_eq!(told.altinn.evicted, 3);
    assert!((1..=3).contains(&told.maskinporten.evicted));
    assert_eq!(evicted("altinn"), told.altinn.evicted);
    assert_eq!(evicted("maskinporten"), told.maskinporten.evicted);
    let sum = told.altinn.evicted + told.maskinporten.evicted;
    assert_eq!(client.health().evicted, sum);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_flight_publishes_without_being_asked() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_sim, client) = world::world();
    client.access_token(SCOPES).await.unwrap();
    settle().await;
    for _ in 0..3 {
        client.access_token(SCOPES).await.unwrap();
    }
    let hits = || {
        let labels = "authority=\"maskinporten\",result=\"hit\"";
        value(
            &recorder.handle().render(),
            "maskinporten_token_lookups_total",
            labels,
        )
    };
    assert_eq!(hits(), 0.0);
    tokio::time::advance(seconds(2)).await;
    let _ = client.access_token(["not:mine"]).await.unwrap_err();
    settle().await;
    assert_eq!(hits(), 3.0);
}

#[tokio::test(start_paused = true)]
async fn every_metric_has_the_labels_that_its_list_says_and_says_what_it_is() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (_sim, client) = world::world();
    client.access_token(SCOPES).await.unwrap();
    client.publish_metrics();

    let page = recorder.handle().render();
    let mut seen = BTreeSet::new();
    for series in series(&page).keys() {
        let (name, mut labels) = shape(series);
        let of = |metric: &&Metric| match metric.kind {
            MetricKind::Histogram => name
                .strip_prefix(metric.name)
                .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
            _ => name == metric.name,
        };
        let metric = Metric::ALL
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{name}"));
        if metric.kind == MetricKind::Histogram {
            labels.remove("le");
        }
        assert_eq!(labels, metric.labels.iter().copied().collect(), "{series}");
        assert!(page.contains(&format!("# HELP {} {}", metric.name, metric.help)));
        seen.insert(metric.name);
    }
    assert_eq!(seen.len(), Metric::ALL.len());
}

#[tokio::test(start_paused = true)]
async fn two_hundred_organisations_make_no_series_of_their_own() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sim = Sim::new();
    let registered = sim.new_client(["secret-scope:read", "altinn:serviceowner"]);
    let client = world::client(&sim, &registered);
    let organisations = organisations(200);
    let ask = |number: &str, scope: &str| {
        let request = TokenRequest::scopes([scope]).unwrap();
        client.access_token(request.consumer_org(number).unwrap())
    };

    let _ = ask(&organisations[0], "secret-scope:read").await;
    let _ = client.access_token(["secret-scope:read"]).await.unwrap();
    client.publish_metrics();
    let before = series(&recorder.handle().render()).len();
    for (at, number) in organisations.iter().enumerate() {
        // A code that no table knows, and another one each time.
        let refusal = format!(
            r#"{{"error":"invalid_grant","error_description":"MP-{}"}}"#,
            at + 900
        );
        let mut headers = http::HeaderMap::new();
        headers.insert(
            "content-type",
            http::HeaderValue::from_static("application/json"),
        );
        let refused = Fault::answer(StatusCode::BAD_REQUEST, headers, refusal);
        sim.fault(Route::Token, refused.times(1));
        let _ = ask(number, "secret-scope:read").await;
        tokio::time::advance(seconds(61)).await;
        let _ = ask(number, "secret-scope:read").await;
    }
    client.publish_metrics();

    let page = recorder.handle().render();
    let grown = series(&page).len() - before;
    assert!(grown < 20, "{grown} more series:\n{page}");
    assert!(page.contains("error_code=\"other\""), "{page}");
    let mut texts = vec![registered.client_id(), "secret-scope", "MP-9"];
    texts.extend(organisations.iter().map(String::as_str));
    for text in texts {
        assert!(!page.contains(text), "{text} in\n{page}");
    }
}

/// Organisation numbers whose check digit is right.
fn organisations(count: usize) -> Vec<String> {
    (0..)
        .map(|number| format!("3{number:07}"))
        .filter_map(|digits| {
            let weights = [3, 2, 7, 6, 5, 4, 3, 2];
            let weighed = digits.bytes().zip(weights);
            let sum: u32 = weighed
                .map(|(digit, weight)| u32::from(digit - b'0') * weight)
                .sum();
            match 11 - sum % 11 {
                10 => None,
                check => Some(format!("{digits}{}", check % 11)),
            }
        })
        .take(count)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn counters_of_two_clients_add_up_and_their_gauges_stand_apart() {
    let recorder = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let sim = Sim::new();
    let named = |name: &str| -> MaskinportenClient {
        let registered = sim.new_client(["a:read", "b:read"]);
        world::builder(&sim, &registered)
            .name(name)
            .build()
            .unwrap()
    };
    let (tax, health) = (named("tax"), named("health"));
    assert_eq!((tax.name(), health.name()), ("tax", "health"));
    tax.access_token(["a:read"]).await.unwrap();
    tax.access_token(["b:read"]).await.unwrap();
    health.access_token(["a:read"]).await.unwrap();
    tax.publish_metrics();
    health.publish_metrics();

    let page = recorder.handle().render();
    let authority = "authority=\"maskinporten\"";
    let misses = format!("{authority},result=\"miss\"");
    assert_eq!(
        value(&page, "maskinporten_token_lookups_total", &misses),
        3.0
    );
    let entries = |name: &str| {
        let labels = format!("{authority},client=\"{name}\"");
        value(&page, "maskinporten_token_cache_entries", &labels)
    };
    assert_eq!((entries("tax"), entries("health")), (2.0, 1.0));
}
