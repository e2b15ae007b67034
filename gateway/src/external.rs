//! Upstreams outside the mesh: any gRPC service, in any language, under a prefix of service names.
//!
//! What such an upstream declares can only restrict: a method that its descriptors do not name is closed, and while
//! they cannot be read the last good ones apply. If there never were any, all its methods are closed.

mod contract;
mod reflection;
mod shown;

use std::{fs, path::PathBuf, sync::Arc};

use kit::{
    balance::{self, Addresses},
    identity::{CallerTokens, GATEWAY, Identity},
    policy::{Access, Policy, Table},
};

use prost_reflect::DescriptorPool;

pub(crate) use contract::{Contract, Contracts, declared_methods};
pub(crate) use reflection::fetch;
pub(crate) use shown::together;

use crate::{
    config::{self, is_under},
    issuers::AcceptedIssuers,
    tls::Trust,
    upstream::{Cluster, Tolerance, Upstreams},
};

/// Packages that belong to the mesh and to the gateway itself.
const RESERVED: [&str; 3] = ["trellis", "grpc.health", "grpc.reflection"];

/// How an operator makes a file of descriptors.
const HOW_TO_DESCRIBE: &str = "make the file with `protoc --include_imports -o FILE.binpb FILE.proto`";

/// An upstream as it is configured.
pub(crate) struct ExternalUpstream {
    /// The prefix of the service names that it serves.
    pub(crate) prefix: Arc<str>,
    pub(crate) cluster: Arc<Cluster>,
    /// How its certificate is verified; `None`: it is called in plain text.
    pub(crate) trust: Option<Trust>,
    /// Which callers may call methods without a policy in its descriptors; `None`: no caller.
    pub(crate) open: Option<Access>,
    pub(crate) source: DescriptorSource,
    /// Issues the tokens that identify the caller to it; `None`: it receives none.
    pub(crate) tokens: Option<Arc<CallerTokens>>,
    /// Whether it receives the verified certificate of the client.
    pub(crate) forwards_certificate: bool,
    /// Whose users may call it, besides those of Trellis.
    pub(crate) issuers: AcceptedIssuers,
    /// Whether it receives the tokens of `issuers`.
    pub(crate) forwards_issuer_token: bool,
}

/// The source of descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DescriptorSource {
    /// No descriptors: every method under the prefix is open.
    None,
    /// A file with an encoded `google.protobuf.FileDescriptorSet`.
    File(PathBuf),
    /// The upstream itself, at these addresses (`grpc.reflection.v1`, else `v1alpha`).
    Reflection(Addresses),
}

impl DescriptorSource {
    /// The source that is configured.
    pub(crate) fn of(config: &config::ExternalConfig) -> Self {
        match config.descriptors.as_str() {
            "" => Self::None,
            "reflection" => Self::Reflection(config.to.clone()),
            path => Self::File(PathBuf::from(path)),
        }
    }

    /// Whether descriptors from `other` still apply: the source is the same file, or shares a server. Other servers may
    /// mean something else by the same names.
    pub(crate) fn knows(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reflection(now), Self::Reflection(then)) => now.iter().any(|address| then.contains(address)),
            _ => self == other,
        }
    }
}

impl ExternalUpstream {
    /// The upstream of `gateway.external.<prefix>`, with its TLS files. Errors name the key.
    pub(crate) fn new(
        prefix: &str,
        config: &config::ExternalConfig,
        trust: Option<&Trust>,
        upstreams: &Upstreams,
        identity: &Arc<Identity>,
        issuers: AcceptedIssuers,
    ) -> Result<Self, String> {
        check(prefix, config)?;
        let cluster = upstreams.cluster(prefix, &config.to, trust, Tolerance::External);
        let audience = config.token_audience.as_str();
        Ok(Self {
            prefix: prefix.into(),
            cluster: cluster.map_err(|why| format!("gateway.external.{prefix:?}.to: {why}"))?,
            trust: trust.cloned(),
            open: config.access.access(),
            source: DescriptorSource::of(config),
            forwards_certificate: config.forward_client_certificate,
            issuers,
            forwards_issuer_token: config.forward_issuer_token,
            tokens: (!audience.is_empty()).then(|| Arc::new(CallerTokens::new(Arc::clone(identity), audience))),
        })
    }

    /// Whether this upstream serves a service.
    pub(crate) fn serves(&self, service: &str) -> bool {
        is_under(&self.prefix, service)
    }
}

/// Checks `gateway.external.<prefix>` without its files and without connections. Errors name the key.
pub(crate) fn check(prefix: &str, config: &config::ExternalConfig) -> Result<(), String> {
    let bad = |key: &str, why: String| format!("gateway.external.{prefix:?}{key}: {why}");
    check_prefix(prefix).map_err(|why| bad("", why))?;
    let has_tls = config.to.iter().any(|address| address.starts_with("https://"));
    if !config.ca.is_empty() && !has_tls {
        return Err(bad(".ca", "has no effect, because no address in `to` begins with https://".to_owned()));
    }
    if config.graphql && config.descriptors.is_empty() {
        return Err(bad(".graphql", "has no effect without `descriptors`".to_owned()));
    }
    balance::check(&config.to).map_err(|why| bad(".to", why))
}

/// Checks that an upstream for signed-in callers has some, in a gateway `without_users`: one that knows no auth service. The
/// error names the key.
pub(crate) fn check_callers(prefix: &str, config: &config::ExternalConfig, without_users: bool) -> Result<(), String> {
    if !without_users || config.access != config::Open::SignedIn || !config.token_issuers.is_empty() {
        return Ok(());
    }
    Err(format!(
        "gateway.external.{prefix:?}.access: signed_in admits no caller, because this gateway knows no users: it has neither \
         an auth service (peers and identity are not set) nor issuers of tokens; set token_issuers of the upstream, or peers \
         and identity, or access = \"public\""
    ))
}

/// Checks that tokens for the upstream are not valid in the mesh, whose services the contracts in `policies` name.
pub(crate) fn check_audience(prefix: &str, config: &config::ExternalConfig, policies: &Table) -> Result<(), String> {
    let audience = config.token_audience.as_str();
    let is_service = |(path, _): (&str, &Policy)| path.split('.').nth(1) == Some(audience);
    if audience == kit::jwt::AUDIENCE || audience == GATEWAY || policies.iter().any(is_service) {
        return Err(format!(
            "gateway.external.{prefix:?}.token_audience: {audience:?} is a name of the mesh's own; choose another"
        ));
    }
    Ok(())
}

/// Reads the descriptors of the upstream under `prefix`, if their source is a file. Errors name the key.
pub(crate) fn read_file(prefix: &str, source: &DescriptorSource) -> Option<Result<Contract, String>> {
    let DescriptorSource::File(path) = source else { return None };
    let contract = match fs::read(path) {
        Err(error) => Err(format!("{error}; {HOW_TO_DESCRIBE}, or set \"reflection\"")),
        Ok(encoded) => Contract::read(&encoded, prefix, source, |_| true).map_err(|why| {
            // The text of a contract is a usual mistake, and so is a set without its imports.
            let is_set = DescriptorPool::decode(encoded.as_slice()).is_ok();
            if is_set { why } else { format!("{why}; {HOW_TO_DESCRIBE}") }
        }),
    };
    Some(contract.map_err(|why| format!("gateway.external.{prefix:?}.descriptors: {}: {why}", path.display())))
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !prefix.split('.').all(is_name) {
        return Err("is not the name of a package or service, such as acme.shop.v1".to_owned());
    }
    if let Some(reserved) = RESERVED.iter().find(|reserved| is_under(reserved, prefix) || is_under(prefix, reserved)) {
        return Err(format!("{reserved}.* is served by Trellis itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_without_a_descriptor_set_is_explained() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("gateway-descriptors-{}", std::process::id()));
        let error = |path: &std::path::Path| {
            read_file("acme", &DescriptorSource::File(path.to_owned())).unwrap().map(drop).unwrap_err()
        };
        let missing = error(&file);
        assert!(missing.contains("or set \"reflection\"") && missing.contains("protoc --include_imports"), "{missing}");
        fs::write(&file, "syntax = \"proto3\"; package acme;").unwrap();
        let text = error(&file);
        let set = crate::test_contracts::encoded("syntax = \"proto3\"; package other; service S {}");
        fs::write(&file, set).unwrap();
        let other = error(&file);
        fs::remove_file(&file).unwrap();
        assert!(text.contains("protoc --include_imports -o FILE.binpb"), "{text}");
        assert!(other.contains("no service of acme is declared") && !other.contains("protoc"), "{other}");
    }

    #[test]
    fn signed_in_without_users_or_issuers_is_refused() {
        let with = |access, issuers: &[&str]| config::ExternalConfig {
            access,
            token_issuers: issuers.iter().map(|name| (*name).to_owned()).collect(),
            ..config::ExternalConfig::default()
        };
        let refused = check_callers("acme", &with(config::Open::SignedIn, &[]), true).unwrap_err();
        assert!(
            refused.starts_with("gateway.external.\"acme\".access: ") && refused.contains("token_issuers"),
            "{refused}"
        );
        for (config, without_users) in [
            (with(config::Open::SignedIn, &[]), false),
            (with(config::Open::SignedIn, &["acme"]), true),
            (with(config::Open::Public, &[]), true),
            (with(config::Open::Deny, &[]), true),
        ] {
            assert_eq!(check_callers("acme", &config, without_users), Ok(()));
        }
    }

    #[test]
    fn a_prefix_is_a_name_outside_the_reserved_packages() {
        for good in ["acme", "acme.shop.v1", "acme.shop.v1.Cart", "trellises", "grpc.testing", "grpc.healthy.v1"] {
            assert_eq!(check_prefix(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "acme.",
            "acme..shop",
            "acme/shop",
            "1acme",
            "trellis",
            "trellis.users.v1",
            "grpc",
            "grpc.health.v1",
            "grpc.reflection.v1alpha.X",
        ] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
