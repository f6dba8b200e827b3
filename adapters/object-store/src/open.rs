//! From a URL to a sink.

use crate::error::invalid;
use crate::sink::{ObjectSink, Transfer};
use object_store::ObjectStoreScheme;
use object_store::memory::InMemory;
use siding::Backend;
use siding::disk::open_dir;
use siding::sink::{DirectorySink, Sink};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

#[cfg(feature = "client")]
mod cloud;

/// How a store is reached.
#[derive(Clone)]
pub struct Options {
    /// What the store's client is told, by the names that the environment has for it:
    /// `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`,
    /// `AWS_TIMEOUT`; the crate `object_store` lists them. Others are passed over.
    pub variables: Vec<(String, String)>,
    /// How often a request that failed is made again, with longer and longer pauses.
    pub retries: usize,
    /// For how long it is. What was signed at the begin is sent, so keep it under five minutes.
    pub retry_for: Duration,
    /// What is put at once.
    pub transfer: Transfer,
}

impl Default for Options {
    fn default() -> Self {
        let (retries, retry_for) = (10, Duration::from_secs(180));
        Self { variables: Vec::new(), retries, retry_for, transfer: Transfer::default() }
    }
}

impl Options {
    /// The defaults, with the environment of the process. Values that are no text are passed over.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(text).collect(), ..Self::default() }
    }
}

impl fmt::Debug for Options {
    /// Without the values: there are secrets among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variables, retries, retry_for, transfer } = self;
        let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Options")
            .field("variables", &names)
            .field("retries", retries)
            .field("retry_for", retry_for)
            .field("transfer", transfer)
            .finish()
    }
}

/// A sink by its URL, with what the environment says about it: `s3://bucket/folder`,
/// `gs://bucket/folder`, `az://container/folder`, `file:///folder`, a path without a scheme, or
/// `memory:///` for what ends with the process. A directory is made if it is not there; a bucket is
/// not.
///
/// Nothing is asked of the store yet: whether it is there and lets this program in shows with the
/// first call.
///
/// # Errors
///
/// `InvalidInput` for a URL that names no store, or what is missing to reach it; `Unsupported` for
/// a kind of store that this build does not have; of a directory, what the disk says.
pub fn open_sink(url: &str) -> io::Result<Arc<dyn Sink>> {
    open_sink_with(url, &Options::from_env())
}

/// The same, with options, and nothing from the environment that is not in them.
///
/// # Errors
///
/// As [`open_sink`].
pub fn open_sink_with(url: &str, options: &Options) -> io::Result<Arc<dyn Sink>> {
    if !url.contains(":/") {
        return directory(Path::new(url));
    }
    let parsed =
        Url::parse(url).map_err(|cause| invalid(format!("`{}` is no URL: {cause}", shown(url))))?;
    if parsed.scheme() == "file" {
        let path = parsed.to_file_path();
        return directory(&path.map_err(|()| invalid(format!("`{url}` names no directory here")))?);
    }
    let (scheme, folder) = ObjectStoreScheme::parse(&parsed)
        .map_err(|_| invalid(format!("`{}`: {KINDS}", shown(url))))?;
    let (place, folder) = (shown(url), folder.as_ref());
    match scheme {
        ObjectStoreScheme::Memory => {
            let sink = ObjectSink::new(Arc::new(InMemory::new()), folder, &place, options.transfer);
            Ok(Arc::new(sink?))
        }
        #[cfg(feature = "s3")]
        ObjectStoreScheme::AmazonS3 => cloud::s3(&parsed, folder, &place, options),
        #[cfg(feature = "google")]
        ObjectStoreScheme::GoogleCloudStorage => cloud::google(&parsed, folder, &place, options),
        #[cfg(feature = "azure")]
        ObjectStoreScheme::MicrosoftAzure => cloud::azure(&parsed, folder, &place, options),
        other => Err(missing(&place, &other)),
    }
}

const KINDS: &str = "a sink is s3://bucket, gs://bucket, az://container, file:///directory or a \
                     path, with folders behind it if you like";

fn directory(path: &Path) -> io::Result<Arc<dyn Sink>> {
    let disk = open_dir(path, Backend::Buffered, true).map_err(|cause| {
        let what = format!("the directory {} cannot be opened for copies: {cause}", path.display());
        io::Error::new(cause.kind(), what)
    })?;
    Ok(Arc::new(DirectorySink::new(disk)))
}

/// A kind of store that is not built in, or that is no sink.
fn missing(place: &str, scheme: &ObjectStoreScheme) -> io::Error {
    let feature = match scheme {
        ObjectStoreScheme::AmazonS3 => "s3",
        ObjectStoreScheme::GoogleCloudStorage => "google",
        ObjectStoreScheme::MicrosoftAzure => "azure",
        _ => return invalid(format!("`{place}`: {KINDS}")),
    };
    let what =
        format!("`{place}`: build siding-object-store with its feature `{feature}` for this");
    io::Error::new(ErrorKind::Unsupported, what)
}

/// A URL for messages: no password and no signature.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, host)) if user.contains(':') && !user.contains('/') => {
                format!("{scheme}://{host}")
            }
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let cases = [
            ("s3://key:secret@bucket/a?X-Amz-Signature=1", "s3://bucket/a"),
            ("abfs://container@account.dfs.core.windows.net/a#b", ""),
            ("s3://bucket/a", "s3://bucket/a"),
            ("plain", "plain"),
        ];
        for (url, due) in cases {
            let due = if due.is_empty() { url.split('#').next().unwrap() } else { due };
            assert_eq!(shown(url), due);
        }
        let variables = vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())];
        let text = format!("{:?}", Options { variables, ..Options::default() });
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("hush"), "{text}");
    }
}
