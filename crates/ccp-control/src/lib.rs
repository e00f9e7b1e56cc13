//! ccp-control
