//! The table of services: the only place of the binary that names them. A new service needs its crate in
//! `trellis/Cargo.toml`, a row in [`services`], and an implementation of [`Wired`].

use std::sync::Arc;

use auth::{Auth, AuthStore, Mail, mail::Surroundings};
use clap::{Subcommand, ValueEnum, builder::PossibleValue};
use kit::{balance::Addresses, config::Secret};
use kit_data::store::{Location, Settings};
use messaging::{Messaging, MessagingStore};
use tokio::net::TcpListener;
use users::{UserStore, Users};

use crate::{
    config::{Config, Peers},
    part::Part,
    process::Process,
    stores::Stores,
};

/// Passes the rows of the table to the macro `$then`: the crate of a service, and its type in that crate. The name of the
/// crate is also the name of the service in the configuration, in service tokens, and in the data folder.
macro_rules! services {
    ($then:ident) => {
        $then! {
            users: Users,
            auth: Auth,
            messaging: Messaging,
        }
    };
}
pub(crate) use services;

/// How a service is built from the parts of a process.
trait Wired: Sized {
    /// The store of the service.
    type Store;

    /// Whether its database has the table of jobs.
    const HAS_JOBS: bool = false;

    /// Whether its database has an audit log.
    const HAS_AUDIT: bool = false;

    /// Checks the rules of the service's section that types and ranges cannot express.
    fn check(_: &Config) -> Result<(), String> {
        Ok(())
    }

    /// Opens the database and migrates it.
    async fn open(stores: &mut Stores<'_>) -> Result<Self::Store, String>;

    /// Builds the service.
    async fn wire(process: &mut Process<'_>, stores: &mut Stores<'_>) -> Result<Self, String>;
}

impl Wired for Users {
    type Store = Arc<dyn UserStore>;

    const HAS_AUDIT: bool = true;

    fn check(config: &Config) -> Result<(), String> {
        config.users.check()
    }

    async fn open(stores: &mut Stores<'_>) -> Result<Self::Store, String> {
        stores.open(Service::Users, users::store::open).await
    }

    async fn wire(process: &mut Process<'_>, stores: &mut Stores<'_>) -> Result<Self, String> {
        let mut config = process.config.users.clone();
        config.directory = config.directory.in_force(process.runs_all);
        Ok(Self {
            config,
            audit: process.config.audit.clone(),
            store: Self::open(stores).await?,
            messaging: process.peer(Service::Messaging, Part::Service(Service::Users))?,
            clock_rng: process.clock_rng.clone(),
        })
    }
}

impl Wired for Auth {
    type Store = Arc<dyn AuthStore>;

    const HAS_JOBS: bool = true;
    const HAS_AUDIT: bool = true;

    fn check(config: &Config) -> Result<(), String> {
        config.auth.check()
    }

    async fn open(stores: &mut Stores<'_>) -> Result<Self::Store, String> {
        stores.open(Service::Auth, auth::store::open).await
    }

    async fn wire(process: &mut Process<'_>, _: &mut Stores<'_>) -> Result<Self, String> {
        let part = Part::Service(Service::Auth);
        let (store, keys) = process.auth.take().ok_or("auth is not a part of this process")?;
        let surroundings = Surroundings { local_page: process.local_page.clone() };
        let mail =
            Mail::open(&process.config.auth.mail, &surroundings).map_err(|why| format!("configuration: {why}"))?;
        process.mailbox_page = mail.mailbox_page(&keys.mailbox_key());
        if !mail.is_on() {
            tracing::warn!(
                "e-mail is off: no one can reset a password or verify an address; set auth.mail.server, auth.mail.from and \
                 auth.mail.base_url"
            );
        }
        Ok(Self {
            config: process.config.auth.clone(),
            jobs: process.config.jobs.clone(),
            audit: process.config.audit.clone(),
            store,
            keys,
            mail: Arc::new(mail),
            users: process.peer(Service::Users, part)?,
            messaging: process.peer(Service::Messaging, part)?,
            bus: Arc::clone(&process.bus),
            limiter: Arc::clone(&process.limiter),
            clock_rng: process.clock_rng.clone(),
        })
    }
}

impl Wired for Messaging {
    type Store = Arc<dyn MessagingStore>;

    const HAS_AUDIT: bool = true;

    async fn open(stores: &mut Stores<'_>) -> Result<Self::Store, String> {
        let quotas = stores.config.messaging.quotas();
        let open = async move |location: &Location, settings: Settings| {
            messaging::store::open(location, settings, quotas).await
        };
        stores.open(Service::Messaging, open).await
    }

    async fn wire(process: &mut Process<'_>, stores: &mut Stores<'_>) -> Result<Self, String> {
        Ok(Self {
            config: process.config.messaging.clone(),
            audit: process.config.audit.clone(),
            store: Self::open(stores).await?,
            bus: Arc::clone(&process.bus),
            users: process.peer(Service::Users, Part::Service(Service::Messaging))?,
            clock_rng: process.clock_rng.clone(),
        })
    }
}

/// The keys that the configuration of every service has.
pub(crate) struct Section<'a> {
    /// The address on which gRPC is served.
    pub(crate) listen: &'a str,
    /// Empty: SQLite in the data folder.
    pub(crate) database_url: &'a Secret,
    /// Connections to PostgreSQL.
    pub(crate) pool_size: u32,
}

/// Opens auth's database, which a process with auth needs before all services.
pub(crate) async fn open_auth(stores: &mut Stores<'_>) -> Result<Arc<dyn AuthStore>, String> {
    Auth::open(stores).await
}

macro_rules! define {
    ($($name:ident: $Type:ident,)+) => {
        /// A service with a database.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
        pub(crate) enum Service {
            $(
                #[command(about = concat!("Run only the ", stringify!($name), " service"))]
                $Type,
            )+
        }

        impl Service {
            /// All services, in the order in which a process starts them.
            pub(crate) const ALL: &[Self] = &[$(Self::$Type),+];

            /// The name in the configuration, in service tokens, and in the data folder.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$Type => stringify!($name),)+
                }
            }

            /// The name of the gRPC service in the contract.
            pub(crate) fn full_name(self) -> &'static str {
                match self {
                    $(Self::$Type => ::$name::SERVICE_NAME,)+
                }
            }

            /// The service's section of the configuration.
            pub(crate) fn section(self, config: &Config) -> Section<'_> {
                match self {
                    $(Self::$Type => {
                        let ::$name::Config { listen, database_url, pool_size, .. } = &config.$name;
                        Section { listen, database_url, pool_size: *pool_size }
                    })+
                }
            }

            /// Checks the rules of the service's section that types and ranges cannot express.
            pub(crate) fn check(self, config: &Config) -> Result<(), String> {
                match self {
                    $(Self::$Type => <::$name::$Type as Wired>::check(config),)+
                }
            }

            /// Whether the service has jobs.
            pub(crate) fn has_jobs(self) -> bool {
                match self {
                    $(Self::$Type => <::$name::$Type as Wired>::HAS_JOBS,)+
                }
            }

            /// Whether the service has an audit log.
            pub(crate) fn has_audit(self) -> bool {
                match self {
                    $(Self::$Type => <::$name::$Type as Wired>::HAS_AUDIT,)+
                }
            }

            /// The configured addresses of the service.
            pub(crate) fn peers(self, peers: &Peers) -> &Addresses {
                match self {
                    $(Self::$Type => &peers.$name,)+
                }
            }

            /// Migrates the service's database.
            pub(crate) async fn migrate(self, stores: &mut Stores<'_>) -> Result<(), String> {
                match self {
                    $(Self::$Type => <::$name::$Type as Wired>::open(stores).await.map(drop),)+
                }
            }

            /// Builds the service and serves it on `listener`.
            pub(crate) async fn start(
                self,
                process: &mut Process<'_>,
                stores: &mut Stores<'_>,
                listener: TcpListener,
            ) -> Result<(), String> {
                match self {
                    $(Self::$Type => {
                        let service = <::$name::$Type as Wired>::wire(process, stores).await?;
                        let (context, readiness) = process.prepare(self, service.health_checks())?;
                        let shutdown = process.shutdown.clone();
                        process.spawn(self.name(), service.serve(context, readiness, listener, shutdown));
                    })+
                }
                Ok(())
            }
        }
    };
}
services!(define);

/// The command line names services as the configuration does.
impl ValueEnum for Service {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lists_the_services_of_the_contracts() {
        let mut rows: Vec<_> = Service::ALL.iter().map(|service| service.name()).collect();
        rows.sort_unstable();
        assert_eq!(rows, proto::SERVICES, "add the missing row to the macro `services` in trellis/src/services.rs");
        for service in Service::ALL {
            let package = format!("trellis.{}.", service.name());
            assert!(service.full_name().starts_with(&package), "{}: its contract has another package", service.name());
        }
    }

    #[test]
    fn services_with_a_table_of_jobs_have_jobs() {
        let has_table = |service: &Service, table: &str| {
            let folder = format!("{}/../services/{}/migrations/sqlite", env!("CARGO_MANIFEST_DIR"), service.name());
            let files = std::fs::read_dir(folder).unwrap().flatten();
            let mut texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap());
            texts.any(|text| text.contains(&format!("CREATE TABLE {table} ")))
        };
        for service in Service::ALL {
            assert_eq!(service.has_jobs(), has_table(service, "jobs"), "{}: HAS_JOBS", service.name());
            assert_eq!(service.has_audit(), has_table(service, "audit_events"), "{}: HAS_AUDIT", service.name());
        }
    }

    #[test]
    fn services_listen_on_different_ports_by_default() {
        let config = Config::default();
        let mut listens: Vec<_> = Service::ALL.iter().map(|service| service.section(&config).listen).collect();
        listens.sort_unstable();
        listens.dedup();
        assert_eq!(listens.len(), Service::ALL.len(), "{listens:?}");
    }
}
