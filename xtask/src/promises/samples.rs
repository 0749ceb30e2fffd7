//! Figures out of what a measuring program printed.

use serde_json::Value;

use crate::Result;

/// Two quantities measured side by side, in the order the program printed them.
pub(super) type Pair = [f64; 2];

/// Three of them.
pub(super) type Triple = [f64; 3];

/// The number at `pointer`.
pub(super) fn number(json: &Value, pointer: &str) -> Result<f64> {
    let number = json.pointer(pointer).and_then(Value::as_f64);
    Ok(number.ok_or_else(|| format!("the program printed no number at {pointer}"))?)
}

/// The numbers at `pointer`.
pub(super) fn numbers(json: &Value, pointer: &str) -> Result<Vec<f64>> {
    let numbers = json
        .pointer(pointer)
        .and_then(|list| list.as_array()?.iter().map(Value::as_f64).collect());
    Ok(numbers.ok_or_else(|| format!("the program printed no numbers at {pointer}"))?)
}

/// The text at `pointer`.
pub(super) fn text<'a>(json: &'a Value, pointer: &str) -> Result<&'a str> {
    let text = json.pointer(pointer).and_then(Value::as_str);
    Ok(text.ok_or_else(|| format!("the program printed no text at {pointer}"))?)
}

/// What stands in the array at `pointer`, which is not empty.
pub(super) fn list<'a>(json: &'a Value, pointer: &str) -> Result<&'a [Value]> {
    let list = json.pointer(pointer).and_then(Value::as_array);
    let list = list.filter(|list| !list.is_empty());
    Ok(list.ok_or_else(|| format!("the program printed no list at {pointer}"))?)
}

/// The pairs at `pointer`; fewer than `least` measure nothing on a machine that others use too.
pub(super) fn pairs(json: &Value, pointer: &str, least: usize) -> Result<Vec<Pair>> {
    groups(json, pointer, least, "pairs")
}

/// The triples at `pointer`, as [`pairs`].
pub(super) fn triples(json: &Value, pointer: &str, least: usize) -> Result<Vec<Triple>> {
    groups(json, pointer, least, "triples")
}

fn groups<const N: usize>(
    json: &Value,
    pointer: &str,
    least: usize,
    name: &str,
) -> Result<Vec<[f64; N]>> {
    let groups = json
        .pointer(pointer)
        .and_then(|list| list.as_array()?.iter().map(group).collect());
    let groups: Vec<[f64; N]> =
        groups.ok_or_else(|| format!("the program printed no {name} at {pointer}"))?;
    if groups.len() < least {
        return Err(format!(
            "only {} {name} at {pointer}, {least} are needed",
            groups.len()
        )
        .into());
    }
    Ok(groups)
}

fn group<const N: usize>(json: &Value) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> = json.as_array()?.iter().map(Value::as_f64).collect();
    numbers?.try_into().ok()
}

/// The middle one of `values`, or the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Result<f64> {
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
    fn there_is_no_median_of_nothing_or_of_what_is_no_number() {
        assert!(median([]).is_err());
        assert!(median([1.0, f64::NAN]).is_err());
        assert!(median([1.0 / 0.0]).is_err());
    }

    #[test]
    fn pairs_are_found_where_they_are() {
        let json = json!({"ways": {"kept": {"pairs": [[1, 2.5], [3, 4]]}}});

        assert_eq!(
            pairs(&json, "/ways/kept/pairs", 2).unwrap(),
            [[1.0, 2.5], [3.0, 4.0]]
        );
        assert!(pairs(&json, "/ways/shared/pairs", 2).is_err());
    }

    #[test]
    fn too_few_pairs_measure_nothing() {
        let error = pairs(&json!({"pairs": [[1, 2]]}), "/pairs", 50)
            .unwrap_err()
            .to_string();

        assert_eq!(error, "only 1 pairs at /pairs, 50 are needed");
    }

    #[test]
    fn what_is_no_pair_is_an_error() {
        assert!(pairs(&json!({"pairs": [[1, 2], [3]]}), "/pairs", 1).is_err());
        assert!(pairs(&json!({"pairs": [["1", 2]]}), "/pairs", 1).is_err());
        assert!(numbers(&json!({"hop_ns": [1, null]}), "/hop_ns").is_err());
        assert!(number(&json!({"callers": "many"}), "/callers").is_err());
    }

    #[test]
    fn what_is_no_text_or_an_empty_list_is_an_error() {
        let json = json!({"kind": "Rejected", "lives": [1], "none": []});

        assert_eq!(text(&json, "/kind").unwrap(), "Rejected");
        assert_eq!(list(&json, "/lives").unwrap(), [json!(1)]);
        assert!(text(&json, "/lives").is_err());
        assert!(list(&json, "/kind").is_err());
        assert!(list(&json, "/none").is_err());
    }
}
