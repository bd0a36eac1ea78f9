//! A model that does what a test tells it: succeed, fail, panic, or wait for a word.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use warmcut::model::{Loaded, Loader, ModelError, Precision, Progress, Segmenter, Stop};
use warmcut::warmup::{Answer, Known};

const SIZE: usize = 32;

/// What the next load or inference does.
pub enum Act {
    Succeed,
    Fail(&'static str),
    /// As a file that is no weights.
    Unreadable,
    /// With an error of candle's, as a GPU's driver words it.
    Driver(&'static str),
    Panic,
    /// Waits until the gate opens.
    Wait(Gate),
}

/// Opens once, for everybody who waits.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        // A test that failed before it opened the gate must still come to its end.
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, std::time::Duration::from_secs(40), |open| !*open).unwrap());
    }
}

/// What is to happen, and what has happened. Without acts everything succeeds.
#[derive(Default)]
pub struct Script {
    pub loads: Mutex<VecDeque<Act>>,
    pub inferences: Mutex<VecDeque<Act>>,
    pub loaded: Mutex<usize>,
    pub inferred: Mutex<usize>,
    /// The device that it finds when it is primed, where it computes in bf16; without one it is the CPU from the start.
    pub finds: Option<&'static str>,
}

impl Script {
    pub fn loads(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self { loads: Mutex::new(acts.into_iter().collect()), ..Self::default() })
    }

    /// The first inference is the warm-up's own and always succeeds.
    pub fn inferences(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        let acts = std::iter::once(Act::Succeed).chain(acts).collect();
        Arc::new(Self { inferences: Mutex::new(acts), ..Self::default() })
    }

    pub fn inferred(&self) -> usize {
        *self.inferred.lock().unwrap()
    }
}

fn act(acts: &Mutex<VecDeque<Act>>) -> Result<(), ModelError> {
    let next = acts.lock().unwrap().pop_front();
    match next {
        None | Some(Act::Succeed) => Ok(()),
        Some(Act::Fail(reason)) => Err(ModelError::Other(reason.to_owned())),
        Some(Act::Unreadable) => {
            let (origin, reason) = ("best.pth".to_owned(), "it is a page".to_owned());
            Err(ModelError::Format { origin, format: "weights", reason })
        }
        Some(Act::Driver(name)) => Err(candle_core::Error::Msg(format!("DriverError({name})")).into()),
        Some(Act::Panic) => panic!("as the script says"),
        Some(Act::Wait(gate)) => {
            gate.wait();
            Ok(())
        }
    }
}

pub struct Scripted {
    script: Arc<Script>,
    name: &'static str,
}

impl Scripted {
    pub fn new(script: Arc<Script>) -> Self {
        Self { script, name: "scripted" }
    }

    /// The same under the name of another model.
    pub fn small(script: Arc<Script>) -> Self {
        Self { script, name: "small" }
    }
}

impl Loader for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn device(&self) -> String {
        let primed = self.script.inferred() > 0;
        self.script.finds.map_or("cpu", |found| if primed { found } else { "auto" }).into()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), _: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        *self.script.loaded.lock().unwrap() += 1;
        report(Progress { fraction: Some(0.5), detail: Some("half".into()) });
        act(&self.script.loads)?;
        Ok(Box::new(Model(Arc::clone(&self.script))))
    }
}

struct Model(Arc<Script>);

impl Loaded for Model {
    fn bytes(&self) -> u64 {
        1000
    }

    fn size(&self) -> u32 {
        SIZE as u32
    }

    fn prime(
        self: Box<Self>,
        rgb: &[u8],
        report: &mut dyn FnMut(Progress),
        _: &Stop,
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError> {
        // Faster than progress may be told.
        if self.0.finds.is_some() {
            ["context in 3 ms", "kernels in 2 ms"].into_iter().for_each(|step| report(Progress::step(step)));
        }
        let map = self.segment(rgb)?;
        Ok((Arc::new(*self), map))
    }
}

impl Segmenter for Model {
    fn size(&self) -> u32 {
        SIZE as u32
    }

    fn bytes(&self) -> u64 {
        1000
    }

    fn precision(&self) -> Precision {
        if self.0.finds.is_some() { Precision::BF16 } else { Precision::F32 }
    }

    fn segment(&self, _: &[u8]) -> Result<Vec<f32>, ModelError> {
        act(&self.0.inferences)?;
        *self.0.inferred.lock().unwrap() += 1;
        Ok(map())
    }
}

/// The middle is the subject.
fn map() -> Vec<f32> {
    let middle = SIZE / 4..SIZE * 3 / 4;
    let value = |n: usize| middle.contains(&(n / SIZE)) && middle.contains(&(n % SIZE));
    (0..SIZE * SIZE).map(|n| f32::from(u8::from(value(n)))).collect()
}

pub fn known() -> Known {
    let inside = |n: usize| (1..3).contains(&(n / 4)) && (1..3).contains(&(n % 4));
    let cells = (0..16).map(|n| if inside(n) { 255 } else { 0 }).collect();
    Known { rgb: vec![0; SIZE * SIZE * 3], answer: Some(Answer { cells, side: 4 }) }
}
