//! P9: the credentials change under requests.

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::samples::number;
use super::{Measured, Result, Workspace};

const REQUESTS: f64 = 10_000.0;
const NONE: Bound = Bound::exactly(0.0, Unit::Count);
const ONE: Bound = Bound::exactly(1.0, Unit::Count);
const SOME: Bound = Bound::at_least(1.0, Unit::Count);

/// A way of rotating, and how many grants it may see refused.
const WAYS: [(&str, &str, Bound); 2] = [
    ("overlap", "with overlap", NONE),
    (
        "without_overlap",
        "without overlap",
        Bound::at_most(1.0, Unit::Count),
    ),
];

pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add_program(workspace, "rotation", |samples| judge("volume", samples));
    let (package, bench) = ("maskinporten-azure", "vault_rotation");
    measured.add_program_of(workspace, package, bench, |samples| judge("vault", samples));
    Ok(measured)
}

fn judge(place: &str, samples: &Value) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (way, name, refused) in WAYS {
        let figure = |member: &str| number(samples, &format!("/{way}/{member}"));
        let requests = figure("requests")?;
        if requests < REQUESTS {
            return Err(format!("only {requests} requests were sent").into());
        }
        for (what, member, bound) in [
            ("requests that failed", "failed", NONE),
            ("grants refused", "refused_grants", refused),
            ("grants signed by the old key", "signed_by_old", SOME),
            ("by the new", "signed_by_new", SOME),
            ("by one that was half written", "signed_by_broken", NONE),
            ("by the one that mended it", "signed_by_mended", SOME),
            ("trouble told while it lasts", "trouble_was_told", ONE),
            ("and over when it is", "trouble_is_over", ONE),
        ] {
            let what = format!("{place}, {name}: {what}");
            findings.push(Finding::judged(what, figure(member)?, bound));
        }
    }
    Ok(findings)
}
