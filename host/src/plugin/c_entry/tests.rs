use super::*;
use coldstart_plugin_api::abi::{RRef, Selector, TensorId};
use coldstart_plugin_api::capi::{
    API_MAJOR, AnswerV1, BAD_PARAMS, F32, HOST_FAILED, HeadV1, HostV1, TensorInfoV1, U64,
};
use coldstart_plugin_api::testing::TestHost;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

/// What the instance does to the structs that it is to fill.
type Answer = fn(&mut SelectionV1, &mut FaultV1) -> i32;

/// The shape of two ids.
static TWO: u64 = 2;

thread_local! {
    /// How often anything was released.
    static RELEASED: Cell<usize> = const { Cell::new(0) };
    /// What the instance answers with, and the table that is handed out.
    static ANSWER: Cell<Option<Answer>> = const { Cell::new(None) };
    static TABLE: Cell<*const SelectorV1> = const { Cell::new(null()) };
    /// The host of the last call, as a bad plugin would keep it.
    static KEPT: Cell<Option<HostV1>> = const { Cell::new(None) };
}

unsafe extern "C" fn release_one(_: *mut c_void) {
    RELEASED.set(RELEASED.get() + 1);
}

unsafe extern "C" fn create_one(
    _: *mut c_void,
    _: TextV1,
    _: TextV1,
    _: *const HostV1,
    selector: *mut *const SelectorV1,
    _: *mut FaultV1,
) -> i32 {
    unsafe { *selector = TABLE.get() };
    OK
}

unsafe extern "C" fn select_one(
    _: *mut c_void,
    _: *const RequestV1,
    host: *const HostV1,
    selection: *mut SelectionV1,
    fault: *mut FaultV1,
) -> i32 {
    KEPT.set(Some(unsafe { *host }));
    let (selection, fault) = unsafe { (&mut *selection, &mut *fault) };
    selection.head.release = Some(release_one);
    fault.head.release = Some(release_one);
    ANSWER.get().unwrap()(selection, fault)
}

fn good() -> SelectorV1 {
    let head = HeadV1 { release: Some(release_one), ..HeadV1::of::<SelectorV1>() };
    SelectorV1 { head, select: Some(select_one), ..SelectorV1::empty() }
}

fn created(table: *const SelectorV1) -> Result<Instance, String> {
    TABLE.set(table);
    let plugin = CPlugin { table: PluginV1 { create: Some(create_one), ..PluginV1::empty() }, manifest: "" };
    let host = TestHost::new(4);
    plugin.instance("one", "{}", as_host(&host)).map_err(|fault| fault.message.into_string())
}

fn as_host(host: &TestHost) -> HostRef<'_> {
    HostRef::from_ptr(RRef::new(host), TD_Opaque)
}

fn chosen(answer: Answer) -> Result<abi::Selection, Fault> {
    ANSWER.set(Some(answer));
    RELEASED.set(0);
    let table = good();
    let mut instance = created(&raw const table).unwrap();
    let request = abi::Request {
        round: 0,
        budget: 2,
        seed: [0; 32],
        unlabelled: TensorId(0),
        labelled: TensorId(0),
        extra: RVec::new(),
    };
    let host = TestHost::new(4);
    let selection = instance.select(&request, as_host(&host)).into_result();
    drop(instance);
    assert_eq!(RELEASED.get(), 3, "the selection, the fault and the instance are each released once");
    selection
}

#[test]
fn an_instance_that_breaks_the_rules_is_not_created() {
    let with = |change: fn(&mut SelectorV1)| {
        let mut table = good();
        change(&mut table);
        table
    };
    for (table, expected) in [
        (with(|table| table.head.struct_size = 0), "a struct of 0 bytes, 64 or more were expected"),
        (with(|table| table.head.struct_size = 63), "a struct of 63 bytes"),
        (with(|table| table.head.struct_size = u32::MAX), "a struct of 4294967295 bytes"),
        (with(|table| table.head.api_major = 2), "speaks contract 2"),
        (with(|table| table.select = None), "has no `select`"),
    ] {
        let error = created(&raw const table).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
    let table = good();
    assert!(created(null()).err().unwrap().contains("null pointer"));
    assert!(created((&raw const table).wrapping_byte_add(4)).err().unwrap().contains("misaligned"));
    // A newer plugin knows more functions.
    let longer = (with(|table| table.head.struct_size = 72), 0u64);
    let mut instance = created(&raw const longer.0).unwrap();
    // What it does not know is absent.
    assert!(instance.load(RSlice::EMPTY).is_ok() && instance.save().unwrap().is_empty());
    assert_eq!(instance.load(RSlice::from(&b"state"[..])).unwrap_err().code, BAD_PARAMS);
}

#[test]
fn an_answer_is_checked_before_it_is_read() {
    static IDS: [u64; 2] = [3, 1];
    static SCORES: [f32; 2] = [0.5, 0.25];
    let whole: Answer = |selection, _| {
        (selection.ids, selection.n_ids) = (IDS.as_ptr(), 2);
        (selection.scores, selection.n_scores) = (SCORES.as_ptr(), 2);
        OK
    };
    let selection = chosen(whole).unwrap();
    assert_eq!((&selection.ids[..], &selection.scores[..]), (&IDS[..], &SCORES[..]));
    assert!(chosen(|_, _| OK).unwrap().ids.is_empty());

    let rows: [(Answer, &str); 10] = [
        (|_, _| 1, "failed with the code 1, without a word"),
        (
            |s, _| {
                s.n_ids = 2;
                OK
            },
            "the ids: 2 elements at a null pointer",
        ),
        (
            |s, _| {
                (s.ids, s.n_ids) = (IDS.as_ptr(), usize::MAX);
                OK
            },
            "chose 18446744073709551615 images, 2 were asked for",
        ),
        (
            |s, _| {
                (s.ids, s.n_ids) = (IDS.as_ptr().wrapping_byte_add(1), 1);
                OK
            },
            "the ids: a misaligned pointer",
        ),
        (
            |s, _| {
                (s.ids, s.n_ids, s.scores, s.n_scores) = (IDS.as_ptr(), 2, SCORES.as_ptr(), 1);
                OK
            },
            "gave 1 scores for 2 images",
        ),
        (
            |s, _| {
                s.report = BytesV1 { ptr: null(), len: 8 };
                OK
            },
            "the report: 8 elements at a null pointer",
        ),
        (
            |s, _| {
                s.head.struct_size += 8;
                OK
            },
            "filled 88 bytes of an answer with room for 80",
        ),
        (
            |s, _| {
                s.head.struct_size = 8;
                OK
            },
            "filled 8 bytes",
        ),
        (
            |_, f| {
                f.message = TextV1 { ptr: c"not \xff text".as_ptr(), len: 10 };
                -7
            },
            "not \u{fffd} text",
        ),
        (
            |_, f| {
                f.message = TextV1 { ptr: c"far".as_ptr(), len: usize::MAX };
                100
            },
            "the fault's message: 18446744073709551615 elements cannot be",
        ),
    ];
    for (answer, expected) in rows {
        let fault = chosen(answer).unwrap_err();
        assert!(fault.message.contains(expected), "{}", fault.message);
        assert!(fault.code != OK);
    }
}

unsafe extern "C" fn save_one(_: *mut c_void, state: *mut OwnedBytesV1, _: *mut FaultV1) -> i32 {
    let state = unsafe { &mut *state };
    state.head.release = Some(release_one);
    state.bytes = bytes_v1(b"state");
    OK
}

unsafe extern "C" fn load_one(_: *mut c_void, state: BytesV1, fault: *mut FaultV1) -> i32 {
    if unsafe { raw::slice("", state.ptr, state.len, 99) } == Ok(b"state") {
        return OK;
    }
    unsafe { (*fault).message = text_v1("no state of mine") };
    BAD_PARAMS
}

unsafe extern "C" fn invoke_one(
    object: *mut c_void,
    _: TextV1,
    _: BytesV1,
    host: *const HostV1,
    answer: *mut OwnedBytesV1,
    fault: *mut FaultV1,
) -> i32 {
    let host = unsafe { &*host };
    assert!(unsafe { host.supports.unwrap()(host.head.object, text_v1("env.info/1")) });
    unsafe { save_one(object, answer, fault) }
}

#[test]
fn states_and_operations_go_through() {
    let table = SelectorV1 { save: Some(save_one), load: Some(load_one), invoke: Some(invoke_one), ..good() };
    let mut instance = created(&raw const table).unwrap();
    RELEASED.set(0);
    let state = instance.save().unwrap();
    assert_eq!((&state[..], RELEASED.get()), (&b"state"[..], 1));
    assert!(instance.load(state.as_rslice()).is_ok());
    let refused = instance.load(RSlice::EMPTY).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (BAD_PARAMS, "no state of mine"));

    let host = TestHost::new(1);
    let invoke = |instance: &mut Instance| instance.invoke("x/1".into(), RSlice::EMPTY, as_host(&host));
    assert_eq!(invoke(&mut instance).unwrap()[..], b"state"[..]);
    let plain = good();
    assert_eq!(invoke(&mut created(&raw const plain).unwrap()).unwrap_err().code, Code::UNSUPPORTED.0);
}

#[test]
fn a_host_that_was_kept_is_gone() {
    chosen(|_, _| OK).unwrap();
    let host = KEPT.get().unwrap();
    for object in [host.head.object, null_mut(), (&raw const host).cast_mut().cast()] {
        let mut fault = FaultV1::empty();
        let mut read = 0;
        unsafe {
            assert!(host.cancelled.unwrap()(object) && !host.supports.unwrap()(object, text_v1("env.info/1")));
            let code = host.tensor_read.unwrap()(object, 0, 0, null_mut(), 0, &raw mut read, &raw mut fault);
            assert_eq!(code, HOST_FAILED);
            host.tensor_release.unwrap()(object, 0);
            host.progress.unwrap()(object, text_v1("stage"), 1, 2);
        }
        assert_eq!(said(&fault), "there is no such call: a host is not to be kept");
    }
}

/// The words of a fault, which is released.
fn said(fault: &FaultV1) -> String {
    let said = unsafe { raw::text("the message", fault.message) }.unwrap_or_default().to_owned();
    release(fault);
    said
}

#[test]
fn the_hosts_functions_serve_and_refuse() {
    let test_host = TestHost::new(4).probabilities(&[[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [1.0, 0.0]]);
    let call = Call::begin(as_host(&test_host));
    let host = unsafe { call.table().read() };
    let object = host.head.object;
    let mut fault = FaultV1::empty();
    let not_utf8 = TextV1 { ptr: c"\xff".as_ptr(), len: 1 };
    let ids: Vec<u8> = [2u64, 1].iter().flat_map(|id| id.to_le_bytes()).collect();
    let args = b"\x81\xa7outputs\x91\xadprobabilities";
    unsafe {
        assert_eq!(host.head.api_major, API_MAJOR);
        assert!(host.supports.unwrap()(object, text_v1("model.predict/1")));
        assert!(!host.supports.unwrap()(object, not_utf8) && !host.cancelled.unwrap()(object));

        let mut tensor = 0;
        let put = host.tensor_put.unwrap();
        assert_eq!(put(object, U64, &raw const TWO, 1, bytes_v1(&ids), &raw mut tensor, null_mut()), OK);
        assert_eq!(put(object, U64, null(), 1, bytes_v1(&ids), &raw mut tensor, &raw mut fault), BAD_PARAMS);
        assert_eq!(said(&fault), "the shape: 1 elements at a null pointer");
        assert_eq!(put(object, U64, &raw const TWO, 1, bytes_v1(&ids), null_mut(), null_mut()), BAD_PARAMS);

        let invoke = host.invoke.unwrap();
        let predict = text_v1("model.predict/1");
        let mut answer = AnswerV1::empty();
        assert_eq!(invoke(object, predict, bytes_v1(args), &raw const tensor, 1, &raw mut answer, null_mut()), OK);
        assert_eq!((answer.n_tensors, answer.message.len), (1, 1));
        let probabilities = *answer.tensors;
        release(&answer);

        let mut info = TensorInfoV1::empty();
        assert_eq!(host.tensor_info.unwrap()(object, probabilities, &raw mut info, null_mut()), OK);
        assert_eq!((info.dtype, raw::slice("", info.shape, info.n_axes, 99)), (F32, Ok(&[2u64, 2][..])));
        release(&info);
        let (mut rows, mut read) = ([0.0f32; 4], 0);
        let place = rows.as_mut_ptr().cast();
        assert_eq!(host.tensor_read.unwrap()(object, probabilities, 0, place, 16, &raw mut read, null_mut()), OK);
        assert_eq!((rows, read), ([0.4, 0.6, 0.5, 0.5], 16));

        // Nobody wants the answer: its tensors do not stay.
        let before = test_host.tensors_left();
        assert_eq!(invoke(object, predict, bytes_v1(args), &raw const tensor, 1, null_mut(), null_mut()), OK);
        assert_eq!(test_host.tensors_left(), before);
        for (op, args, inputs, n, expected) in [
            (not_utf8, bytes_v1(args), &raw const tensor, 1, "the operation: not UTF-8"),
            (TextV1 { ptr: null(), len: 3 }, bytes_v1(args), &raw const tensor, 1, "at a null pointer"),
            (predict, BytesV1 { ptr: null(), len: 1 }, &raw const tensor, 1, "the arguments"),
            (predict, bytes_v1(args), null(), 1, "the inputs"),
            (predict, bytes_v1(args), &raw const tensor, usize::MAX, "elements cannot be"),
            (predict, bytes_v1(b"\xc1"), &raw const tensor, 1, "malformed message"),
        ] {
            fault = FaultV1::empty();
            assert_eq!(invoke(object, op, args, inputs, n, &raw mut answer, &raw mut fault), BAD_PARAMS);
            let said = said(&fault);
            assert!(said.contains(expected), "{said}");
        }
        let mut small = FaultV1::empty();
        small.head.struct_size = 8;
        assert_eq!(invoke(object, not_utf8, bytes_v1(args), null(), 0, null_mut(), &raw mut small), BAD_PARAMS);
        assert!(small.message.ptr.is_null(), "a fault that is too small is left alone");

        let (mut drawn, mut expected) = ([0u8; 7], [0u8; 7]);
        host.rng_fill.unwrap()(object, text_v1("draw"), drawn.as_mut_ptr(), 7);
        coldstart_plugin_api::Rng::for_stream([0; 32], "draw").fill(&mut expected);
        assert_eq!(drawn, expected);
        host.log.unwrap()(object, 3, text_v1("margin"), not_utf8, bytes_v1(&[]));
        assert_eq!(test_host.logged(), ["3 margin: \u{fffd}"]);
    }
}

#[test]
fn the_end_of_a_call_waits_for_the_plugins_threads() {
    let test_host = TestHost::new(2);
    let call = Call::begin(as_host(&test_host));
    let host = unsafe { call.table().read() };
    let object = host.head.object.addr();
    let busy = std::thread::spawn(move || {
        let object = std::ptr::without_provenance_mut(object);
        let mut served = 0;
        while unsafe { !host.cancelled.unwrap()(object) } {
            served += 1;
        }
        served
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    drop(call);
    drop(test_host);
    assert!(busy.join().unwrap() > 0);
}
