//! A store as a sink: flat names under one prefix of it.

use crate::error::{invalid, told};
use crate::put::Writing;
use crate::runtime::Runtime;
use crate::stored::Reading;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use siding::sink::{Put, Sink, Stored, plain};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What is put at once, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes of a part: what is no longer is put by one request, the rest in parts. Memory for one
    /// thing that is put is this times `at_once` and one more. S3 takes none below 5 MiB.
    ///
    /// After each thousand parts of a thing they get twice as long, since no store takes more than
    /// ten thousand.
    pub part: usize,
    /// How many parts of one thing are under way at once.
    pub at_once: usize,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { part: 8 << 20, at_once: 4 }
    }
}

/// What the sink and all that it gave out share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same store, if it can list from the middle of a name.
    paged: Option<Arc<dyn PaginatedListStore>>,
    base: Path,
    /// For messages.
    pub(crate) place: String,
    pub(crate) transfer: Transfer,
    pub(crate) runtime: Runtime,
}

/// An object store as a place for backups and archive.
///
/// Every call waits for the network, for as long as the store's options allow it to be tried again;
/// any thread may make it, also one that drives an async runtime, which it then holds up.
#[derive(Clone)]
pub struct ObjectSink {
    shared: Arc<Shared>,
}

impl fmt::Debug for ObjectSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectSink").field(&self.shared.place).finish()
    }
}

impl ObjectSink {
    /// What lies in `store` right under `prefix`, which may be empty or several folders long;
    /// `place` names it in messages.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a prefix that no name can have; what the system says if threads cannot be
    /// started.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        place: &str,
        transfer: Transfer,
    ) -> io::Result<Self> {
        Self::over(store, None, prefix, place, transfer)
    }

    pub(crate) fn over(
        store: Arc<dyn ObjectStore>,
        paged: Option<Arc<dyn PaginatedListStore>>,
        prefix: &str,
        place: &str,
        transfer: Transfer,
    ) -> io::Result<Self> {
        let base = Path::parse(prefix)
            .map_err(|cause| invalid(format!("`{prefix}` is no folder in a store: {cause}")))?;
        if transfer.part == 0 || transfer.at_once == 0 {
            return Err(invalid("nothing can be put in parts of nothing, or none at once"));
        }
        let (place, runtime) = (place.to_owned(), Runtime::new()?);
        Ok(Self { shared: Arc::new(Shared { store, paged, base, place, transfer, runtime }) })
    }

    /// Does something and waits for it; `what` says what, if it fails.
    fn ask<T: Send + 'static, F>(
        &self,
        what: &str,
        ask: impl FnOnce(Arc<Shared>) -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let answer = self.shared.runtime.wait(ask(Arc::clone(&self.shared)))?;
        answer.map_err(|cause| told(what, &self.shared.place, &cause))
    }

    fn path(&self, name: &str) -> io::Result<Path> {
        match plain(name) {
            true => Ok(self.shared.base.clone().join(name)),
            false => Err(invalid(format!("`{name}` is no name"))),
        }
    }
}

impl Sink for ObjectSink {
    fn put(&self, name: &str) -> io::Result<Box<dyn Put>> {
        let path = self.path(name)?;
        Ok(Box::new(Writing::new(Arc::clone(&self.shared), name, path)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Stored>> {
        let path = self.path(name)?;
        let asked = path.clone();
        let meta = self.ask(&format!("open `{name}`"), |shared| async move {
            shared.store.head(&asked).await
        })?;
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        Ok(Box::new(Reading { shared, name, path, len: meta.size, tag: meta.e_tag }))
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let asked = prefix.to_owned();
        let found = self.ask("list", |shared| async move { shared.list(&asked).await })?;
        let base = &self.shared.base;
        let named = |meta: ObjectMeta| {
            let name = meta.location.prefix_match(base)?.next()?.as_ref().to_owned();
            let ours = plain(&name) && name.starts_with(prefix);
            (ours && meta.location == base.clone().join(PathPart::from(&*name)))
                .then_some((name, meta.size))
        };
        let mut names: Vec<_> = found.into_iter().filter_map(named).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        self.ask(&format!("remove `{name}`"), |shared| async move {
            // Stores call it removed too if it was never there.
            shared.store.head(&path).await?;
            shared.store.delete(&path).await
        })
    }

    fn place(&self) -> String {
        self.shared.place.clone()
    }
}

impl Shared {
    async fn list(&self, prefix: &str) -> object_store::Result<Vec<ObjectMeta>> {
        let Some(paged) = &self.paged else {
            let base = Some(&self.base).filter(|base| !base.as_ref().is_empty());
            return Ok(self.store.list_with_delimiter(base).await?.objects);
        };
        let whole = match self.base.as_ref() {
            "" => prefix.to_owned(),
            base => format!("{base}/{prefix}"),
        };
        let whole = Some(&*whole).filter(|whole| !whole.is_empty());
        let (mut found, mut page_token) = (Vec::new(), None);
        loop {
            let delimiter = Some(Cow::Borrowed("/"));
            let options = PaginatedListOptions { delimiter, page_token, ..Default::default() };
            let page = paged.list_paginated(whole, options).await?;
            found.extend(page.result.objects);
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(found);
            }
        }
    }
}
