//! What images had that their pixels no longer show, counted over a set.

/// What one image lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// A pixel that is not opaque.
    pub transparency: bool,
    /// Colours of 16 bits that use a small part of their range, and so come out nearly black.
    pub brightness: bool,
    /// Inks (CMYK), converted without the profile of a press.
    pub inks: bool,
    /// Pictures behind the first: an animation, or a document of many pages.
    pub pictures: bool,
}

/// How many images of a set something is true of, and which is the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    n: usize,
    first: String,
}

impl Told {
    pub(super) fn add(&mut self, path: &str) {
        if self.n == 0 {
            path.clone_into(&mut self.first);
        }
        self.n += 1;
    }

    /// `2 images (the first is `a.png`) WHAT`, or nothing where there are none.
    pub(super) fn sentence(&self, what: &str) -> Option<String> {
        let images = if self.n == 1 { "image" } else { "images" };
        (self.n > 0).then(|| format!("{} {images} (the first is `{}`) {what}", self.n, self.first))
    }
}

/// How many images of a set lost something.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    transparency: Told,
    brightness: Told,
    inks: Told,
    pictures: Told,
}

impl Losses {
    /// Adds what the image at `path` lost.
    pub(super) fn add(&mut self, lost: Lost, path: &str) {
        let Lost { transparency, brightness, inks, pictures } = lost;
        let each = [
            (transparency, &mut self.transparency),
            (brightness, &mut self.brightness),
            (inks, &mut self.inks),
            (pictures, &mut self.pictures),
        ];
        each.into_iter().filter(|(is_lost, _)| *is_lost).for_each(|(_, told)| told.add(path));
    }

    /// A sentence for each kind of loss.
    pub(super) fn sentences(&self) -> Vec<String> {
        let told = [
            (
                &self.transparency,
                "with transparent pixels: the colours beneath are used, as Pillow's convert(\"RGB\") does",
            ),
            (
                &self.brightness,
                "in colours of 16 bits that use less than an eighth of their range, and come out nearly black: 65535 is white \
                 whatever the sensor's bits are, so stretch them first",
            ),
            (&self.inks, "in CMYK: the colours are converted without a profile, and are approximate"),
            (
                &self.pictures,
                "of more than one picture, as animations and documents of many pages: the first picture is used",
            ),
        ];
        told.iter().filter_map(|(told, what)| told.sentence(what)).collect()
    }
}
