//! Files of NumPy and archives, written by hand.

use std::io::{Cursor, Write};

/// An `.npy` file of elements of a type such as `<f4`, in a shape such as `(3, 2)`.
pub fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), elements].concat()
}

/// An archive of such files.
pub fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = npyz::npz::NpzWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        writer.zip_writer().start_file(format!("{name}.npy"), Default::default()).expect("memory takes every file");
        writer.zip_writer().write_all(bytes).expect("memory takes every byte");
    }
    writer.zip_writer().finish().expect("memory takes every byte").into_inner()
}

/// A ZIP archive of files by their paths, stored as they are.
pub fn zip_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = npyz::npz::NpzWriter::new(Cursor::new(Vec::new()));
    let archive = writer.zip_writer();
    for (path, bytes) in members {
        archive.start_file(path.as_str(), Default::default()).expect("memory takes every file");
        archive.write_all(bytes).expect("memory takes every byte");
    }
    archive.finish().expect("memory takes every byte").into_inner()
}

/// An array of text of a fixed width, as NumPy stores `dtype="U"`.
pub fn npy_of_texts(texts: &[&str]) -> Vec<u8> {
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(1).max(1);
    let padded = |text: &&str| {
        let characters: Vec<u32> = text.chars().map(u32::from).collect();
        (0..width).flat_map(move |i| characters.get(i).copied().unwrap_or(0).to_le_bytes()).collect::<Vec<u8>>()
    };
    let elements: Vec<u8> = texts.iter().flat_map(padded).collect();
    npy(&format!("<U{width}"), &format!("({},)", texts.len()), &elements)
}
