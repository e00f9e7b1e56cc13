//! What both derives read from a struct: its fields, and what `#[ccp(…)]` says of them.

use syn::ext::IdentExt as _;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Type};

/// A struct that a derive takes.
pub(crate) struct Input<'i> {
    pub(crate) name: &'i Ident,
    pub(crate) fields: Vec<Field<'i>>,
    /// `#[ccp(partial)]`.
    pub(crate) partial: bool,
}

/// One of its fields.
pub(crate) struct Field<'i> {
    pub(crate) ident: &'i Ident,
    pub(crate) ty: &'i Type,
    /// The variable: the field's own name, or what `#[ccp(rename = "…")]` says.
    pub(crate) variable: String,
    /// `#[ccp(flatten)]`.
    pub(crate) flatten: bool,
}

/// Which derive reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derive {
    Report,
    Controls,
}

impl Derive {
    const fn name(self) -> &'static str {
        match self {
            Self::Report => "Report",
            Self::Controls => "Controls",
        }
    }
}

impl<'i> Input<'i> {
    /// Everything that is wrong with it comes in one error.
    pub(crate) fn new(input: &'i DeriveInput, derive: Derive) -> Result<Self, Error> {
        let mut wrong = Wrong::default();
        let name = &input.ident;
        let of = derive.name();
        if !input.generics.params.is_empty() {
            let what = format!("`{of}` cannot be derived for a generic struct");
            wrong.push(Error::new_spanned(&input.generics, what));
        }
        let known = match derive {
            Derive::Report => "`partial`",
            Derive::Controls => "nothing: `rename` and `flatten` belong to fields",
        };
        let mut partial = false;
        for attribute in ours(&input.attrs) {
            let read = attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("partial") && derive == Derive::Report {
                    partial = true;
                    return Ok(());
                }
                Err(meta.error(format!("not known here; on a struct there is {known}")))
            });
            wrong.take(read);
        }
        let mut fields: Vec<Field<'i>> = Vec::new();
        match &input.data {
            Data::Struct(data) => match &data.fields {
                Fields::Named(named) if !named.named.is_empty() => {
                    for field in &named.named {
                        let Some(field) = wrong.take(Field::new(field, derive)) else {
                            continue;
                        };
                        let twice = |f: &&Field<'_>| !f.flatten && f.variable == field.variable;
                        if !field.flatten
                            && let Some(other) = fields.iter().find(twice)
                        {
                            let what = format!(
                                "`{}` is the variable `{}` already",
                                other.ident, other.variable
                            );
                            wrong.push(Error::new_spanned(field.ident, what));
                        }
                        fields.push(field);
                    }
                }
                _ => {
                    let what = format!("`{of}` needs named fields, one for each variable");
                    wrong.push(Error::new_spanned(name, what));
                }
            },
            _ => {
                let what = format!("`{of}` can only be derived for a struct with named fields");
                wrong.push(Error::new_spanned(name, what));
            }
        }
        wrong.finish()?;
        Ok(Self {
            name,
            fields,
            partial,
        })
    }
}

impl<'i> Field<'i> {
    fn new(field: &'i syn::Field, derive: Derive) -> Result<Self, Error> {
        let ident = field
            .ident
            .as_ref()
            .ok_or_else(|| Error::new_spanned(field, "a field without a name"))?;
        let known = match derive {
            Derive::Report => "`rename = \"…\"`",
            Derive::Controls => "`rename = \"…\"` and `flatten`",
        };
        let (mut rename, mut flatten) = (None, false);
        for attribute in ours(&field.attrs) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    let name: LitStr = meta.value()?.parse()?;
                    if rename.is_some() {
                        return Err(meta.error("renamed twice"));
                    }
                    rename = Some(variable(&name)?);
                    Ok(())
                } else if meta.path.is_ident("flatten") && derive == Derive::Controls {
                    flatten = true;
                    Ok(())
                } else if meta.path.is_ident("partial") {
                    Err(meta.error("belongs to the struct, not to a field"))
                } else {
                    Err(meta.error(format!("not known here; on a field there is {known}")))
                }
            })?;
        }
        if flatten && rename.is_some() {
            let what = "a flattened struct names its variables itself: `rename` has no effect";
            return Err(Error::new_spanned(ident, what));
        }
        Ok(Self {
            ident,
            ty: &field.ty,
            variable: rename.unwrap_or_else(|| ident.unraw().to_string()),
            flatten,
        })
    }
}

/// A name as a program can have it.
fn variable(name: &LitStr) -> Result<String, Error> {
    let text = name.value();
    let refuse = |why: &str| Err(Error::new_spanned(name, why));
    if text.starts_with("Report.") {
        return refuse("the variable's name without `Report.`");
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    if text.is_empty() || !text.chars().all(good) || text.starts_with(|c: char| c.is_ascii_digit())
    {
        return refuse(
            "no variable can have this name: letters, digits, `.` and `_`, no digit first",
        );
    }
    if text.starts_with("__") || ["true", "false", "volatile"].contains(&text.as_str()) {
        return refuse("no variable can have this name: it is reserved");
    }
    Ok(text)
}

fn ours(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|a| a.path().is_ident("ccp"))
}

/// The errors so far.
#[derive(Default)]
struct Wrong(Option<Error>);

impl Wrong {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn take<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    fn finish(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), Err)
    }
}
