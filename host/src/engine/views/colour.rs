//! Changes of colour, as torchvision defines them, on batches from 0 to 1.

use tch::Tensor;

use super::super::error::TorchResult;

/// The luma of red, green and blue (ITU-R 601-2), as in PIL and torchvision.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// The grey image, n x 1 x h x w; none of images that have one channel already.
pub(in crate::engine) fn luma(x_nchw: &Tensor) -> TorchResult<Option<Tensor>> {
    if x_nchw.size()[1] != 3 {
        return Ok(None);
    }
    let channel = |c: i64| x_nchw.f_narrow(1, c, 1)?.f_mul_scalar(LUMA[c as usize]);
    Ok(Some(channel(0)?.f_add(&channel(1)?)?.f_add(&channel(2)?)?))
}

/// Changes brightness (0), contrast (1), saturation (2) by a factor of 1 + `change`, or turns the hue (3) by `change`.
pub(super) fn adjust(what: usize, x_nchw: &Tensor, change: &Tensor) -> TorchResult<Tensor> {
    let blended = |other: &Tensor| -> TorchResult<Tensor> {
        x_nchw.f_add(&x_nchw.f_sub(other)?.f_mul(change)?)?.f_clamp(0.0, 1.0)
    };
    match what {
        0 => x_nchw.f_mul(&change.f_add_scalar(1.0)?)?.f_clamp(0.0, 1.0),
        1 => {
            let grey = luma(x_nchw)?;
            blended(&grey.as_ref().unwrap_or(x_nchw).f_mean_dim([1, 2, 3].as_slice(), true, None)?)
        }
        2 => luma(x_nchw)?.map_or(Ok(x_nchw.shallow_clone()), |grey| blended(&grey)),
        _ if x_nchw.size()[1] != 3 => Ok(x_nchw.shallow_clone()),
        _ => turn_hue(x_nchw, change),
    }
}

/// To hue, saturation and value and back (Smith 1978), with the hue turned by a share of the full circle.
fn turn_hue(x_nchw: &Tensor, turn: &Tensor) -> TorchResult<Tensor> {
    let channel = |c: i64| x_nchw.f_narrow(1, c, 1);
    let (red, green, blue) = (channel(0)?, channel(1)?, channel(2)?);
    let value = x_nchw.f_amax([1].as_slice(), true)?;
    let chroma = value.f_sub(&x_nchw.f_amin([1].as_slice(), true)?)?;
    let safe = chroma.f_clamp_min(1e-12)?;
    // In sixths of the circle; grey pixels have hue 0.
    let sixth = |a: &Tensor, b: &Tensor, from: f64| a.f_sub(b)?.f_div(&safe)?.f_add_scalar(from);
    let is_red = red.f_eq_tensor(&value)?;
    let is_green = green.f_eq_tensor(&value)?;
    let hue = sixth(&red, &green, 4.0)?;
    let hue = sixth(&blue, &red, 2.0)?.f_where_self(&is_green, &hue)?;
    let hue = sixth(&green, &blue, 0.0)?.f_where_self(&is_red, &hue)?;
    let hue = hue.f_add(&turn.f_mul_scalar(6.0)?)?;
    let back = |from: f64| -> TorchResult<Tensor> {
        let k = hue.f_add_scalar(from)?.f_remainder(6.0)?;
        let part = k.f_minimum(&k.f_neg()?.f_add_scalar(4.0)?)?.f_clamp(0.0, 1.0)?;
        value.f_sub(&chroma.f_mul(&part)?)
    };
    Tensor::f_cat(&[back(5.0)?, back(3.0)?, back(1.0)?], 1)
}
