//! Figures out of what a measuring program printed.

use serde_json::Value;

use crate::Result;

/// Three quantities measured side by side, in the order the program printed them.
pub(super) type Triple = [f64; 3];

/// The number at `pointer`.
pub(super) fn number(json: &Value, pointer: &str) -> Result<f64> {
    let number = json.pointer(pointer).and_then(Value::as_f64);
    Ok(number.ok_or_else(|| format!("the program printed no number at {pointer}"))?)
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

/// The triples at `pointer`; fewer than `least` measure nothing on a machine that others use too.
pub(super) fn triples(json: &Value, pointer: &str, least: usize) -> Result<Vec<Triple>> {
    let triples = json
        .pointer(pointer)
        .and_then(|list| list.as_array()?.iter().map(triple).collect());
    let triples: Vec<Triple> =
        triples.ok_or_else(|| format!("the program printed no triples at {pointer}"))?;
    if triples.len() < least {
        let found = triples.len();
        return Err(format!("only {found} triples at {pointer}, {least} are needed").into());
    }
    Ok(triples)
}

fn triple(json: &Value) -> Option<Triple> {
    let numbers: Option<Vec<f64>> = json.as_array()?.iter().map(Value::as_f64).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn triples_are_found_where_they_are() {
        let json = json!({"clients": {"tonic": {"rounds": [[1, 2.5, 3], [4, 5, 6]]}}});

        assert_eq!(
            triples(&json, "/clients/tonic/rounds", 2).unwrap(),
            [[1.0, 2.5, 3.0], [4.0, 5.0, 6.0]]
        );
        assert!(triples(&json, "/clients/reqwest/rounds", 2).is_err());
    }

    #[test]
    fn too_few_triples_measure_nothing() {
        let error = triples(&json!({"rounds": [[1, 2, 3]]}), "/rounds", 50)
            .unwrap_err()
            .to_string();

        assert_eq!(error, "only 1 triples at /rounds, 50 are needed");
    }

    #[test]
    fn what_is_no_triple_or_no_number_is_an_error() {
        assert!(triples(&json!({"rounds": [[1, 2, 3], [3]]}), "/rounds", 1).is_err());
        assert!(triples(&json!({"rounds": [["1", 2, 3]]}), "/rounds", 1).is_err());
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
