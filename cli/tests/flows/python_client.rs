//! A client in another language, written from the protocol document alone, against the real binary.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::processes::{Running, start_server};

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/clients/holdline_client.py")).args(arguments);
    command.stdout(Stdio::piped());
    command
}

#[test]
fn a_python_client_registers_is_tapped_and_acknowledges() {
    let server = start_server(10, 1024, &[]);
    let (clients, alerts) = (server.clients.to_string(), server.alerts.to_string());
    let mut client = Running(python(&["client", &clients, "--id", "42", "--taps", "3", "--nop"]).spawn().unwrap());
    let mut said = BufReader::new(client.0.stdout.take().unwrap()).lines();
    let registered = said.next().unwrap().unwrap();
    assert!(registered.contains("registered") && registered.contains("42"), "{registered}");

    let tapped = python(&["alert", &alerts, "--client", "42", "--count", "3"]).output().unwrap();
    let outcomes = String::from_utf8(tapped.stdout).unwrap();
    assert!(tapped.status.success(), "{outcomes}");
    assert_eq!(outcomes.matches("\"acknowledged\"").count(), 3, "{outcomes}");
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert_eq!(rest.iter().filter(|line| line.contains("\"tap\"")).count(), 3, "{rest:?}");
    assert!(client.0.wait().unwrap().success(), "{rest:?}");

    let nobody = python(&["alert", &alerts, "--client", "43"]).output().unwrap();
    assert!(String::from_utf8(nobody.stdout).unwrap().contains("\"offline\""));
}
