//! The pages in `docs/` and the engine name the same metrics and labels.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use maskinporten::{Metric, MetricKind};
use serde_json::Value;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is wrong with a PromQL expression: a metric that there is not, or a label that it has not.
fn wrong_in(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut found = 0;
    for (at, _) in expression.match_indices("maskinporten_") {
        let rest = &expression[at..];
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        let of = |metric: &&Metric| match metric.kind {
            MetricKind::Histogram => name
                .strip_prefix(metric.name)
                .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
            _ => name == metric.name,
        };
        found += 1;
        let Some(metric) = Metric::ALL.iter().find(of) else {
            wrong.push(name.to_owned());
            continue;
        };
        known.extend(metric.labels);
        if metric.kind == MetricKind::Histogram {
            known.insert("le");
        }
        if let Some(selector) = rest[name.len()..].strip_prefix('{') {
            let end = selector.find('}').unwrap_or(selector.len());
            for matcher in selector[..end].split(',') {
                let label = &matcher[..matcher.find(|c| !is_name(c)).unwrap_or(matcher.len())];
                if !metric.labels.contains(&label) {
                    wrong.push(format!("{name}{{{label}}}"));
                }
            }
        }
    }
    if found == 0 {
        wrong.push(format!("no metric in {expression}"));
    }
    for (at, by) in expression.match_indices("by (") {
        let rest = &expression[at + by.len()..];
        let labels = rest[..rest.find(')').unwrap_or(rest.len())].split(',');
        // `instance` and `job` are Prometheus's own.
        let own = |label: &&str| !known.contains(label) && !["instance", "job"].contains(label);
        wrong.extend(
            labels
                .map(str::trim)
                .filter(own)
                .map(|label| format!("by ({label})")),
        );
    }
    wrong
}

#[test]
fn an_expression_with_a_wrong_name_or_label_is_noticed() {
    let check = |expression: &str, expected: &[&str]| assert_eq!(wrong_in(expression), expected);
    check(
        "sum by (authority) (rate(maskinporten_replays_total[5m]))",
        &[],
    );
    check(
        "rate(maskinporten_replay_total[5m])",
        &["maskinporten_replay_total"],
    );
    check(
        "maskinporten_replays_total{outcome=\"ok\"}",
        &["maskinporten_replays_total{outcome}"],
    );
    check(
        "sum by (le, scope) (maskinporten_replays_total)",
        &["by (le)", "by (scope)"],
    );
    check(
        "maskinporten_token_request_duration_seconds",
        &["maskinporten_token_request_duration_seconds"],
    );
}

#[test]
fn the_alert_rules_ask_for_what_there_is() {
    let rules = page("alerts.yaml");
    // Each expression stands on the line of its key, so that no YAML needs to be understood.
    let expressions: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "))
        .collect();
    assert_eq!(expressions.len(), rules.matches("- alert: ").count());
    assert_eq!(expressions.len(), 5);
    for expression in expressions {
        assert!(!expression.starts_with(['|', '>']), "{expression}");
        assert_eq!(wrong_in(expression), [""; 0], "{expression}");
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: Value = serde_json::from_str(&page("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut asked = String::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(wrong_in(expression), [""; 0], "{expression}");
            asked.push_str(expression);
        }
    }
    // Everything there is has a place on it.
    for metric in Metric::ALL {
        assert!(asked.contains(metric.name), "{}", metric.name);
    }
}

#[test]
fn the_table_of_the_docs_names_what_there_is() {
    let page = page("observability.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `maskinporten_"));
    let rows: BTreeSet<(String, &str, BTreeSet<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`').to_owned();
            let labels = cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`'));
            (name, cells[2], labels.map(str::to_owned).collect())
        })
        .collect();
    let there_are = Metric::ALL.map(|metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            other => panic!("{other:?}"),
        };
        let labels = metric.labels.iter().map(|label| (*label).to_owned());
        (metric.name.to_owned(), kind, labels.collect())
    });
    assert_eq!(rows, BTreeSet::from(there_are));
}
