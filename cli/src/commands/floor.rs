use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use holdline_conductor::{Demand, Plan, even_levels, ladder};
use holdline_host::grants::Grants;
use holdline_host::limits;
use holdline_host::ports::{HostPorts, PortPlan, Sources};
use holdline_record::{FLOOR, Floor};

use crate::arguments::FloorArguments;
use crate::status::{Failure, Status};

/// Plays a floor and prints it.
pub(crate) fn floor(arguments: &FloorArguments) -> Result<Status, Failure> {
    let open_files = limits::raise_open_files().context("can't raise the limit of open files")?.soft;
    let connections = arguments.connections;
    let needed = limits::workers_for(connections, open_files)
        .ok_or_else(|| Failure::new(Status::Host, anyhow!("{open_files} open files a process leave no room")))?;
    let processes = arguments.processes.unwrap_or(needed);
    if processes < needed {
        let why =
            anyhow!("{connections} connections need --processes {needed} under {open_files} open files a process");
        return Err(Failure::new(Status::Usage, why));
    }
    let demand = Demand::of(connections);
    if let Some(rung) = ladder(&Grants::read(), &demand).into_iter().find(|rung| rung.stops(connections)) {
        let why = anyhow!("this host can't hold {connections} connections: see `holdline doctor` ({})", rung.limit);
        return Err(Failure::new(Status::Host, why));
    }
    let plan = holdline_floor::Plan {
        listen: ([127, 0, 0, 1], 0).into(),
        levels: even_levels(connections, arguments.levels),
        servers: processes,
        clients: processes,
        window: u64::from(arguments.window),
        backlog: holdline_server::Config::default().backlog,
        step_timeout: Duration::from_secs(120),
    };
    let floor = play(&plan, &Sources::Auto, 0, connections, |listen| vec![listen])?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&floor).context("can't write the floor")?);
    } else {
        print!("{}", words(&floor));
    }
    Ok(Status::Held)
}

/// Plays the floor of a run and puts it into the run's folder, once that is there.
pub(crate) fn floor_of(plan: &Plan) -> Result<Floor, Failure> {
    let start_id = plan.groups.first().map_or(0, |group| group.config.start_id);
    // All groups share the sources.
    let sources = plan.groups.first().map_or(Sources::Auto, |group| group.config.sources.clone());
    let connections = plan.experiment.promise.connections;
    let floor = holdline_floor::Plan {
        listen: (plan.server.listen.ip(), 0).into(),
        levels: plan.levels.clone(),
        servers: plan.server_workers,
        clients: plan.groups.iter().map(|group| group.processes).sum(),
        window: u64::from(plan.experiment.swarm.window),
        backlog: plan.server.backlog,
        step_timeout: plan.experiment.staircase.step_timeout,
    };
    play(&floor, &sources, start_id, connections, |listen| plan.targets(listen))
}

/// Writes a floor beside the record of its run.
pub(crate) fn keep_floor(floor: &Floor, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(FLOOR);
    let text = serde_json::to_string_pretty(floor)?;
    std::fs::write(&path, text + "\n").with_context(|| format!("can't write {}", path.display()))
}

fn play(
    plan: &holdline_floor::Plan,
    sources: &Sources,
    start_id: u64,
    connections: u64,
    targets: impl Fn(SocketAddr) -> Vec<SocketAddr>,
) -> Result<Floor, Failure> {
    eprintln!("floor: {connections} connections, {} and {} processes", plan.servers, plan.clients);
    let program = std::env::current_exe().context("can't find this program")?;
    // The address is known once somebody listens there; the sources and ports it can be reached from are known before.
    let host = HostPorts::read();
    let ports = |listen| PortPlan::new(sources.clone(), targets(listen), start_id, connections, &host);
    ports(SocketAddr::new(plan.listen.ip(), 1)).map_err(|error| Failure::new(Status::Host, error))?;
    // Only the port of the destinations differs, which decides nothing.
    let ports = |listen| ports(listen).expect("the same plan was made before");
    let floor = holdline_floor::play(&program, plan, ports, &mut |connections, rate| {
        eprintln!("floor: {connections} connections, {rate:.0} a second");
    });
    Ok(floor.context("the floor could not be played")?)
}

fn words(floor: &Floor) -> String {
    let kernel = floor.kernel_bytes_per_connection_pair;
    let kernel = kernel.map_or_else(|| "not known (run as root)".to_owned(), |bytes| format!("{bytes:.0} B"));
    format!(
        "{} connections, {} server and {} client processes\n\
         connect and answer          {:.0}/s\n\
         kernel memory per pair      {kernel}\n\
         server memory each          {:.1} B\n\
         client memory each          {:.1} B\n\
         closed in                   {:.1} s\n",
        floor.connections,
        floor.servers,
        floor.clients,
        floor.connect_rate_per_s,
        floor.server_user_bytes_per_connection,
        floor.client_user_bytes_per_connection,
        floor.close_s,
    )
}
