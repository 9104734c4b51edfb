//! Folders of photographs, and the projects that `coldstart select` makes of them.

use crate::{Lab, Ran};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use std::io::Cursor;

/// Images whose class shows in their colour, in two folders; sizes differ.
pub const NAMES: [&str; 16] = [
    "ants/1.png",
    "ants/2.jpg",
    "ants/3.png",
    "ants/4.PNG",
    "ants/deep/er/5.png",
    "ants/6.png",
    "ants/7.png",
    "ants/8.png",
    "bees/1.png",
    "bees/2.jpeg",
    "bees/3.png",
    "bees/4.png",
    "bees/5.png",
    "bees/6.png",
    "bees/7.png",
    "bees/8.png",
];

/// The file of an image: a gradient in a colour of its own.
pub fn photograph(number: usize, name: &str) -> Vec<u8> {
    let base = if name.starts_with("ants") { [200, 40] } else { [40, 200] };
    let (width, height) = (20 + number as u32, 30);
    let pixel = |x: u32, y: u32| Rgb([base[0], base[1], (x * 5 + y * 2 + 7 * number as u32) as u8]);
    let format = if name.to_lowercase().ends_with("png") { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(width, height, pixel).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A lab with `photos` in it.
pub fn lab_with(names: &[&str]) -> Lab {
    let lab = Lab::new();
    for (number, name) in names.iter().enumerate() {
        lab.write(&format!("photos/{name}"), photograph(number, name));
    }
    lab
}

/// `coldstart select` on `photos`, small and on one core.
pub fn select(lab: &Lab, strategy: &str, size: &str, more: &[&str]) -> Ran {
    let args = ["select", "--images", "photos", "--strategy", strategy, "--size", size, "-s", "threads=1"];
    let small = ["-s", "dataset.shape=[16, 16, 3]", "-s", "model.width=4", "-s", "training.min_steps=10"];
    let network = ["-s", "training.learner=supervised"];
    lab.coldstart(&[&args[..], &small, &network, more].concat())
}

/// The text of a file of the lab.
pub fn read(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A JSON file of the lab.
pub fn json(lab: &Lab, name: &str) -> Value {
    serde_json::from_str(&read(lab, name)).unwrap()
}

/// The chosen images in order.
pub fn picks(lab: &Lab, folder: &str) -> Vec<String> {
    let picks = json(lab, &format!("{folder}/picks.json"));
    picks["picks"].as_array().unwrap().iter().map(|pick| pick["image"].as_str().unwrap().to_owned()).collect()
}

/// Labels for these images, each the first folder of its path, as CSV.
pub fn labels(images: &[String]) -> String {
    let row = |image: &String| format!("{image},{}\n", image.split('/').next().unwrap());
    format!("image,label\n{}", images.iter().map(row).collect::<String>())
}
