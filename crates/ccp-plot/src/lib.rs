//! ccp-plot
