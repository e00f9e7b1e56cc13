//! `#[derive(Controls)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error};

use crate::fields::{Derive, Input};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let Input { name, fields, .. } = Input::new(input, Derive::Controls)?;
    let text = name.to_string();
    let locals: Vec<_> = (0..fields.len()).map(|n| format_ident!("f{n}")).collect();
    // All are looked for before any is missed, so that one run names everything that is wrong.
    let finds = fields.iter().zip(&locals).map(|(field, local)| {
        let ty = field.ty;
        let find = if field.flatten {
            quote_spanned! {ty.span()=> find.flatten::<#ty>() }
        } else {
            let (variable, ident) = (&field.variable, field.ident.to_string());
            quote_spanned! {ty.span()=> find.field::<#ty>(#text, #ident, #variable) }
        };
        quote! { let #local = #find; }
    });
    let values = fields.iter().zip(&locals).map(|(field, local)| {
        let ident = field.ident;
        quote! { #ident: #local? }
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::ccp_core::ControlStruct for #name {
            const NAME: &'static str = #text;
            fn places(find: &mut ::ccp_core::FindControls<'_>) -> ::core::option::Option<Self> {
                #(#finds)*
                ::core::option::Option::Some(Self { #(#values),* })
            }
        }
    })
}
