//! What verifies have found: about repositories, and about each backup.

use super::{load_verify, lock_repository, select_verify_of_job, write_verify};
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::error::corrupt;
use crate::model::{FAILURE_CHARS_MAX, Spelled, bounded, count, from_json, spelled, to_json};
use milvault_domain::checks::{BackupChecked, Damage, DamageKey, Verification, VerificationState};
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::object::{ObjectId, PackId};
use milvault_domain::ports::{PortResult, RecordedCheck};
use milvault_domain::sweep::DataFile;

/// Keeps what a verify found. The lock on the repository's row keeps two checks of one repository apart.
pub(super) async fn record(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    check: &RecordedCheck,
) -> PortResult<()> {
    lock_repository(transaction, dialect, check.repository_id).await?;
    if let Some(mut schedule) = load_verify(transaction, select_verify_of_job(check.job_id)).await? {
        if !schedule.note_end(check.job_id) {
            return Ok(());
        }
        write_verify(transaction, &schedule).await?;
    }
    for key in &check.sound {
        transaction.execute(delete_damage(check.repository_id, *key)).await?;
    }
    for damage in &check.found {
        transaction.execute(delete_damage(check.repository_id, damage.key)).await?;
        transaction.execute(insert_damage(check, damage)).await?;
    }
    for (backup_id, checked) in &check.backups {
        record_backup(transaction, dialect, check, *backup_id, checked.clone()).await?;
    }
    Ok(())
}

/// A backup that was deleted while its files were read is left alone: its files may be gone by right.
async fn record_backup(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    check: &RecordedCheck,
    backup_id: BackupId,
    checked: BackupChecked,
) -> PortResult<()> {
    let statement = Statement::new("SELECT object_count FROM backups WHERE status = 'AVAILABLE' AND id = ")
        .bind(backup_id.to_string())
        .push(dialect.lock_rows);
    let Some(mut row) = transaction.query(statement).await?.pop() else { return Ok(()) };
    let object_count = count(row.integer("object_count")?)?;
    let former = transaction.query(select_verification(backup_id)).await?.pop();
    let known = former.is_some();
    let former = former.map(|mut row| read_verification(&mut row)).transpose()?.unwrap_or_default();
    let mut verification = former.after(checked, object_count, check.level, check.now);
    for finding in &mut verification.findings {
        finding.reason = bounded(&finding.reason, FAILURE_CHARS_MAX);
    }
    let column = ("verification", to_json(&verification)?.into());
    let statement = if known {
        Statement::update("backup_verifications", [column]).push("backup_id = ").bind(backup_id.to_string())
    } else {
        Statement::insert("backup_verifications", [("backup_id", backup_id.to_string().into()), column])
    };
    transaction.execute(statement).await?;
    let state = verification.state().spelling();
    let shown = Statement::update("backups", [("verification", state.into())])
        .push("id = ")
        .bind(backup_id.to_string());
    transaction.execute(shown).await?;
    Ok(())
}

fn parts(key: DamageKey) -> (&'static str, String, String) {
    let object = key.object.map(|id| id.to_string()).unwrap_or_default();
    match key.file {
        DataFile::Pack(id) => ("PACK", id.to_string(), object),
        DataFile::Object(id) => ("OBJECT", id.to_string(), object),
    }
}

fn insert_damage(check: &RecordedCheck, damage: &Damage) -> Statement {
    let (kind, file, object) = parts(damage.key);
    Statement::insert(
        "damage",
        [
            ("repository_id", check.repository_id.to_string().into()),
            ("file_kind", kind.into()),
            ("file_id", file.into()),
            ("object_id", object.into()),
            ("source_key", damage.source_key.clone().into()),
            ("reason", bounded(&damage.reason, FAILURE_CHARS_MAX).into()),
            ("level", damage.level.spelling().into()),
            ("job_id", check.job_id.to_string().into()),
            ("found_at_us", check.now.timestamp_micros().into()),
        ],
    )
}

fn delete_damage(repository_id: RepositoryId, key: DamageKey) -> Statement {
    let (kind, file, object) = parts(key);
    Statement::new("DELETE FROM damage WHERE repository_id = ")
        .bind(repository_id.to_string())
        .push(" AND file_kind = ")
        .bind(kind)
        .push(" AND file_id = ")
        .bind(file)
        .push(" AND object_id = ")
        .bind(object)
}

pub(crate) fn select_damage(repository_id: RepositoryId) -> Statement {
    Statement::new("SELECT * FROM damage WHERE repository_id = ")
        .bind(repository_id.to_string())
        .push(" ORDER BY file_kind, file_id, object_id")
}

pub(super) fn read_damage(row: &mut Record) -> PortResult<Damage> {
    let file = row.text("file_id")?;
    let wrong = || corrupt(format_args!("`{file}` names no file of a repository"));
    let file = match row.text("file_kind")?.as_str() {
        "PACK" => PackId::from_hex(&file).map(DataFile::Pack),
        _ => ObjectId::from_hex(&file).map(DataFile::Object),
    };
    let file = file.ok_or_else(wrong)?;
    let object = row.text("object_id")?;
    let object = if object.is_empty() { None } else { Some(ObjectId::from_hex(&object).ok_or_else(wrong)?) };
    Ok(Damage {
        key: DamageKey { file, object },
        source_key: row.optional_text("source_key")?,
        reason: row.text("reason")?,
        level: spelled(&row.text("level")?)?,
    })
}

pub(crate) fn select_verification(backup_id: BackupId) -> Statement {
    Statement::new("SELECT verification FROM backup_verifications WHERE backup_id = ")
        .bind(backup_id.to_string())
}

pub(crate) fn read_verification(row: &mut Record) -> PortResult<Verification> {
    from_json(&row.text("verification")?)
}

impl Spelled for VerificationState {
    const SPELLINGS: &'static [(Self, &'static str)] = &[
        (Self::Never, "NEVER"),
        (Self::Partial, "PARTIAL"),
        (Self::Verified, "VERIFIED"),
        (Self::Damaged, "DAMAGED"),
    ];

    fn spelling(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::Partial => "PARTIAL",
            Self::Verified => "VERIFIED",
            Self::Damaged => "DAMAGED",
        }
    }
}
