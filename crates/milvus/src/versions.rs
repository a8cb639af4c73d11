//! What a Milvus can do, from the version that it reports.

use milvault_domain::milvus::{Capabilities, ServerInfo, TimestampUnit};

/// Reads the reported version. A version that cannot be read is taken for the newest that is known, unverified:
/// forks and nightly builds report all sorts of texts, and they are more often newer than older.
pub(crate) fn server_info(version: &str) -> ServerInfo {
    ServerInfo { version: version.to_owned(), capabilities: capabilities(Version::parse(version)) }
}

/// Whether a server can keep values of a type (as Milvus numbers them). It has to be known here: 2.3.5 creates fields
/// of types that it never heard of.
pub(crate) fn knows_type(server: &ServerInfo, data_type: i32) -> bool {
    // Bool, integers, floats, texts, array, JSON, binary and float vectors; the other vectors came with 2.4.
    const BEFORE_2_4: [i32; 13] = [1, 2, 3, 4, 5, 10, 11, 20, 21, 22, 23, 100, 101];
    let version = Version::parse(&server.version).unwrap_or(Version::NEWEST);
    version >= Version::new(2, 4, 0) || BEFORE_2_4.contains(&data_type)
}

/// Whether a server takes imports over REST (2.4 and later, not verified). It is known here and not told to the rest of
/// Milvault, for whom an import is an import; what is told is also kept in every backup.
pub(crate) fn rest_import(server: &ServerInfo) -> bool {
    Version::parse(&server.version).unwrap_or(Version::NEWEST) >= Version::new(2, 4, 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    const NEWEST: Self = Self { major: u32::MAX, minor: 0, patch: 0 };

    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `v2.3.5-lite`, `2.4.1`, `2.5` and the like. A missing patch number is a build from the branch: the
    /// newest of its minor version.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().trim_start_matches(['v', 'V']);
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
        let mut parts = digits.get(..end)?.split('.').map(str::parse);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().and_then(Result::ok).unwrap_or(u32::MAX);
        Some(Self { major, minor, patch })
    }
}

fn capabilities(version: Option<Version>) -> Capabilities {
    let verified = version.is_some_and(|version| (version.major, version.minor) == (2, 3));
    let version = version.unwrap_or(Version::NEWEST);
    Capabilities {
        verified,
        databases: version >= Version::new(2, 2, 9),
        gc_pause: version >= Version::new(2, 4, 0),
        l0_segments: version >= Version::new(2, 4, 0),
        import_end_timestamp: import_end_timestamp(version),
    }
}

/// Imports took milliseconds until March 2025; the change was made on three branches at once.
fn import_end_timestamp(version: Version) -> TimestampUnit {
    let hybrid = match (version.major, version.minor) {
        (2, 4) => version.patch >= 24,
        (2, 5) => version.patch >= 7,
        _ => version >= Version::new(2, 6, 0),
    };
    if hybrid { TimestampUnit::Hybrid } else { TimestampUnit::Milliseconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimestampUnit::{Hybrid, Milliseconds};

    #[test]
    fn versions_and_what_they_can_do() {
        // version, verified, databases, pause of the garbage collection, L0 segments, unit of end_ts
        let table = [
            ("v2.2.8", false, false, false, false, Milliseconds),
            ("v2.2.9", false, true, false, false, Milliseconds),
            ("v2.3.5-lite", true, true, false, false, Milliseconds),
            ("2.3.5", true, true, false, false, Milliseconds),
            ("v2.4.0-rc.1", false, true, true, true, Milliseconds),
            ("v2.4.23", false, true, true, true, Milliseconds),
            ("v2.4.24", false, true, true, true, Hybrid),
            ("v2.5.6", false, true, true, true, Milliseconds),
            ("v2.5.7", false, true, true, true, Hybrid),
            ("2.5", false, true, true, true, Hybrid),
            ("v2.6.0", false, true, true, true, Hybrid),
            ("v3.0.1", false, true, true, true, Hybrid),
            ("master-20260101-abcdef", false, true, true, true, Hybrid),
            ("milvus_lite-3.2.2", false, true, true, true, Hybrid),
            ("", false, true, true, true, Hybrid),
        ];
        for (version, verified, databases, gc_pause, l0_segments, import_end_timestamp) in table {
            let expected = Capabilities { verified, databases, gc_pause, l0_segments, import_end_timestamp };
            let info = server_info(version);
            assert_eq!((info.version.as_str(), info.capabilities), (version, expected));
        }
    }

    #[test]
    fn rest_imports_came_with_2_4() {
        let table = [
            ("v2.2.9", false),
            ("v2.3.5", false),
            ("v2.3.22", false),
            ("2.3", false),
            ("v2.4.0-rc.1", true),
            ("v2.4.0", true),
            ("v2.5.7", true),
            ("v2.6.0", true),
            ("v3.0.1", true),
            ("master-20260101-abcdef", true),
        ];
        for (version, expected) in table {
            let server = server_info(version);
            assert_eq!(rest_import(&server), expected, "{version}");
            assert!(!(expected && server.capabilities.verified), "{version}");
        }
    }

    #[test]
    fn old_servers_do_not_know_new_types() {
        let (json, sparse_vector) = (23, 104);
        assert!(knows_type(&server_info("v2.3.5"), json));
        assert!(!knows_type(&server_info("v2.3.5"), sparse_vector));
        assert!(knows_type(&server_info("v2.4.0"), sparse_vector));
    }
}
