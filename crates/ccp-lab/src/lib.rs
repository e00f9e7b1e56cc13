//! ccp-lab
