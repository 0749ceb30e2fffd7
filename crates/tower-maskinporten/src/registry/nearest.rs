//! Which of the known names somebody may have meant.

/// The nearest of the known names, where it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (name, length) = (name.to_lowercase(), name.chars().count());
    let near = known.into_iter().filter_map(|candidate| {
        let distance = distance(&name, &candidate.to_lowercase());
        // Two letters that changed places are two edits; a name of which nothing is left is no hint.
        let is_near = distance <= (length / 3).max(2) && distance < length;
        is_near.then_some((distance, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

/// How many letters are to be put in, taken out or exchanged (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in other.iter().enumerate() {
            let exchanged = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_near_and_another_word_is_not() {
        let check = |name: &str, expected: Option<&str>| {
            let known = ["timeout", "attempt_timeout", "retries", "mva"];
            assert_eq!(nearest(name, known), expected, "{name}");
        };
        check("time_out", Some("timeout"));
        check("Timeout", Some("timeout"));
        check("retrys", Some("retries"));
        check("atempt_timeout", Some("attempt_timeout"));
        check("mav", Some("mva"));
        check("x", None);
        check("base", None);
        check("", None);
    }

    #[test]
    fn a_distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ærlig"), 5);
        assert_eq!(distance("same", "same"), 0);
    }
}
