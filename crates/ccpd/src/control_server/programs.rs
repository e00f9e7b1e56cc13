//! Answers about programs.

use std::collections::HashMap;
use std::sync::Arc;

use ccp_control::{ProgramDetail, ProgramStatus, Refusal, Response};
use ccp_core::{CompiledProgram, Installed};

use super::{Clients, refused};
use crate::flow_task::instructions;
use crate::orders::NoAnswer;

/// A program that is listed.
#[derive(Debug)]
struct Listed {
    program: CompiledProgram,
    status: ProgramStatus,
}

impl Clients {
    pub(super) async fn programs(&self) -> Response {
        match self.all_programs().await {
            Ok(all) => Response::Programs(all.into_iter().map(|p| p.status).collect()),
            Err(error) => refused(&error),
        }
    }

    pub(super) async fn program(&self, wanted: &str, datapath: Option<&str>) -> Response {
        let mut all = match self.all_programs().await {
            Ok(all) => all,
            Err(error) => return refused(&error),
        };
        if let Some(datapath) = datapath {
            all.retain(|p| p.status.datapath == datapath);
        }
        let known: Vec<String> = all.iter().map(|p| p.status.name.clone()).collect();
        let uid: Option<u32> = wanted.parse().ok();
        all.retain(|p| p.status.name == wanted || Some(p.status.uid) == uid);
        let why = match all.as_slice() {
            [] => {
                let known = match known.as_slice() {
                    [] => "there is none at all".to_owned(),
                    known => format!("there are: {}", listed(known)),
                };
                format!("no datapath runs a program `{wanted}`; {known}")
            }
            // The same on several datapaths is one and the same for who reads it.
            [first, rest @ ..] if rest.iter().all(|p| p.program.same(&first.program)) => {
                return Response::Program(Box::new(detail(first)));
            }
            several => {
                let place = |p: &Listed| {
                    format!(
                        "{} of {} (number {})",
                        p.status.name, p.status.datapath, p.status.uid
                    )
                };
                let places: Vec<String> = several.iter().map(place).collect();
                format!(
                    "`{wanted}` can be: {}; say which by its number, or by its datapath",
                    listed(&places)
                )
            }
        };
        Response::Refused(Refusal::Failed(why))
    }

    /// Every program that runs somewhere, by datapath and number.
    async fn all_programs(&self) -> Result<Vec<Listed>, NoAnswer> {
        let mut all: Vec<Listed> = Vec::new();
        for runs in self.shared.orders.programs().await? {
            let faults: Option<HashMap<u32, u64>> = runs.faults.map(|f| f.into_iter().collect());
            for installed in runs.programs.installed() {
                let faults = faults.as_ref().map(|f| f.get(&installed.uid).copied());
                let faults = faults.map(Option::unwrap_or_default);
                add(&mut all, &runs.datapath, installed, faults);
            }
        }
        for algorithm in self.changer.made().await {
            for program in algorithm.programs() {
                for listed in all.iter_mut().filter(|l| l.program.same(program)) {
                    let name = algorithm.name();
                    if !listed.status.algorithms.iter().any(|known| known == name) {
                        listed.status.algorithms.push(name.to_owned());
                    }
                }
            }
        }
        for cell in self.shared.board.all() {
            let Some((datapath, uid, program)) = cell.runs() else {
                continue;
            };
            let same = |l: &&mut Listed| {
                l.status.uid == uid && *l.status.datapath == *datapath && l.program.same(&program)
            };
            if let Some(listed) = all.iter_mut().find(same) {
                listed.status.flows += 1;
            }
        }
        all.sort_by(|a, b| {
            let key = |l: &Listed| (l.status.datapath.clone(), l.status.uid);
            key(a).cmp(&key(b))
        });
        Ok(all)
    }
}

fn add(all: &mut Vec<Listed>, datapath: &str, installed: &Arc<Installed>, faults: Option<u64>) {
    let program = &installed.program;
    let known = all.iter_mut().find(|l| {
        l.status.datapath == datapath
            && l.status.uid == installed.uid
            && l.program.same(program)
            && l.status.instructions == instructions(installed)
    });
    if let Some(known) = known {
        known.status.peers += 1;
        return;
    }
    all.push(Listed {
        program: program.clone(),
        status: ProgramStatus {
            datapath: datapath.to_owned(),
            uid: installed.uid,
            name: program.name().to_owned(),
            algorithms: Vec::new(),
            instructions: instructions(installed),
            flows: 0,
            faults,
            peers: 1,
        },
    });
}

fn detail(listed: &Listed) -> ProgramDetail {
    let ir = listed.program.ir();
    ProgramDetail {
        status: listed.status.clone(),
        reports: ir.reports.iter().map(|v| v.name.clone()).collect(),
        controls: ir.controls.iter().map(|v| v.name.clone()).collect(),
        source: listed.program.source().map(str::to_owned),
    }
}

fn listed(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names.join(", ")
}
