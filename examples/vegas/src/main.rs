//! `ccpd` with Vegas in it: `vegas FILE`.

use std::error::Error;

mod vegas;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let file = std::env::args().nth(1).ok_or("usage: vegas FILE")?;
    let daemon = ccpd::Ccpd::builder()
        .config(ccpd::Config::load(file.as_ref())?)
        .kind("vegas", vegas::Vegas::from_params)
        .spawn()
        .await?;
    tokio::signal::ctrl_c().await?;
    daemon.stop();
    Ok(daemon.wait().await?)
}
