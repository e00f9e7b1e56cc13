//! Asks a running `ccpd` for its flows, then prints the reports of the first one.
//!
//! `cargo run -p ccp-control --example control -- /run/ccpd/control.sock`

use ccp_control::{Client, ClientError, FlowOrder, Selection, Watch, What};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    let socket = std::env::args().nth(1);
    let socket = socket.as_deref().unwrap_or(ccp_control::DEFAULT_SOCKET);
    let mut ccpd = Client::connect(socket).await?;
    let fastest = Selection {
        order: Some(FlowOrder::Rate),
        limit: Some(10),
        ..Selection::default()
    };
    let flows = ccpd.select(&fastest).await?.flows;
    for flow in &flows {
        println!("{} -> {}: {} B", flow.src, flow.dst, flow.cwnd_bytes);
    }
    let Some(first) = flows.first() else {
        return Ok(());
    };
    let watch = Watch {
        flows: vec![first.flow],
        reports: true,
        steps: false,
    };
    ccpd.watch(&watch).await?;
    loop {
        let happened = ccpd.next().await?;
        if happened.lost > 0 {
            eprintln!("{} events were lost", happened.lost);
        }
        for event in happened.events {
            match event.what {
                What::Report { fields, .. } => println!("{fields:?}"),
                What::Closed { .. } => return Ok(()),
                _ => {}
            }
        }
    }
}
