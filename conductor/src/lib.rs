//! Plays an experiment. Not written yet: the roles run by hand until then.
