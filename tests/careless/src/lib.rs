//! `careless`: what an author may get wrong without noticing, one mistake at a time. `plugin check` must find each.

use coldstart_plugin_api::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which mistake is made.
#[derive(Params)]
struct Care {
    /// Which mistake.
    #[param(default = "none")]
    mistake: Mistake,
}

#[derive(Params, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    Abort,
    Exit,
    Hang,
    Recurse,
    HashOrder,
    StaticCounter,
    AsksThreads,
    SwallowsErrors,
    HidesCause,
    KeepsTensors,
    GoesBack,
    FloodsLog,
    TakesAnyState,
    ForgetsState,
    AllButAll,
    PositionsAsIds,
    LogOfNothing,
    DividesByRange,
    DividesByDistance,
    UnnamedNeed,
    AllPairs,
}

/// How often any instance was asked: what a strategy must not know.
static N_CALLS: AtomicUsize = AtomicUsize::new(0);

/// Its honest state is how often it was asked.
struct Careless {
    mistake: Mistake,
    n_calls: u64,
}

impl Strategy for Careless {
    type Params = Care;

    fn new(params: Care, _: &Host<'_>) -> Result<Self> {
        Ok(Careless { mistake: params.mistake, n_calls: 0 })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        self.n_calls += 1;
        before(self.mistake, request, host)?;
        let scores_n = match (scores(self.mistake, request, host), self.mistake) {
            (Err(_), Mistake::SwallowsErrors) => return Ok(first(request, 0)),
            (Err(_), Mistake::HidesCause) => return Err(Error::plugin("the model did not answer")),
            (scores_n, _) => scores_n?,
        };
        let (unlabelled, n) = (&request.unlabelled, request.unlabelled.len());
        Ok(match self.mistake {
            Mistake::HashOrder => {
                let ids: HashSet<u64> = unlabelled.iter().copied().collect();
                Selection::of(ids.into_iter().take(request.budget).collect())
            }
            Mistake::StaticCounter => first(request, N_CALLS.fetch_add(1, Ordering::Relaxed)),
            Mistake::AsksThreads => first(request, host.env()?.threads as usize),
            Mistake::ForgetsState | Mistake::TakesAnyState => first(request, self.n_calls as usize),
            Mistake::PositionsAsIds => Selection::of((n - request.budget..n).map(|i| i as u64).collect()),
            _ => Selection::highest(request, scores_n),
        })
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(self.n_calls.to_le_bytes().to_vec())
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        let bytes = match state.try_into() {
            Err(_) if self.mistake == Mistake::TakesAnyState => return Ok(()),
            bytes => bytes.map_err(|_| Error::plugin("its state has 8 bytes"))?,
        };
        self.n_calls = if self.mistake == Mistake::ForgetsState { 0 } else { u64::from_le_bytes(bytes) };
        Ok(())
    }
}

/// How unsure the model is, or what a mistake makes of that.
fn scores(mistake: Mistake, request: &Request, host: &Host<'_>) -> Result<Vec<f32>> {
    let model = host.predict(&request.unlabelled)?;
    if mistake == Mistake::DividesByDistance {
        return Ok(over_range(model.embeddings()?.rows().map(|row| row[0]).collect()));
    }
    let probs_nc = model.probabilities()?;
    let surest_n = probs_nc.rows().map(|row| row.iter().copied().fold(0.0, f32::max));
    Ok(match mistake {
        Mistake::LogOfNothing => surest_n.map(|surest| (1.0 - surest).ln()).collect(),
        Mistake::DividesByRange => over_range(surest_n.collect()),
        _ => surest_n.map(|surest| 1.0 - surest).collect(),
    })
}

/// What goes wrong before anything is chosen.
fn before(mistake: Mistake, request: &Request, host: &Host<'_>) -> Result<()> {
    match mistake {
        Mistake::Abort => std::process::abort(),
        Mistake::Exit => std::process::exit(0),
        Mistake::Hang => loop {
            std::thread::yield_now();
        },
        Mistake::Recurse => _ = deeper(0, [1; 64]),
        Mistake::KeepsTensors => std::mem::forget(host.predict(&request.unlabelled)?),
        Mistake::GoesBack => [3, 2].into_iter().for_each(|done| host.progress("search", done, 3)),
        Mistake::FloodsLog => (0..5000).for_each(|i| log::info!("step {i}")),
        Mistake::AllButAll => assert!(request.budget == 0 || request.budget < request.unlabelled.len(), "none is left"),
        Mistake::UnnamedNeed => _ = host.represent(&request.unlabelled)?,
        Mistake::AllPairs => {
            let ids = &request.unlabelled;
            let near = ids.iter().map(|a| ids.iter().filter(|b| a.abs_diff(**b) % 7 == 0).count());
            assert!(near.sum::<usize>() >= ids.len());
        }
        _ => {}
    }
    Ok(())
}

/// Until the stack is used up.
fn deeper(depth: u64, ballast: [u64; 64]) -> u64 {
    let own = std::hint::black_box(ballast.map(|word| word + depth));
    if depth == u64::MAX { own[0] } else { deeper(depth + 1, own) + own[1] }
}

/// The first images from this one on, in a circle.
fn first(request: &Request, start: usize) -> Selection {
    let n = request.unlabelled.len().max(1);
    Selection::of(request.unlabelled.iter().cycle().skip(start % n).take(request.budget).copied().collect())
}

/// Scores from 0 to 1, but for equal ones.
fn over_range(scores_n: Vec<f32>) -> Vec<f32> {
    let least = scores_n.iter().copied().fold(f32::INFINITY, f32::min);
    let most = scores_n.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores_n.iter().map(|score| (score - least) / (most - least)).collect()
}

export_plugin! {
    name: "careless",
    publisher: "nobody",
    roles: [Query],
    strategy: Careless,
    needs: [PREDICT_1],
    cite: "None",
}
