//! The nearest known word to a mistyped one, for hints.

/// The known word that `word` is most likely meant to be, if one is near enough to say so.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    scored.min().filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3).map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["entropy", "margin", "random"];
        for (word, expected) in
            [("entrpy", Some("entropy")), ("magrin", Some("margin")), ("entropy", Some("entropy")), ("badge", None)]
        {
            assert_eq!(nearest(word, known), expected);
        }
    }
}
