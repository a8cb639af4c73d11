//! The names of one collection at the target: under its working name, in its own place, and away again.
//!
//! Every function looks where things are, by names and Milvus's ids, and does the next step. So each may be cut off
//! anywhere and called again, by whoever continues, cleans up or undoes.

use super::target::Target;
use crate::core::Core;
use crate::retry::Retry;
use milvault_domain::backup::CollectionName;
use milvault_domain::ids::JobId;
use milvault_domain::ports::{CreatedCollection, PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{CollectionRestore, ReplacedCollection, RestoreAction, RestoredCollection};

/// Longest name of a collection in Milvus, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// One collection of a restore's plan.
pub(crate) struct Place<'a> {
    pub(crate) core: &'a Core,
    pub(crate) target: &'a Target,
    /// The restore whose plan it is.
    pub(crate) job_id: JobId,
    pub(crate) position: usize,
    pub(crate) plan: &'a CollectionRestore,
}

impl Place<'_> {
    /// Its name until it is proven.
    pub(crate) fn working_name(&self) -> CollectionName {
        self.beside(&self.plan.working_name)
    }

    /// Where it is now; `None` when it is nowhere.
    pub(crate) async fn whereabouts(&self, collection_id: i64) -> PortResult<Option<CollectionName>> {
        for name in [self.plan.target.clone(), self.working_name()] {
            if self.target.has(&name, collection_id).await? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Gives the collection its own name; what has that name and is to be replaced is renamed away and kept. The
    /// aliases of the replaced collection are looked up with `aliases_of`.
    pub(crate) async fn take(
        &self,
        state: &mut RestoredCollection,
        aliases_of: impl Fn(i64) -> Vec<String>,
    ) -> PortResult<()> {
        let collection_id = state.target_collection_id.ok_or_else(|| {
            PortError::new(PortErrorKind::Internal, "the id of the restored collection was not recorded")
        })?;
        let name = &self.plan.target;
        match self.target.holder(name).await? {
            Some(holder) if holder.collection_id == collection_id && holder.name == name.collection => {}
            None => self.target.rename(&self.working_name(), &name.collection, collection_id).await?,
            Some(holder) => {
                self.make_way(state, &holder, aliases_of).await?;
                self.target.rename(&self.working_name(), &name.collection, collection_id).await?;
            }
        }
        self.set_aliases(state).await
    }

    /// Renames the holder of the target's name away. What is about to happen is recorded first.
    async fn make_way(
        &self,
        state: &mut RestoredCollection,
        holder: &CreatedCollection,
        aliases_of: impl Fn(i64) -> Vec<String>,
    ) -> PortResult<()> {
        let name = &self.plan.target;
        if self.plan.action != RestoreAction::Replace || holder.name != name.collection {
            return Err(taken(name));
        }
        let kept_as = self.kept_name();
        if let Some(replaced) = &state.replaced
            && replaced.collection_id != holder.collection_id
            && self.target.has(&self.beside(&kept_as), replaced.collection_id).await?
        {
            return Err(taken(name));
        }
        let mut aliases = aliases_of(holder.collection_id);
        aliases.retain(|alias| self.plan.aliases.contains(alias));
        state.replaced = Some(ReplacedCollection {
            collection_id: holder.collection_id,
            kept_as: Some(kept_as.clone()),
            aliases,
        });
        self.save(state).await?;
        self.target.rename(name, &kept_as, holder.collection_id).await
    }

    async fn set_aliases(&self, state: &mut RestoredCollection) -> PortResult<()> {
        for alias in &self.plan.aliases {
            match self.target.set_alias(&self.plan.target, alias).await {
                Err(error) if error.kind() == PortErrorKind::Conflict => {
                    let warning = format!("alias `{alias}` was not set: {error}");
                    if !state.warnings.contains(&warning) {
                        state.warnings.push(warning);
                    }
                }
                answer => answer?,
            }
        }
        Ok(())
    }

    /// Removes the collection, whatever name it has, and gives the one that it replaced its name back. Returns what
    /// could not be put in order, in words. The state is changed, not saved.
    pub(crate) async fn take_away(&self, state: &mut RestoredCollection) -> PortResult<Vec<String>> {
        if let Some(collection_id) = state.target_collection_id {
            self.target.drop_collection(&self.plan.target, collection_id).await?;
        }
        // The working name derives from the job: whoever has it was made by the job, recorded or not.
        let working_name = self.working_name();
        if let Some(left) = self.target.find(&working_name).await? {
            self.target.drop_collection(&working_name, left.collection_id).await?;
        }
        let warnings = self.put_back(state).await?;
        state.target_collection_id = None;
        Ok(warnings)
    }

    async fn put_back(&self, state: &mut RestoredCollection) -> PortResult<Vec<String>> {
        let Some(replaced) = &state.replaced else { return Ok(Vec::new()) };
        // It was dropped when the restore had succeeded.
        let Some(kept_as) = &replaced.kept_as else { return Ok(Vec::new()) };
        let (own, kept) = (&self.plan.target, self.beside(kept_as));
        let told = kept_until(own, kept_as);
        if self.target.has(&kept, replaced.collection_id).await? {
            if self.target.holder(own).await?.is_some() {
                let words = format!(
                    "the collection that {} replaced is kept as `{kept_as}`: its name is taken by another one by now",
                    shown(own)
                );
                return Ok(vec![words]);
            }
            self.target.rename(&kept, &own.collection, replaced.collection_id).await?;
        } else if !self.target.has(own, replaced.collection_id).await? {
            state.replaced = None;
            state.warnings.retain(|words| *words != told);
            return Ok(vec![format!("the collection that {} replaced is no longer there", shown(own))]);
        }
        let mut warnings = Vec::new();
        for alias in &replaced.aliases {
            match self.target.set_alias(own, alias).await {
                Err(error) if error.kind() == PortErrorKind::Conflict => {
                    warnings.push(format!("alias `{alias}` of {} was not set again: {error}", shown(own)));
                }
                answer => answer?,
            }
        }
        state.replaced = None;
        state.warnings.retain(|words| *words != told);
        Ok(warnings)
    }

    /// Drops the collection that had to give way, for the restore has succeeded. Returns false and leaves it when the
    /// restored one has lost its place since: its rows may be the only ones.
    pub(crate) async fn drop_replaced(&self, state: &mut RestoredCollection) -> PortResult<bool> {
        let Some(replaced) = &mut state.replaced else { return Ok(true) };
        let Some(kept_as) = &replaced.kept_as else { return Ok(true) };
        let own = &self.plan.target;
        let is_in_place = match state.target_collection_id {
            Some(collection_id) => self.target.has(own, collection_id).await?,
            None => false,
        };
        if !is_in_place {
            return Ok(false);
        }
        self.target.drop_collection(&self.beside(kept_as), replaced.collection_id).await?;
        let told = kept_until(own, kept_as);
        replaced.kept_as = None;
        state.warnings.retain(|words| *words != told);
        self.save(state).await?;
        Ok(true)
    }

    /// Records what has become of the collection. Durable when it returns.
    pub(crate) async fn save(&self, state: &RestoredCollection) -> PortResult<()> {
        save_state(self.core, self.job_id, self.position, state).await
    }

    fn beside(&self, collection: &str) -> CollectionName {
        CollectionName { database: self.plan.target.database.clone(), collection: collection.to_owned() }
    }

    /// The name of a replaced collection until it is dropped: the same at every look.
    fn kept_name(&self) -> String {
        let name = &self.plan.target;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.job_id.as_uuid().as_bytes());
        hasher.update(name.database.as_bytes());
        hasher.update(&[0]);
        hasher.update(name.collection.as_bytes());
        let tail = format!("_milvault_replaced_{}", &hasher.finalize().to_hex()[..8]);
        let head_bytes = name.collection.floor_char_boundary(NAME_BYTES_MAX - tail.len());
        format!("{}{tail}", &name.collection[..head_bytes])
    }
}

/// Records what has become of a collection, also where the target cannot be reached. Durable when it returns.
pub(crate) async fn save_state(
    core: &Core,
    job_id: JobId,
    position: usize,
    state: &RestoredCollection,
) -> PortResult<()> {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let save = || core.deps.catalog.save_restored_collection(job_id, position, state);
    Retry::of(&core.settings).run("record a collection's restore", save).await
}

/// What people are told while the collection that had to give way for `name` is kept.
pub(crate) fn kept_until(name: &CollectionName, kept_as: &str) -> String {
    format!(
        "the collection that {} replaced is kept as `{kept_as}` until the restore is resumed or undone",
        shown(name)
    )
}

/// As people write it.
pub(crate) fn shown(name: &CollectionName) -> String {
    format!("`{}.{}`", name.database, name.collection)
}

fn taken(name: &CollectionName) -> PortError {
    PortError::new(
        PortErrorKind::Conflict,
        format!(
            "the name {} was taken by another collection or alias while the restore was at work; remove that one or \
             restore under another name",
            shown(name)
        ),
    )
}
