//! What readings of a baseboard management controller have in common: they come late, seldom, and sometimes twice.

pub mod accuracy;
pub mod counter_track;
pub mod descriptor;
pub mod pace;
pub mod polled;
pub mod power_track;
pub mod reading_clock;
