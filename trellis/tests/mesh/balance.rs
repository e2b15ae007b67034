//! Several endpoints of one service, called by the gateway and by other services.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{messaging::v1::CreateConversationRequest, users::v1::GetUserRequest};

use super::{
    harness::{Mesh, Person, Ports, Store, free_port, fresh_database, new_id},
    split::{PARTS, make_keys, prepared},
    web,
};

/// A mesh of processes with two of users; the callers of users know both addresses.
struct Fleet {
    users: [Mesh; 2],
    others: Vec<Mesh>,
}

impl Fleet {
    async fn start(keys: &Path) -> Self {
        let (database, ports) = (fresh_database().await, Ports::free());
        let second = Ports { users: free_port(), ..ports };
        let both = format!("http://127.0.0.1:{}, http://127.0.0.1:{}", ports.users, second.users);
        let start = |part: &str, ports| {
            let mut process = prepared(part, ports, keys, &database);
            process.set("PEERS__USERS", &both);
            // One user causes the whole load.
            process.set("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000");
            process.launch();
            process
        };
        let users = [start("users", ports), start("users", second)];
        let mut others: Vec<Mesh> = PARTS[1..].iter().map(|part| start(part, ports)).collect();
        let gateway = others.last_mut().unwrap();
        gateway.ready(ports.gateway).await;
        Self { users, others }
    }

    fn gateway(&self) -> &Mesh {
        self.others.last().unwrap()
    }
}

/// How many calls of a method a process has completed.
async fn completed(process: &Mesh, method: &str) -> u64 {
    let response = web::get(process.ports.admin, "/metrics").await.unwrap();
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    let wanted = format!("rpc_server_call_duration_seconds_count{{rpc_method=\"{method}\"");
    text.lines()
        .filter(|line| line.starts_with(&wanted))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn read(person: &Person) {
    let request = person.request(GetUserRequest { user_id: person.id().to_owned() });
    person.users().get_user(request).await.unwrap();
}

async fn open_conversation(by: &Person, with: &Person) {
    let member_ids = vec![with.id().to_owned()];
    let new = CreateConversationRequest { request_id: new_id(), member_ids, title: String::new() };
    by.messaging().create_conversation(by.request(new)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_to_all_reachable_endpoints() {
    let keys = make_keys();
    let mut fleet = Fleet::start(keys.path()).await;
    let (ada, bob) = (fleet.gateway().sign_up("ada").await, fleet.gateway().sign_up("bob").await);
    let (reads, checks) = ("/trellis.users.v1.UsersService/GetUser", "/trellis.users.v1.UsersService/BatchGetUsers");
    // An endpoint that was unreachable at first gets a tenth of its share, and all of it after ten seconds.
    let both_respond = async {
        for (process, method) in fleet.users.iter().flat_map(|process| [(process, reads), (process, checks)]) {
            while completed(process, method).await == 0 {
                read(&ada).await;
                open_conversation(&ada, &bob).await;
                // Within the method's quota of two a second.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    let both_respond = tokio::time::timeout(Duration::from_secs(60), both_respond);
    both_respond.await.expect("the gateway and messaging call both");

    fleet.users[0].kill();
    for _ in 0..25 {
        read(&ada).await;
        open_conversation(&ada, &bob).await;
    }

    // A restarted endpoint gets calls again.
    fleet.users[0].launch();
    let port = fleet.users[0].ports.users;
    let came_back = async {
        while completed(&fleet.users[0], reads).await == 0 {
            read(&ada).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        came_back.await;
    });
    waited.await.expect("a restarted endpoint gets calls");
}

/// Reads until `on` is false. Returns the calls, those that failed, and those that took more than a second.
async fn read_on(person: Person, on: Arc<AtomicBool>) -> (usize, usize, usize) {
    let (mut calls, mut failed, mut slow) = (0, 0, 0);
    while on.load(Ordering::SeqCst) {
        let started = Instant::now();
        let request = person.request(GetUserRequest { user_id: person.id().to_owned() });
        failed += usize::from(person.users().get_user(request).await.is_err());
        slow += usize::from(started.elapsed() > Duration::from_secs(1));
        calls += 1;
        // All readers together stay within the method's quota.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (calls, failed, slow)
}

/// Runs eight readers while `happens` acts on one of the two.
async fn read_while(fleet: &mut Fleet, happens: impl AsyncFnOnce(&mut Mesh)) -> [usize; 3] {
    let ada = fleet.gateway().sign_up("ada").await;
    let on = Arc::new(AtomicBool::new(true));
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(read_on(ada.clone(), Arc::clone(&on)))).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    happens(&mut fleet.users[0]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    on.store(false, Ordering::SeqCst);
    let mut sums = [0; 3];
    for reader in readers {
        let (calls, failed, slow) = reader.await.unwrap();
        sums = [sums[0] + calls, sums[1] + failed, sums[2] + slow];
    }
    println!("{} calls, {} failed, {} took more than a second", sums[0], sums[1], sums[2]);
    sums
}

const READERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_when_one_of_two_is_killed_under_load() {
    let keys = make_keys();
    let mut fleet = Fleet::start(keys.path()).await;
    let [calls, failed, _] = read_while(&mut fleet, async |users| {
        for _ in 0..3 {
            users.kill();
            tokio::time::sleep(Duration::from_secs(1)).await;
            users.launch();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    })
    .await;
    assert!(calls > 100 && failed == 0, "{failed} of {calls} calls failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_when_one_of_two_is_paused_under_load() {
    let keys = make_keys();
    let mut fleet = Fleet::start(keys.path()).await;
    let [calls, failed, slow] = read_while(&mut fleet, async |users| {
        users.signal("STOP");
        tokio::time::sleep(Duration::from_secs(15)).await;
        users.signal("CONT");
    })
    .await;
    assert!(calls > 100 && failed == 0, "{failed} of {calls} calls failed");
    // Each reader may meet the paused endpoint once, and once more before a health check fails; ten times that.
    assert!(slow <= 10 * 2 * READERS, "{slow} calls waited for the paused endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_drained_so_that_new_replicas_get_calls() {
    let mesh = Mesh::start(Store::Sqlite, &[("LIMITS__CONNECTION_AGE", "1s")]).await;
    for port in [mesh.ports.gateway, mesh.ports.users] {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
        // Ten times the configured age.
        let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
        ended.expect("the connection is drained in time").expect("it ends without an error");
    }
}
