//! A cluster on one machine: two replicas of every part, each a process, on one PostgreSQL and one Redis; before them
//! connection load balancers like those of Kubernetes. Replicas restart one by one under load.

use std::time::{Duration, Instant};

use proto::auth::v1::{SignUpRequest, auth_service_client::AuthServiceClient};
use tempfile::TempDir;
use tonic::{Request, transport::Channel};

use super::{
    harness::{Mesh, PASSWORD, Person, Ports, fresh_database},
    load_balancer::{LoadBalancer, Target},
    redis::Redis,
    split::{PARTS, make_keys, prepared},
};

/// How long a process may take to start or stop on a busy machine.
const NOTICED: Duration = Duration::from_secs(120);
const REPLICAS: usize = 2;

/// Two replicas of every part, with a load balancer before each.
pub(crate) struct Cluster {
    parts: Vec<Part>,
    _redis: Redis,
    _keys: TempDir,
}

/// One part of the mesh.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) balancer: LoadBalancer,
    replicas: [Mesh; REPLICAS],
}

impl Cluster {
    /// Starts all processes and waits until they are ready. `adjust` may override the settings of each.
    pub(crate) async fn start(adjust: impl Fn(&mut Mesh)) -> Self {
        let (keys, database, redis) = (make_keys(), fresh_database().await, Redis::start(&[]));
        let sides = [0; REPLICAS].map(|_| Ports::free());
        let mut parts = Vec::new();
        for name in PARTS {
            let replicas = sides.map(|ports| prepared(name, ports, keys.path(), &database));
            let targets = replicas.each_ref().map(|replica| target(name, replica));
            parts.push(Part { name, balancer: LoadBalancer::start(&targets).await, replicas });
        }
        let peers: Vec<_> = parts.iter().map(|part| (part.name.to_uppercase(), part.addresses())).collect();
        for process in parts.iter_mut().flat_map(|part| &mut part.replicas) {
            for (peer, addresses) in peers.iter().filter(|(peer, _)| peer != "GATEWAY") {
                process.set(&format!("PEERS__{peer}"), addresses);
            }
            process.set("REDIS__URL", &redis.url());
            adjust(process);
            process.launch();
        }
        let mut cluster = Self { parts, _redis: redis, _keys: keys };
        for part in &mut cluster.parts {
            for replica in 0..REPLICAS {
                part.until_sent_to(replica).await;
            }
        }
        cluster
    }

    /// The port of the gateways' load balancer.
    pub(crate) fn port(&self) -> u16 {
        self.parts.last().expect("the gateway is the last part").balancer.port
    }

    /// Every process in the order of restarts: replica by replica, and within each the parts in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let parts = self.parts.len();
        (0..REPLICAS).flat_map(move |replica| (0..parts).map(move |part| (part, replica)))
    }

    /// Stops a process as Kubernetes does and starts it again. Returns how long the stop took.
    pub(crate) async fn restart(&mut self, part: usize, replica: usize) -> Duration {
        let part = &mut self.parts[part];
        let process = &mut part.replicas[replica];
        let started = Instant::now();
        process.signal("TERM");
        let status = process.ended(NOTICED).await;
        let took = started.elapsed();
        assert_eq!(status.code(), Some(0), "{} {replica}:\n{}", part.name, process.log());
        assert!(!part.balancer.sends_to(replica), "the load balancer has noticed");
        process.launch();
        part.until_sent_to(replica).await;
        took
    }

    /// The logs of all processes.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (String, String)> {
        let name = |part: &Part, at: usize| format!("{} {at}", part.name);
        self.parts.iter().flat_map(move |part| {
            part.replicas.iter().enumerate().map(move |(at, process)| (name(part, at), process.log()))
        })
    }

    /// Signs a user up. Each user has a separate address, because sign-ups are limited by address.
    pub(crate) async fn sign_up(&self, number: u8) -> Person {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{}", self.port())).unwrap().connect_lazy();
        let handle = format!("person_{number}");
        let mut request = Request::new(SignUpRequest {
            email: format!("{handle}@example.org"),
            password: PASSWORD.to_owned(),
            display_name: handle.to_uppercase(),
            handle,
            ..SignUpRequest::default()
        });
        let address = format!("10.0.0.{number}").parse().unwrap();
        request.metadata_mut().insert("x-forwarded-for", address);
        let response = AuthServiceClient::new(channel.clone()).sign_up(request).await.unwrap();
        Person::new(channel, response.into_inner().tokens.unwrap())
    }
}

impl Part {
    /// The addresses of all replicas, as a headless Service has them: clients balance themselves.
    fn addresses(&self) -> String {
        let address = |replica| format!("http://127.0.0.1:{}", target(self.name, replica).port);
        self.replicas.each_ref().map(address).join(",")
    }

    /// Waits until the replica is ready and the load balancer sends connections to it.
    async fn until_sent_to(&mut self, replica: usize) {
        let process = &mut self.replicas[replica];
        process.ready(target(self.name, process).readiness).await;
        while !self.balancer.sends_to(replica) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The gateway reports readiness on its public port, a service on its admin listener.
fn target(name: &str, replica: &Mesh) -> Target {
    let ports = replica.ports;
    let port = ports.services().find(|(service, _)| *service == name).map_or(ports.gateway, |(_, port)| port);
    Target { port, readiness: if name == "gateway" { ports.gateway } else { ports.admin } }
}
