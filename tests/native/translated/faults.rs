//! Faults at each step of a translated write.
