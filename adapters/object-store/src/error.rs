//! What a store says, as an error that says what happened, where, and what to do now.

use object_store::Error;
use std::io::{self, ErrorKind};

/// The most of a store's own words that is passed on: some send whole pages.
const WORDS: usize = 700;

/// `what` could not be done at `place`, because of `cause`.
pub(crate) fn told(what: &str, place: &str, cause: &Error) -> io::Error {
    let words = words(cause);
    let kind = kind(cause, &words);
    let now = now(kind, &words);
    io::Error::new(kind, format!("cannot {what} in {place}: {now}; the store says: {words}"))
}

/// The client of the store at `place` cannot be made of what it was told.
#[cfg(feature = "client")]
pub(crate) fn misled(place: &str, cause: &Error) -> io::Error {
    let words = words(cause);
    invalid(format!("{place} cannot be asked; look at the variables for it: {words}"))
}

/// What the program did wrong, or the operator has to change.
pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message.into())
}

fn kind(cause: &Error, words: &str) -> ErrorKind {
    match cause {
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        Error::Precondition { .. } | Error::NotModified { .. } => ErrorKind::StaleNetworkFileHandle,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => ErrorKind::Unsupported,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => {
            ErrorKind::InvalidInput
        }
        other => match status(words) {
            Some(404) => ErrorKind::NotFound,
            Some(401 | 403) => ErrorKind::PermissionDenied,
            Some(408) => ErrorKind::TimedOut,
            _ => underneath(other),
        },
    }
}

/// The status that a request ended with; it stands in the words alone.
fn status(words: &str) -> Option<u16> {
    let (_, rest) = words.split_once("status code: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The kind of the first cause that has one.
fn underneath(cause: &Error) -> ErrorKind {
    let mut next = std::error::Error::source(cause);
    while let Some(error) = next {
        #[cfg(feature = "client")]
        if let Some(http) = error.downcast_ref::<object_store::client::HttpError>() {
            use object_store::client::HttpErrorKind;
            match http.kind() {
                HttpErrorKind::Timeout => return ErrorKind::TimedOut,
                HttpErrorKind::Connect => return ErrorKind::NotConnected,
                HttpErrorKind::Interrupted | HttpErrorKind::Request => {
                    return ErrorKind::ConnectionAborted;
                }
                _ => {}
            }
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind();
        }
        next = error.source();
    }
    ErrorKind::Other
}

fn words(cause: &Error) -> String {
    let mut words: String = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(WORDS) {
        words.truncate(end);
        words.push('…');
    }
    words
}

fn now(kind: ErrorKind, words: &str) -> &'static str {
    let names = |any: &[&str]| any.iter().any(|it| words.contains(it));
    match kind {
        _ if names(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) => {
            "there is no such bucket; make it, or mend the URL"
        }
        ErrorKind::NotFound => "nothing has this name",
        ErrorKind::PermissionDenied => {
            "access is refused; look at the credentials in the environment and at what they may do"
        }
        ErrorKind::TimedOut => "it took too long; look at the network, or allow more time",
        ErrorKind::NotConnected | ErrorKind::ConnectionRefused => {
            "the store cannot be reached; look at the endpoint and the network"
        }
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {
            "the store went away in the middle; try again"
        }
        ErrorKind::StaleNetworkFileHandle => "it was replaced since it was opened; open it again",
        ErrorKind::Unsupported | ErrorKind::InvalidInput => "the store does not know this",
        _ => "the request failed; try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Generic { store: "S3", source: source.into() }
    }

    #[test]
    fn an_error_says_what_where_and_what_now() {
        let source = || "<Code>NoSuchBucket</Code>\n <a/>".into();
        let error =
            told("put `a`", "s3://b", &Error::NotFound { path: "a".into(), source: source() });
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.starts_with("cannot put `a` in s3://b: there is no such bucket"), "{text}");
        assert!(!text.contains('\n'), "{text}");
        let cases = [
            (Error::PermissionDenied { path: "a".into(), source: "no".into() }, "credentials"),
            (Error::Precondition { path: "a".into(), source: "no".into() }, "open it again"),
            (generic(io::Error::from(ErrorKind::ConnectionReset)), "went away"),
            (generic("503"), "try again"),
            (generic("bad status code: 403 Forbidden"), "credentials"),
        ];
        for (cause, due) in cases {
            let text = told("open `a`", "s3://b", &cause).to_string();
            assert!(text.contains(due), "{text}");
        }
        assert!(told("put", "here", &generic("x".repeat(10_000))).to_string().len() < 900);
    }
}
