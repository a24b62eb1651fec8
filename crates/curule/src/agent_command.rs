//! `agent`: start-up as a list, shutdown as its mirror.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use acl::{AllowAll, Authorizer};
use agent::logbook::Logbook;
use agent::telemetry::{Members, StateUsage, Telemetry, record_usage};
use agent::{Agent, Cluster, Methods, ServerIdentity};
use api::{Api, Hooks};
use arc_swap::ArcSwap;
use config::go_flags::FlagError;
use config::runtime::{Listen, Runtime};
use config::{Flags, debug_config};
use parking_lot::Mutex;
use server::Server;
use server::rpc::Dispatcher;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{COMPATIBLE_VERSION, banner, bootstrap_entries, definitions, node_id, settings, usage, watches};

/// How often the state is counted for the metrics, as in the reference.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The first time after a start, which leaves more behind than an hour of rest.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Large for the allocator; never touched.
const LARGE: usize = 4 << 20;

/// Runs an agent until it is told to stop; returns the exit code.
pub fn run(arguments: &[String]) -> u8 {
    let flags = match Flags::parse(arguments) {
        Ok(flags) => flags,
        Err(FlagError::Help) => {
            print!("{}", usage::help());
            return 0;
        }
        Err(error @ FlagError::Fault(_)) => {
            eprint!("{error}\nUsage:\n{}", config::flags::flag_set().usage());
            eprintln!("==> error parsing flags: {error}");
            return 1;
        }
        Err(error) => {
            eprintln!("==> {error}");
            return 1;
        }
    };
    let loaded = config::load_here(flags).map_err(|error| error.to_string());
    let loaded = loaded.and_then(|loaded| definitions::check_all(&loaded.runtime).map(|()| loaded));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("==> {error}");
            return 1;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("curule").build();
    match runtime {
        Ok(tokio) => tokio.block_on(serve(loaded.runtime, loaded.warnings, arguments.to_vec())),
        Err(error) => {
            eprintln!("==> the runtime cannot be started: {error}");
            1
        }
    }
}

/// What the agent may be told from outside.
enum Order {
    Reload(Option<oneshot::Sender<Result<(), String>>>),
    /// Stop; gracefully, or as a signal that says not to leave.
    Stop {
        graceful: bool,
    },
}

async fn serve(runtime: Runtime, warnings: Vec<String>, arguments: Vec<String>) -> u8 {
    let started = SystemTime::now();
    let (logbook, node_id) = match prepare(&runtime) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("==> {error}");
            return 1;
        }
    };
    let telemetry = Telemetry::install(settings::telemetry(&runtime));
    tokio::spawn(Arc::clone(&telemetry).run());
    // Compat: lines of JSON have no banner before them.
    if !runtime.logging.json {
        banner::print(&runtime, &node_id);
    }
    logbook.release();
    for warning in &warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
    let code = match start(runtime, node_id, started, arguments, Seen { telemetry, logbook }).await {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(target: "agent", error, "Error starting agent");
            1
        }
    };
    tracing::info!(target: "agent", code, "Exit code");
    code
}

/// What must go well before anything is shown.
fn prepare(runtime: &Runtime) -> Result<(Arc<Logbook>, String), String> {
    let logbook =
        Logbook::install(settings::logbook(runtime)?).map_err(|error| format!("Failed to setup logging: {error}"))?;
    if !runtime.server {
        return Err("this build runs servers only; start it with -server (and -bootstrap-expect=1) or -dev".into());
    }
    let node_id = node_id::determine(&runtime.node_id, settings::data_dir(runtime).as_deref())
        .map_err(|error| format!("failed to setup node ID: {error}"))?;
    Ok((logbook, node_id))
}

/// Through what a running agent is watched.
#[derive(Clone)]
struct Seen {
    telemetry: Arc<Telemetry>,
    logbook: Arc<Logbook>,
}

async fn start(
    runtime: Runtime,
    node_id: String,
    started: SystemTime,
    arguments: Vec<String>,
    seen: Seen,
) -> Result<u8, String> {
    let pid_file = PidFile::create(&runtime.pid_file)?;
    let watches = watches::compile(&runtime)?;
    let central = bootstrap_entries::compile(&runtime)?;
    protocol_is_spoken(runtime.merged.integer("protocol"))?;

    let server_config = settings::server(&runtime, &node_id);
    let server = tokio::task::spawn_blocking(move || Server::start(server_config))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("Failed to start Consul server: {error}"))?;
    let far = settings::far(&runtime);
    let cluster = Cluster::local(server.clone(), settings::coordinates(&runtime), far.clone());
    let agent = Agent::start(settings::agent(&runtime, &node_id), cluster.clone());
    let rpc_stop = CancellationToken::new();
    let dispatcher = Dispatcher { server: server.clone(), far, agent: Arc::new(Methods(agent.clone())) };
    let listening = listen_for_calls(dispatcher, &runtime, rpc_stop.clone()).await?;
    let identity = ServerIdentity { port: runtime.ports.server, version: COMPATIBLE_VERSION.to_owned() };
    if server.is_leader() {
        agent.register_server(&identity).await.map_err(|error| error.to_string())?;
    }
    agent.enter_pools(settings::gossip(&runtime, &node_id)).await?;
    tokio::spawn(agent.clone().keep_members_registered(identity));
    let expect = usize::try_from(runtime.bootstrap_expect).unwrap_or(0);
    tokio::spawn(agent.clone().keep_servers_together(server.clone(), expect));
    register_configured(&agent, &runtime)?;
    if server.is_leader() {
        // Whoever is answered by the only server finds them.
        bootstrap_entries::create(&server, &runtime.datacenter, &central).await;
    }
    tokio::spawn(bootstrap_entries::keep_present(server.clone(), runtime.datacenter.clone(), central));

    let (orders, mut inbox) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let shown = Arc::new(Mutex::new(runtime));
    // Before anything is served: whoever is answered may send a signal next.
    listen_for_signals(&orders, &shown)?;
    let api = {
        let runtime = shown.lock();
        let hooks = hooks(&shown, &node_id, &orders);
        let watched = (Arc::clone(&seen.telemetry), Arc::clone(&seen.logbook));
        Arc::new(Api::new(settings::api(&runtime, &node_id, started), cluster, agent.clone(), watched, hooks))
    };
    let mut listeners = Vec::new();
    let (http, owner) = {
        let runtime = shown.lock();
        (runtime.addresses.http.clone(), runtime.unix_sockets.clone())
    };
    for listen in http {
        let listener = match &listen {
            Listen::Socket(address) => api::http::Listener::tcp(*address),
            Listen::Unix(path) => api::http::Listener::unix(path),
        };
        let listener = listener.map_err(|error| cannot_listen("tcp", &listen, &error))?;
        if let Listen::Unix(path) = &listen {
            let owned = settings::socket_owner(&owner).and_then(|owner| owner.own(path));
            owned.map_err(|error| format!("Failed setting up socket: {error}"))?;
        }
        listeners.push(tokio::spawn(api::http::serve(Arc::clone(&api), listener, stopped.clone())));
    }
    let dns_settings = settings::dns(&shown.lock()).map_err(|error| error.to_string())?;
    let dns_settings = Arc::new(ArcSwap::from_pointee(dns_settings));
    let dns_stop = CancellationToken::new();
    let sources = dns::Sources {
        state: {
            let server = server.clone();
            Arc::new(move || server.state())
        },
        authorizer: {
            let everybody: Arc<dyn Authorizer> = Arc::new(AllowAll);
            Arc::new(move || Arc::clone(&everybody))
        },
        settings: Arc::clone(&dns_settings),
    };
    let dns_addresses = shown.lock().addresses.dns.clone();
    for listen in dns_addresses {
        // The reference serves DNS on sockets only.
        if let Listen::Socket(address) = listen {
            let sockets = dns::bind(address, 1).map_err(|error| cannot_listen("udp", &listen, &error))?;
            tokio::spawn(dns::serve(sockets, sources.clone(), dns_stop.clone()));
        }
    }
    let mut watches = watches.start();
    tracing::info!(target: "agent", "Consul agent running!");
    tokio::spawn(report(server.clone(), shown.lock().datacenter.clone()));

    let graceful = loop {
        let order = tokio::select! {
            order = inbox.recv() => order,
            // Compat: whoever was told to join and could not is of no use.
            () = agent.join_exhausted() => Some(Order::Stop { graceful: false }),
        };
        match order {
            Some(Order::Reload(answer)) => {
                let done = reload(&arguments, &shown, &agent, &api, &dns_settings, &seen);
                let done = done.map(|reloaded| watches = reloaded.start());
                if let Err(error) = &done {
                    tracing::error!(target: "agent", error, "Reload config failed");
                }
                if let Some(answer) = answer {
                    let _ = answer.send(done);
                }
            }
            Some(Order::Stop { graceful }) => break graceful,
            None => break true,
        }
    };

    drop(watches);
    if graceful {
        agent.leave().await;
    } else {
        agent.abandon_pools();
    }
    tracing::info!(target: "agent", "Requesting shutdown");
    stop.send_replace(true);
    dns_stop.cancel();
    for listener in listeners {
        let _ = listener.await;
    }
    agent.stop();
    rpc_stop.cancel();
    let _ = listening.await;
    server.shutdown().await;
    drop(pid_file);
    tracing::info!(target: "agent", "shutdown complete");
    // Compat: an agent that was not asked to leave exits with 1.
    Ok(u8::from(!graceful))
}

/// Opens the RPC port to clients and other servers.
async fn listen_for_calls(
    dispatcher: Dispatcher,
    runtime: &Runtime,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let address = runtime.addresses.rpc_bind;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| cannot_listen("tcp", &Listen::Socket(address), &error))
        .map_err(|error| format!("Failed to start Consul server: Failed to start RPC layer: {error}"))?;
    let limits = settings::rpc_limits(runtime);
    Ok(tokio::spawn(net::rpc::serve(listener, Arc::new(dispatcher), limits, stop)))
}

fn hooks(shown: &Arc<Mutex<Runtime>>, node_id: &str, orders: &mpsc::Sender<Order>) -> Hooks {
    let (runtime, id) = (Arc::clone(shown), node_id.to_owned());
    let (reloads, leaves) = (orders.clone(), orders.clone());
    Hooks {
        debug_config: Box::new(move || {
            let mut shown = debug_config::debug_config(&runtime.lock());
            shown.insert("NodeID".to_owned(), id.clone().into());
            shown.insert("Version".to_owned(), COMPATIBLE_VERSION.into());
            shown.insert("VersionPrerelease".to_owned(), "".into());
            shown.insert("VersionMetadata".to_owned(), "".into());
            shown.insert("Revision".to_owned(), "".into());
            shown.insert("BuildDate".to_owned(), crate::BUILD_DATE.into());
            serde_json::Value::Object(shown)
        }),
        reload: Box::new(move || {
            let reloads = reloads.clone();
            let reloading: Pin<Box<dyn Future<Output = Result<(), String>> + Send>> = Box::pin(async move {
                let (answer, done) = oneshot::channel();
                let gone = |_| "the agent is stopping".to_owned();
                reloads.send(Order::Reload(Some(answer))).await.map_err(|_| gone(()))?;
                done.await.map_err(|_| gone(()))?
            });
            reloading
        }),
        leave: Box::new(move || {
            let _ = leaves.try_send(Order::Stop { graceful: true });
        }),
    }
}

/// Registers the services and checks of configuration files, and forgets those that they no longer name.
fn register_configured(agent: &Agent, runtime: &Runtime) -> Result<(), String> {
    if runtime.service_definitions.iter().any(|service| service.name.is_empty()) {
        return Err("Failed to register service \"\": Service name missing".to_owned());
    }
    let services: Vec<_> = runtime.service_definitions.iter().map(definitions::service).collect();
    let checks: Vec<_> = runtime.check_definitions.iter().map(definitions::check).collect();
    agent.reload_configured(&services, &checks).map_err(|error| error.to_string())
}

/// Reads the configuration again and applies what may change while running; gives the watches to start.
fn reload(
    arguments: &[String],
    shown: &Arc<Mutex<Runtime>>,
    agent: &Agent,
    api: &Api,
    dns_settings: &ArcSwap<dns::Settings>,
    seen: &Seen,
) -> Result<watches::Compiled, String> {
    let flags = Flags::parse(arguments).map_err(|error| error.to_string())?;
    let loaded = config::load_here(flags).map_err(|error| error.to_string())?;
    definitions::check_all(&loaded.runtime)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let names = settings::dns(&loaded.runtime).map_err(|error| error.to_string())?;
    let watches = watches::compile(&loaded.runtime).map_err(|error| format!("Failed reloading watches: {error}"))?;
    register_configured(agent, &loaded.runtime)?;
    api.settings.max_conns_per_client.store(settings::max_conns(&loaded.runtime), Ordering::Relaxed);
    dns_settings.store(Arc::new(names));
    seen.logbook.set_level(settings::logbook(&loaded.runtime)?.level);
    seen.telemetry.set_filter(settings::telemetry(&loaded.runtime).filter);
    *shown.lock() = loaded.runtime;
    tracing::info!("configuration reloaded");
    Ok(watches)
}

fn listen_for_signals(orders: &mpsc::Sender<Order>, shown: &Arc<Mutex<Runtime>>) -> Result<(), String> {
    let open = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
    let (mut hangup, mut interrupt, mut terminate) =
        (open(SignalKind::hangup())?, open(SignalKind::interrupt())?, open(SignalKind::terminate())?);
    let (orders, shown) = (orders.clone(), Arc::clone(shown));
    tokio::spawn(async move {
        loop {
            let order = tokio::select! {
                _ = hangup.recv() => ("hangup", Order::Reload(None)),
                _ = interrupt.recv() => ("interrupt", Order::Stop { graceful: !shown.lock().skip_leave_on_interrupt }),
                _ = terminate.recv() => ("terminated", Order::Stop { graceful: shown.lock().leave_on_terminate }),
            };
            let (signal, order) = order;
            tracing::info!(target: "agent", signal, "Caught");
            match &order {
                Order::Stop { graceful: true } => tracing::info!(target: "agent", "Gracefully shutting down agent..."),
                Order::Stop { graceful: false } => {
                    tracing::info!(target: "agent", "Graceful shutdown disabled. Exiting")
                }
                Order::Reload(_) => {}
            }
            if orders.send(order).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Sets the gauges of the server and of what the state holds, once in each interval of the metrics.
async fn report(server: Server, datacenter: String) {
    let mut pause = SETTLED_AFTER;
    loop {
        server.report();
        let state = server.state();
        // The walk over all instances is short, but not so short that a worker thread should do it.
        let counted = tokio::task::spawn_blocking(move || StateUsage {
            services: state::usage::services(&state),
            kv_entries: state::usage::keys(&state),
            members: Members { servers: 1, clients: 0 },
        });
        if let Ok(usage) = counted.await {
            record_usage(&datacenter, &usage);
        }
        // The allocator gives freed pages back when large ones come and go; an agent at rest has none that do.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
        tokio::time::sleep(std::mem::replace(&mut pause, REPORT_INTERVAL)).await;
    }
}

/// Refuses a `protocol` that no reference of this version would start with.
fn protocol_is_spoken(protocol: Option<i64>) -> Result<(), String> {
    let (min, max) = (i64::from(crate::PROTOCOL_MIN), i64::from(crate::PROTOCOL_MAX));
    let wrong = match protocol {
        Some(version) if version < min => "low",
        Some(version) if version > max => "high",
        _ => return Ok(()),
    };
    let version = protocol.unwrap_or_default();
    Err(format!(
        "Failed to start Consul server: Protocol version '{version}' too {wrong}. Must be in range: [{min}, {max}]"
    ))
}

/// In the words that scripts look for in a log.
fn cannot_listen(network: &str, listen: &Listen, error: &std::io::Error) -> String {
    let (network, address) = match listen {
        Listen::Socket(address) => (network, address.to_string()),
        Listen::Unix(path) => ("unix", path.display().to_string()),
    };
    format!("listen {network} {address}: bind: {}", net::go_text::reason(error))
}

/// The file that names this process; it goes with it.
struct PidFile(Option<String>);

impl PidFile {
    fn create(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(PidFile(None));
        }
        std::fs::write(path, std::process::id().to_string())
            .map_err(|error| format!("Could not open pid file: open {path}: {}", net::go_text::reason(&error)))?;
        Ok(PidFile(Some(path.to_owned())))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
