//! The meaning of program text, for tests (feature `testing`): a small interpreter over the syntax
//! tree, random programs, and what makes a program that shows a difference small.
//!
//! ```
//! use ccp_lang::testing::{Reference, program};
//! use ccp_lang::RegisterTable;
//! use ccp_program::testing::Rng;
//!
//! let table = RegisterTable::well_known();
//! let source = program(&mut Rng::new(7), &table);
//! ccp_lang::compile(&source, &table)?;
//! let mut flow = Reference::new(&source, &table, 0)?;
//! let _ = flow.invoke(&|_| 1_000, 20_000);
//! # Ok::<(), ccp_lang::Diagnostics>(())
//! ```

use std::collections::BTreeMap;

use ccp_program::testing::{Rng, value};
use ccp_program::{RegisterTable, Type};

mod generate;
mod reference;
mod shrink;

pub use generate::program;
pub use reference::Reference;
pub use shrink::shrink;

/// What a datapath with the measurements of `table` might measure at `now_us`, by name.
pub fn measurements(rng: &mut Rng, table: &RegisterTable, now_us: u64) -> BTreeMap<String, u64> {
    let tame = rng.percent(80);
    let defs = table.primitives().iter();
    defs.map(|def| {
        let value = match (&*def.name, def.ty) {
            ("Ack.now", _) => now_us,
            (_, Type::Bool) => rng.bits() % 2,
            _ if tame => rng.bits() % 100_000,
            _ => value(rng),
        };
        (def.name.to_string(), value)
    })
    .collect()
}
