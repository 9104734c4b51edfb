//! `consistency`: the images whose class probabilities vary most over random views (Gao, Zhang, Yu, Arık, Davis and
//! Pfister 2020, Consistency-based Semi-supervised Active Learning).
//!
//! The authors published no code. Three choices are ours: the image as it is does not count as a view unless asked for,
//! the variance is that of a population (divided by the number of views, which does not change the order), and the crop is that of
//! the program's own training: 4 pixels of padding whatever the image's size. That is made for images of 32 pixels; of an image of
//! 224 it is a shift by 2 %, and `padding = 28` would be the same share.

use coldstart_plugin_api::ops::{Reduce, Views};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::training::ViewOp;

/// Which views are looked at, and how many.
#[derive(Params)]
struct ConsistencyParams {
    /// Random views of each image.
    #[param(default = 50, min = 2)]
    views: u32,
    /// Whether the image as it is counts as one view more.
    #[param(default = false)]
    clean: bool,
    /// Pixels around the image before a crop of its old size is taken at a random place; the same number at any size.
    #[param(default = 4, min = 0)]
    padding: u32,
    /// The probability that a view is mirrored left to right.
    #[param(default = 0.5, min = 0.0, max = 1.0)]
    flip: f64,
}

struct Consistency {
    views: Views,
}

impl Strategy for Consistency {
    type Params = ConsistencyParams;

    fn new(params: ConsistencyParams, _: &Host<'_>) -> Result<Self> {
        if params.padding == 0 && params.flip == 0.0 {
            let message = "without `padding` and `flip` all views of an image are the same, and nothing varies";
            return Err(Error::new(Code::BAD_PARAMS, message));
        }
        Ok(Consistency { views: views(&params) })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let variances_nc = host.predict(&request.unlabelled)?.over(self.views.clone()).probabilities()?;
        let scores_n = variances_nc.rows().map(inconsistency).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

/// The variance over the views that the usual augmentation of a training makes.
fn views(params: &ConsistencyParams) -> Views {
    let crop = ViewOp::PadCrop { padding: params.padding };
    let ops = vec![crop, ViewOp::Flip { p: params.flip }, ViewOp::Normalise {}];
    Views { ops, count: params.views, clean: params.clean, reduce: Reduce::Variance }
}

/// The sum over classes of the probability's variance over views.
fn inconsistency(variances_c: &[f32]) -> f32 {
    variances_c.iter().sum()
}

export_plugin! {
    name: "consistency",
    publisher: "coldstart",
    roles: [Query],
    strategy: Consistency,
    criterion: DISAGREEMENT,
    needs: [PREDICT_2],
    asks: [Views],
    cite: "Gao, Zhang, Yu, Arık, Davis and Pfister 2020, Consistency-based Semi-supervised Active Learning: Towards Minimizing Labeling Cost",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    /// The population variances of the views (.7, .2, .1), (.5, .4, .1), (.9, .05, .05): 2/75, 37/1800 and 1/1800, in
    /// all 43/900. Three f32 roundings of numbers below .05 stay under 1e-8.
    #[test]
    fn score_equals_the_closed_form() {
        let views_vc = [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.9, 0.05, 0.05]];
        let variances: [f64; 3] = std::array::from_fn(|class| {
            let mean = views_vc.iter().map(|view| view[class]).sum::<f64>() / 3.0;
            views_vc.iter().map(|view| (view[class] - mean).powi(2)).sum::<f64>() / 3.0
        });
        for (variance, closed) in variances.iter().zip([2.0 / 75.0, 37.0 / 1800.0, 1.0 / 1800.0]) {
            assert!((variance - closed).abs() < 1e-15, "{variances:?}");
        }
        let score = inconsistency(&variances.map(|variance| variance as f32));
        assert!((f64::from(score) - 43.0 / 900.0).abs() < 1e-8, "{score}");
    }

    #[test]
    fn the_views_are_those_of_the_usual_augmentation() {
        let ops = vec![ViewOp::PadCrop { padding: 4 }, ViewOp::Flip { p: 0.5 }, ViewOp::Normalise {}];
        let usual = Views { ops, count: 50, clean: false, reduce: Reduce::Variance };
        assert_eq!(views(&ConsistencyParams::from_json("{}").unwrap()), usual);
    }

    /// The test host's variance of an output is its square.
    #[test]
    fn the_least_consistent_come_first_and_ties_go_to_the_lowest_id() {
        let host = TestHost::new(4).probabilities(&[[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.75, 0.25]]);
        let selection = host.select::<Consistency>("{}", 4).unwrap();
        assert_eq!(selection.ids, [1, 3, 0, 2]);
        assert_eq!(selection.scores, [1.0, 0.625, 0.5, 0.5]);
        assert_eq!(host.tensors_left(), 0);
    }

    #[test]
    fn labelled_images_are_never_chosen() {
        let host = TestHost::new(3).labelled(&[1]).probabilities(&[[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]]);
        assert_eq!(host.select::<Consistency>("{}", 2).unwrap().ids, [2, 0]);
    }

    #[test]
    fn params_without_any_change_to_the_image_are_refused() {
        let host = TestHost::new(2).probabilities(&[[0.5, 0.5], [1.0, 0.0]]);
        let error = |params| host.select::<Consistency>(params, 1).unwrap_err().message;
        assert!(error(r#"{"padding": 0, "flip": 0}"#).contains("`padding`"));
        assert!(error(r#"{"views": 1}"#).contains("views"));
        assert!(error(r#"{"flip": 1.5}"#).contains("flip"));
        for params in [r#"{"padding": 0}"#, r#"{"flip": 0}"#, r#"{"views": 2, "clean": true}"#] {
            host.select::<Consistency>(params, 1).unwrap();
        }
    }
}
