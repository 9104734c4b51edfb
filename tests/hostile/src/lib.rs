//! `hostile`: what a plugin should not do, one behaviour at a time; and an honest strategy with state beside it.

mod deadly;

use coldstart_plugin_api::abi::std_types::{RSlice, RVec};
use coldstart_plugin_api::abi::{DType, HostRef, TensorId};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::training::Target;
use coldstart_plugin_api::wire;
use std::time::Duration;

/// What to do, and from when on.
#[derive(Params)]
struct Hostility {
    /// What to do.
    #[param(default = "honest")]
    behaviour: Behaviour,
    /// The first round in which to do it; honest before.
    #[param(default = 0)]
    from_round: u32,
    /// Do what harms the process or the machine when the instance is made.
    #[param(default = false)]
    at_once: bool,
    /// A file to read or write.
    #[param(default = "")]
    file: String,
    /// The operation to ask for, on all unlabelled images.
    #[param(default = "")]
    op: String,
    /// Its arguments, as JSON.
    #[param(default = "")]
    args: String,
    /// How much of it.
    #[param(default = 0)]
    n: usize,
}

#[derive(Params, Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Honest,
    Panic,
    PanicInNew,
    PanicInSave,
    PanicOnDrop,
    Fail,
    DuplicateIds,
    LabelledIds,
    ForeignIds,
    TooFew,
    TooMany,
    NanScores,
    UnknownOperation,
    UnknownView,
    HiddenTargets,
    ReadsHiddenLabel,
    LooksAround,
    ImpossibleTensor,
    ReleasesRequest,
    BadArtifact,
    Logs,
    Sleeps,
    FloodsLog,
    LeaksTensors,
    Aborts,
    Segfaults,
    OverflowsStack,
    Exits,
    LoopsForever,
    EatsMemory,
    SelectsMillions,
    CorruptsReply,
    Forks,
    RunsProgram,
    KillsHost,
    ReadsFile,
    WritesFile,
    OpensSocket,
    ReadsEnvironment,
    Asks,
    LongError,
    LongLines,
    Artifacts,
    ManyArtifacts,
    LargeState,
}

/// Its state is how often it was asked; what it picks depends on that, so that a lost state shows.
struct Hostile {
    params: Hostility,
    n_calls: u64,
}

impl Strategy for Hostile {
    type Params = Hostility;

    fn new(params: Hostility, _: &Host<'_>) -> Result<Self> {
        assert!(params.behaviour != Behaviour::PanicInNew, "no wish to live");
        if params.at_once {
            deadly::act(params.behaviour, &params.file)?;
        }
        Ok(Hostile { params, n_calls: 0 })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        self.n_calls += 1;
        host.put_artifact("calls.txt", self.n_calls.to_string().into_bytes())?;
        let honest = Selection::of(self.honest_ids(request));
        if request.round < self.params.from_round {
            return Ok(honest);
        }
        misbehave(&self.params, request, host, honest)
    }

    fn save(&self) -> Result<Vec<u8>> {
        let saving_round = self.n_calls as u32;
        assert!(
            self.params.behaviour != Behaviour::PanicInSave || saving_round < self.params.from_round,
            "nothing to remember"
        );
        let mut state = self.n_calls.to_le_bytes().to_vec();
        if self.params.behaviour == Behaviour::LargeState {
            state.resize(self.params.n, 0);
        }
        Ok(state)
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        let bytes = state.try_into().map_err(|_| Error::plugin("its state has 8 bytes"))?;
        self.n_calls = u64::from_le_bytes(bytes);
        Ok(())
    }
}

impl Hostile {
    fn honest_ids(&self, request: &Request) -> Vec<u64> {
        let start = (17 * self.n_calls) as usize % request.unlabelled.len();
        request.unlabelled.iter().cycle().skip(start).take(request.budget).copied().collect()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        assert!(self.params.behaviour != Behaviour::PanicOnDrop, "no wish to go");
    }
}

/// Ask the model about the images below 300 that the request does not name; errs where the host lets it see one, or counts one.
fn look_around(request: &Request, host: &Host<'_>) -> Result<()> {
    let (pool, n_images) = (request.pool(), host.pool()?.images);
    if n_images != pool.len() as u64 {
        return Err(Error::plugin(format!("it was shown {} images, and is told of {n_images}", pool.len())));
    }
    let hidden = (0..300).filter(|id| pool.binary_search(id).is_err());
    match hidden.into_iter().find(|id| host.predict(&[*id]).and_then(|asked| asked.probabilities()).is_ok()) {
        Some(id) => Err(Error::plugin(format!("it saw the image {id}"))),
        None => Ok(()),
    }
}

fn misbehave(params: &Hostility, request: &Request, host: &Host<'_>, honest: Selection) -> Result<Selection> {
    use Behaviour::*;
    let mut ids = honest.ids;
    match params.behaviour {
        Honest | PanicInNew | PanicInSave | PanicOnDrop => {}
        Panic => panic!("out of patience"),
        Fail => return Err(Error::plugin("no image is good enough")),
        DuplicateIds => ids[1] = ids[0],
        LabelledIds => ids[0] = request.labelled[0],
        ForeignIds => ids[0] = u64::MAX,
        TooFew => ids.truncate(1),
        TooMany => ids = request.unlabelled.clone(),
        NanScores => return Ok(Selection { scores: vec![f32::NAN; ids.len()], ids }),
        UnknownOperation => _ = host.invoke::<_, ops::Empty>(Op("x.nothing/1"), &ops::Empty {}, &[])?,
        UnknownView => {
            // What the kit of a later version could send.
            let mut spec = serde_json::to_value(TrainSpec::pt4al_rotation())?;
            spec["views"][0] = serde_json::json!({"op": "solarize", "threshold": 0.5});
            _ = host.invoke::<_, ops::TrainAnswer>(ops::TRAIN_1, &spec, &[])?;
        }
        HiddenTargets => {
            let target = Target::Labels {};
            let spec = TrainSpec { target, record: vec![], ..TrainSpec::pt4al_rotation().with_epochs(1) };
            host.train(&spec, &request.unlabelled)?;
        }
        ReadsHiddenLabel => _ = host.labels(&request.unlabelled[..1])?,
        LooksAround => look_around(request, host)?,
        ImpossibleTensor => {
            let shape = [u64::MAX, 2];
            raw(host).tensor_put(DType::F32, RSlice::from(&shape[..]), RSlice::from(&[0; 8][..])).into_result()?;
        }
        ReleasesRequest => {
            // Ids are a generation and a slot; the request's tensors are the first ones.
            (0..4).for_each(|slot| raw(host).tensor_release(TensorId(1 << 32 | slot)));
            assert!(raw(host).tensor_info(TensorId(1 << 32)).is_err(), "the request's ids were not released");
        }
        BadArtifact => host.put_artifact("../escaped.txt", vec![0])?,
        Logs => {
            log::info!("hello through log");
            tracing::info!(answer = 42, "hello through tracing");
        }
        Sleeps => std::thread::sleep(Duration::from_millis(1500)),
        FloodsLog => (0..200_000).for_each(|i| log::warn!("line {i} of nothing in particular")),
        LeaksTensors => loop {
            let put = raw(host).tensor_put(DType::U8, RSlice::from(&[1 << 20][..]), RSlice::from(&[0; 1 << 20][..]));
            put.into_result()?;
        },
        Asks => {
            let args: serde_json::Value = serde_json::from_str(&params.args)?;
            asks(raw(host), &params.op, &wire::encode(&args), &request.unlabelled)?;
        }
        LongError => return Err(Error::plugin("e".repeat(params.n))),
        LongLines => (0..3000).for_each(|_| log::warn!("{}", "a".repeat(params.n))),
        Artifacts => (0..params.n).try_for_each(|i| host.put_artifact(&format!("{i}.bin"), vec![0; 1 << 20]))?,
        ManyArtifacts => (0..params.n).try_for_each(|i| host.put_artifact(&format!("{i}.bin"), vec![0; 10]))?,
        LargeState => {}
        SelectsMillions => return Ok(Selection::of(vec![0; 20_000_000])),
        deadly => deadly::act(deadly, &params.file)?,
    }
    Ok(Selection::of(ids))
}

/// Have the host do an operation on these images, past the kit, which would not ask for nonsense.
fn asks(host: &HostRef<'_>, op: &str, args: &[u8], ids: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let shape = [ids.len() as u64];
    let ids = host.tensor_put(DType::U64, RSlice::from(&shape[..]), RSlice::from(&bytes[..])).into_result()?;
    _ = host.invoke(op.into(), args.into(), RSlice::from(&[ids][..]), &mut RVec::new()).into_result()?;
    Ok(())
}

/// The border itself, around the kit that guards it.
fn raw<'h, 'a>(host: &'h Host<'a>) -> &'h HostRef<'a> {
    // SAFETY: none worth the name: a `Host` has one field, and this plugin means harm.
    unsafe { &*std::ptr::from_ref(host).cast() }
}

export_plugin! {
    name: "hostile",
    publisher: "nobody",
    roles: [Initial, Query],
    strategy: Hostile,
    needs: [],
    cite: "None",
}
