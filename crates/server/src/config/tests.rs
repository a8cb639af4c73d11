#![allow(clippy::unwrap_used)]

use super::settings::SECTIONS;
use super::*;
use figment::value::Value;
use std::fs;
use tempfile::TempDir;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Configuration, String> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("milvault.toml");
    fs::write(&path, text).unwrap();
    load(Some(&path), variables(environment), &Flags::default())
        .map_err(|problem| problem.to_string().replace(&path.display().to_string(), "FILE"))
}

#[test]
fn no_source_at_all_gives_the_defaults() {
    let configuration = load(None, [], &Flags::default()).unwrap();
    assert_eq!(configuration, Configuration::default());
    assert_eq!(configuration.server.listen.to_string(), "127.0.0.1:19600");
}

#[test]
fn later_sources_win() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("milvault.toml");
    fs::write(&path, "[server]\nlisten = \"127.0.0.1:1\"\ndata_dir = \"/a\"\n[jobs]\nattempts_max = 7\n")
        .unwrap();
    let environment = variables(&[
        ("MILVAULT_SERVER__LISTEN", "127.0.0.1:2"),
        ("MILVAULT_SERVER__DATA_DIR", "/b"),
        ("MILVAULT_GATEWAY__GRAPHIQL", "false"),
        ("MILVAULT_GATEWAY__ALLOWED_ORIGINS", r#"["https://a.example", "http://b.example:8080"]"#),
    ]);
    let flags = Flags { data_dir: Some(PathBuf::from("/c")), ..Flags::default() };
    let configuration = load(Some(&path), environment, &flags).unwrap();
    assert_eq!(configuration.jobs.attempts_max, 7);
    assert_eq!(configuration.server.listen.port(), 2);
    assert_eq!(configuration.server.data_dir, Path::new("/c"));
    assert!(!configuration.gateway.graphiql);
    assert_eq!(configuration.gateway.allowed_origins, ["https://a.example", "http://b.example:8080"]);
}

#[test]
fn problems_name_file_line_and_key() {
    let cases = [
        (
            "[jobs]\n\nattempts_max = \"many\"\n",
            "FILE line 3, key `jobs.attempts_max`: expected u32, found a text",
        ),
        ("[jobs]\nattempts_max = 0\n", "FILE line 2, key `jobs.attempts_max`: must be 1 to 100"),
        (
            "\n[job]\nattempts_max = 1\n",
            "FILE line 2, key `job`: unknown setting; known here: server, catalog, log, gateway, oidc, webhooks, jobs",
        ),
        (
            "[log]\ncolour = true\n",
            "FILE line 2, key `log.colour`: unknown setting; known here: format, filter",
        ),
        ("[log]\nformat = \"xml\"\n", "FILE line 2, key `log.format`: must be one of: human, json"),
        (
            "[server]\nlisten = \"everywhere\"\n",
            "FILE line 2, key `server.listen`: invalid socket address syntax",
        ),
        ("catalog = \"x\"\n", "FILE line 1, key `catalog`: expected struct CatalogSettings, found a text"),
    ];
    for (text, expected) in cases {
        assert_eq!(load_text(text, &[]).unwrap_err(), expected, "{text}");
    }
    let syntax = load_text("[server]\nlisten = \n", &[]).unwrap_err();
    assert!(syntax.starts_with("FILE line 2: not TOML: "), "{syntax}");
}

#[test]
fn problems_name_variable_and_flag() {
    let problem = load_text("", &[("MILVAULT_JOBS__ATTEMPTS_MAX", "many")]).unwrap_err();
    assert_eq!(problem, "environment variable MILVAULT_JOBS__ATTEMPTS_MAX: expected u32, found a text");
    let problem = load_text("", &[("MILVAULT_JOBS__ATEMPTS", "1")]).unwrap_err();
    assert!(problem.starts_with("environment variable MILVAULT_JOBS__ATEMPTS: unknown setting"), "{problem}");
    let flags = Flags { log_filter: Some(String::from("a=b=c")), ..Flags::default() };
    let problem = load(None, [], &flags).unwrap_err().to_string();
    assert!(problem.starts_with("flag --log-filter: must be a level"), "{problem}");
}

#[test]
fn no_problem_repeats_a_value() {
    let canary = "canary-5f2e";
    let texts = [
        format!("[catalog]\nurl = \"mysql://user:{canary}@host\"\n"),
        format!("catalog = \"postgres://user:{canary}@host\"\n"),
        format!("[catalog]\nurl = [\"{canary}\"]\n"),
        format!("[catalog]\nurl = \"postgres://user:{canary}@host\n"),
        format!("[log]\nformat = \"{canary}\"\n"),
        format!("[server]\nlisten = \"{canary}\"\n"),
        format!("[gateway]\nallowed_origins = [\"{canary}\"]\n"),
    ];
    for text in texts {
        let problem = load_text(&text, &[]).unwrap_err();
        assert!(!problem.contains(canary), "{problem}");
    }
    let url = format!("postgres://user:{canary}@host/db");
    let configuration = load(None, variables(&[("MILVAULT_CATALOG__URL", &url)]), &Flags::default()).unwrap();
    assert!(!format!("{configuration:?}").contains(canary));
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let environment = [
        ("MILVAULT_SECRET_A__B", "x"),
        ("MILVAULT_PORT", "tcp://10.0.0.1:19600"),
        ("MILVAULT_CONFIG", "x"),
        ("PATH", "x"),
    ];
    assert_eq!(load(None, variables(&environment), &Flags::default()).unwrap(), Configuration::default());
}

#[test]
fn a_missing_file_is_named() {
    let problem = load(Some(Path::new("/nowhere/milvault.toml")), [], &Flags::default()).unwrap_err();
    assert!(problem.to_string().starts_with("/nowhere/milvault.toml: cannot be read: "), "{problem}");
}

#[test]
fn the_reference_has_every_setting_that_exists() {
    let Value::Dict(_, sections) = Value::serialize(Configuration::default()).unwrap() else {
        panic!("the configuration is a table");
    };
    let page = reference_markdown();
    assert_eq!(sections.len(), SECTIONS.len());
    for (section, settings) in &sections {
        assert!(page.contains(&format!("## `[{section}]`")), "{section}");
        for key in settings.as_dict().unwrap().keys() {
            let variable = format!("`MILVAULT_{}`", format!("{section}__{key}").to_uppercase());
            assert!(page.contains(&format!("| `{key}` | ")) && page.contains(&variable), "{section}.{key}");
        }
    }
    assert!(page.contains("| `data_dir` | `\"milvault-data\"` |"), "{page}");
    assert!(page.contains("| `secrets_dir` | not set |"), "{page}");
}

#[test]
fn the_master_key_may_be_given_as_text_but_not_twice() {
    // Digits only, and a number to whoever reads it so.
    let (new, old) = ("1".repeat(64), "0a".repeat(32));
    for keys in [new.clone(), format!("{new},{old}")] {
        let environment = variables(&[("MILVAULT_CATALOG__MASTER_KEY", &keys)]);
        let configuration = load(None, environment, &Flags::default()).unwrap();
        assert_eq!(configuration.catalog.master_key.as_ref().unwrap().expose(), keys);
        assert!(!format!("{configuration:?}").contains(&new));
    }
    let file = "[catalog]\nmaster_key_file = \"/k\"\n";
    let problem = load_text(file, &[("MILVAULT_CATALOG__MASTER_KEY", &new)]).unwrap_err();
    assert_eq!(
        problem,
        "environment variable MILVAULT_CATALOG__MASTER_KEY: cannot be set together with catalog.master_key_file"
    );
    let problem = load_text("", &[("MILVAULT_CATALOG__MASTER_KEY", &new[1..])]).unwrap_err();
    assert!(problem.contains("must be 64 hexadecimal digits") && !problem.contains("111"), "{problem}");
}
