//! Checks of a pretended repository: what a verify of each backup finds.

use super::stores::PretendedRepository;
use async_trait::async_trait;
use milvault_domain::checks::{BackupChecked, Damage, DamageKey};
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::PackId;
use milvault_domain::ports::{BackupRepository, CheckOrder, CheckReport, PortResult, RepositoryChecks};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::sweep::DataFile;
use std::sync::Arc;

#[async_trait]
impl RepositoryChecks for PretendedRepository {
    async fn check_files(
        &self,
        order: &CheckOrder,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<CheckReport> {
        let mut check = CheckReport::default();
        for backup_id in &order.backups {
            check.report = self.verify(*backup_id, order.level, Arc::clone(&progress)).await?;
            let findings = check.report.failures.clone();
            let damaged_count = findings.len() as u64;
            let checked = BackupChecked { objects: 3, whole: true, damaged_count, findings };
            check.backups.push((*backup_id, checked));
        }
        let key = DamageKey { file: DataFile::Pack(PackId::from_bytes([0xaa; 16])), object: None };
        if order.level == VerifyLevel::Content {
            let reason = String::from("the hash differs");
            check.found.push(Damage { key, source_key: None, reason, level: order.level });
        }
        Ok(check)
    }
}
