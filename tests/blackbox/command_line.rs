//! The command line: wrong arguments end with exit code 2 and say what is wrong, before anything starts.

use std::process::Command;

fn warmcut(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
    command.env_clear().args(arguments).envs(environment.iter().copied());
    let ended = command.output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn a_server_that_could_not_work_does_not_start() {
    for (flag, value) in [
        ("--queue", "0"),
        ("--queue", "18446744073709551615"),
        ("--workers", "0"),
        ("--threads", "0"),
        ("--max-sessions", "0"),
        ("--max-connections", "0"),
        ("--max-connections", "18446744073709551615"),
        ("--max-upload-bytes", "0"),
        ("--max-pixels", "0"),
        ("--cache-bytes", "0"),
        ("--session-ttl", "0s"),
        ("--session-ttl", "100000000years"),
        ("--keep", "0s"),
        ("--job-timeout", "0s"),
        ("--warmup-timeout", "0s"),
        ("--ping-every", "0s"),
        ("--public-url", "cut.example"),
        ("--operator-token", ""),
        ("--upload-disk", "1000"),
        ("--static", "/nowhere"),
    ] {
        // What fails only after the check of this flag.
        let memory = if flag == "--upload-disk" { "1000" } else { "64000000" };
        let arguments = ["serve", "--keys", "/nowhere/keys.json", "--upload-memory", memory, flag, value];
        let (code, says) = warmcut(&arguments, &[]);
        assert_eq!(code, Some(2), "{flag} {value}: {says}");
        assert!(says.contains(flag), "{flag} {value}: {says}");
    }
}

#[test]
fn an_output_of_another_format_is_refused() {
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cat.jpg");
    let (code, says) = warmcut(&["cutout", photo, "/nowhere/cat.gif"], &[]);
    assert_eq!(code, Some(2), "{says}");
    assert!(says.contains("gif"), "{says}");
}

#[test]
fn what_keeps_a_server_from_starting_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, says) = warmcut(&["--listen", &address], &[]);
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains(&address), "{says}");
    let (code, says) = warmcut(&["--listen", "127.0.0.1:0", "--state-dir", "/proc/nowhere"], &[]);
    assert_eq!(code, Some(1), "{says}");
    assert!(says.contains("--state-dir"), "{says}");
}

#[test]
fn a_port_that_is_none_is_said_unless_an_address_is_given() {
    let (code, says) = warmcut(&[], &[("PORT", "abc")]);
    assert_eq!(code, Some(2), "{says}");
    assert!(says.contains("PORT is \"abc\""), "{says}");
    let given = ["--listen", "127.0.0.1:0", "--keys", "/nowhere/keys.json"];
    assert_eq!(warmcut(&given, &[("PORT", "abc")]).0, Some(1), "it fails for its keys");
}

#[test]
fn an_empty_twin_in_the_environment_is_unset() {
    let twins = [
        "WARMCUT_LISTEN",
        "WARMCUT_KEYS",
        "WARMCUT_QUEUE",
        "WARMCUT_STATIC",
        "WARMCUT_SESSION_TTL",
        "WARMCUT_OPERATOR_TOKEN",
        "WARMCUT_PUBLIC_URL",
    ];
    let mut environment = twins.map(|name| (name, "")).to_vec();
    environment.extend([("PORT", ""), ("WARMCUT_UPLOAD_MEMORY", "1"), ("WARMCUT_UPLOAD_DISK", "1")]);
    // The only thing wrong with it is the room.
    let (code, says) = warmcut(&[], &environment);
    assert_eq!(code, Some(2), "{says}");
    assert!(says.contains("--upload-memory has room for 1 "), "{says}");
}

#[test]
fn a_key_file_that_cannot_be_used_says_why_once() {
    let folder = tempfile::tempdir().unwrap();
    let torn = folder.path().join("keys.json");
    std::fs::write(&torn, "{\"shops\": [").unwrap();
    for (file, why) in [("/nowhere/keys.json", "No such file"), (torn.to_str().unwrap(), "EOF while parsing")]
    {
        let (code, says) = warmcut(&["--listen", "127.0.0.1:0", "--keys", file], &[]);
        assert_eq!((code, says.matches(why).count()), (Some(1), 1), "{says}");
    }
}
