//! Image sets that live on the device as bytes, and the batches that are cut from them there.

use std::sync::Arc;

use coldstart_plugin_api::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::device::Device;
use super::error::{EngineError, TorchResult, While};
use super::given::SharedBytes;
use super::probe::Moments;

/// The smallest side of an image that every backbone accepts.
pub const MIN_SIDE: usize = 8;

/// Zero pixels around an image before it is cropped back to its size.
const CROP_PADDING: usize = 4;

/// Height, width and channels of every image in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Bytes in a pixel: 1 for grey, 3 for colour.
    pub channels: usize,
}

impl ImageShape {
    /// The bytes of one image.
    pub fn n_bytes(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// What is subtracted from the bytes of each channel, and what they are then divided by.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// The mean byte of each channel.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel; 1 for a channel that never changes.
    pub std: Vec<f64>,
}

impl Normalisation {
    /// The mean and standard deviation of each channel over all of `pixels_nhwc`, from exact integer sums.
    pub fn of(pixels_nhwc: &[u8], channels: usize) -> Self {
        let moments = |channel: usize| {
            let mut counts = [0u64; 256];
            pixels_nhwc.iter().skip(channel).step_by(channels).for_each(|&byte| counts[byte as usize] += 1);
            let sum_of =
                |f: fn(u64) -> u64| (0u64..).zip(&counts).map(|(byte, n)| u128::from(f(byte) * n)).sum::<u128>();
            let (n, sum, sum_of_squares) = (sum_of(|_| 1), sum_of(|byte| byte), sum_of(|byte| byte * byte));
            let spread = n * sum_of_squares - sum * sum;
            let std = if spread == 0 { 1.0 } else { (spread as f64).sqrt() / n as f64 };
            (sum as f64 / n.max(1) as f64, std)
        };
        let (mean, std) = (0..channels).map(moments).unzip();
        Self { mean, std }
    }
}

/// Random changes to the training images, chosen by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// No change.
    None,
    /// Mirrored left to right, half of the time.
    Flip,
    /// Padded with 4 zero pixels on each side and cropped at random to its size, then as `flip`.
    CropFlip,
    /// As `crop-flip`, then two random changes of fourteen and a square cut out: RandAugment as FixMatch has it.
    RandAugment,
}

/// One random draw per image of an epoch: which image, where it is cropped, whether it is mirrored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draws {
    rows: Vec<i64>,
    tops: Vec<i64>,
    lefts: Vec<i64>,
    flips: Vec<i64>,
    padding: usize,
}

impl Augmentation {
    /// Draws for `rows`, in their order.
    pub(super) fn draw(self, rows: &[usize], rng: &mut Rng) -> Draws {
        let crops = matches!(self, Augmentation::CropFlip | Augmentation::RandAugment);
        let padding = if crops { CROP_PADDING } else { 0 };
        let mut below = |n: usize| rng.below(n as u64) as i64;
        let mut draws = Draws { rows: Vec::new(), tops: Vec::new(), lefts: Vec::new(), flips: Vec::new(), padding };
        for &row in rows {
            draws.rows.push(row as i64);
            draws.tops.push(below(2 * padding + 1));
            draws.lefts.push(below(2 * padding + 1));
            draws.flips.push(if self == Augmentation::None { 0 } else { below(2) });
        }
        draws
    }
}

/// The draws of one epoch on the device.
pub(super) struct Epoch {
    rows_n: Tensor,
    /// Where each pixel row (n x h x 1) and column (n x 1 x w) of the result lies in its padded image.
    places: Option<(Tensor, Tensor)>,
    padding: i64,
}

/// A set of images, resident on the device as bytes; or rows of a set without images, of which only features are known.
pub struct Images {
    pixels_nhwc: Tensor,
    shape: ImageShape,
    n_images: usize,
    normalisation: Normalisation,
    mean_c: Tensor,
    inverse_std_c: Tensor,
    features: Option<Features>,
}

/// What a frozen backbone makes of every image of a set.
pub(super) struct Features {
    /// Which backbone.
    pub(super) of: Arc<str>,
    pub(super) values_nd: Tensor,
    pub(super) moments: Moments,
    /// Whoever holds the numbers, where the tensor does not.
    pub(super) source: Option<SharedBytes>,
}

impl Features {
    fn again(&self) -> Features {
        Features {
            of: self.of.clone(),
            values_nd: self.values_nd.shallow_clone(),
            moments: self.moments.again(),
            source: self.source.clone(),
        }
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} images of {:?}", self.n_images, self.shape)
    }
}

impl Images {
    /// Puts the pool's images on `device`; they are normalised by their own mean and standard deviation.
    ///
    /// `pixels_nhwc` holds image after image, row after row, pixel after pixel. Errs when its length is not a whole
    /// number of images, when there is none, or when an image is smaller than 8 x 8.
    pub fn new(pixels_nhwc: &[u8], shape: ImageShape, device: &Device) -> Result<Self, EngineError> {
        check(pixels_nhwc, shape)?;
        let normalisation = Normalisation::of(pixels_nhwc, shape.channels);
        upload(pixels_nhwc, shape, normalisation, device.torch()).doing("putting the images on the device")
    }

    /// As [`Images::new`], but brought to 0 to 1 and no further: what a network from elsewhere can be made to expect.
    pub fn from_0_to_1(pixels_nhwc: &[u8], shape: ImageShape, device: &Device) -> Result<Self, EngineError> {
        check(pixels_nhwc, shape)?;
        let normalisation = Normalisation { mean: vec![0.0; shape.channels], std: vec![255.0; shape.channels] };
        upload(pixels_nhwc, shape, normalisation, device.torch()).doing("putting the images on the device")
    }

    /// The rows of a set without images, of which features are [given](super::give).
    pub fn without_pixels(n_rows: usize, device: &Device) -> Result<Self, EngineError> {
        let shape = ImageShape { height: 0, width: 0, channels: 0 };
        let normalisation = Normalisation { mean: vec![], std: vec![] };
        let made = || -> TorchResult<Images> {
            let none = |kind| Tensor::f_zeros([0], (kind, device.torch()));
            Ok(Images {
                pixels_nhwc: none(Kind::Uint8)?,
                shape,
                n_images: n_rows,
                mean_c: none(Kind::Float)?,
                inverse_std_c: none(Kind::Float)?,
                normalisation,
                features: None,
            })
        };
        made().doing("making room for features")
    }

    /// Whether there is something to look at beside features.
    pub fn has_pixels(&self) -> bool {
        self.shape.n_bytes() > 0
    }

    /// Puts further images of the same shape beside these, normalised as these are: the test set beside the pool.
    ///
    /// Errs as [`Images::new`] does.
    pub fn beside(&self, pixels_nhwc: &[u8]) -> Result<Self, EngineError> {
        check(pixels_nhwc, self.shape)?;
        upload(pixels_nhwc, self.shape, self.normalisation.clone(), self.pixels_nhwc.device())
            .doing("putting the images on the device")
    }

    /// The same images on the same device, and what is kept of them, without a copy.
    pub fn again(&self) -> Self {
        Images {
            pixels_nhwc: self.pixels_nhwc.shallow_clone(),
            shape: self.shape,
            n_images: self.n_images,
            normalisation: self.normalisation.clone(),
            mean_c: self.mean_c.shallow_clone(),
            inverse_std_c: self.inverse_std_c.shallow_clone(),
            features: self.features.as_ref().map(Features::again),
        }
    }

    /// How many images there are.
    pub fn n_images(&self) -> usize {
        self.n_images
    }

    /// The shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// How bytes become the network's inputs.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Errs unless every one of `rows` is an image of this set.
    pub(super) fn check_rows(&self, rows: &[usize]) -> Result<(), EngineError> {
        match rows.iter().find(|&&row| row >= self.n_images) {
            Some(row) => Err(EngineError::Input(format!("there is no image {row} in a set of {}", self.n_images))),
            None => Ok(()),
        }
    }

    /// Whether features of that name are kept.
    pub fn keeps(&self, of: &str) -> bool {
        self.features(of).is_some()
    }

    /// What the frozen backbone of that name makes of the images, if it was [kept](Images::keep).
    pub(super) fn features(&self, of: &str) -> Option<&Features> {
        self.features.as_ref().filter(|features| *features.of == *of)
    }

    pub(super) fn keep(&mut self, features: Features) {
        self.features = Some(features);
    }

    pub(super) fn device(&self) -> tch::Device {
        self.pixels_nhwc.device()
    }

    /// Uploads an epoch's draws, once for all its batches.
    pub(super) fn epoch(&self, draws: &Draws) -> TorchResult<Epoch> {
        let upload = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(self.device());
        let still = draws.padding == 0 && draws.flips.iter().all(|&flip| flip == 0);
        let places = if still { None } else { Some(self.places(draws, upload)?) };
        Ok(Epoch { rows_n: upload(&draws.rows)?, places, padding: draws.padding as i64 })
    }

    /// Uploads rows that are to be looked at as they are.
    pub(super) fn unchanged(&self, rows: &[usize]) -> TorchResult<Epoch> {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        Ok(Epoch { rows_n: Tensor::f_from_slice(&rows)?.f_to_device(self.device())?, places: None, padding: 0 })
    }

    fn places(&self, draws: &Draws, upload: impl Fn(&[i64]) -> TorchResult<Tensor>) -> TorchResult<(Tensor, Tensor)> {
        let (height, width) = (self.shape.height as i64, self.shape.width as i64);
        let range = |n| Tensor::f_arange(n, (Kind::Int64, self.device()));
        let rows_nh = upload(&draws.tops)?.f_view([-1, 1])?.f_add(&range(height)?)?;
        // Mirroring maps column x to (width - 1) - x, which is x + flip * ((width - 1) - 2x).
        let columns = range(width)?;
        let mirror = columns.f_mul_scalar(-2)?.f_add_scalar(width - 1)?;
        let flips = upload(&draws.flips)?.f_view([-1, 1])?;
        let columns_nw = upload(&draws.lefts)?.f_view([-1, 1])?.f_add(&columns)?.f_add(&flips.f_mul(&mirror)?)?;
        Ok((rows_nh.f_unsqueeze(2)?, columns_nw.f_unsqueeze(1)?))
    }

    /// The normalised batch of the draws `start..start + n`, as n x channels x height x width in channels_last memory.
    pub(super) fn batch(&self, epoch: &Epoch, start: usize, n: usize) -> TorchResult<Tensor> {
        let mut x_nhwc = self.bytes(epoch, start, n)?.f_to_kind(Kind::Float)?;
        x_nhwc.f_sub_(&self.mean_c)?.f_mul_(&self.inverse_std_c)?.f_permute([0, 3, 1, 2])
    }

    /// The same batch from 0 to 1, contiguous.
    pub(super) fn unit_draws(&self, epoch: &Epoch, start: usize, n: usize) -> TorchResult<Tensor> {
        unit(&self.bytes(epoch, start, n)?)
    }

    fn bytes(&self, epoch: &Epoch, start: usize, n: usize) -> TorchResult<Tensor> {
        let (start, n) = (start as i64, n as i64);
        let bytes_nhwc = self.pixels_nhwc.f_index_select(0, &epoch.rows_n.f_narrow(0, start, n)?)?;
        let Some((rows, columns)) = &epoch.places else { return Ok(bytes_nhwc) };
        let ImageShape { height, width, channels } = self.shape;
        let (height, width, channels) = (height as i64, width as i64, channels as i64);
        let padding = epoch.padding;
        let (padded_height, padded_width) = (height + 2 * padding, width + 2 * padding);
        let pixels =
            bytes_nhwc.f_constant_pad_nd([0, 0, padding, padding, padding, padding])?.f_view([-1, channels])?;
        let images = Tensor::f_arange(n, (Kind::Int64, self.device()))?.f_mul_scalar(padded_height * padded_width)?;
        let places_nhw = images
            .f_view([-1, 1, 1])?
            .f_add(&rows.f_narrow(0, start, n)?.f_mul_scalar(padded_width)?)?
            .f_add(&columns.f_narrow(0, start, n)?)?;
        pixels.f_index_select(0, &places_nhw.f_view([-1])?)?.f_view([n, height, width, channels])
    }

    /// The images `rows` as they are, from 0 to 1, n x channels x height x width, contiguous.
    pub(super) fn unit_batch(&self, rows: &[usize]) -> TorchResult<Tensor> {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let bytes_nhwc =
            self.pixels_nhwc.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(self.device())?)?;
        unit(&bytes_nhwc)
    }

    /// A batch of [`Images::unit_batch`], normalised as all are.
    pub(super) fn normalise_unit(&self, x_nchw: &Tensor) -> TorchResult<Tensor> {
        let (mean_c, inverse_std_c) = (self.mean_c.f_view([-1, 1, 1])?, self.inverse_std_c.f_view([-1, 1, 1])?);
        x_nchw.f_mul_scalar(255.0)?.f_sub(&mean_c)?.f_mul(&inverse_std_c)
    }
}

fn unit(bytes_nhwc: &Tensor) -> TorchResult<Tensor> {
    bytes_nhwc.f_permute([0, 3, 1, 2])?.f_contiguous()?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)
}

fn check(pixels_nhwc: &[u8], shape: ImageShape) -> Result<(), EngineError> {
    let ImageShape { height, width, channels } = shape;
    if height < MIN_SIDE || width < MIN_SIDE || channels == 0 {
        let least = format!("an image must be at least {MIN_SIDE} x {MIN_SIDE} x 1");
        return Err(EngineError::Input(format!("{least}, not {height} x {width} x {channels}")));
    }
    if pixels_nhwc.is_empty() || !pixels_nhwc.len().is_multiple_of(shape.n_bytes()) {
        let n = pixels_nhwc.len();
        let problem = format!("{n} bytes are not one or more images of {height} x {width} x {channels}");
        return Err(EngineError::Input(problem));
    }
    Ok(())
}

fn upload(pixels: &[u8], shape: ImageShape, normalisation: Normalisation, device: tch::Device) -> TorchResult<Images> {
    let n_images = pixels.len() / shape.n_bytes();
    let size = [n_images, shape.height, shape.width, shape.channels].map(|size| size as i64);
    let per_channel = |values: Vec<f32>| Tensor::f_from_slice(&values)?.f_to_device(device);
    Ok(Images {
        pixels_nhwc: Tensor::f_from_data_size(pixels, &size, Kind::Uint8)?.f_to_device(device)?,
        shape,
        n_images,
        mean_c: per_channel(normalisation.mean.iter().map(|&mean| mean as f32).collect())?,
        inverse_std_c: per_channel(normalisation.std.iter().map(|&std| (1.0 / std) as f32).collect())?,
        normalisation,
        features: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(stream: &str) -> Rng {
        Rng::for_stream([7; 32], stream)
    }

    fn random_pixels(n: usize, rng: &mut Rng) -> Vec<u8> {
        (0..n).map(|_| rng.below(256) as u8).collect()
    }

    /// The augmented, normalised pixel of one image, read off the definition.
    fn reference(pixels: &[u8], images: &Images, draws: &Draws, i: usize, (y, x, c): (usize, usize, usize)) -> f32 {
        let ImageShape { height, width, channels } = images.shape;
        let x = if draws.flips[i] == 1 { width - 1 - x } else { x };
        let source_y = y as i64 + draws.tops[i] - draws.padding as i64;
        let source_x = x as i64 + draws.lefts[i] - draws.padding as i64;
        let inside = (0..height as i64).contains(&source_y) && (0..width as i64).contains(&source_x);
        let place = ((draws.rows[i] * height as i64 + source_y) * width as i64 + source_x) * channels as i64 + c as i64;
        let byte = if inside { pixels[place as usize] } else { 0 };
        (f32::from(byte) - images.normalisation.mean[c] as f32) * ((1.0 / images.normalisation.std[c]) as f32)
    }

    /// Compares every pixel of a batch in the middle of an epoch; equality is exact.
    fn check_batch(shape: ImageShape, augmentation: Augmentation) {
        let mut rng = rng("augmentation");
        let pixels = random_pixels(9 * shape.n_bytes(), &mut rng);
        let images = Images::new(&pixels, shape, &Device::cpu_for_tests()).unwrap();
        let draws = augmentation.draw(&[8, 0, 3, 3, 5, 1], &mut rng);
        let epoch = images.epoch(&draws).unwrap();
        let batch = images.batch(&epoch, 1, 4).unwrap();
        for i in 0..4 {
            for (y, x, c) in (0..shape.height)
                .flat_map(|y| (0..shape.width).flat_map(move |x| (0..shape.channels).map(move |c| (y, x, c))))
            {
                let got = batch.double_value(&[i, c as i64, y as i64, x as i64]) as f32;
                let expected = reference(&pixels, &images, &draws, i as usize + 1, (y, x, c));
                assert_eq!(got, expected, "{augmentation:?}, image {i}, pixel {y} {x}, channel {c}");
            }
        }
    }

    #[test]
    fn batches_equal_the_definition() {
        let grey = ImageShape { height: 8, width: 11, channels: 1 };
        let colour = ImageShape { height: 10, width: 9, channels: 3 };
        for shape in [grey, colour] {
            for augmentation in [Augmentation::None, Augmentation::Flip, Augmentation::CropFlip] {
                check_batch(shape, augmentation);
            }
        }
    }

    #[test]
    fn normalisation_is_that_of_the_pool() {
        let pixels: Vec<u8> = [10, 0, 20, 0, 30, 0, 40, 0].repeat(16);
        let Normalisation { mean, std } = Normalisation::of(&pixels, 2);
        assert_eq!((mean, std), (vec![25.0, 0.0], vec![125f64.sqrt(), 1.0]));
    }

    #[test]
    fn the_test_set_is_normalised_as_the_pool() {
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        let pool = Images::new(&random_pixels(128, &mut rng("pool")), shape, &Device::cpu_for_tests()).unwrap();
        let test = pool.beside(&random_pixels(64, &mut rng("test"))).unwrap();
        assert_eq!(test.normalisation(), pool.normalisation());
        assert_eq!((test.n_images(), pool.n_images()), (1, 2));
    }

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let shape = |height, width, channels| ImageShape { height, width, channels };
        let rows = [(100, shape(8, 8, 1)), (0, shape(8, 8, 1)), (49, shape(7, 7, 1)), (64, shape(8, 8, 0))];
        for (n_bytes, shape) in rows {
            let error = Images::new(&vec![0; n_bytes], shape, &Device::cpu_for_tests()).unwrap_err();
            assert!(matches!(error, EngineError::Input(_)), "{error}");
        }
    }
}
