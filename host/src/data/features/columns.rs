//! Which arrays and columns of a file are features, which name the images, and which are neither.

/// The name that features have where a file holds more than they, and others that people give them, in order.
const FEATURES: [&str; 5] = ["features", "embeddings", "embedding", "feature", "x"];

/// Columns of names, in order of preference, in lower case.
const NAMES: [&str; 24] = [
    "file",
    "files",
    "filename",
    "filenames",
    "file_name",
    "file_names",
    "filepath",
    "filepaths",
    "file_path",
    "file_paths",
    "path",
    "paths",
    "image_path",
    "image_paths",
    "img_path",
    "image",
    "images",
    "image_name",
    "name",
    "names",
    "image_id",
    "id",
    "ids",
    "__index_level_0__",
];

/// What is no feature, whatever it holds, in lower case and without the name of a part: labels above all, which no strategy may see.
const NO_FEATURES: [&str; 22] = [
    "label",
    "labels",
    "class",
    "classes",
    "target",
    "targets",
    "y",
    "gt",
    "ground_truth",
    "category",
    "category_id",
    "class_id",
    "class_label",
    "label_id",
    "one_hot",
    "onehot",
    "logits",
    "split",
    "fold",
    "is_train",
    "correct",
    "loss",
];

/// Names of labels in order of preference, in lower case and without the name of a part.
const LABELS: [&str; 14] = [
    "label",
    "labels",
    "y",
    "target",
    "targets",
    "class",
    "classes",
    "gt",
    "ground_truth",
    "category",
    "class_label",
    "label_id",
    "class_id",
    "category_id",
];

/// Columns that number the rows, as pandas writes them, in lower case.
const INDEX: [&str; 4] = ["index", "unnamed: 0", "__index_level_0__", "level_0"];

/// The part of a data set that an array is called after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedPart {
    Train,
    Test,
    /// Nothing that is read.
    Validation,
}

/// How parts are called, in lower case.
const PARTS: [(&str, NamedPart); 6] = [
    ("train", NamedPart::Train),
    ("training", NamedPart::Train),
    ("test", NamedPart::Test),
    ("val", NamedPart::Validation),
    ("valid", NamedPart::Validation),
    ("validation", NamedPart::Validation),
];

/// What stands between the name of a part and what an array holds.
const SEPARATORS: [char; 3] = ['_', '-', '.'];

/// The name of an array in lower case without that of a part, and the part: `x_train`, `train_features`, `train`.
pub(super) fn bare(name: &str) -> (String, Option<NamedPart>) {
    let name = name.to_lowercase();
    for (word, part) in PARTS {
        let rest = [
            name.strip_prefix(word).and_then(|rest| rest.strip_prefix(SEPARATORS)),
            name.strip_suffix(word).and_then(|rest| rest.strip_suffix(SEPARATORS)),
            (name == word).then_some(""),
        ];
        if let Some(rest) = rest.into_iter().flatten().next() {
            return (rest.to_owned(), Some(part));
        }
    }
    (name, None)
}

/// Whether a column or array of this name is one of labels or the like.
pub(super) fn is_no_feature(name: &str) -> bool {
    let name = name.to_lowercase();
    // More is taken for labels than for a part of the features: `ytrain`, too.
    let without =
        |word: &str| name.strip_prefix(word).or(name.strip_suffix(word)).map(|rest| rest.trim_matches(SEPARATORS));
    let bare = PARTS.into_iter().find_map(|(word, _)| without(word)).unwrap_or(&name);
    NO_FEATURES.contains(&bare) || NO_FEATURES.contains(&name.as_str())
}

/// The place of a column or array among those that hold labels; `None` for names that say nothing of it.
pub(super) fn label_rank(name: &str) -> Option<usize> {
    let (bare, _) = bare(name);
    LABELS.iter().position(|known| *known == bare)
}

/// Whether a name is one of those that a pattern means: itself, or what begins as the pattern does before its `*`.
pub(super) fn is_meant(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Whether a column of whole numbers holds the ids of the images.
pub(super) fn is_id(name: &str) -> bool {
    ["id", "ids"].contains(&name.to_lowercase().as_str())
}

/// Whether a column of whole numbers numbers the rows.
pub(super) fn is_index(name: &str) -> bool {
    INDEX.contains(&name.to_lowercase().as_str())
}

/// The place of a column of text among those that name images; `None` for names that say nothing of it.
pub(super) fn name_rank(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    NAMES.iter().position(|known| *known == name)
}

/// Whether a text looks like the path of an image.
pub(super) fn looks_like_a_file(text: &str) -> bool {
    let ending = text.rsplit('.').next().unwrap_or_default().to_lowercase();
    let endings = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"];
    text.contains(['/', '\\']) || (text.contains('.') && endings.contains(&ending.as_str()))
}

/// The one of several matrices that holds the features: that with the first known name, or the only one.
///
/// Errs with the sentence.
pub(super) fn the_one(names: &[&str]) -> Result<usize, String> {
    let named = |known: &&str| names.iter().position(|name| bare(name).0 == **known);
    match (FEATURES.iter().find_map(named), names) {
        (Some(at), _) => Ok(at),
        (None, [_]) => Ok(0),
        (None, []) => Err("holds no row of floats for each image".to_owned()),
        (None, _) => {
            Err(format!("holds {} matrices of floats ({}); call one `features`", names.len(), names.join(", ")))
        }
    }
}

/// The columns of numbers that the patterns mean, in the order of the file.
///
/// Errs with the sentence where a pattern means none, or one that is called like labels.
pub(super) fn scalars(columns: &[&str], patterns: &[String]) -> Result<Vec<usize>, String> {
    if let Some(pattern) = patterns.iter().find(|pattern| !columns.iter().any(|name| is_meant(name, pattern))) {
        let known = columns.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(format!("has no column of numbers `{pattern}`; it has {known}"));
    }
    let is_wanted = |name: &str| patterns.iter().any(|pattern| is_meant(name, pattern));
    let found: Vec<usize> = (0..columns.len()).filter(|at| is_wanted(columns[*at])).collect();
    match found.iter().map(|at| columns[*at]).find(|name| is_no_feature(name)) {
        None => Ok(found),
        Some(name) => Err(format!("the column `{name}` is called like labels, which are no features")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_no_features_under_any_of_their_names() {
        for name in ["label", "Labels", "y", "y_train", "train_labels", "test_targets", "CLASS", "category_id", "split"]
        {
            assert!(is_no_feature(name), "{name}");
        }
        for name in ["features", "x_train", "embedding", "class_token", "f0", "yolo", "labelled_by_clip", "train"] {
            assert!(!is_no_feature(name), "{name}");
        }
    }

    #[test]
    fn parts_are_taken_off_names() {
        let rows = [
            ("x_train", "x", Some(NamedPart::Train)),
            ("Train_Features", "features", Some(NamedPart::Train)),
            ("test", "", Some(NamedPart::Test)),
            ("features-test", "features", Some(NamedPart::Test)),
            ("validation.x", "x", Some(NamedPart::Validation)),
            ("contest", "contest", None),
            ("trained", "trained", None),
            ("features", "features", None),
        ];
        for (name, expected, part) in rows {
            assert_eq!(bare(name), (expected.to_owned(), part), "{name}");
        }
    }

    #[test]
    fn columns_of_numbers_are_features_where_they_are_named() {
        let columns = ["f0", "f1", "g", "label"];
        let of = |patterns: &[&str]| scalars(&columns, &patterns.iter().map(|p| p.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["f*"]).unwrap(), [0, 1]);
        assert_eq!(of(&["g", "f1"]).unwrap(), [1, 2]);
        assert_eq!(of(&[]).unwrap(), [0; 0]);
        assert!(of(&["h*"]).unwrap_err().contains("no column of numbers `h*`"));
        assert!(of(&["*"]).unwrap_err().contains("`label` is called like labels"));
    }

    #[test]
    fn features_have_the_first_known_name_or_are_alone() {
        let of = |names: &[&str]| the_one(names).map(|at| names[at].to_owned());
        assert_eq!(of(&["a", "features", "embedding"]).unwrap(), "features");
        assert_eq!(of(&["image_size", "embedding"]).unwrap(), "embedding");
        assert_eq!(of(&["a", "x_train"]).unwrap(), "x_train");
        assert_eq!(of(&["a"]).unwrap(), "a");
        assert!(of(&["a", "b"]).unwrap_err().contains("holds 2 matrices of floats (a, b); call one `features`"));
        assert!(of(&[]).is_err());
    }
}
