//! `#[derive(Report)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error};

use crate::fields::{Derive, Input};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream, Error> {
    let Input {
        name,
        fields,
        partial,
    } = Input::new(input, Derive::Report)?;
    let count = fields.len();
    let text = name.to_string();
    let places = fields.iter().map(|field| {
        let (ty, variable, ident) = (field.ty, &field.variable, field.ident.to_string());
        quote_spanned! {ty.span()=> find.field::<#ty>(#ident, #variable) }
    });
    let values = fields.iter().enumerate().map(|(place, field)| {
        let (ty, ident) = (field.ty, field.ident);
        quote_spanned! {ty.span()=>
            #ident: <#ty as ::ccp_core::ReportValue>::read(values, places[#place])
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl ::ccp_core::ReportStruct for #name {
            type Places = [u16; #count];
            const NAME: &'static str = #text;
            const PARTIAL: bool = #partial;
            fn places(find: &mut ::ccp_core::FindReports<'_>) -> Self::Places {
                [#(#places),*]
            }
            fn read(values: &[u64], places: &Self::Places) -> Self {
                Self { #(#values),* }
            }
        }
    })
}
