//! `#[derive(Params)]` for `coldstart-plugin-api`, which re-exports it and documents it.
//!
//! For a struct it writes `Deserialize` (through a hidden twin with serde's own derive), the range checks and the JSON
//! Schema as a constant; for an enum without data, `Deserialize` and the schema of its kebab-case names.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, Lit, Result, Type, UnOp};

/// Derive `Params` for a struct with named fields, or make an enum without data usable as a field.
///
/// Fields take `#[param(default = LITERAL, min = NUMBER, max = NUMBER)]`; without a default a field is required, unless
/// its type is an `Option`. The default of a table is a list of pairs, `[("entropy", 6), ("margin", 2)]`, that of a `Vec` a list of values;
/// the range holds for each value. The doc comments become the schema's descriptions.
#[proc_macro_derive(Params, attributes(param))]
pub fn params(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    let written = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => for_struct(&input, fields.named.iter().collect()),
            _ => Err(Error::new_spanned(&input.ident, "Params needs a struct with named fields")),
        },
        Data::Enum(data) => for_enum(&input, &data.variants.iter().collect::<Vec<_>>()),
        Data::Union(_) => Err(Error::new_spanned(&input.ident, "Params cannot be derived for a union")),
    };
    written.unwrap_or_else(Error::into_compile_error).into()
}

/// What stands in a field's `#[param(...)]` and doc comment.
struct Param<'a> {
    name: &'a Ident,
    ty: &'a Type,
    doc: String,
    default: Option<Expr>,
    min: Option<Expr>,
    max: Option<Expr>,
}

impl Param<'_> {
    fn read(field: &Field) -> Result<Param<'_>> {
        let name = field.ident.as_ref().expect("fields are named");
        let mut param = Param { name, ty: &field.ty, doc: doc(&field.attrs), default: None, min: None, max: None };
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("param")) {
            attribute.parse_nested_meta(|meta| {
                let slot = match meta.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("default") => &mut param.default,
                    Some("min") => &mut param.min,
                    Some("max") => &mut param.max,
                    _ => return Err(meta.error("expected `default`, `min` or `max`")),
                };
                *slot = Some(meta.value()?.parse()?);
                Ok(())
            })?;
        }
        Ok(param)
    }

    /// Its name in a config: that of `r#final` is `final`.
    fn text(&self) -> String {
        self.name.unraw().to_string()
    }

    fn is_option(&self) -> bool {
        self.is_a("Option")
    }

    fn is_a(&self, name: &str) -> bool {
        matches!(self.ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
    }

    fn required(&self) -> bool {
        self.default.is_none() && !self.is_option()
    }

    /// The pieces of this field's schema.
    fn schema(&self) -> Result<Tokens> {
        let (name, ty, doc) = (json_text(&self.text()), self.ty, json_text(&self.doc));
        let opening = format!("{name}:{{\"description\":{doc},");
        let minimum = match &self.min {
            Some(min) => {
                let text = format!(",\"minimum\":{}", json_literal(min)?);
                quote! { Piece::Json(#text), Piece::Json("") }
            }
            None => quote! {
                Piece::Json(if <#ty as ParamType>::MINIMUM.is_empty() { "" } else { ",\"minimum\":" }),
                Piece::Json(<#ty as ParamType>::MINIMUM)
            },
        };
        let maximum = match &self.max {
            Some(max) => format!(",\"maximum\":{}", json_literal(max)?),
            None => String::new(),
        };
        let mut closing = String::new();
        if let Some(default) = &self.default {
            closing.push_str(&format!(",\"default\":{}", self.json_default(default)?));
        }
        closing.push('}');
        Ok(quote! {
            Piece::Json(#opening), Piece::Json(<#ty as ParamType>::OPENING), Piece::Json(<#ty as ParamType>::SCHEMA), #minimum,
            Piece::Json(#maximum), Piece::Json(<#ty as ParamType>::CLOSING), Piece::Json(#closing)
        })
    }

    /// The default as JSON. An empty list is a table or a list by the field's type alone.
    fn json_default(&self, default: &Expr) -> Result<String> {
        match default {
            Expr::Array(values) if self.is_a("Vec") => json_list(values),
            default => json_literal(default),
        }
    }

    /// The check of this field's range; nothing for a field without one.
    fn check(&self) -> Tokens {
        let (name, text) = (self.name, self.text());
        let value = match (self.is_option() || self.is_a("Vec"), self.is_a("BTreeMap")) {
            (true, _) => quote!(self.#name.iter()),
            (_, true) => quote!(self.#name.values()),
            _ => quote!(std::iter::once(&self.#name)),
        };
        let bounds = [(&self.min, "at least", quote!(>=)), (&self.max, "at most", quote!(<=))];
        let checks = bounds.into_iter().filter_map(|(bound, word, operator)| {
            let bound = bound.as_ref()?;
            let range = format!("{word} {}", quote!(#bound).to_string().replace(' ', ""));
            // `!(value >= bound)` and not `value < bound`, so that NaN is out of every range.
            Some(quote! {
                for value in #value {
                    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must fail")]
                    if !(*value #operator #bound) {
                        return Err(::coldstart_plugin_api::params::out_of_range(#text, value, #range));
                    }
                }
            })
        });
        quote! { #(#checks)* }
    }

    /// The field in the twin that serde parses, and the function that makes its default.
    fn twin(&self, owner: &Ident) -> Result<(Tokens, Tokens)> {
        let (name, ty) = (self.name, self.ty);
        let Some(default) = &self.default else {
            return Ok((quote! { #name: #ty }, quote! {}));
        };
        let function = format_ident!("default_{}", self.text());
        let path = format!("{function}");
        let json = self.json_default(default)?;
        let promise = format!("the default of `{owner}.{name}` does not fit its type");
        Ok((
            quote! { #[serde(default = #path)] #name: #ty },
            quote! {
                fn #function() -> #ty {
                    ::coldstart_plugin_api::__private::serde_json::from_str(#json).expect(#promise)
                }
            },
        ))
    }
}

fn for_struct(input: &DeriveInput, fields: Vec<&Field>) -> Result<Tokens> {
    let ident = &input.ident;
    let params = fields.into_iter().map(Param::read).collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = params.iter().map(|param| param.name).collect();
    let checks = params.iter().map(Param::check);
    let (twin_fields, defaults): (Vec<_>, Vec<_>) =
        params.iter().map(|param| param.twin(ident)).collect::<Result<Vec<_>>>()?.into_iter().unzip();

    let opening = format!("{{\"type\":\"object\",\"description\":{},\"properties\":{{", json_text(&doc(&input.attrs)));
    let mut pieces = quote! { Piece::Json(#opening) };
    for (i, param) in params.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let schema = param.schema()?;
        pieces.extend(quote! { , Piece::Json(#comma), #schema });
    }
    let required: Vec<_> = params.iter().filter(|p| p.required()).map(|p| json_text(&p.text())).collect();
    let closing = format!("}},\"required\":[{}],\"additionalProperties\":false}}", required.join(","));

    Ok(quote! {
        const _: () = {
            use ::coldstart_plugin_api::manifest::{Piece, json, json_len, text};
            use ::coldstart_plugin_api::params::ParamType;
            use ::coldstart_plugin_api::__private::serde;

            const PIECES: &[Piece] = &[#pieces, Piece::Json(#closing)];
            impl ::coldstart_plugin_api::Params for #ident {
                const SCHEMA: &'static str = text(&json::<{ json_len(PIECES) }>(PIECES));
                fn check(&self) -> ::coldstart_plugin_api::Result<()> {
                    #(#checks)*
                    Ok(())
                }
            }

            #[derive(serde::Deserialize)]
            #[serde(crate = "::coldstart_plugin_api::__private::serde", deny_unknown_fields)]
            struct Twin { #(#twin_fields),* }
            #(#defaults)*
            impl<'de> serde::Deserialize<'de> for #ident {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let Twin { #(#names),* } = serde::Deserialize::deserialize(deserializer)?;
                    Ok(#ident { #(#names),* })
                }
            }
        };
    })
}

fn for_enum(input: &DeriveInput, variants: &[&syn::Variant]) -> Result<Tokens> {
    if let Some(variant) = variants.iter().find(|variant| !variant.fields.is_empty()) {
        return Err(Error::new_spanned(variant, "an enum parameter has no data in its variants"));
    }
    let ident = &input.ident;
    let idents: Vec<_> = variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<_> = idents.iter().map(|ident| kebab(&ident.to_string())).collect();
    let listed = names.iter().map(|name| json_text(name)).collect::<Vec<_>>().join(",");
    let schema = format!("\"enum\":[{listed}]");
    Ok(quote! {
        const _: () = {
            use ::coldstart_plugin_api::__private::serde;
            impl ::coldstart_plugin_api::params::ParamType for #ident {
                const SCHEMA: &'static str = #schema;
            }
            #[derive(serde::Deserialize)]
            #[serde(crate = "::coldstart_plugin_api::__private::serde")]
            enum Twin { #(#[serde(rename = #names)] #idents),* }
            impl<'de> serde::Deserialize<'de> for #ident {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Ok(match serde::Deserialize::deserialize(deserializer)? { #(Twin::#idents => #ident::#idents),* })
                }
            }
        };
    })
}

/// The doc comment, its lines joined by spaces.
fn doc(attributes: &[Attribute]) -> String {
    let lines =
        attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| match &attribute
            .meta
            .require_name_value()
            .ok()?
            .value
        {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A list of pairs as a JSON object.
fn json_table(pairs: &syn::ExprArray) -> Result<String> {
    let pair = |pair: &Expr| match pair {
        Expr::Tuple(pair) if pair.elems.len() == 2 => {
            Ok(format!("{}:{}", json_literal(&pair.elems[0])?, json_literal(&pair.elems[1])?))
        }
        _ => Err(Error::new_spanned(pair, "expected a pair: a name and a value")),
    };
    Ok(format!("{{{}}}", pairs.elems.iter().map(pair).collect::<Result<Vec<_>>>()?.join(",")))
}

/// A list of values as a JSON array.
fn json_list(values: &syn::ExprArray) -> Result<String> {
    let values = values.elems.iter().map(json_literal).collect::<Result<Vec<_>>>()?;
    Ok(format!("[{}]", values.join(",")))
}

/// A Rust literal as JSON; a list of pairs is a table.
fn json_literal(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Array(pairs) => json_table(pairs),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Ok(format!("-{}", json_literal(&unary.expr)?)),
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Ok(json_text(&text.value())),
            Lit::Bool(bool) => Ok(bool.value.to_string()),
            Lit::Int(int) => Ok(int.base10_digits().to_owned()),
            Lit::Float(float) => {
                let value: f64 = float.base10_parse()?;
                Ok(serde_json::Value::from(value).to_string())
            }
            _ => Err(Error::new_spanned(expr, "expected a number, a string or a bool")),
        },
        _ => Err(Error::new_spanned(expr, "expected a literal")),
    }
}

/// `TopHat` becomes `top-hat`.
fn kebab(camel: &str) -> String {
    let mut name = String::new();
    for (i, letter) in camel.chars().enumerate() {
        if letter.is_uppercase() && i > 0 {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
