//! What programs are compiled for.

use ccp_ebpf::codegen;
use ccp_lang::{Compiled, Diagnostics, RegisterTable, libccp};
use ccp_program::libccp::Bytecode;
use ccp_program::{Limits, Program};
use clap::ValueEnum;

/// A kind of datapath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// Any datapath that takes whole programs: every measurement that has a name.
    #[default]
    Ccp,
    /// Datapaths that embed the C library libccp.
    Libccp,
    /// Linux kernel TCP.
    Tcp,
}

/// What a program becomes there.
pub(super) enum Code {
    /// Bound to the datapath's registers.
    Whole(Program),
    /// The library's bytecode.
    Bytecode(Bytecode),
}

impl Target {
    /// Its registers.
    pub(super) fn table(self) -> RegisterTable {
        match self {
            Self::Ccp => RegisterTable::well_known(),
            Self::Libccp => RegisterTable::libccp(),
            Self::Tcp => ccp_ebpf::register_table(),
        }
    }

    /// Compiles the program and fits it to the target.
    pub(super) fn compile(self, source: &str) -> Result<(Compiled, Code), Diagnostics> {
        // Every name that is known anywhere, so that what the target lacks is told from what is
        // misspelt.
        let tcp = ccp_ebpf::register_table();
        let known = RegisterTable::well_known()
            .with_primitives(tcp.primitives().iter().cloned())
            .with_writable(tcp.writables().iter().cloned());
        let table = match self {
            Self::Ccp => RegisterTable::well_known(),
            _ => known,
        };
        let compiled = ccp_lang::compile(source, &table)?;
        let code = match self {
            Self::Libccp => Code::Bytecode(libccp::lower_compiled(&compiled, source)?),
            Self::Ccp => {
                Code::Whole(compiled.bind(source, &self.table(), &Limits::MAX, "the datapath")?)
            }
            Self::Tcp => {
                let program =
                    compiled.bind(source, &self.table(), &codegen::LIMITS, "Linux TCP")?;
                codegen::check(&program)
                    .map_err(|error| compiled.refused(source, error.to_string()))?;
                Code::Whole(program)
            }
        };
        Ok((compiled, code))
    }
}
