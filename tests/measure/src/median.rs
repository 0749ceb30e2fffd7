//! Medians: of values, and of the medians of several processes.

use serde_json::Value;

use crate::Result;

/// The middle one of `values`, or the mean of the two in the middle.
///
/// # Errors
///
/// If there are none, or one is not finite.
pub fn median(values: impl IntoIterator<Item = f64>) -> Result<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err("the samples hold no numbers to take a median of".into());
    }
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        Ok(values[half])
    } else {
        Ok(f64::midpoint(values[half - 1], values[half]))
    }
}

/// The median over `processes` of each one's median ratio of the pairs at `pointer`: the first of a
/// pair by the second.
///
/// One process's memory layout can move its median by a third, so that more pairs of one process
/// repeat the same mistake and more processes do not.
///
/// # Errors
///
/// If there are no processes, or one has fewer than `least` pairs.
pub fn median_of_processes(processes: &[Value], pointer: &str, least: usize) -> Result<f64> {
    let medians = processes.iter().map(|process| {
        let pairs = process.pointer(pointer).and_then(read_pairs);
        let pairs = pairs.ok_or_else(|| format!("a process printed no pairs at {pointer}"))?;
        if pairs.len() < least {
            let found = pairs.len();
            return Err(format!("only {found} pairs at {pointer}, {least} are needed").into());
        }
        median(pairs.iter().map(|[one, other]| one / other))
    });
    median(medians.collect::<Result<Vec<f64>>>()?)
}

fn read_pairs(json: &Value) -> Option<Vec<[f64; 2]>> {
    let pair = |pair: &Value| {
        let numbers: Option<Vec<f64>> = pair.as_array()?.iter().map(Value::as_f64).collect();
        numbers?.try_into().ok()
    };
    json.as_array()?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
    }

    #[test]
    fn there_is_no_median_of_nothing_or_of_what_is_not_finite() {
        assert!(median([]).is_err());
        assert!(median([1.0, f64::NAN]).is_err());
        assert!(median([1.0 / 0.0]).is_err());
    }

    #[test]
    fn one_process_of_several_does_not_move_the_median() {
        let process = |ratio: f64| json!({"kept": [[ratio, 1.0], [2.0 * ratio, 2.0]]});
        let processes = [process(1.2), process(1.6), process(1.3)];

        assert_eq!(median_of_processes(&processes, "/kept", 2).unwrap(), 1.3);
    }

    #[test]
    fn too_few_pairs_and_what_is_no_pair_measure_nothing() {
        #[track_caller]
        fn check(process: Value, reason: &str) {
            let error = median_of_processes(&[process], "/kept", 2).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
        check(
            json!({"kept": [[1, 2]]}),
            "only 1 pairs at /kept, 2 are needed",
        );
        let missing = "a process printed no pairs at /kept";
        check(json!({"kept": [[1, 2], [3]]}), missing);
        check(json!({"kept": [["1", 2], [3, 4]]}), missing);
        check(json!({}), missing);
        assert!(median_of_processes(&[], "/kept", 2).is_err());
    }
}
