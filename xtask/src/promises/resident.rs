//! P13: how few commands lead to the first green, and what a service with tokens weighs.

use std::fs;

use maskinporten_measure::{Bound, Finding, Unit};
use serde_json::Value;

use super::program::Program;
use super::samples::number;
use super::{Measured, Result, Workspace};

const COMMANDS: Bound = Bound::at_most(3.0, Unit::Count);
/// What comes before the commands that the README names: `git clone` and `cd`.
const BEFORE_THEM: usize = 2;

const WIRED: Bound = Bound::at_most(15.0, Unit::Count);
/// What the example marks its lines with.
const MARK: &str = "// ·";

const WEIGHT: Bound = Bound::below(10.0 * 1_024.0, Unit::Kibibytes);
const NONE: Bound = Bound::exactly(0.0, Unit::Count);
/// Without one the run proves nothing of renewals.
const SOME: Bound = Bound::at_least(1.0, Unit::Count);
/// Calls in a second, of 1 000 that were due: the rest is the way of the last ones.
const RATE: Bound = Bound::at_least(990.0, Unit::Count);
const CONNECTIONS: f64 = 20.0;
const SECONDS: f64 = 20.0;

/// The example, and the package that builds it with the dependencies it has use for.
const SERVICE: &str = "axum_service";
const PACKAGE: &str = "axum-service";

pub(super) fn measure(workspace: &Workspace) -> Result<Measured> {
    let mut measured = Measured::default();
    measured.add("first green", first_green(workspace));
    measured.add("lines", lines(workspace));
    measured.add("weight", weighed(workspace));
    Ok(measured)
}

/// Runs what the README says to run first, without a network.
fn first_green(workspace: &Workspace) -> Result<(Vec<Finding>, Value)> {
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    let command = first_command(&readme).ok_or("the README names no command to try")?;
    let args = command
        .strip_prefix("cargo ")
        .ok_or("the README's first command is none of cargo's")?;
    crate::command::capture(&mut workspace.cargo(&format!("{args} --offline")))?;
    let count = BEFORE_THEM + 1;
    let finding = Finding::judged("commands to the first green", count as f64, COMMANDS);
    let note = format!("git clone, cd, {command}: run without a network, and it ended with 0");
    Ok((vec![finding.with_note(note)], command.into()))
}

/// The first line of the first block of shell commands, without its comment.
fn first_command(readme: &str) -> Option<&str> {
    let (_, block) = readme.split_once("```sh\n")?;
    let line = block.lines().next()?;
    Some(line.split('#').next()?.trim())
}

fn lines(workspace: &Workspace) -> Result<(Vec<Finding>, Value)> {
    let source = workspace
        .root
        .join("examples")
        .join(format!("{SERVICE}.rs"));
    let count = wired(&fs::read_to_string(source)?)?;
    let finding = Finding::judged("lines wired beyond axum's own", count as f64, WIRED);
    Ok((vec![finding], count.into()))
}

fn wired(source: &str) -> Result<usize> {
    match source.lines().filter(|line| line.ends_with(MARK)).count() {
        0 => Err(format!("no line of {SERVICE}.rs ends with {MARK}").into()),
        count => Ok(count),
    }
}

fn weighed(workspace: &Workspace) -> Result<(Vec<Finding>, Value)> {
    if !cfg!(target_os = "linux") {
        return Err("only Linux tells what a process weighs in /proc".into());
    }
    let service = Program::build_binary(workspace, PACKAGE, SERVICE)?;
    let weighing = Program::build(workspace, "maskinporten-tests", "resident")?;
    let samples = weighing.json_of(&service)?;
    Ok((judge(&samples)?, samples))
}

fn judge(samples: &Value) -> Result<Vec<Finding>> {
    for (member, least) in [("/connections", CONNECTIONS), ("/seconds", SECONDS)] {
        let there = number(samples, member)?;
        if there < least {
            return Err(format!("{member} is {there}, {least} are needed").into());
        }
    }
    if samples["ours"]["scraped"] != true {
        return Err("the service did not tell its metrics".into());
    }
    let ours = |member: &str| number(samples, &format!("/ours/{member}"));
    let (peak, twin) = (ours("peak_kib")?, number(samples, "/twin/peak_kib")?);
    let (own, files) = (ours("end/RssAnon")?, ours("end/RssFile")?);
    let note = format!(
        "{own:.0} KiB of its own, the rest pages of files ({files:.0} KiB); the twin without tokens: \
         {twin:.0} KiB, so that they add {:.0} KiB",
        peak - twin
    );
    let rate = ours("calls")? / ours("took_s")?;
    let p99 = format!("p99 {:.1} ms from when a call was due", ours("p99_ms")?);
    let of = |member: &str| number(samples, &format!("/twin/{member}"));
    Ok(vec![
        Finding::judged("resident at most", peak, WEIGHT).with_note(note),
        Finding::judged("authorised calls a second", rate.floor(), RATE).with_note(p99),
        Finding::judged("calls that failed", ours("failed")?, NONE),
        Finding::judged("tokens renewed meanwhile", ours("renewals")?, SOME),
        Finding::judged("calls that failed, the twin", of("failed")?, NONE),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::failures;
    use super::*;
    use serde_json::json;

    fn samples() -> Value {
        let weight = |peak: u32| {
            json!({"calls": 20_000, "failed": 0, "took_s": 20.002, "p99_ms": 7.8, "renewals": 4, "scraped": true,
                "peak_kib": peak, "end": {"RssAnon": 2_600, "RssFile": 7_000}})
        };
        json!({"connections": 20, "seconds": 20, "ours": weight(9_600), "twin": weight(7_100)})
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, broken: &[&str]) {
        let mut samples = samples();
        *samples.pointer_mut(pointer).unwrap() = value;

        assert_eq!(failures(&judge(&samples).unwrap()), broken);
    }

    #[test]
    fn weight_rate_and_calls_are_promised() {
        check("/ours/peak_kib", json!(10_239), &[]);
        check("/ours/peak_kib", json!(10_240), &["resident at most"]);
        check("/ours/took_s", json!(20.3), &["authorised calls a second"]);
        check("/ours/failed", json!(1), &["calls that failed"]);
        check("/ours/renewals", json!(0), &["tokens renewed meanwhile"]);
        check("/twin/failed", json!(1), &["calls that failed, the twin"]);
    }

    #[test]
    fn what_tokens_add_is_told() {
        let findings = judge(&samples()).unwrap();

        let note = findings[0].note.as_deref().unwrap();
        assert!(note.ends_with("so that they add 2500 KiB"), "{note}");
    }

    #[test]
    fn a_shorter_load_is_no_measure() {
        let mut short = samples();
        short["seconds"] = json!(19);
        assert!(judge(&short).is_err());
    }

    #[test]
    fn a_service_without_its_metrics_is_another_one() {
        let mut silent = samples();
        silent["ours"]["scraped"] = json!(false);
        assert!(judge(&silent).is_err());
    }

    #[test]
    fn the_first_command_of_the_readme_is_read_without_its_comment() {
        let readme =
            "# x\n\n```rust\nx\n```\n\n```sh\ncargo run --example a   # green\ncargo b\n```\n";

        assert_eq!(first_command(readme), Some("cargo run --example a"));
        assert_eq!(first_command("# x\n"), None);
    }

    #[test]
    fn only_marked_lines_are_counted() {
        assert_eq!(wired("a(); // ·\nb();\nc() // ·\n").unwrap(), 2);
        assert!(wired("a();\n").is_err());
    }
}
