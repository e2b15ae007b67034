//! Which users the directory shows.

use std::sync::Arc;

use proto::users::v1::{ListUsersRequest, ListUsersResponse, User};
use tonic::Status;
use users::{config::Directory, domain::Query};

use crate::{
    bench::Bench,
    databases::on_both,
    mesh::{refusal, request},
};

on_both!(only_the_named_people_and_the_exact_handle_are_listed);

pub(crate) async fn list(bench: &Bench, caller: &User, message: ListUsersRequest) -> Result<ListUsersResponse, Status> {
    let request = request(message, &[bench.signed_in(caller)]);
    bench.client().list_users(request).await.map(tonic::Response::into_inner)
}

pub(crate) async fn handles(bench: &Bench, caller: &User, query: &str) -> Vec<String> {
    let message = ListUsersRequest { query: query.to_owned(), ..ListUsersRequest::default() };
    let response = list(bench, caller, message).await.unwrap();
    response.users.into_iter().map(|user| user.handle).collect()
}

#[tokio::test]
async fn directory_shows_only_contacts_and_exact_handles() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    let (adam, bob, _eve) = (bench.create("adam").await, bench.create("bob").await, bench.create("eve").await);
    bench.meets(&ada, &[&bob, &adam, &ada]);
    assert_eq!(handles(&bench, &ada, "").await, ["adam", "bob"], "neither the caller nor strangers");
    assert_eq!(handles(&bench, &ada, "a").await, ["adam"]);
    assert_eq!(handles(&bench, &ada, "eve").await, ["eve"]);
    assert_eq!(handles(&bench, &ada, "@Eve").await, ["eve"], "with an @ and capital letters");
    assert_eq!(handles(&bench, &ada, "eve the").await, Vec::<String>::new(), "names of strangers find nothing");
    assert_eq!(handles(&bench, &ada, "great").await, ["adam", "bob"], "names of contacts do");
    assert_eq!(handles(&bench, &ada, "ev").await, Vec::<String>::new());
    assert_eq!(handles(&bench, &ada, "ada").await, ["ada", "adam"], "the caller only by the exact handle");
    assert_eq!(handles(&bench, &bob, "").await, Vec::<String>::new());
    bench.delete(&bob.user_id).await;
    assert_eq!(handles(&bench, &ada, "").await, ["adam"], "a deleted user is not shown");
    assert_eq!(handles(&bench, &ada, "bob").await, Vec::<String>::new());
    bench.end().await;
}

#[tokio::test]
async fn pages_list_all_contacts() {
    let bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    let mut met = Vec::new();
    for n in 0..5 {
        bench.create(&format!("stranger{n}")).await;
        met.push(bench.create(&format!("friend{n}")).await);
    }
    bench.meets(&ada, &met.iter().collect::<Vec<_>>());
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = ListUsersRequest { page_size: 2, page_token, ..ListUsersRequest::default() };
        let page = list(&bench, &ada, message).await.unwrap();
        assert!((1..=2).contains(&page.users.len()));
        seen.extend(page.users);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, met);
    bench.end().await;
}

#[tokio::test]
async fn open_directory_shows_all_users() {
    let mut bench = Bench::new(Directory::All).await;
    let ada = bench.create("ada").await;
    bench.create("bob").await;
    bench.stop_messaging().await;
    assert_eq!(handles(&bench, &ada, "").await, ["ada", "bob"]);
    bench.end().await;
}

#[tokio::test]
async fn without_messaging_the_directory_of_contacts_is_unavailable() {
    let mut bench = Bench::new(Directory::Contacts).await;
    let ada = bench.create("ada").await;
    bench.stop_messaging().await;
    assert_eq!(refusal(list(&bench, &ada, ListUsersRequest::default()).await), "Unavailable UNAVAILABLE");
    bench.end().await;
}

async fn only_the_named_people_and_the_exact_handle_are_listed(location: &kit_data::store::Location) {
    use crate::store::{page, user};
    let store = users::store::open(location, 4).await.unwrap();
    let people = ["abx", "abxc", "acx", "bxx"].map(user);
    for one in &people {
        store.insert(one, 0).await.unwrap();
    }
    let [ab, abc, ac, b] = &people;
    let of = |people: &[&users::domain::User], query: &'static str, after: &'static str, size| {
        let (store, ids): (_, Vec<_>) = (Arc::clone(&store), people.iter().map(|one| one.id).collect());
        async move {
            let page = page(after, size);
            let found = match Query::parse(query) {
                None => store.list_among(&ids, &page).await.unwrap(),
                Some(query) => store.search_among(&ids, &query, &page).await.unwrap(),
            };
            found.into_iter().map(|listed| listed.user.handle).collect::<Vec<_>>()
        }
    };
    assert_eq!(of(&[ac, ab, b], "", "", 10).await, ["abx", "acx", "bxx"]);
    assert_eq!(of(&[ac, ab, b], "a", "a", 10).await, ["abx", "acx"]);
    assert_eq!(of(&[abc, ac], "abx", "abx", 10).await, ["abx", "abxc"]);
    assert_eq!(of(&[ac, ab, b], "", "abx", 1).await, ["acx", "bxx"], "one more than asked for");
    assert_eq!(of(&[ac, ab, b], "a", "abx the great", 1).await, ["acx"]);
    assert_eq!(of(&[], "bxx", "bxx", 10).await, ["bxx"]);
    assert_eq!(of(&[], "bx", "bx", 10).await, Vec::<String>::new());
    assert_eq!(of(&[], "", "", 10).await, Vec::<String>::new());
    store.delete(b.id, false, b.create_time).await.unwrap();
    assert_eq!(of(&[b], "bxx", "bxx", 10).await, Vec::<String>::new());
}
