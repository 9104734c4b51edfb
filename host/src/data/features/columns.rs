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

/// Columns that number the rows, as pandas writes them, in lower case.
const INDEX: [&str; 4] = ["index", "unnamed: 0", "__index_level_0__", "level_0"];

/// Whether a column or array of this name is one of labels or the like.
pub(super) fn is_no_feature(name: &str) -> bool {
    let name = name.to_lowercase();
    let of_part = |part: &str| name.strip_prefix(part).or(name.strip_suffix(part)).map(|rest| rest.trim_matches('_'));
    let bare = ["train", "test", "val"].into_iter().find_map(of_part).unwrap_or(&name);
    NO_FEATURES.contains(&bare) || NO_FEATURES.contains(&name.as_str())
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
pub(super) fn the_one<T>(matrices: &[(String, T)]) -> Result<&(String, T), String> {
    let named = |known: &str| matrices.iter().find(|(name, _)| name.to_lowercase() == known);
    match (FEATURES.iter().find_map(|known| named(known)), matrices) {
        (Some(matrix), _) | (None, [matrix]) => Ok(matrix),
        (None, []) => Err("holds no row of floats for each image".to_owned()),
        (None, _) => {
            let names: Vec<&str> = matrices.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("holds {} matrices of floats ({}); call one `features`", names.len(), names.join(", ")))
        }
    }
}

/// Holds the columns of a table without lists, each a number for each image, against what features are called.
///
/// A series such as `f0` to `f255` is one matrix, and so are columns without numbers in their names. Errs with the sentence when
/// a column is none of the series, or called like labels.
pub(super) fn check_scalars(columns: &[&str]) -> Result<(), String> {
    if let Some(name) = columns.iter().find(|name| is_no_feature(name)) {
        return Err(format!("the column `{name}` stands among the features, and is called like labels"));
    }
    let mut series: Vec<&str> = columns.iter().filter_map(|name| series_of(name)).collect();
    series.sort_unstable();
    let longest = series.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).map(|same| same[0]);
    let Some(series) = longest else { return Ok(()) };
    match columns.iter().find(|name| series_of(name) != Some(series)) {
        None => Ok(()),
        Some(other) => {
            let first = columns.iter().find(|name| series_of(name) == Some(series)).copied().unwrap_or_default();
            Err(format!("the column `{other}` stands among the features, which are called `{first}` and so on"))
        }
    }
}

/// The name of a numbered column without its number.
fn series_of(name: &str) -> Option<&str> {
    let series = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (series.len() < name.len()).then_some(series)
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
    fn a_table_of_numbers_is_one_series_or_refused() {
        let rows: [(&[&str], bool); 8] = [
            (&["f0", "f1", "f2"], true),
            (&["0", "1", "2"], true),
            (&["a", "b"], true),
            (&["pca_1", "pca_2", "pca_10"], true),
            (&["f0", "f1", "label"], false),
            (&["f0", "f1", "width"], false),
            (&["f0", "f1", "g0"], false),
            (&["a", "target"], false),
        ];
        for (columns, is_fine) in rows {
            assert_eq!(check_scalars(columns).is_ok(), is_fine, "{columns:?}");
        }
    }

    #[test]
    fn features_have_the_first_known_name_or_are_alone() {
        let of = |names: &[&str]| {
            let matrices: Vec<(String, ())> = names.iter().map(|name| (name.to_string(), ())).collect();
            the_one(&matrices).map(|(name, ())| name.clone())
        };
        assert_eq!(of(&["a", "features", "embedding"]).unwrap(), "features");
        assert_eq!(of(&["image_size", "embedding"]).unwrap(), "embedding");
        assert_eq!(of(&["a"]).unwrap(), "a");
        assert!(of(&["a", "b"]).unwrap_err().contains("holds 2 matrices of floats (a, b); call one `features`"));
        assert!(of(&[]).is_err());
    }
}
