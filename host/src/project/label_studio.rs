//! Tasks for Label Studio: the chosen images, to be imported there.
//!
//! A task carries the image's path below its folder under a key of our own, which every export repeats: however the address
//! looks, the label finds its image.

use super::{Pick, Picks};
use serde_json::{Value, json};
use std::path::Path;

/// Under this key, and in this column, stands the path of the image.
pub const IMAGE: &str = "coldstart_image";
/// What begins so in a task's data is ours.
pub const OURS: &str = "coldstart_";

/// Where images are when Label Studio serves files of its own machine: with the folder above `images` as its document root.
pub fn url_prefix(images: &Path) -> String {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    format!("/data/local-files/?d={}/", encoded(&name))
}

/// The tasks of a selection, to be imported; copies of an image are named in its task.
pub fn tasks(picks: &Picks, url_prefix: &str) -> String {
    let tasks: Vec<Value> = picks.picks.iter().map(|pick| task(picks, pick, url_prefix)).collect();
    serde_json::to_string_pretty(&tasks).expect("plain data") + "\n"
}

fn task(picks: &Picks, pick: &Pick, url_prefix: &str) -> Value {
    let mut data = json!({
        "image": format!("{url_prefix}{}", encoded(&pick.image)),
        IMAGE: pick.image,
        "coldstart_rank": pick.rank,
        "coldstart_score": pick.score,
        "coldstart_round": picks.round,
    });
    if !pick.copies.is_empty() {
        data["coldstart_copies"] = json!(pick.copies);
    }
    json!({"data": data, "meta": {"strategies": picks.strategies}})
}

/// Percent-encodes all but letters, digits, `-._~` and slashes.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::addresses::decoded;

    /// Python's urllib.parse.quote says the same of the first two.
    #[test]
    fn addresses_are_encoded_and_back() {
        for (path, address) in [
            ("a b/ü.png", "a%20b/%C3%BC.png"),
            ("50%+&?#.jpg", "50%25%2B%26%3F%23.jpg"),
            ("plain-._~/1", "plain-._~/1"),
        ] {
            assert_eq!(encoded(path), address);
            assert_eq!(decoded(address), path);
        }
    }
}
