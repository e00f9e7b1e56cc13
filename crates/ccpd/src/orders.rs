//! What the tasks of datapaths are told while they run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ccp_core::{AssignError, FlowId, Given, Plan, ProgramTable};
use ccp_ebpf::TakeError;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::TakeConfig;

/// A datapath's task obeys within milliseconds. Longer takes only a machine that is held up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something that a datapath's task is to do. It says so when it has.
#[derive(Debug)]
pub(crate) enum Order {
    /// The rules are others from now on.
    Plan(Arc<Plan>, oneshot::Sender<()>),
    /// A flow is to run an algorithm, or is left to its datapath.
    Assign {
        flow: FlowId,
        given: Given,
        done: oneshot::Sender<Result<(), AssignError>>,
    },
    /// Kernel TCP is to take the flows that are chosen for it.
    Take(Arc<Takes>, oneshot::Sender<Result<(), Untaken>>),
    /// The runner of a flow does not come back: the flow is taken on anew.
    Restart(FlowId, oneshot::Sender<()>),
    /// To say that it is there.
    Ping(oneshot::Sender<()>),
    /// To say which programs run there.
    Programs(oneshot::Sender<Vec<Runs>>),
}

/// What a datapath, or one peer of it, runs.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The datapath, as in the configuration.
    pub(crate) datapath: String,
    pub(crate) programs: Arc<ProgramTable>,
    /// How many invocations of each had no effect, by number, where the datapath tells.
    pub(crate) faults: Option<Vec<(u32, u64)>>,
}

/// Which flows each datapath of kernel TCP takes without their having asked, by its name.
pub(crate) type Takes = Vec<(String, Option<TakeConfig>)>;

/// A datapath of kernel TCP cannot take the flows that are chosen for it.
#[derive(Debug)]
pub(crate) struct Untaken {
    pub(crate) datapath: String,
    pub(crate) why: TakeError,
}

/// The ways to the tasks of all datapaths.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<Vec<mpsc::Sender<Order>>>);

/// A datapath's task does not obey.
#[derive(Debug, Error)]
#[error("a datapath does not answer")]
pub(crate) struct NoAnswer;

impl Orders {
    /// What one more datapath's task listens to.
    pub(crate) fn listen(&self) -> mpsc::Receiver<Order> {
        let (tell, told) = mpsc::channel(1);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(tell);
        told
    }

    /// Tells everybody the new rules; returns when all know them.
    pub(crate) async fn plan(&self, plan: &Arc<Plan>) -> Result<(), NoAnswer> {
        for datapath in self.all() {
            let order = |done| Order::Plan(Arc::clone(plan), done);
            let _gone = ask(&datapath, order).await?;
        }
        Ok(())
    }

    /// Has everybody take the flows that are chosen, from now on; `Err` if somebody cannot.
    pub(crate) async fn take(&self, takes: &Arc<Takes>) -> Result<Result<(), Untaken>, NoAnswer> {
        for datapath in self.all() {
            let order = |done| Order::Take(Arc::clone(takes), done);
            if let Some(Err(untaken)) = ask(&datapath, order).await? {
                return Ok(Err(untaken));
            }
        }
        Ok(Ok(()))
    }

    /// Gives `flow`, whose datapath is looked for, what `given` says.
    pub(crate) async fn assign(
        &self,
        flow: FlowId,
        given: &Given,
    ) -> Result<Result<(), AssignError>, NoAnswer> {
        for datapath in self.all() {
            let order = |done| Order::Assign {
                flow,
                given: given.clone(),
                done,
            };
            match ask(&datapath, order).await? {
                None | Some(Err(AssignError::NoSuchFlow)) => {}
                Some(answer) => return Ok(answer),
            }
        }
        Ok(Err(AssignError::NoSuchFlow))
    }

    /// Which programs run, everywhere.
    pub(crate) async fn programs(&self) -> Result<Vec<Runs>, NoAnswer> {
        let mut all = Vec::new();
        for datapath in self.all() {
            all.extend(ask(&datapath, Order::Programs).await?.unwrap_or_default());
        }
        Ok(all)
    }

    /// Has `flow`, whose runner does not come back, taken on anew by whichever datapath has it.
    pub(crate) async fn restart(&self, flow: FlowId) -> Result<(), NoAnswer> {
        for datapath in self.all() {
            let _gone = ask(&datapath, |done| Order::Restart(flow, done)).await?;
        }
        Ok(())
    }

    /// Whether every datapath's task does what it is told.
    pub(crate) async fn ping(&self) -> Result<(), NoAnswer> {
        for datapath in self.all() {
            let _gone = ask(&datapath, Order::Ping).await?;
        }
        Ok(())
    }

    /// How many datapaths' tasks there are.
    pub(crate) fn count(&self) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|datapath| !datapath.is_closed());
        all.len()
    }

    fn all(&self) -> Vec<mpsc::Sender<Order>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

/// The answer to an order; `None` if there is nobody any more.
async fn ask<T>(
    datapath: &mpsc::Sender<Order>,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<Option<T>, NoAnswer> {
    let (done, answer) = oneshot::channel();
    let asking = async {
        if datapath.send(order(done)).await.is_err() {
            return None;
        }
        answer.await.ok()
    };
    timeout(PATIENCE, asking).await.map_err(|_| NoAnswer)
}
