//! Several endpoints of one service, called by the gateway and by other services.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{messaging::v1::CreateConversationRequest, users::v1::GetUserRequest};

use super::{
    harness::{Mesh, Person, Ports, Store, free_port, fresh_database, new_id},
    replicas::sample,
    split::{PARTS, make_keys, prepared},
    wait::until,
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
        let mut others: Vec<Mesh> =
            PARTS.into_iter().filter(|part| *part != "users").map(|part| start(part, ports)).collect();
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

/// The load of the readers.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    /// The completed calls.
    calls: AtomicUsize,
}

impl Load {
    /// Waits until the readers have completed so many more calls.
    async fn more(&self, calls: usize) {
        let wanted = self.calls.load(Ordering::SeqCst) + calls;
        until("the readers complete calls", async || self.calls.load(Ordering::SeqCst) >= wanted).await;
    }
}

/// Reads until the load is over. Returns the calls that failed, and those that took more than a second.
async fn read_on(person: Person, load: Arc<Load>) -> (usize, usize) {
    let (mut failed, mut slow) = (0, 0);
    while !load.is_over.load(Ordering::SeqCst) {
        let started = Instant::now();
        let request = person.request(GetUserRequest { user_id: person.id().to_owned() });
        failed += usize::from(person.users().get_user(request).await.is_err());
        slow += usize::from(started.elapsed() > Duration::from_secs(1));
        load.calls.fetch_add(1, Ordering::SeqCst);
        // All readers together stay within the method's quota.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (failed, slow)
}

/// Runs eight readers while `happens` acts on one of the two. Returns the calls, those that failed and the slow ones.
async fn read_while(fleet: &mut Fleet, happens: impl AsyncFnOnce(&mut Mesh, &Mesh, &Load)) -> [usize; 3] {
    let ada = fleet.gateway().sign_up("ada").await;
    let load = Arc::new(Load::default());
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(read_on(ada.clone(), Arc::clone(&load)))).collect();
    load.more(AFTER).await;
    let Fleet { users, others } = fleet;
    happens(&mut users[0], others.last().unwrap(), &load).await;
    load.is_over.store(true, Ordering::SeqCst);
    let (mut failed, mut slow) = (0, 0);
    for reader in readers {
        let (f, s) = reader.await.unwrap();
        (failed, slow) = (failed + f, slow + s);
    }
    let calls = load.calls.load(Ordering::SeqCst);
    println!("{calls} calls, {failed} failed, {slow} took more than a second");
    [calls, failed, slow]
}

/// How many endpoints of users get calls of the gateway.
async fn serving(gateway: &Mesh) -> f64 {
    sample(gateway, "balance_endpoints{upstream=\"users\",state=\"serving\"}").await
}

const READERS: usize = 8;
/// The calls after each event: each reader makes several.
const AFTER: usize = 5 * READERS;

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_when_one_of_two_is_killed_under_load() {
    let keys = make_keys();
    let mut fleet = Fleet::start(keys.path()).await;
    const KILLS: usize = 3;
    let [calls, failed, slow] = read_while(&mut fleet, async |users, gateway, load| {
        let both_serve = async || serving(gateway).await > 1.5;
        until("both endpoints serve", both_serve).await;
        for _ in 0..KILLS {
            users.kill();
            until("the gateway notices the kill", async || !both_serve().await).await;
            load.more(AFTER).await;
            users.launch();
            until("both endpoints serve again", both_serve).await;
            load.more(AFTER).await;
        }
    })
    .await;
    assert_eq!(failed, 0, "{failed} of {calls} calls failed");
    // Each reader may meet each kill once.
    assert!(slow <= KILLS * READERS, "{slow} calls waited for the killed endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_when_one_of_two_is_paused_under_load() {
    let keys = make_keys();
    let mut fleet = Fleet::start(keys.path()).await;
    let [calls, failed, slow] = read_while(&mut fleet, async |users, gateway, load| {
        until("both endpoints serve", async || serving(gateway).await > 1.5).await;
        users.signal("STOP");
        until("a health check fails", async || serving(gateway).await < 1.5).await;
        load.more(AFTER).await;
        users.signal("CONT");
        until("both endpoints serve again", async || serving(gateway).await > 1.5).await;
        load.more(AFTER).await;
    })
    .await;
    assert_eq!(failed, 0, "{failed} of {calls} calls failed");
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
