//! The operations, answered from what a test pretends.

use super::plausible::IMAGE;
use super::{Rows, TestChoice, TestHost, TestMap, lock, maths};
use crate::abi::{DType, TensorId};
use crate::ops::{self, Output};
use crate::tensors::HostTensor;
use crate::training::{Pass, Record, Target, TrainSpec};
use crate::{Code, Error, Prequential, Result, Rng, wire};
use std::collections::BTreeSet;

pub(super) type Answer = (Vec<u8>, Vec<HostTensor>);

impl TestHost {
    pub(super) fn answer(&self, op: &str, args: &[u8], inputs: &[TensorId]) -> Result<Answer> {
        self.count(op)?;
        let empty = wire::encode(&ops::Empty {});
        match op {
            op if op == ops::POOL_INFO_1.0 => Ok((wire::encode(&self.pool_info()), vec![])),
            op if op == ops::ENV_INFO_1.0 => {
                let info = ops::EnvInfo { threads: self.threads, device: "cpu".to_owned() };
                Ok((wire::encode(&info), vec![]))
            }
            op if op == ops::POOL_PIXELS_1.0 => Ok((empty, vec![self.pixels(inputs)?])),
            op if op == ops::LABELS_GET_1.0 => Ok((empty, vec![self.labels_of(inputs)?])),
            op if op == ops::PREDICT_1.0 => {
                let ops::PredictArgs { outputs } = wire::decode(args)?;
                let args = ops::PredictArgs3 { model: None, outputs, views: None, dropout: None };
                Ok((empty, self.predict(&args, inputs)?))
            }
            op if op == ops::PREDICT_2.0 => {
                let ops::PredictArgs2 { model, outputs, views } = wire::decode(args)?;
                Ok((empty, self.predict(&ops::PredictArgs3 { model, outputs, views, dropout: None }, inputs)?))
            }
            op if op == ops::PREDICT_3.0 => Ok((empty, self.predict(&wire::decode(args)?, inputs)?)),
            op if op == ops::TRAIN_1.0 => self.train(wire::decode(args)?, inputs),
            op if op == ops::REPRESENT_1.0 => self.represent(inputs),
            op if op == ops::ORACLE_LABELS_1.0 => Ok((empty, vec![self.oracle_labels(inputs)?])),
            op if op == ops::RUN_INFO_1.0 => Ok((wire::encode(&self.run), vec![])),
            op if op == ops::PREQUENTIAL_1.0 => Ok((empty, self.prequential(wire::decode(args)?))),
            op if op == ops::MAP_PUT_1.0 => self.put_map(wire::decode(args)?, inputs).map(|()| (empty, vec![])),
            op if op == ops::STRATEGY_SELECT_1.0 => {
                Ok((empty, vec![HostTensor::of_u64(&self.choose(wire::decode(args)?, inputs)?)]))
            }
            op if op == ops::ARTIFACT_PUT_1.0 => self.put_artifact(wire::decode(args)?).map(|()| (empty, vec![])),
            op => {
                let tensors = inputs.iter().map(|id| self.tensors.get(*id)).collect::<Result<Vec<_>>>()?;
                maths::answer(op, args, &tensors, self.seed)
            }
        }
    }

    fn pool_info(&self) -> ops::PoolInfo {
        let plausible = self.plausible.as_ref().map(|plausible| plausible.n_classes);
        let n_classes = self.outputs.get(Output::Probabilities.name()).map(|(_, n_cols)| *n_cols).or(plausible);
        let classes = (0..n_classes.unwrap_or(2)).map(|class| class.to_string()).collect();
        let [height, width, channels] = if self.plausible.is_some() { IMAGE } else { [1; 3] };
        ops::PoolInfo { images: self.ids.len() as u64, height, width, channels, classes }
    }

    fn prequential(&self, ops::PrequentialArgs { rounds }: ops::PrequentialArgs) -> Vec<HostTensor> {
        let first = rounds.map_or(0, |rounds| self.round.saturating_sub(rounds));
        let shown: Vec<_> =
            self.prequential.iter().filter(|row| row.round >= first && row.round < self.round).collect();
        let column =
            |of: fn(&Prequential) -> u64| HostTensor::of_u64(&shown.iter().map(|row| of(row)).collect::<Vec<_>>());
        vec![column(|row| row.id), column(|row| row.round.into()), column(|row| row.predicted), column(|row| row.label)]
    }

    fn positions(&self, inputs: &[TensorId]) -> Result<Vec<usize>> {
        let position = |id: &u64| {
            self.ids.binary_search(id).map_err(|_| Error::new(Code::BAD_PARAMS, format!("id {id} is not in the pool")))
        };
        self.input(inputs)?.iter().map(position).collect()
    }

    fn input(&self, inputs: &[TensorId]) -> Result<Vec<u64>> {
        let [ids] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, "expected one input tensor of ids"));
        };
        self.tensors.get(*ids)?.as_u64()
    }

    /// What the images at these positions show.
    fn shown(&self, positions: &[usize]) -> Vec<u64> {
        let shown = self.shown.as_ref().unwrap_or(&self.ids);
        positions.iter().map(|position| shown[*position]).collect()
    }

    fn pixels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let positions = self.positions(inputs)?;
        if let Some(plausible) = &self.plausible {
            return Ok(plausible.pixels(&self.shown(&positions)));
        }
        let bytes = positions.iter().map(|position| *position as u8).collect();
        Ok(HostTensor::new(DType::U8, vec![positions.len() as u64, 1, 1, 1], bytes))
    }

    fn labels_of(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let ids = self.input(inputs)?;
        let labels: Vec<u64> = ids.iter().map(|id| self.label_of(*id)).collect::<Result<_>>()?;
        Ok(HostTensor::of_u64(&labels))
    }

    fn label_of(&self, id: u64) -> Result<u64> {
        let label = self.class_of(id).filter(|_| self.labelled.binary_search(&id).is_ok());
        label.ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("id {id} is not labelled")))
    }

    fn oracle_labels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let class = |id: &u64| {
            self.class_of(*id).ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("nothing is known of id {id}")))
        };
        Ok(HostTensor::of_u64(&self.input(inputs)?.iter().map(class).collect::<Result<Vec<_>>>()?))
    }

    fn class_of(&self, id: u64) -> Option<u64> {
        let plausible = || {
            let position = self.ids.binary_search(&id).ok()?;
            self.plausible.as_ref().map(|plausible| plausible.class(self.shown(&[position])[0]))
        };
        self.labels.get(&id).copied().or_else(plausible)
    }

    /// Views change nothing here: their mean is the pretended output, their variance is the output times itself. Nor does
    /// dropout, unless a test pretends [passes](TestHost::passes) or the model is a plausible one.
    fn predict(&self, args: &ops::PredictArgs3, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let positions = self.positions(inputs)?;
        let varied = args.views.as_ref().is_some_and(|views| views.reduce == ops::Reduce::Variance);
        if args.dropout.is_some() && args.views.is_some() {
            return Err(Error::new(Code::BAD_PARAMS, "dropout goes with the image as it is, not with views"));
        }
        let output = |output: &Output| {
            if let (Some(dropout), Output::Probabilities | Output::Logits) = (args.dropout, output) {
                return Ok(self.spoilt(*output, self.passes_of(args.model.as_deref(), *output, dropout, &positions)?));
            }
            let (mut elements, n_cols) = self.output_of(args.model.as_deref(), *output, &positions)?.as_f32()?;
            elements.iter_mut().filter(|_| varied).for_each(|element| *element *= *element);
            Ok(self.spoilt(*output, HostTensor::of_f32(&elements, n_cols)))
        };
        args.outputs.iter().map(output).collect()
    }

    /// Several passes: what a test pretends, or the output of the image with a little noise in each pass but a clean one.
    fn passes_of(
        &self,
        model: Option<&str>,
        output: Output,
        dropout: ops::Dropout,
        positions: &[usize],
    ) -> Result<HostTensor> {
        let n_passes = dropout.passes as usize;
        let shape = |n_cols: usize| vec![positions.len() as u64, n_passes as u64, (n_cols / n_passes.max(1)) as u64];
        if let (Some((rows, pretended)), None) = (&self.passes, model) {
            if *pretended != n_passes {
                let message = format!("{pretended} passes are pretended, {n_passes} were asked for");
                return Err(Error::new(Code::HOST, message));
            }
            return Ok(HostTensor::of_axes(&pick(rows, positions).as_f32()?.0, shape(rows.1)));
        }
        let (clean, n_cols) = self.output_of(model, output, positions)?.as_f32()?;
        let shown = self.shown(positions);
        let mut elements = Vec::with_capacity(clean.len() * n_passes);
        for (row, image) in clean.chunks(n_cols.max(1)).zip(shown) {
            for pass in 0..n_passes {
                match &self.plausible {
                    Some(plausible) if pass > 0 || !dropout.clean => {
                        elements.extend(plausible.disturbed(output, row, image, pass));
                    }
                    _ => elements.extend(row),
                }
            }
        }
        Ok(HostTensor::of_axes(&elements, shape(n_cols * n_passes)))
    }

    /// An output of the task model, or of a network that was trained under this name: what a test pretends, else what
    /// is plausible.
    fn output_of(&self, model: Option<&str>, output: Output, positions: &[usize]) -> Result<HostTensor> {
        let pretended = match model {
            None => self.outputs.get(output.name()),
            Some(name) => self.trainings.get(name).and_then(|training| training.outputs.get(output.name())),
        };
        if let Some(rows) = pretended {
            return Ok(pick(rows, positions));
        }
        if output == Output::Residuals {
            return residuals(&self.output_of(model, Output::Probabilities, positions)?);
        }
        let trained = model.map(|name| (name, lock(&self.specs).iter().find(|spec| spec.name == name).cloned()));
        match (&self.plausible, trained) {
            (Some(_), None) if self.round == 0 => Err(Error::new(Code::UNSUPPORTED, "no model is trained in round 0")),
            (Some(plausible), None) => Ok(plausible.output(output, plausible.n_classes, &self.shown(positions))),
            (Some(plausible), Some((_, Some(spec)))) => {
                Ok(plausible.output(output, plausible.n_outputs(&spec), &self.shown(positions)))
            }
            (_, Some((name, None))) if !self.trainings.contains_key(name) => {
                Err(Error::new(Code::BAD_PARAMS, format!("no model `{name}`")))
            }
            _ => Err(Error::new(Code::UNSUPPORTED, format!("this test host has no {}", output.name()))),
        }
    }

    fn train(&self, spec: TrainSpec, inputs: &[TensorId]) -> Result<Answer> {
        spec.check()?;
        let positions = self.positions(&inputs[..inputs.len().min(1)])?;
        if spec.target == (Target::Labels {}) {
            self.input(&inputs[..1])?.iter().try_for_each(|id| self.label_of(*id).map(|_| ()))?;
        }
        let records = match (self.trainings.get(&spec.name), &self.plausible) {
            (Some(training), _) => pretended_records(&training.records, &spec, &positions)?,
            (None, Some(plausible)) => {
                let shown = self.shown(&positions);
                spec.record.iter().map(|record| plausible.record(&spec, record, &shown)).collect()
            }
            (None, None) => {
                let message = format!("this test host pretends no training `{}`", spec.name);
                return Err(Error::new(Code::UNSUPPORTED, message));
            }
        };
        let answer = wire::encode(&answer_of(&spec.name));
        lock(&self.specs).push(spec);
        Ok((answer, records.into_iter().map(|record| self.shortened(record)).collect()))
    }

    fn represent(&self, inputs: &[TensorId]) -> Result<Answer> {
        let positions = self.positions(inputs)?;
        let features = match (&self.representation, &self.plausible) {
            (Some(rows), _) => pick(rows, &positions),
            (None, Some(plausible)) => plausible.output(Output::Embeddings, 0, &self.shown(&positions)),
            (None, None) => return Err(Error::new(Code::UNSUPPORTED, "this test host has no representation")),
        };
        Ok((wire::encode(&answer_of("representation")), vec![self.shortened(features)]))
    }

    fn put_map(&self, args: ops::MapArgs, inputs: &[TensorId]) -> Result<()> {
        let [ids, places, groups] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, "expected ids, places and groups"));
        };
        let map = TestMap {
            args,
            ids: self.tensors.get(*ids)?.as_u64()?,
            places: self.tensors.get(*places)?.as_f32()?.0,
            groups: self.tensors.get(*groups)?.as_u64()?,
        };
        lock(&self.maps).push(map);
        Ok(())
    }

    /// What a pretended strategy prefers, or what is plausible: an order drawn from the strategy, the stream and what an image shows.
    fn choose(&self, args: ops::SelectArgs, inputs: &[TensorId]) -> Result<Vec<u64>> {
        let bad = |message: String| Error::new(Code::BAD_PARAMS, message);
        let candidates = self.input(inputs)?;
        let positions = self.positions(inputs)?;
        let mut seen = BTreeSet::new();
        if let Some(id) = candidates.iter().find(|id| self.labelled.binary_search(id).is_ok() || !seen.insert(**id)) {
            return Err(bad(format!("the candidate {id} is labelled, or stands there twice")));
        }
        if args.count > candidates.len() as u64 {
            return Err(bad(format!("{} images are wanted of {} candidates", args.count, candidates.len())));
        }
        let mut rank_and_id: Vec<(u64, u64)> = match (self.rankings.get(&args.strategy), self.plausible.is_some()) {
            (Some(ranking), _) => candidates.iter().map(|id| (rank_in(ranking, *id), *id)).collect(),
            (None, true) => {
                let stream = format!("{}/{}", args.strategy, args.stream);
                let mut key = [0; 32];
                Rng::for_stream(self.seed, &stream).fill(&mut key);
                let ranks = self.shown(&positions).into_iter().map(|image| drawn_rank(key, image));
                ranks.zip(candidates.iter().copied()).collect()
            }
            (None, false) => return Err(bad(format!("this test host pretends no strategy `{}`", args.strategy))),
        };
        rank_and_id.sort_unstable();
        let chosen: Vec<u64> = rank_and_id.iter().take(args.count as usize).map(|(_, id)| *id).collect();
        lock(&self.choices).push(TestChoice { args, candidates, chosen: chosen.clone() });
        Ok(chosen)
    }

    fn put_artifact(&self, args: ops::ArtifactArgs) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if args.name.is_empty() || args.name.starts_with('.') || !args.name.chars().all(plain) {
            let message = "a name has letters, digits, `.`, `_` and `-` only, and does not begin with a dot";
            return Err(Error::new(Code::BAD_PARAMS, format!("artifact `{}`: {message}", args.name)));
        }
        lock(&self.artifacts).insert(args.name, args.bytes);
        Ok(())
    }
}

/// Where an image stands in a ranking; behind all where it does not.
fn rank_in(ranking: &[u64], id: u64) -> u64 {
    ranking.iter().position(|ranked| *ranked == id).unwrap_or(ranking.len()) as u64
}

/// A number drawn for an image.
fn drawn_rank(mut key: [u8; 32], image: u64) -> u64 {
    key.iter_mut().zip(image.to_le_bytes()).for_each(|(byte, of_image)| *byte ^= of_image);
    Rng::from_seed(key).next_u64()
}

/// Each row minus the one-hot vector of its largest element.
fn residuals(probs: &HostTensor) -> Result<HostTensor> {
    let (mut elements, n_cols) = probs.as_f32()?;
    for row in elements.chunks_mut(n_cols.max(1)) {
        let most = (0..row.len()).reduce(|most, c| if row[c] > row[most] { c } else { most });
        most.into_iter().for_each(|c| row[c] -= 1.0);
    }
    Ok(HostTensor::of_f32(&elements, n_cols))
}

fn pretended_records(records: &[Vec<Vec<f32>>], spec: &TrainSpec, positions: &[usize]) -> Result<Vec<HostTensor>> {
    if records.len() != spec.record.len() {
        let (pretended, asked) = (records.len(), spec.record.len());
        return Err(Error::new(Code::HOST, format!("{pretended} records are pretended, {asked} were asked for")));
    }
    let record = |(record, spec): (&Vec<Vec<f32>>, &Record)| {
        assert!(spec.pass == Pass::Training || record.len() == 1, "the final pass leaves one row");
        let rows = record.iter().flat_map(|row| positions.iter().map(|position| row[*position]));
        HostTensor::of_f32(&rows.collect::<Vec<f32>>(), positions.len())
    };
    Ok(records.iter().zip(&spec.record).map(record).collect())
}

fn answer_of(model: &str) -> ops::TrainAnswer {
    ops::TrainAnswer { model: model.to_owned(), cached: false, loss: 0.0, accuracy: None }
}

fn pick((elements, n_cols): &Rows, positions: &[usize]) -> HostTensor {
    let rows: Vec<f32> =
        positions.iter().flat_map(|position| &elements[position * n_cols..][..*n_cols]).copied().collect();
    HostTensor::of_f32(&rows, *n_cols)
}
