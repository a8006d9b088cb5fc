//! Whole flows through the real binary, one file each. Servers listen on ports that the kernel chooses.

mod client;
mod doctor;
mod experiments;
mod failures;
mod gate;
mod hostile;
mod lying_server;
mod processes;
mod python_client;
mod runs;
mod server;
