//! Names that nobody chose.

use crate::error::NAME_CHARS_MAX;

/// The name of a backup that was given none: `<cluster>_backup<number>`, the cluster's name shortened so that the whole
/// is a valid name. Numbers count per cluster and are given once, so that no two such names are alike.
#[must_use]
pub fn default_backup_name(cluster_name: &str, number: u64) -> String {
    let ending = format!("_backup{number}");
    let room = NAME_CHARS_MAX.saturating_sub(ending.chars().count());
    let name: String = cluster_name.chars().take(room).collect();
    format!("{}{ending}", name.trim_end())
}

/// Another name for a backup that was found under a name which another one has: the same with the end of its id.
#[must_use]
pub fn distinct_backup_name(name: &str, id_digits: &str) -> String {
    let room = NAME_CHARS_MAX.saturating_sub(id_digits.chars().count() + 1);
    let name: String = name.chars().take(room).collect();
    format!("{}-{id_digits}", name.trim_end())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::check_name;

    #[test]
    fn default_names_are_valid_and_tell_their_number() {
        assert_eq!(default_backup_name("prod", 3), "prod_backup3");
        for cluster in ["x".repeat(64), "ü".repeat(64), format!("{} y", "x".repeat(54))] {
            for number in [1, 10, u64::MAX] {
                let name = default_backup_name(&cluster, number);
                check_name("name", &name).unwrap();
                assert!(name.ends_with(&format!("_backup{number}")));
            }
        }
    }

    #[test]
    fn distinct_names_are_valid_and_keep_the_id() {
        assert_eq!(distinct_backup_name("nightly", "abc"), "nightly-abc");
        let digits = "0123456789abcdef0123456789abcdef";
        let name = distinct_backup_name(&"ü".repeat(64), digits);
        check_name("name", &name).unwrap();
        assert!(name.ends_with(digits));
    }
}
