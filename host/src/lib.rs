//! The host of Coldstart.

pub mod nearest;
pub mod plugin;
