//! `images-per-class`: a table of sizes, by who queries afterwards.
//!
//! In 352 simulated worlds (two learners, four query strategies, three totals) a table was as good as every rule that looks at the
//! model, and better than every fixed number of images for all: 1 image a class for `badge`, 2 for `margin`, 5 for
//! `least-confidence`, 6 for `entropy`. Features of a well-trained network need fewer, a convolutional network that learns from
//! scratch more. What it costs with this program's own learner is in `docs/results/initial-size.md`.
//!
//! The table is looked up by the name of the query strategy, then by what its manifest says it goes by (`criterion`).

use coldstart_plugin_api::prelude::*;
use std::collections::BTreeMap;

/// How many images a class.
#[derive(Params)]
struct TableParams {
    /// Images a class, by query strategy or by what strategies go by.
    #[param(default = [
        ("badge", 1), ("margin", 2), ("least-confidence", 5), ("entropy", 6),
        ("uncertainty", 6), ("disagreement", 6), ("gradient", 1), ("representation", 1), ("staged", 1), ("chance", 1)
    ], min = 1)]
    table: BTreeMap<String, u32>,
    /// Images a class where the table has neither.
    #[param(default = 2, min = 1)]
    other: u32,
    /// How many classes there are; absent, as many as the data set names.
    #[param(min = 1)]
    classes: Option<u32>,
}

struct ImagesPerClass {
    params: TableParams,
}

impl Sizer for ImagesPerClass {
    type Params = TableParams;

    fn new(params: TableParams, _: &Host<'_>) -> Result<Self> {
        Ok(ImagesPerClass { params })
    }

    fn size(&mut self, _: &Request, _: Bounds, host: &Host<'_>) -> Result<Sizing> {
        let TableParams { table, other, classes } = &self.params;
        let classes = match classes {
            Some(classes) => *classes as usize,
            None => host.pool()?.classes.len(),
        };
        let query = host.run()?.query;
        let of_a_class = table.get(&query.name).or_else(|| table.get(&query.criterion)).unwrap_or(other);
        let reason = format!("{of_a_class} of each of {classes} classes, as `{}` comes next", query.name);
        let sizing = Sizing::of(*of_a_class as usize * classes, reason);
        Ok(sizing.with("images_per_class", f64::from(*of_a_class)))
    }
}

export_plugin! {
    name: "images-per-class",
    publisher: "coldstart",
    sizer: ImagesPerClass,
    needs: [POOL_INFO_1, RUN_INFO_1],
    cite: "Mussmann and Liang 2018, On the Relationship between Data Efficiency and Error for Uncertainty Sampling",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

    #[test]
    fn the_table_is_looked_up_by_name_and_then_by_criterion() {
        let mine = r#"{"table": {"my-idea": 4, "margin": 3}, "other": 9, "classes": 20}"#;
        for (name, criterion, params, wanted) in [
            ("entropy", "uncertainty", "{}", 60),
            ("least-confidence", "uncertainty", "{}", 50),
            ("margin", "margin", "{}", 20),
            ("badge", "gradient", "{}", 10),
            ("bald", "disagreement", "{}", 60),
            ("bait", "gradient", "{}", 10),
            ("no-such-name", "", "{}", 20),
            ("my-idea", "uncertainty", mine, 80),
            ("other-idea", "margin", mine, 60),
            ("entropy", "uncertainty", mine, 180),
        ] {
            let host = TestHost::plausible(300, 10, 0).round(0).querying(name, criterion);
            let sizing = host.sizer::<ImagesPerClass>(params).unwrap().size(&host, 5, BOUNDS).unwrap();
            assert_eq!(sizing.wanted, wanted, "{name}, {criterion}, {params}");
        }
    }

    #[test]
    fn a_table_of_nothing_is_refused() {
        for params in
            [r#"{"table": {"entropy": 0}}"#, r#"{"table": {"entropy": 1.5}}"#, r#"{"table": 3}"#, r#"{"other": 0}"#]
        {
            assert!(TestHost::new(3).sizer::<ImagesPerClass>(params).is_err(), "{params}");
        }
    }
}
