//! What a model says of every image of a project.

use super::{Known, Pool};
use crate::experiment::most_probable;
use std::collections::BTreeMap;

/// What begins so in the header of the table is the probability of a class.
const PROBABILITY: &str = "p:";

/// What a model says of the images of a pool.
pub struct Predictions<'a> {
    /// The images, and the classes.
    pub pool: &'a Pool,
    /// A row for each image of the pool, n x classes.
    pub probs_nc: &'a [f32],
}

/// What a model takes an image for.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// The most probable class.
    pub class: String,
    /// Its probability.
    pub probability: f32,
}

impl Predictions<'_> {
    /// What each image of the pool is taken for, by id.
    pub fn guesses(&self) -> BTreeMap<u64, Guess> {
        let guess = |(id, probs_c): (&u64, &[f32])| (*id, self.guess(probs_c));
        self.pool.ids.iter().zip(self.rows()).map(guess).collect()
    }

    /// `image,id,label,prediction,confidence` and `p:CLASS` for each class; a row for each file, copies of an image after it.
    ///
    /// `label` is what people said, and empty where nobody has.
    pub fn to_csv(&self, images: &[Known]) -> String {
        let mut table = csv::Writer::from_writer(Vec::new());
        let classes = self.pool.classes.iter().map(|class| format!("{PROBABILITY}{class}"));
        let header = ["image", "id", "label", "prediction", "confidence"].map(str::to_owned);
        let mut written = table.write_record(header.into_iter().chain(classes));
        for ((id, label), probs_c) in self.pool.ids.iter().zip(&self.pool.labels).zip(self.rows()) {
            let Guess { class, probability } = self.guess(probs_c);
            let label = label.map_or("", |label| self.pool.classes[label as usize].as_str());
            let copies = self.pool.copies.get(id).into_iter().flatten();
            for file in std::iter::once(id).chain(copies) {
                let name = images[*file as usize].image.clone();
                let cells = [name, file.to_string(), label.to_owned(), class.clone(), probability.to_string()];
                let probabilities = probs_c.iter().map(f32::to_string);
                written = written.and_then(|()| table.write_record(cells.into_iter().chain(probabilities)));
            }
        }
        written.expect("memory takes every row");
        String::from_utf8(table.into_inner().expect("memory takes every row")).expect("made of text")
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.probs_nc.chunks(self.pool.classes.len().max(1))
    }

    /// The most probable class, the first of equal ones.
    fn guess(&self, probs_c: &[f32]) -> Guess {
        let most = most_probable(probs_c);
        Guess { class: self.pool.classes[most].clone(), probability: probs_c[most] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_row_and_copies_have_that_of_their_image() {
        let pool = Pool {
            classes: vec!["ant".to_owned(), "bee, wild".to_owned()],
            ids: vec![0, 2],
            labels: vec![Some(1), None],
            labelled: vec![0],
            unlabelled: vec![2],
            waiting: 0,
            copies: BTreeMap::from([(0, vec![1])]),
        };
        let known = |image: &str| Known { image: image.to_owned(), sha256: String::new() };
        let predictions = Predictions { pool: &pool, probs_nc: &[0.25, 0.75, 0.5, 0.5] };
        assert_eq!(
            predictions.to_csv(&[known("a.png"), known("b.png"), known("c.png")]),
            "image,id,label,prediction,confidence,p:ant,\"p:bee, wild\"\n\
             a.png,0,\"bee, wild\",\"bee, wild\",0.75,0.25,0.75\n\
             b.png,1,\"bee, wild\",\"bee, wild\",0.75,0.25,0.75\n\
             c.png,2,,ant,0.5,0.5,0.5\n"
        );
        assert_eq!(predictions.guesses()[&2], Guess { class: "ant".to_owned(), probability: 0.5 });
    }
}
