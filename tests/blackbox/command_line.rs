//! The command line: wrong arguments end with exit code 2 and say what is wrong, before anything starts.

use std::path::Path;
use std::process::{Command, Output};

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/u2netp.safetensors");
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/files");
const PHOTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cat.jpg");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmcut"));
    command.env_clear().args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

fn warmcut(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let ended = run(arguments, environment);
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

/// What goes to standard output.
fn printed(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = run(arguments, &[]);
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
}

/// Files under a model's name that are none of it, with what is said of each.
fn wrong_weights(folder: &Path) -> Vec<(String, &'static str)> {
    let whole = std::fs::read(WEIGHTS).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    vec![
        (folder.join("gone.safetensors").to_str().unwrap().to_owned(), "can't be read"),
        (folder.to_str().unwrap().to_owned(), "not a file"),
        (write("page.safetensors", b"<!DOCTYPE html><title>404</title>"), "it is a page (HTML"),
        (write("torn.safetensors", &whole[..whole.len() / 2]), "bytes"),
        (write("page.pth", b"<html><title>Quota exceeded</title></html>"), "it is a page (HTML"),
        (write("torn.pth", b"PK\x03\x04 and so on"), "as a PyTorch checkpoint: its list of files is missing"),
        (FILES.to_owned() + "/calls.pth", "nothing of it was run: it asks for posix.system to be called"),
        (FILES.to_owned() + "/calls-pickles.pth", "it asks for posix.system to be called"),
        (FILES.to_owned() + "/compressed.pth", "compressed"),
        (FILES.to_owned() + "/outside.onnx", "external data"),
    ]
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
    let (code, says) = warmcut(&["cutout", PHOTO, "/nowhere/cat.gif"], &[]);
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

#[test]
fn a_model_that_cannot_serve_keeps_a_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |flags: &[&str], says: &str| {
        // What fails only after the check of the models.
        let arguments = [&["serve", "--keys", "/nowhere/keys.json"], flags].concat();
        let (code, said) = warmcut(&arguments, &[]);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(says) && said.contains(flags[0]), "{flags:?}: {said}");
    };
    serve(&["--default-model", "u3net"], "there are u2netp, u2net");
    serve(&["--preview-model", "u3net"], "there are u2netp, u2net");
    serve(&["--model", "u3net=/nowhere", "--default-model", "u3net"], "can't be read");
    serve(&["--model", "preview=/nowhere"], "previews");
    let another = format!("best={FILES}/archive.pth");
    serve(
        &["--model", &another, "--default-model", "best"],
        "archive.pth fits no network that is known here: u2netp: archive.pth has no tensor",
    );
    serve(&["--model", &format!("u2netp={WEIGHTS}@100")], "multiple of 32");
    serve(&["--model", &format!("u2netp={WEIGHTS}:bf16"), "--device", "cpu"], "the CPU computes in f32");
    serve(&["--model", WEIGHTS], "NAME=PATH");
    serve(&["--default-model", "u2net"], "--model u2net=PATH");
    serve(&["--preview-model", "u2net"], "--model u2net=PATH");
    let small = format!("u2netp={WEIGHTS}");
    serve(&["--model", &small, "--model", &small], "twice");
    serve(&["--model", &format!("{small},{small}")], "twice");
    let other = format!("u2net={WEIGHTS}");
    let says = "u2netp.safetensors holds the weights of u2netp and was taken for u2net's";
    serve(&["--model", &other, "--default-model", "u2net"], says);
    serve(&["--model", &other, "--preview-model", "u2net"], says);
    for (path, says) in wrong_weights(folder.path()) {
        serve(&["--model", &format!("u2net={path}"), "--default-model", "u2net"], says);
    }
    // The environment says the same, and a good file is one.
    let serve = ["serve", "--keys", "/nowhere/keys.json"];
    let asked = ("WARMCUT_DEFAULT_MODEL", "u2net");
    assert_eq!(warmcut(&serve, &[("WARMCUT_MODEL", &other), asked]).0, Some(2));
    assert_eq!(warmcut(&serve, &[("WARMCUT_MODEL", &small)]).0, Some(1), "it fails for its keys");
}

#[test]
fn a_spare_model_that_cannot_be_used_is_told_of_and_keeps_nobody_from_being_served() {
    let folder = tempfile::tempdir().unwrap();
    for (path, says) in wrong_weights(folder.path()) {
        let (best, u2net) = (format!("best={path}"), format!("u2net={path}"));
        let spare = ["serve", "--keys", "/nowhere/keys.json", "--model", &best, "--model", &u2net];
        let (code, said) = warmcut(&spare, &[]);
        assert_eq!(code, Some(1), "it fails for its keys: {said}");
        assert_eq!(said.matches("this model could not be used").count(), 2, "{said}");
        assert!(said.contains(says) && said.contains(&path), "{path}: {said}");
    }
    // What is wrong with the words is wrong whatever the file holds.
    let words = format!("u2net={WEIGHTS}:bf16");
    assert_eq!(warmcut(&["serve", "--device", "cpu", "--model", &words], &[]).0, Some(2));
}

#[test]
fn what_stands_behind_each_models_name_is_told_at_the_start() {
    let files = format!("mine={WEIGHTS}@256,other={WEIGHTS}");
    let flags = ["serve", "--device", "cpu", "--keys", "/nowhere/keys.json", "--log-format", "json"];
    let flags = [&flags[..], &["--default-model", "mine", "--model", &files]].concat();
    let (code, said) = warmcut(&flags, &[]);
    assert_eq!(code, Some(1), "it fails for its keys: {said}");
    let line = |model: &str| {
        let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut lines = lines.filter(|line| line["model"] == model);
        let line = lines.next().unwrap_or_else(|| panic!("no line of {model}: {said}"));
        assert!(lines.next().is_none(), "one line of {model}: {said}");
        line
    };
    for (model, side, weights, message) in [
        ("mine", 256, WEIGHTS, "this model makes cutouts"),
        ("u2netp", 320, "built in", "this model makes previews"),
        ("other", 320, WEIGHTS, "this model is not loaded"),
    ] {
        let line = line(model);
        assert_eq!(
            (&line["network"], &line["side"], &line["dtype"]),
            (&"u2netp".into(), &side.into(), &"f32".into())
        );
        assert_eq!(line["weights"], weights, "{line}");
        assert!(line["message"].as_str().unwrap().starts_with(message), "{line}");
    }
}

#[test]
fn one_photo_is_cut_out_by_the_model_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cat.png");
    let cutout = |model: &str| {
        let arguments = ["cutout", PHOTO, out.to_str().unwrap(), "--device", "cpu", "--model", model];
        warmcut(&arguments, &[])
    };
    let (code, says) = cutout("u3net");
    assert!(code == Some(2) && says.contains("there are u2netp, u2net, isnet"), "{says}");
    let (code, says) = cutout(&format!("u2netp={WEIGHTS}:f16"));
    assert!(code == Some(2) && says.contains("the CPU computes in f32"), "{says}");
    let (code, says) = cutout(&format!("mine={FILES}/calls.pth"));
    assert!(code == Some(1) && says.contains("posix.system"), "{says}");
    let (code, says) = cutout("u2net");
    assert!(code == Some(2) && says.contains("u2net=PATH"), "{says}");
    let (code, says) = cutout("u2net=/nowhere/u2net.safetensors");
    assert!(code == Some(1) && says.contains("/nowhere/u2net.safetensors"), "{says}");
    assert!(!out.exists());
    assert_eq!(cutout(&format!("u2netp={WEIGHTS}")).0, Some(0));
    let as_published = std::fs::read(&out).unwrap();
    assert_eq!(cutout(&format!("mine={WEIGHTS}")).0, Some(0));
    assert!(std::fs::read(&out).unwrap() == as_published, "the same network under another name");
    assert_eq!(cutout(&format!("mine={WEIGHTS}@160")).0, Some(0));
    assert!(std::fs::read(&out).unwrap() != as_published, "on a smaller photo");
}

#[test]
fn a_device_that_this_program_can_not_have_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cat.png");
    for device in ["gpu", "cuda"] {
        let (code, says) = warmcut(&["serve", "--device", device], &[]);
        assert!(code == Some(2) && says.contains("auto, cpu, or cuda:N"), "{says}");
    }
    if cfg!(not(feature = "cuda")) {
        let says_so = |(code, says): (Option<i32>, String)| {
            assert!(code == Some(2) && says.contains("built without CUDA"), "{says}");
        };
        says_so(warmcut(&["serve", "--device", "cuda:0"], &[]));
        says_so(warmcut(&["serve"], &[("WARMCUT_DEVICE", "cuda:0")]));
        says_so(warmcut(&["cutout", PHOTO, out.to_str().unwrap(), "--device", "cuda:0"], &[]));
        says_so(warmcut(&["model", "check", WEIGHTS, "--device", "cuda:0"], &[]));
    }
    assert_eq!(warmcut(&["cutout", PHOTO, out.to_str().unwrap(), "--device", "cpu"], &[]).0, Some(0));
}

#[test]
fn the_models_are_listed() {
    let (code, says) = printed(&["model", "list"]);
    assert_eq!(code, Some(0));
    let lines: Vec<_> = says.lines().collect();
    assert!(lines[0].starts_with("u2netp: 1.1 million") && lines[0].ends_with("built in"), "{says}");
    assert!(lines[1].starts_with("u2net: 44.0 million") && lines[1].contains("u2net=PATH"), "{says}");
    assert!(lines[2].starts_with("isnet: 44.0 million parameters, sees 1024x1024"), "{says}");
}

#[test]
fn a_weights_file_is_checked_to_its_answer() {
    let (code, says) = printed(&["model", "check", WEIGHTS]);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("safetensors: 238 tensors of F32, 4501940 bytes"), "{says}");
    let yes = "u2netp: yes, a published file; at 320x320 on cpu, the known photo gave the known answer";
    assert!(says.contains(yes), "{says}");
    assert!(says.contains("u2net: no; u2netp.safetensors: tensor stage1.rebnconv1.conv_s1.weight"), "{says}");

    let (code, says) = printed(&["model", "check", &format!("{WEIGHTS}@256")]);
    assert_eq!(code, Some(0), "{says}");
    assert!(
        says.contains("u2netp: yes, a published file; at 256x256 on cpu, the known photo gave a map"),
        "{says}"
    );
    assert_eq!(warmcut(&["model", "check", &format!("{WEIGHTS}@100")], &[]).0, Some(2));

    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent.safetensors");
    let mut bytes = std::fs::read(WEIGHTS).unwrap();
    let values = bytes.len() - 4_501_940;
    bytes[values..].fill(0);
    std::fs::write(&silent, bytes).unwrap();
    let (code, says) = printed(&["model", "check", silent.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{says}");
    assert!(
        says.contains("u2netp: its tensors fit, but the known photo gave a map of one value, 0.500"),
        "{says}"
    );
    // Trained anew, as it were: the last convolution sees its maps in another order.
    let anew = folder.path().join("anew.safetensors");
    let mut bytes = std::fs::read(WEIGHTS).unwrap();
    let outconv = values + offset(&bytes, "outconv.weight");
    bytes[outconv..outconv + 24].rotate_left(4);
    std::fs::write(&anew, bytes).unwrap();
    let (code, says) = printed(&["model", "check", anew.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{says}");
    assert!(
        says.contains("u2netp: other weights than the published ones") && says.contains("--model mine="),
        "{says}"
    );
    for (path, why) in wrong_weights(folder.path()) {
        let (code, says) = warmcut(&["model", "check", &path], &[]);
        assert!(code == Some(1) && says.contains(why), "{path}: {says}");
    }
}

/// Where a tensor of a safetensors file begins, behind the header.
fn offset(bytes: &[u8], name: &str) -> usize {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    header.info(name).unwrap().data_offsets.0
}

#[test]
fn weights_are_converted_to_the_published_bytes_and_to_half_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (whole, half) = (path("u2netp.safetensors"), path("half.safetensors"));
    std::fs::write(&whole, "what was there before").unwrap();
    let (code, says) = printed(&["model", "convert", WEIGHTS, &whole]);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("the published weights of u2netp in f32, from safetensors"), "{says}");
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(WEIGHTS).unwrap());

    assert_eq!(printed(&["model", "convert", WEIGHTS, &half, "--dtype", "f16"]).0, Some(0));
    let (code, says) = printed(&["model", "check", &half]);
    assert_eq!(code, Some(0), "{says}");
    assert!(says.contains("238 tensors of F16, 2250970 bytes"), "{says}");
    assert!(says.contains("u2netp: yes; at 320x320 on cpu, the known photo gave the known answer"), "{says}");

    for (input, says) in wrong_weights(folder.path()) {
        let (code, said) = warmcut(&["model", "convert", &input, &path("none.safetensors")], &[]);
        assert!(code == Some(1) && said.contains(says), "{input}: {said}");
    }
    let (code, said) = warmcut(&["model", "convert", WEIGHTS, "/nowhere/at.safetensors"], &[]);
    assert!(code == Some(1) && said.contains("/nowhere/at.safetensors can't be written"), "{said}");
    assert!(said.contains("No such file") && !said.contains(".tmp"), "{said}");
    let (code, said) = warmcut(&["model", "convert", WEIGHTS, "-"], &[]);
    assert!(code == Some(2) && said.contains("it must be a file, and standard output is none"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "none.safetensors"), "{left:?}");
    for wrong in [&["model", "convert", WEIGHTS][..], &["model", "convert", WEIGHTS, &half, "--dtype", "f8"]]
    {
        assert_eq!(warmcut(wrong, &[]).0, Some(2), "{wrong:?}");
    }
}
