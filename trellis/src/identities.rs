//! The identities of the parts of this process.

use std::{path::Path, sync::Arc};

use kit::{
    ClockAndRng,
    identity::{Identity, Key, read_trusted},
    tls::MeshTls,
};
use parking_lot::Mutex;

use crate::{config, part::Part};

/// The keys of this process and the public keys that it trusts.
pub(crate) struct Identities {
    keys: Vec<(Part, Key)>,
    /// Pairs of service and public key.
    trusted: Vec<(String, String)>,
    clock_rng: ClockAndRng,
    tls: Arc<MeshTls>,
    /// One identity per part, because it holds state about the part's peers.
    made: Mutex<Vec<(Part, Arc<Identity>)>>,
}

impl Identities {
    /// For all parts in one process: generates new keys at each start and never stores them.
    pub(crate) fn generated(clock_rng: ClockAndRng, tls: Arc<MeshTls>) -> Self {
        let keys: Vec<_> = Part::ALL.iter().map(|part| (*part, Key::generate())).collect();
        let trusted = keys.iter().map(|(part, key)| (part.name().to_owned(), key.public())).collect();
        Self { keys, trusted, clock_rng, tls, made: Mutex::default() }
    }

    /// For one part: reads its key and the public keys of the others from the configuration.
    pub(crate) fn configured(
        part: Part,
        config: &config::Identity,
        clock_rng: ClockAndRng,
        tls: Arc<MeshTls>,
    ) -> Result<Self, String> {
        let name = part.name();
        if config.key_file.is_empty() {
            return Err(format!(
                "identity.key_file is not set: make a key with `trellis keys new --name {name} --out DIR`"
            ));
        }
        let key = Key::read(Path::new(&config.key_file)).map_err(|e| format!("identity.key_file: {e}"))?;
        let mut trusted: Vec<_> = config.trusted.clone().into_iter().collect();
        check_own(name, &key, config, &trusted, &format!("identity.trusted.{name}"))?;
        if !config.trusted_dir.is_empty() {
            let folder = Path::new(&config.trusted_dir);
            let found = read_trusted(folder).map_err(|e| format!("identity.trusted_dir: {e}"))?;
            for unknown in unknown_keys(folder, &found) {
                tracing::warn!(key = "identity.trusted_dir", unknown, "a trusted key belongs to no service");
            }
            check_own(name, &key, config, &found, &format!("{name}.pub in identity.trusted_dir"))?;
            trusted.extend(found);
        }
        if trusted.is_empty() {
            return Err("no service is trusted: set identity.trusted_dir or identity.trusted".to_owned());
        }
        Ok(Self { keys: vec![(part, key)], trusted, clock_rng, tls, made: Mutex::default() })
    }

    /// The identity of `part`.
    pub(crate) fn of(&self, part: Part) -> Result<Arc<Identity>, String> {
        let mut made = self.made.lock();
        if let Some((_, identity)) = made.iter().find(|(of, _)| *of == part) {
            return Ok(Arc::clone(identity));
        }
        let name = part.name();
        let (_, key) =
            self.keys.iter().find(|(of, _)| *of == part).ok_or(format!("this process has no key of {name}"))?;
        let trusted = self.trusted.iter().map(|(name, public)| (name.as_str(), public.as_str()));
        let identity =
            Identity::new(name, key, trusted, self.clock_rng.clone()).map_err(|e| format!("identity: {e}"))?;
        let identity = Arc::new(identity.with_tls(Arc::clone(&self.tls)));
        made.push((part, Arc::clone(&identity)));
        Ok(identity)
    }
}

/// The keys of services that this release does not have. Their files may be mistakes, or belong to a newer release that
/// is being rolled out, so that they are reported and not refused.
fn unknown_keys(folder: &Path, found: &[(String, String)]) -> Vec<String> {
    let unknown = found.iter().filter_map(|(name, _)| Some((name, Part::named(name).err()?)));
    unknown.map(|(name, expected)| format!("{}: {expected}", folder.join(format!("{name}.pub")).display())).collect()
}

/// Refuses a key whose public half differs from the one that the services trust for `name`: they would refuse its calls.
fn check_own(
    name: &str,
    key: &Key,
    config: &config::Identity,
    trusted: &[(String, String)],
    place: &str,
) -> Result<(), String> {
    let is_other = |(of, public): &(String, String)| of == name && public.trim() != key.public();
    if trusted.iter().any(is_other) {
        let file = &config.key_file;
        return Err(format!("identity.key_file: {file} does not match {place}; use the key file of {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_an_unknown_service_is_reported_with_its_file() {
        let key = |name: &str| (name.to_owned(), String::new());
        let all: Vec<_> = Part::ALL.iter().map(|part| key(part.name())).collect();
        assert_eq!(unknown_keys(Path::new("keys"), &all), [""; 0]);
        let unknown = unknown_keys(Path::new("keys"), &[key("users"), key("mesaging")]);
        assert!(unknown.len() == 1 && unknown[0].starts_with("keys/mesaging.pub: expected users, auth"), "{unknown:?}");
    }
}
