//! The stores that are reached over HTTP, each by its client's own builder.

use super::Options;
use crate::error::misled;
use crate::sink::ObjectSink;
use object_store::list::PaginatedListStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use siding::sink::Sink;
use std::io;
use std::sync::Arc;
use url::Url;

/// The way of every builder: the URL, what the options name, retries; then it is built.
macro_rules! built {
    ($builder:ty, $begin:literal, $url:expr, $place:expr, $options:expr) => {{
        encryption();
        let named = <$builder>::new().with_url($url.as_str()).with_retry(retry($options));
        let known = $options.variables.iter().filter(|(name, _)| name.starts_with($begin));
        let builder =
            known.fold(named, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            });
        builder.build().map_err(|cause| misled($place, &cause))?
    }};
}

#[cfg(feature = "s3")]
pub(super) fn s3(
    url: &Url,
    folder: &str,
    place: &str,
    options: &Options,
) -> io::Result<Arc<dyn Sink>> {
    let store = built!(object_store::aws::AmazonS3Builder, "AWS_", url, place, options);
    sink(store, folder, place, options)
}

#[cfg(feature = "google")]
pub(super) fn google(
    url: &Url,
    folder: &str,
    place: &str,
    options: &Options,
) -> io::Result<Arc<dyn Sink>> {
    let store =
        built!(object_store::gcp::GoogleCloudStorageBuilder, "GOOGLE_", url, place, options);
    sink(store, folder, place, options)
}

#[cfg(feature = "azure")]
pub(super) fn azure(
    url: &Url,
    folder: &str,
    place: &str,
    options: &Options,
) -> io::Result<Arc<dyn Sink>> {
    let store = built!(object_store::azure::MicrosoftAzureBuilder, "AZURE_", url, place, options);
    sink(store, folder, place, options)
}

fn sink(
    store: impl ObjectStore + PaginatedListStore,
    folder: &str,
    place: &str,
    options: &Options,
) -> io::Result<Arc<dyn Sink>> {
    let store = Arc::new(store);
    let paged = Arc::clone(&store);
    Ok(Arc::new(ObjectSink::over(store, Some(paged), folder, place, options.transfer)?))
}

fn retry(options: &Options) -> RetryConfig {
    let backoff = BackoffConfig::default();
    RetryConfig { backoff, max_retries: options.retries, retry_timeout: options.retry_for }
}

/// TLS has one provider of ciphers a process. A program that wants another than ours installs it
/// before it opens a sink; then this does nothing.
fn encryption() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
