//! What is said of files that are none, and what comes of those that are.

use std::path::Path;

use super::bytes::Bytes;
use super::*;
use crate::model::Precision;
use crate::model::u2net::U2NETP;

fn said(bytes: Option<&[u8]>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    if let Some(bytes) = bytes {
        std::fs::write(&path, bytes).expect("written");
    }
    let source = Source::File(path);
    let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
    let used = Weights::with(&source, &Device::Cpu, &mut |_| (), &Stop::default(), build);
    let error = used.expect_err("no model").to_string();
    assert!(!error.contains(&folder.path().display().to_string()), "{error}");
    error
}

/// `w`, two values of f32.
fn whole() -> Vec<u8> {
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &[0; 8]);
    safetensors::serialize([("w", view.expect("two values"))], None).expect("a file")
}

#[test]
fn what_is_wrong_with_a_file_is_said_without_its_folder() {
    let whole = whole();
    let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
    for (bytes, says) in [
        (None, "model.safetensors can't be read"),
        (Some(&b""[..]), "its 0 bytes are neither safetensors nor a PyTorch checkpoint nor ONNX"),
        (Some(b"not a model"), "its 11 bytes are neither"),
        (Some(b"<!DOCTYPE html><title>404</title>"), "HTML"),
        (Some(b"\n  <html></html>"), "HTML"),
        (Some(b"version https://git-lfs.github.com/spec/v1\noid"), "Git LFS"),
        (Some(b"PK\x03\x04 and what follows"), "PyTorch checkpoint: its list of files is missing"),
        (Some(&whole[..whole.len() - 1]), "as safetensors: it has"),
        (Some(&longer), "bytes"),
        (Some(&whole[..20]), "its header would have"),
        (Some(b"\x02\0\0\0\0\0\0\0{]"), "its header can't be read"),
    ] {
        let error = said(bytes);
        assert!(error.contains(says), "{bytes:?}: {error}");
    }
}

#[test]
fn a_tensor_comes_with_its_values_and_is_told_of() {
    let values: Vec<u8> = [1.5_f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let mut file = whole();
    let at = file.len() - 8;
    file[at..].copy_from_slice(&values);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, &file).expect("written");
    let mut told = Vec::new();
    let mut report = |progress: Progress| told.push(progress);
    let stop = Stop::default();
    let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
    let Built { network: tensor, bytes, .. } =
        Weights::with(&Source::File(path), &Device::Cpu, &mut report, &stop, build).expect("a tensor");
    assert_eq!((tensor.to_vec1::<f32>().expect("f32"), bytes), (vec![1.5, -2.0], 8));
    let detail = Some("read 8 of 8 bytes".to_owned());
    assert_eq!(told, [Progress { fraction: Some(1.0), detail }]);
}

#[test]
fn a_load_that_is_told_to_stop_reads_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, whole()).expect("written");
    let stop = Stop::default();
    let mut report = |_| stop.stop();
    let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
    let used = Weights::with(&Source::File(path), &Device::Cpu, &mut report, &stop, build);
    assert!(matches!(used, Err(ModelError::Stopped)));
}

/// A file of `tests/models/files`; what it holds says `make.py` there.
fn made(name: &str) -> Source {
    Source::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/files").join(name))
}

fn open(name: &str) -> Result<WeightsFile, String> {
    WeightsFile::open(&made(name)).map_err(|error| error.to_string())
}

fn values(file: &WeightsFile, name: &str, shape: &[usize]) -> Vec<f32> {
    let mut last = 0;
    let stored = file.find(name, shape).expect(name);
    let values = stored.read(&file.bytes, &mut |came| {
        last = came;
        Ok(())
    });
    assert_eq!(last, stored.len, "{name} is told of to its end");
    values.expect(name)
}

#[test]
fn checkpoints_of_both_kinds_hold_their_tensors() {
    for (name, format) in
        [("archive.pth", "a PyTorch checkpoint"), ("pickles.pth", "a PyTorch checkpoint of the older kind")]
    {
        let file = open(name).expect(name);
        assert_eq!((file.format(), file.holds().0), (format, 12));
        assert_eq!(file.holds().1, ["BF16", "F16", "F32", "F64", "I64"]);
        for (tensor, shape, expected) in [
            ("plain", &[2, 3][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..]),
            ("turned", &[2, 3], &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
            ("every_other", &[4], &[0.0, 2.0, 4.0, 6.0]),
            ("first_half", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ("second_half", &[2, 3], &[6.0, 7.0, 8.0, 9.0, 10.0, 11.0]),
            ("parameter", &[2], &[0.0, 1.0]),
            ("f16", &[2], &[0.0, 1.0]),
            ("bf16", &[2], &[0.0, 1.0]),
            ("f64", &[2], &[0.0, 1.0]),
            ("counted", &[], &[7.0]),
            ("scalar", &[], &[0.5]),
            ("empty", &[0, 3], &[]),
        ] {
            assert_eq!(values(&file, tensor, shape), expected, "{tensor} of {name}");
        }
        let error = file.find("plain", &[6]).expect_err("another shape").to_string();
        assert!(error.contains("[2, 3]") && error.contains("[6]"), "{error}");
        assert!(file.find("module.plain", &[2, 3]).is_err(), "it is called by its own name");
    }
    let file = open("module.pth").expect("what a newer pickle says is the same");
    assert_eq!(values(&file, "bias", &[2]), [0.5, -0.5]);
    assert_eq!(values(&file, "weight", &[2, 1, 3, 3])[17], 17.0);
}

#[test]
fn a_checkpoint_that_would_run_code_is_refused_by_name() {
    for name in ["calls.pth", "calls-pickles.pth"] {
        let error = open(name).err().expect("refused");
        assert!(error.contains("asks for posix.system to be called") && error.contains(name), "{error}");
    }
    let error = open("compressed.pth").err().expect("refused");
    assert!(error.contains("compressed"), "{error}");
}

fn pickled(bytes: &[u8]) -> Result<pickle::Pickled, String> {
    // A test's few bytes stay.
    let bytes = Bytes::Embedded(bytes.to_vec().leak());
    let mut cursor = bytes::Cursor::new(&bytes, 0, bytes.len())
        .map_err(|wrong| wrong.about("it", "a pickle").to_string())?;
    pickle::read(&mut cursor).map_err(|wrong| wrong.about("it", "a pickle").to_string())
}

/// A list of one pair many times, and a dictionary made of it again and again.
#[test]
fn a_list_that_many_dictionaries_are_made_of_does_not_take_all_memory() {
    let dictionaries = |pairs: usize, count: usize| {
        let list = [&b"]q\x02(K\x00K\x01\x86"[..], &vec![b'2'; pairs - 1], b"e"].concat();
        let calls = b"h\x01h\x02\x85R".repeat(count);
        pickled(&[&b"\x80\x02ccollections\nOrderedDict\nq\x01"[..], &list, b"(", &calls, b"1."].concat())
    };
    assert!(dictionaries(1000, 1000).is_ok());
    let error = dictionaries(1000, 1100).err().unwrap_or_default();
    assert!(error.contains("copies more than 1048576 values"), "{error}");
}

#[test]
fn pickles_that_are_none_of_ours_say_why() {
    let many = [&b"\x80\x02"[..], &b"N0".repeat(2 << 20), b"N."].concat();
    let tall = [&b"\x80\x02N"[..], &b"2".repeat(2 << 20), b"."].concat();
    let deep = [&b"\x80\x02"[..], &b"(".repeat(2 << 20), b"N."].concat();
    let kept = [&b"\x80\x02N"[..], &b"\x94".repeat(2 << 20), b"."].concat();
    for (bytes, says) in [
        (&b"\x80\x02cos\nsystem\nU\x02idR."[..], "asks for os.system to be called"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "asks for builtins.eval to be called"),
        (b"\x80\x02iwebbrowser\nopen\n.", "asks for webbrowser.open to be called"),
        (b"\x80\x02c\x1b[2J\n\x07\n.", "asks for \\u{1b}[2J.\\u{7} to be called"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nNR.", "not as PyTorch describes one"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "a storage of its own"),
        (b"\x80\x02NNR.", "calls what is no name"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "ends too early"),
        (b"\x80\x02}NNNu.", "takes more than it has made"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02)Na.", "no list"),
        (b"\x80\x02h\x05.", "a value that isn't there"),
        (b"\x80\x02\x82\x01.", "an instruction that no checkpoint needs: 0x82"),
        (b"\x80\x02.", "takes more than it has made"),
        (b"\x80\x02", "ends too early"),
        (&many, "more than 1048576 values"),
        (&tall, "more than 1048576 values"),
        (&kept, "keeps more than 1048576 values"),
        (&deep, "nested too deep"),
    ] {
        let error = pickled(bytes).err().unwrap_or_default();
        assert!(error.contains(says), "{error:?}, not {says}");
    }
}

/// Each list holds the one before it twice: of a copy for each use there would be 2^40.
#[test]
fn a_value_that_is_used_twice_is_not_there_twice() {
    let mut bytes = b"\x80\x02]q\x00".to_vec();
    for _ in 0..40 {
        bytes.extend(b"](h\x00h\x00eq\x00");
    }
    // And one that holds itself.
    bytes.extend(b"]q\x01h\x01a.");
    let pickled = pickled(&bytes).expect("a list");
    let pickle::Value::List(items) = pickled.root() else { panic!("a list") };
    assert_eq!(items[..], [pickled.root]);
}

#[test]
fn a_tensor_does_not_reach_beyond_what_it_is_made_of() {
    let file = std::fs::read(match made("pickles.pth") {
        Source::File(path) => path,
        Source::Embedded(_) => panic!("a file"),
    });
    let mut file = file.expect("there");
    // The second half of four times three begins at the sixth value; there is no room after the eighth.
    let offset = b"K\x06K\x02K\x03\x86";
    let at = file.windows(offset.len()).position(|window| window == offset).expect("the second half");
    file[at + 1] = 8;
    let error = WeightsFile::open(&Source::Embedded(file.leak())).err().expect("refused").to_string();
    assert!(error.contains("second_half reaches beyond"), "{error}");
}

/// Whatever is done to a file, it is opened or refused; a panic would be neither.
#[test]
fn damaged_files_are_refused_or_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged");
    let wanted = wanted("conv");
    let look = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        let Ok(file) = WeightsFile::open(&Source::File(path.clone())) else { return };
        let _ = file.convolution(&wanted, 0).map(|conv| conv.weight(&file.bytes, &mut |_| Ok(())));
        for name in ["plain", "turned", "every_other", "weight", "bf16"] {
            let Some(stored) = file.tensors_of(name) else { continue };
            // What is larger than the file repeats itself, and nobody asks for it.
            if stored
                .shape
                .iter()
                .try_fold(1_usize, |n, size| n.checked_mul(*size))
                .is_some_and(|n| n < 1 << 16)
            {
                let _ = stored.read(&file.bytes, &mut |_| Ok(()));
            }
        }
    };
    for name in ["archive.pth", "pickles.pth", "module.pth", "raw.onnx", "halves.onnx", "norm.onnx"] {
        let Source::File(whole) = made(name) else { continue };
        let whole = std::fs::read(whole).expect(name);
        // Not every byte: it would take a minute.
        for at in (0..whole.len()).step_by(3) {
            if at % 2 == 0 {
                look(&whole[..at]);
            }
            let mut other = whole.clone();
            other[at] ^= 1 << (at / 3 % 8);
            look(&other);
            other[at] = 0xff;
            look(&other);
        }
    }
}

fn wanted(name: &str) -> Wanted<'_> {
    Wanted { name, norm: None, input: 1, output: 2, side: 3, stride: 1, dilation: 2, relu: true }
}

#[test]
fn onnx_files_hold_their_convolutions_in_order() {
    let first: Vec<f32> = (0..18_u8).map(f32::from).collect();
    let last = Wanted { input: 2, output: 1, side: 1, dilation: 1, relu: false, ..wanted("outconv") };
    for name in ["raw.onnx", "listed.onnx", "halves.onnx"] {
        let file = open(name).expect(name);
        let conv = file.convolution(&wanted("anything"), 0).expect(name);
        assert_eq!(conv.weight(&file.bytes, &mut |_| Ok(())).expect(name), first, "{name}");
        assert_eq!(conv.bias(&file.bytes).expect(name), [0.5, -0.5], "{name}");
        let conv = file.convolution(&last, 1).expect(name);
        assert_eq!(conv.weight(&file.bytes, &mut |_| Ok(())).expect(name), [2.0, 3.0], "{name}");
        file.ends(2, &[]).expect("both");
        file.ends(1, &[last]).expect("the last may be there unused");
        assert!(file.ends(1, &[wanted("side1")]).is_err(), "but not another");
        assert!(file.ends(1, &[]).is_err_and(|error| error.to_string().contains("has 2 convolutions")));
    }
    let file = open("raw.onnx").expect("whole");
    for (wanted, place, says) in [
        (
            Wanted { output: 3, ..wanted("c") },
            0,
            "tensor c.weight has shape [2, 1, 3, 3], but the network needs [3, 1",
        ),
        (
            Wanted { dilation: 1, ..wanted("c") },
            0,
            "convolution c has dilations [2, 2], but the network needs [1, 1]",
        ),
        (Wanted { stride: 2, ..wanted("c") }, 0, "strides [1, 1]"),
        (Wanted { relu: false, ..wanted("c") }, 0, "a ReLU behind it true"),
        (Wanted { name: "side1", ..last }, 1, "has the name outconv, but the network needs side1"),
        (last, 2, "no tensor outconv.weight"),
    ] {
        let error = file.convolution(&wanted, place).expect_err("another").to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = open("outside.onnx").err().expect("refused");
    assert!(error.contains("external data"), "{error}");
}

#[test]
fn a_batch_norm_goes_into_its_convolution() {
    // The factors are 2 / sqrt(0.75 + 0.25) and 0.5 / sqrt(3.75 + 0.25).
    let file = open("norm.onnx").expect("whole");
    let conv = file.convolution(&wanted("c"), 0).expect("with its norm");
    let weight = conv.weight(&file.bytes, &mut |_| Ok(())).expect("values");
    assert_eq!((weight[1], weight[8], weight[9], weight[17]), (2.0, 16.0, 2.25, 4.25));
    assert_eq!(conv.bias(&file.bytes).expect("values"), [(0.0 - 3.0) * 2.0 + 1.0, (0.0 - 4.0) * 0.25 - 1.0]);
}

fn published() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/u2netp.safetensors");
    std::fs::read(path).expect("the shipped weights")
}

fn converted(bytes: Vec<u8>, precision: Precision) -> Vec<u8> {
    let file = WeightsFile::open(&Source::Embedded(bytes.leak())).expect("a file");
    let (mut shapes, mut out) = (Shapes::of(&file), Vec::new());
    U2NETP.graph(&mut shapes).expect("it fits");
    shapes.write(precision, &mut out).expect("written");
    out
}

#[test]
fn what_is_converted_is_the_published_file_again() {
    assert!(converted(published(), Precision::F32) == published());
    // And in half of the bytes, out of which the same halves come.
    let halves = converted(published(), Precision::F16);
    assert!(halves.len() < published().len() * 6 / 10);
    assert!(converted(halves.clone(), Precision::F16) == halves);
}

/// As a trainer keeps them: the batch norms beside their convolutions, everything behind a prefix, and more
/// than the network takes.
#[test]
fn batch_norms_that_a_checkpoint_keeps_are_folded() {
    let bytes = published();
    let whole = safetensors::SafeTensors::deserialize(&bytes).expect("the shipped weights");
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], values: Vec<f32>| {
        tensors.push((format!("module.{name}"), shape.to_vec(), values));
    };
    for (name, tensor) in whole.tensors() {
        let values: Vec<f32> =
            tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let outputs = tensor.shape()[0];
        // Numbers of which none is like another, by the channel.
        let by = |n: usize, of: f32| 0.5 + ((n * 7 + 3) % 11) as f32 / of;
        let factor = |n: usize| by(n, 8.0) / (by(n + 5, 4.0) + 1e-5).sqrt();
        if let Some(block) = name.strip_suffix(".conv_s1.weight") {
            let each = values.len() / outputs;
            let bare = values.iter().enumerate().map(|(n, value)| value / factor(n / each)).collect();
            add(name.clone(), tensor.shape(), bare);
            let norm = |part: &str| format!("{block}.bn_s1.{part}");
            add(norm("weight"), &[outputs], (0..outputs).map(|n| by(n, 8.0)).collect());
            add(norm("running_var"), &[outputs], (0..outputs).map(|n| by(n + 5, 4.0)).collect());
            add(norm("running_mean"), &[outputs], (0..outputs).map(|n| by(n + 2, 3.0)).collect());
            add(norm("num_batches_tracked"), &[1], vec![1000.0]);
        } else if let Some(block) = name.strip_suffix(".conv_s1.bias") {
            let own = |n: usize| by(n + 1, 5.0);
            add(name.clone(), &[outputs], (0..outputs).map(own).collect());
            let shift = |(n, value): (usize, &f32)| value - (own(n) - by(n + 2, 3.0)) * factor(n);
            add(format!("{block}.bn_s1.bias"), &[outputs], values.iter().enumerate().map(shift).collect());
        } else {
            add(name.clone(), tensor.shape(), values);
        }
    }
    let raw: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect()))
        .collect();
    let file = |leave_out: &str| {
        let kept = raw.iter().filter(|(name, ..)| !name.ends_with(leave_out));
        let views = kept.map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name, view.expect("a tensor"))
        });
        safetensors::serialize(views, None).expect("a file")
    };
    let found = converted(file("nothing"), Precision::F32);
    let expected = published();
    let header =
        expected.len() - whole.tensors().iter().map(|(_, tensor)| tensor.data().len()).sum::<usize>();
    assert_eq!(found[..header], expected[..header], "the same tensors");
    let off = |n: usize| {
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
        (value(&found) - value(&expected)).abs()
    };
    let off = (header..found.len()).step_by(4).map(off).fold(0.0, f32::max);
    assert!(off < 1e-5, "{off}");
    let torn = WeightsFile::open(&Source::Embedded(file("stage4.rebnconv2.bn_s1.running_var").leak()));
    let error = U2NETP.fits(&torn.expect("a file")).expect_err("a part is missing").to_string();
    assert!(error.contains("no tensor stage4.rebnconv2.bn_s1.running_var"), "{error}");
}
