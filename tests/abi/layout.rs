//! Every type that crosses the border, as text: what is committed is what released plugins were compiled against.

use coldstart_plugin_api::__private::abi_stable::StableAbi;
use coldstart_plugin_api::__private::abi_stable::type_layout::{TLData, TLField, TLFunction, TypeLayout};
use coldstart_plugin_api::abi::{Fault, HostRef, Request, RootRef, Selection, SelectorBox, TensorInfo};
use coldstart_plugin_api::capi;
use coldstart_tests::committed;
use std::collections::BTreeSet;
use std::fmt::Write;

#[test]
fn no_type_of_the_contract_has_moved() {
    committed("plugin-api/abi-layout.txt", &dump(), "abi");
}

fn dump() -> String {
    let (mut types, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for layout in [
        RootRef::LAYOUT,
        SelectorBox::LAYOUT,
        HostRef::LAYOUT,
        Request::LAYOUT,
        Selection::LAYOUT,
        Fault::LAYOUT,
        TensorInfo::LAYOUT,
    ] {
        describe(layout, &mut types, &mut seen);
    }
    let rust: String = types.into_iter().collect();
    let head = "The layout of every type that crosses the border. It may only grow where ARCHITECTURE.md says how.\n\n";
    format!("{head}# Rust\n\n{rust}# C\n\n{}", in_c())
}

/// The dump is not blind: it knows where the compiler puts the fields.
#[test]
fn the_offsets_are_the_compilers() {
    let dump = dump();
    let of = |name: &str| {
        let start = dump.find(&format!("\n{name}: ")).unwrap_or_else(|| panic!("no `{name}`"));
        dump[start..].split("\n\n").next().unwrap()
    };
    let request = of("Request");
    for (field, offset) in [
        ("round", std::mem::offset_of!(Request, round)),
        ("budget", std::mem::offset_of!(Request, budget)),
        ("seed", std::mem::offset_of!(Request, seed)),
        ("extra", std::mem::offset_of!(Request, extra)),
    ] {
        assert!(request.lines().any(|line| line.starts_with(&format!("  {offset:>4} {field}:"))), "{field}: {request}");
    }
    for method in ["supports", "invoke", "tensor_read", "rng_fill"] {
        assert!(dump.contains(&format!(" {method}: fn(")), "{method}");
    }
}

/// One paragraph for a type, and for each that it is made of or that its functions take and return. The names leave out
/// what a vector is of: paragraphs of one name are told apart by what is in them.
fn describe(layout: &'static TypeLayout, types: &mut BTreeSet<String>, seen: &mut BTreeSet<usize>) {
    if !seen.insert(std::ptr::from_ref(layout).addr()) {
        return;
    }
    let (kind, fields) = parts(layout);
    let mut text = format!("{}: {kind}, size {}, align {}\n", layout.full_type(), layout.size(), layout.alignment());
    let mut end = 0usize;
    for field in &fields {
        let inner = field.layout();
        let offset = end.next_multiple_of(inner.alignment().max(1));
        // The fields of an enum's variants are not laid out one behind the other.
        let place = if kind.starts_with("enum") { "-".to_owned() } else { offset.to_string() };
        end = offset + inner.size();
        writeln!(text, "  {place:>4} {}: {}, size {}", field.name(), signature(field), inner.size()).unwrap();
    }
    if layout.size() > 0 && !kind.starts_with("primitive") {
        types.insert(text + "\n");
    }
    let phantom = layout.phantom_fields().to_vec();
    for field in fields.iter().chain(&phantom) {
        describe(field.layout(), types, seen);
        for function in field.function_range().iter() {
            function.param_type_layouts.iter().for_each(|of_param| describe(of_param(), types, seen));
            function.return_type_layout().iter().for_each(|returned| describe(returned(), types, seen));
        }
    }
}

fn parts(layout: &'static TypeLayout) -> (String, Vec<TLField>) {
    match layout.data() {
        TLData::Primitive(primitive) => (format!("primitive {primitive:?}"), Vec::new()),
        TLData::Opaque => ("opaque".to_owned(), Vec::new()),
        TLData::Struct { fields } => (format!("struct {:?}", layout.repr_attr()), fields.to_vec()),
        TLData::Union { fields } => (format!("union {:?}", layout.repr_attr()), fields.to_vec()),
        TLData::Enum(of) => (format!("enum {:?} of {}", layout.repr_attr(), of.variant_names), of.fields.to_vec()),
        TLData::PrefixType(prefix) => {
            let first = prefix.first_suffix_field;
            (format!("prefix type, {first} fields of 1.0"), prefix.fields.to_vec())
        }
    }
}

/// A field's type; for a function what it takes and returns.
fn signature(field: &TLField) -> String {
    if !field.is_function() {
        return field.full_type().to_string();
    }
    field.function_range().iter().map(|function| of_function(&function)).collect::<Vec<_>>().join(" | ")
}

/// Types with their sizes: the names leave out what a result is of.
fn of_function(function: &TLFunction) -> String {
    let sized = |of: &'static TypeLayout| format!("{} ({})", of.full_type(), of.size());
    let params: Vec<String> = function.param_type_layouts.iter().map(|of_param| sized(of_param())).collect();
    let returned = function.return_type_layout().map_or("()".to_owned(), |of| sized(of()));
    format!("fn({}) -> {returned}", params.join(", "))
}

fn in_c() -> String {
    let mut text = String::new();
    for capi::Layout { name, size, align, fields } in capi::layouts() {
        writeln!(text, "{name}: struct, size {size}, align {align}").unwrap();
        for (field, offset, size, align) in fields {
            writeln!(text, "  {offset:>4} {field}: size {size}, align {align}").unwrap();
        }
        text.push('\n');
    }
    text
}
