//! Many tables and several workers: what a poll costs, what one commit for many is worth, how heavy tables share the
//! machine, and whether a lag is kept.

pub mod lag;
pub mod many;
pub mod poll;
pub mod workers;
