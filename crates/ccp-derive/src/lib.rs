//! Derives for the variables of datapath programs; `ccp-core` gives them out and explains them.
//!
//! What they make only names things of `ccp_core`: the crate that uses them needs no other.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod controls;
mod fields;
mod report;

/// Makes a struct the values of one report: see `ccp_core::ReportStruct`.
#[proc_macro_derive(Report, attributes(ccp))]
pub fn report(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    report::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct the places of a program's control variables: see `ccp_core::ControlStruct`.
#[proc_macro_derive(Controls, attributes(ccp))]
pub fn controls(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    controls::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
