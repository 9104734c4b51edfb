//! Grey images of 16 bits, of which a sensor may fill fewer: what is white in them is decided once for a whole set.
//!
//! White is the largest number of 8, 10, 12, 14 or 16 bits, whichever is the smallest that no sample of the set exceeds: the depths
//! that sensors and files have. Were it decided for each image by itself, a dark image would come out as bright as any other.

use super::losses::Told;

/// White where all bits are used, which is what a single image is read with.
pub(super) const FULL: u16 = u16::MAX;

/// What is white, with the number of bits.
const WHITES: [(u16, u32); 5] = [(0xff, 8), (0x3ff, 10), (0xfff, 12), (0x3fff, 14), (FULL, 16)];

/// The grey images of 16 bits of a set.
#[derive(Debug, Clone, Default)]
pub(super) struct Depth {
    brightest: u16,
    all: Told,
    /// Those that stay below an eighth of white, for each that could be white.
    dark: [Told; WHITES.len()],
}

impl Depth {
    /// Adds an image by the brightest of its samples.
    pub(super) fn add(&mut self, brightest: u16, path: &str) {
        self.brightest = self.brightest.max(brightest);
        self.all.add(path);
        for ((white, _), dark) in WHITES.iter().zip(&mut self.dark) {
            // An image that is black all over is not badly exposed.
            if (1..=white / 8).contains(&brightest) {
                dark.add(path);
            }
        }
    }

    /// The sample that is white in all of them; a set that is black all over has nothing to be scaled.
    pub(super) fn white(&self) -> u16 {
        if self.brightest == 0 { FULL } else { WHITES[self.place()].0 }
    }

    fn place(&self) -> usize {
        WHITES.iter().position(|(white, _)| self.brightest <= *white).expect("no sample exceeds all bits")
    }

    /// What is white, if it is not all bits; and which images stay dark.
    pub(super) fn sentences(&self) -> Vec<String> {
        let white = self.white();
        let (_, bits) = WHITES[self.place()];
        let scaled = format!(
            "in grey of 16 bits, of which {bits} are used: {white} is white in all of them, as no sample of the set is above {}",
            self.brightest
        );
        let scaled = (white < FULL).then(|| self.all.sentence(&scaled)).flatten();
        let dark = format!(
            "in grey of 16 bits that stay below an eighth of white, which is {white} in the whole set: nearly black"
        );
        let place = if white == FULL { WHITES.len() - 1 } else { self.place() };
        scaled.into_iter().chain(self.dark[place].sentence(&dark)).collect()
    }
}

/// Bytes of grey samples, where `white` becomes 255; what is brighter is white, too.
pub(super) fn scaled(samples: &[u16], white: u16) -> Vec<u8> {
    let white = u32::from(white);
    samples.iter().map(|sample| ((u32::from(*sample) * 255 + white / 2) / white).min(255) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(brightest: &[u16]) -> Depth {
        let mut depth = Depth::default();
        brightest.iter().enumerate().for_each(|(i, brightest)| depth.add(*brightest, &format!("{i}.png")));
        depth
    }

    #[test]
    fn the_brightest_sample_of_a_set_says_what_is_white() {
        let rows: [(&[u16], u16); 8] = [
            (&[], FULL),
            (&[0, 0], FULL),
            (&[7, 255], 255),
            (&[256], 1023),
            (&[3, 4095, 9], 4095),
            (&[4096], 16383),
            (&[16383, 1], 16383),
            (&[16384], FULL),
        ];
        for (brightest, white) in rows {
            assert_eq!(depth(brightest).white(), white, "{brightest:?}");
        }
    }

    #[test]
    fn what_is_white_and_what_stays_dark_is_said() {
        let rows: [(&[u16], &[&str]); 4] = [
            (&[40_000, 20_000], &[]),
            (
                &[0, 40_000, 4_000],
                &[
                    "1 image (the first is `2.png`) in grey of 16 bits that stay below an eighth of white, which is 65535",
                ],
            ),
            (
                &[4_000, 2_000],
                &["2 images (the first is `0.png`) in grey of 16 bits, of which 12 are used: 4095 is white"],
            ),
            (
                &[4_000, 500],
                &["of which 12 are used", "1 image (the first is `1.png`) in grey of 16 bits that stay below"],
            ),
        ];
        for (brightest, expected) in rows {
            let sentences = depth(brightest).sentences();
            assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
            for (sentence, words) in sentences.iter().zip(expected) {
                assert!(sentence.contains(words), "{sentence}\nexpected: {words}");
            }
        }
    }

    #[test]
    fn samples_are_rounded_to_the_nearest_byte() {
        assert_eq!(scaled(&[0, 8, 9, 2048, 4095, 5000], 4095), [0, 0, 1, 128, 255, 255]);
        assert_eq!(scaled(&[0, 128, 255], 255), [0, 128, 255]);
    }
}
