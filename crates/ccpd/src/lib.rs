//! ccpd
