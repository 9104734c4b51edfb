//! Which columns of a table are the images, the labels and the parts: those that the config names, or those that are called so.

/// What columns of images are called, in lower case: files first, then what may be one, then ids. One of the first group counts
/// for more than any of the next.
const IMAGES: [&[&str]; 3] = [
    &[
        "file_name",
        "file_names",
        "filename",
        "filenames",
        "file",
        "files",
        "filepath",
        "file_path",
        "path",
        "paths",
        "image_path",
        "image_paths",
        "img_path",
        "image_file",
        "image_filename",
        "image_name",
        "img_name",
        "relative_path",
    ],
    &["image", "images", "img", "picture", "photo"],
    &["id", "image_id", "img_id", "id_code", "name"],
];
/// What columns of labels are called.
pub(in super::super) const LABELS: [&[&str]; 1] = [&[
    "label",
    "labels",
    "class",
    "classes",
    "class_name",
    "class_label",
    "label_name",
    "target",
    "category",
    "category_name",
    "y",
]];
/// What columns of parts are called.
const SPLITS: [&[&str]; 1] = [&["split", "subset", "partition"]];

/// The columns that a config names.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Keys<'a> {
    pub image: Option<&'a str>,
    pub label: Option<&'a str>,
    pub split: Option<&'a str>,
}

/// Places of columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub image: usize,
    pub label: usize,
    /// `None` where no column says which part an image belongs to, or nobody wants to know.
    pub split: Option<usize>,
}

/// What is not clear about the columns, and what to do.
#[derive(Debug)]
pub(in super::super) struct Unclear {
    pub why: String,
    pub hint: String,
}

impl Columns {
    /// Finds the columns in the first line; that of parts only where it is wanted.
    pub(super) fn of(header: &[String], keys: Keys<'_>, wants_split: bool) -> Result<Columns, Unclear> {
        let needed = |key, called, known: &[&[&str]], what| {
            the_one(header, key, called, known)?.ok_or_else(|| none(header, called, known, what))
        };
        let split = match wants_split {
            true => the_one(header, keys.split, "split", &SPLITS)?,
            false => None,
        };
        Ok(Columns {
            image: needed(keys.image, "image", &IMAGES, "images")?,
            label: needed(keys.label, "label", &LABELS, "labels")?,
            split,
        })
    }
}

/// The column that the config names as `dataset.CALLED`, or the only one with a name of the first group that has any.
pub(in super::super) fn the_one(
    header: &[String],
    key: Option<&str>,
    called: &str,
    known: &[&[&str]],
) -> Result<Option<usize>, Unclear> {
    if let Some(name) = key {
        let found = header.iter().position(|cell| cell == name);
        let why = || format!("no column is named `{name}`, as `dataset.{called}` says; there are {}", shown(header));
        return found.map(Some).ok_or_else(|| Unclear {
            why: why(),
            hint: "columns are named in the same letters as in the table, whose first line names them".to_owned(),
        });
    }
    for group in known {
        let is_known = |cell: &String| group.contains(&cell.as_str()) || group.contains(&cell.to_lowercase().as_str());
        let found: Vec<usize> = (0..header.len()).filter(|column| is_known(&header[*column])).collect();
        match found[..] {
            [] => {}
            [one] => return Ok(Some(one)),
            [first, second, ..] => {
                let (first, second) = (&header[first], &header[second]);
                return Err(Unclear {
                    why: format!("the columns `{first}` and `{second}` could both be meant"),
                    hint: format!("`dataset.{called} = \"{first}\"` says which"),
                });
            }
        }
    }
    Ok(None)
}

fn none(header: &[String], called: &str, known: &[&[&str]], what: &str) -> Unclear {
    let examples: Vec<String> =
        known.iter().flat_map(|group| group.iter()).take(4).map(|name| format!("`{name}`")).collect();
    Unclear {
        why: format!(
            "no column is called as {what} are ({} and the like); there are {}",
            examples.join(", "),
            shown(header)
        ),
        hint: format!("`dataset.{called}` names the column; the first line of a table names its columns"),
    }
}

/// So many names are told one by one.
const NAMED: usize = 12;

fn shown(header: &[String]) -> String {
    let more = header.len().saturating_sub(NAMED);
    let named: Vec<String> = header.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str, keys: Keys<'_>) -> Result<Columns, Unclear> {
        let header: Vec<String> = header.split(',').map(str::to_owned).collect();
        Columns::of(&header, keys, true)
    }

    #[test]
    fn columns_are_found_by_name_or_as_the_config_says() {
        let none = Keys::default();
        let rows = [
            ("filename,label", none, (0, 1, None)),
            ("file_name,label", none, (0, 1, None)),
            ("id,File,Class,Split", none, (1, 2, Some(3))),
            ("label,image,width,height,id", none, (1, 0, None)),
            ("id_code,diagnosis", Keys { label: Some("diagnosis"), ..none }, (0, 1, None)),
            ("a,b,c", Keys { image: Some("b"), label: Some("a"), split: Some("c") }, (1, 0, Some(2))),
            ("file,path,label", Keys { image: Some("path"), ..none }, (1, 2, None)),
        ];
        for (header, keys, (image, label, split)) in rows {
            assert_eq!(columns(header, keys).unwrap(), Columns { image, label, split }, "{header}");
        }
        let header = ["file", "label", "split"].map(String::from);
        assert_eq!(Columns::of(&header, none, false).unwrap().split, None);
    }

    #[test]
    fn what_is_not_clear_is_refused_with_the_key_that_says_it() {
        let none = Keys::default();
        let rows = [
            ("file,path,label", none, "`file` and `path` could both be meant", "`dataset.image = \"file\"`"),
            ("file,label,class", none, "`label` and `class` could both", "`dataset.label = \"label\"`"),
            ("id,breed", none, "no column is called as labels are (`label`, `labels`", "`dataset.label` names"),
            ("1.png,cat", none, "no column is called as images are (`file_name`", "the first line"),
            ("file,label", Keys { label: Some("Label"), ..none }, "no column is named `Label`", "same letters"),
            (
                "file,label",
                Keys { split: Some("part"), ..none },
                "as `dataset.split` says; there are `file`, `label`",
                "",
            ),
        ];
        for (header, keys, why, hint) in rows {
            let unclear = columns(header, keys).expect_err(header);
            assert!(unclear.why.contains(why) && unclear.hint.contains(hint), "{unclear:?}");
        }
    }
}
