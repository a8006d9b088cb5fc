//! A client in another language, written from the protocol document alone, against the real binary.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that is ended with the test, whatever its outcome.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/clients/holdline_client.py")).args(arguments);
    command.stdout(Stdio::piped());
    command
}

#[test]
fn a_python_client_registers_is_tapped_and_acknowledges() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_holdline"));
    server.args(["server", "--listen", "127.0.0.1:0", "--alerts", "127.0.0.1:0", "--max-connections", "10"]);
    let mut server = Running(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut ready = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    let address = |what: &str| {
        let rest = ready.split(&format!("{what} on ")).nth(1).expect("the server says where it listens");
        rest.split(',').next().unwrap().to_owned()
    };

    let mut client =
        Running(python(&["client", &address("clients"), "--id", "42", "--taps", "3", "--nop"]).spawn().unwrap());
    let mut said = BufReader::new(client.0.stdout.take().unwrap()).lines();
    let registered = said.next().unwrap().unwrap();
    assert!(registered.contains("registered") && registered.contains("42"), "{registered}");

    let alerts = python(&["alert", &address("alerts"), "--client", "42", "--count", "3"]).output().unwrap();
    let outcomes = String::from_utf8(alerts.stdout).unwrap();
    assert!(alerts.status.success(), "{outcomes}");
    assert_eq!(outcomes.matches("\"acknowledged\"").count(), 3, "{outcomes}");
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert_eq!(rest.iter().filter(|line| line.contains("\"tap\"")).count(), 3, "{rest:?}");
    assert!(client.0.wait().unwrap().success(), "{rest:?}");

    let nobody = python(&["alert", &address("alerts"), "--client", "43"]).output().unwrap();
    assert!(String::from_utf8(nobody.stdout).unwrap().contains("\"offline\""));
}
