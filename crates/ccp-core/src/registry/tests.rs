use super::{BuildError, Registry};
use crate::params::Params;
use crate::testing::Idle;

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry
        .register("idle", |_: &Params| Ok::<_, BuildError>(Idle))
        .unwrap();
    registry
        .register("broken", |_: &Params| -> Result<Idle, BuildError> {
            panic!("no luck")
        })
        .unwrap();
    registry
}

#[test]
fn a_kind_is_made_under_the_name_of_its_table() {
    let params = Params::parse_toml("calm", "kind = \"idle\"").unwrap();
    let algorithm = registry().build(&params).unwrap();
    assert_eq!((algorithm.name(), algorithm.kind()), ("calm", "idle"));
}

#[test]
fn unknown_kinds_are_refused_with_the_known_ones() {
    let params = Params::parse_toml("calm", "\nkind = \"idel\"").unwrap();
    let error = registry().build(&params).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameters of `calm`:2:8: algorithms.calm.kind: there is no kind `idel`: did you mean \
         `idle`? There are: broken, idle"
    );
}

#[test]
fn a_panic_while_it_is_made_is_an_error() {
    let error = registry().build(&Params::empty("broken")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "algorithm `broken` of kind `broken` panicked while it was made: no luck"
    );
}

#[test]
fn kinds_are_never_overwritten() {
    let again = registry().register("idle", |_: &Params| Ok::<_, BuildError>(Idle));
    assert_eq!(again.unwrap_err().kind, "idle");
}
