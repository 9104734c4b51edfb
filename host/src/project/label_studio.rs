//! Tasks for Label Studio: the chosen images, to be imported there.
//!
//! A task carries the image's path below its folder under a key of our own, which every export repeats: however the address
//! looks, the label finds its image.

use super::{Guess, Pick, Picks};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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

/// The tasks of a selection, to be imported there.
pub struct Tasks<'a> {
    /// The chosen images.
    pub picks: &'a Picks,
    /// What stands before an image's path.
    pub url_prefix: &'a str,
    /// The control of the labelling interface that takes the class.
    pub control: &'a str,
    /// What a model takes images for, by id; empty where there is none.
    pub guesses: &'a BTreeMap<u64, Guess>,
}

/// What the labelling interface calls the image.
const TO: &str = "image";

impl Tasks<'_> {
    /// The tasks as JSON; copies of an image are named in its task, and what a model takes it for is an answer to begin with.
    pub fn to_json(&self) -> String {
        let tasks: Vec<Value> = self.picks.picks.iter().map(|pick| self.task(pick)).collect();
        serde_json::to_string_pretty(&tasks).expect("plain data") + "\n"
    }

    fn task(&self, pick: &Pick) -> Value {
        let mut data = json!({
            "image": format!("{}{}", self.url_prefix, encoded(&pick.image)),
            IMAGE: pick.image,
            "coldstart_rank": pick.rank,
            "coldstart_score": pick.score,
            "coldstart_round": self.picks.round,
        });
        if !pick.copies.is_empty() {
            data["coldstart_copies"] = json!(pick.copies);
        }
        let mut task = json!({"data": data, "meta": {"strategies": self.picks.strategies}});
        if let Some(guess) = self.guesses.get(&pick.id) {
            task["predictions"] = json!([self.answer(guess)]);
        }
        task
    }

    fn answer(&self, guess: &Guess) -> Value {
        let value = json!({"choices": [guess.class]});
        let result = json!({"from_name": self.control, "to_name": TO, "type": "choices", "value": value});
        json!({
            "model_version": format!("coldstart round {}", self.picks.round),
            "score": guess.probability,
            "result": [result],
        })
    }

    /// A labelling interface for these tasks, with a choice for each class.
    pub fn interface(&self, classes: &[String]) -> String {
        let choices: String =
            classes.iter().map(|class| format!("    <Choice value=\"{}\"/>\n", in_xml(class))).collect();
        format!(
            "<View>\n  <Image name=\"{TO}\" value=\"${TO}\"/>\n  <Choices name=\"{}\" toName=\"{TO}\" choice=\"single\">\n\
             {choices}  </Choices>\n</View>\n",
            in_xml(self.control)
        )
    }
}

/// A text as the value of an attribute.
fn in_xml(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        // XML has no other control characters, and would make spaces of these.
        '\t' | '\n' | '\r' => format!("&#{};", u32::from(c)),
        c if c.is_control() => "\u{fffd}".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
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

    #[test]
    fn classes_are_choices_whatever_they_are_called() {
        let picks = Picks::default();
        let tasks = Tasks { picks: &picks, url_prefix: "", control: "kind", guesses: &BTreeMap::new() };
        let interface = tasks.interface(&["ant".to_owned(), "a<b & \"c\"".to_owned()]);
        assert!(interface.contains("<Choices name=\"kind\" toName=\"image\" choice=\"single\">"), "{interface}");
        assert!(interface.contains("<Choice value=\"a&lt;b &amp; &quot;c&quot;\"/>"), "{interface}");
    }
}
