//! A GPU on its way, opened beside whatever else a load does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::gpu::{self, Gpu, Gpus, Module};
use super::{Means, Wanted};
use crate::model::{ModelError, Precision, Progress, Stop};

/// A stage that ran out of time is noticed within this.
const LOOK: Duration = Duration::from_millis(50);

/// What the model runs on.
pub enum On {
    /// The CPU, and why not a GPU where that was a question.
    Cpu {
        /// For people.
        why: Option<String>,
    },
    /// A GPU that works.
    Gpu(Gpu),
}

impl On {
    /// The GPU, or none where it is the CPU. Names it, and says why it isn't another.
    pub(in crate::model) fn choose(
        self,
        name: &Mutex<String>,
        Means { cpu, precision, .. }: Means,
        report: &mut dyn FnMut(Progress),
    ) -> Option<Gpu> {
        match self {
            Self::Cpu { why } => {
                *name.lock() = Wanted::Cpu.name();
                if let Some(why) = why {
                    tracing::warn!(why, "no GPU can be used; the model runs on the CPU");
                    report(Progress::step(format!("no GPU can be used: {why}")));
                }
                let instead = match precision {
                    Precision::F32 => String::new(),
                    wanted => format!(", in f32 instead of {wanted}"),
                };
                report(Progress::step(format!("device chosen: {}{instead}", cpu.describe())));
                None
            }
            Self::Gpu(gpu) => {
                name.lock().clone_from(&gpu.name);
                tracing::info!(device = gpu.name, gpu = gpu.about, "the model runs on a GPU");
                report(Progress::step(format!(
                    "device chosen: {}, {}, computes in {precision}",
                    gpu.name, gpu.about
                )));
                Some(gpu)
            }
        }
    }
}

/// A part of opening, when it was done and what it took.
pub(super) struct Step {
    what: String,
    took: Duration,
    ended: Instant,
}

#[cfg(any(test, feature = "cuda"))]
impl Step {
    /// What began at `begun` and ends now.
    pub(super) fn since(begun: Instant, what: impl Into<String>) -> Self {
        let ended = Instant::now();
        Self { what: what.into(), took: ended - begun, ended }
    }
}

/// A choice under way, or made.
pub struct Opening(State);

enum State {
    UnderWay(Waited),
    Settled { on: Result<On, ModelError>, steps: Vec<Step> },
}

/// A thread that opens a GPU.
struct UnderWay {
    wanted: Wanted,
    modules: &'static [Module],
    thread: JoinHandle<Result<On, ModelError>>,
    steps: Receiver<Step>,
}

/// One that somebody waits for, who leaves it to the next one when it is given up.
struct Waited {
    under_way: Option<UnderWay>,
    left: &'static Left,
}

/// Threads that nobody waits for now. A driver that hangs keeps its thread for good, and each further try would add
/// another one that hangs in the same place: so it waits for the one that is there.
#[derive(Default)]
struct Left(Mutex<Vec<UnderWay>>);

static LEFT: Left = Left(Mutex::new(Vec::new()));

impl Left {
    fn take(&self, wanted: Wanted, modules: &'static [Module]) -> Option<UnderWay> {
        let mut all = self.0.lock();
        let at = all.iter().position(|left| left.wanted == wanted && left.modules == modules)?;
        // What has ended since says how things were then.
        Some(all.swap_remove(at)).filter(|left| !left.thread.is_finished())
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if let Some(under_way) = self.under_way.take().filter(|under_way| !under_way.thread.is_finished()) {
            self.left.0.lock().push(under_way);
        }
    }
}

impl Wanted {
    /// Begins to open it, and to load these modules of kernels where it is a GPU. Returns at once.
    pub fn open(self, modules: &'static [Module]) -> Opening {
        self.open_of(gpu::gpus(modules), modules, &LEFT)
    }

    fn open_of(
        self,
        gpus: Option<Box<dyn Gpus>>,
        modules: &'static [Module],
        left: &'static Left,
    ) -> Opening {
        let settled = |on| Opening(State::Settled { on, steps: Vec::new() });
        let gpus = match (self, gpus) {
            (Self::Cpu, _) | (Self::Auto, None) => return settled(Ok(On::Cpu { why: None })),
            (Self::Cuda(_), None) => {
                let reason = "this program was built without CUDA".to_owned();
                return settled(Err(ModelError::NoDevice { device: self.to_string(), reason }));
            }
            (_, Some(gpus)) => gpus,
        };
        let waited = |under_way| Opening(State::UnderWay(Waited { under_way: Some(under_way), left }));
        if let Some(under_way) = left.take(self, modules) {
            tracing::warn!(device = %self, "an earlier try to open the GPU has not ended yet; waiting for that one");
            return waited(under_way);
        }
        let (told, steps) = channel();
        let work = move || match self {
            Self::Cuda(ordinal) => open(gpus.as_ref(), ordinal, &told).map(On::Gpu),
            _ => Ok(first(gpus.as_ref(), &told)),
        };
        match std::thread::Builder::new().name("gpu".into()).spawn(work) {
            Ok(thread) => waited(UnderWay { wanted: self, modules, thread, steps }),
            Err(error) => {
                settled(Err(ModelError::NoDevice { device: self.to_string(), reason: error.to_string() }))
            }
        }
    }
}

/// The first that works.
fn first(gpus: &dyn Gpus, told: &Sender<Step>) -> On {
    let count = match caught(|| gpus.count()) {
        Ok(count) => count,
        Err(why) => return On::Cpu { why: Some(why.to_string()) },
    };
    let mut reasons = Vec::new();
    for ordinal in 0..count {
        match open(gpus, ordinal, told) {
            Ok(gpu) => return On::Gpu(gpu),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    let none = || "the driver knows no GPU".to_owned();
    On::Cpu { why: Some(if reasons.is_empty() { none() } else { reasons.join("; ") }) }
}

fn open(gpus: &dyn Gpus, ordinal: usize, told: &Sender<Step>) -> Result<Gpu, ModelError> {
    let device = Wanted::Cuda(ordinal).to_string();
    let mut tell = |step: Step| {
        // Nobody listens to a run that was given up.
        let _ = told.send(Step { what: format!("{device}: {}", step.what), ..step });
    };
    caught(|| gpus.open(ordinal, &mut tell)).map_err(|reason| match reason {
        ModelError::NoDevice { .. } => reason,
        // Without its own introduction: what failed is that the device doesn't open.
        other => ModelError::NoDevice { device: device.clone(), reason: other.reason() },
    })
}

/// A library of CUDA's that isn't there makes its bindings panic.
fn caught<T>(work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(ModelError::Other(text.unwrap_or_else(|| "CUDA's bindings panicked".to_owned())))
    })
}

impl Opening {
    /// The same, settled if it has come to its end meanwhile.
    pub fn settle(self) -> Self {
        let State::UnderWay(mut waited) = self.0 else { return self };
        match waited.under_way.take() {
            Some(UnderWay { thread, steps, .. }) if thread.is_finished() => {
                let told = steps.try_iter().collect();
                Self(State::Settled { on: joined(thread), steps: told })
            }
            under_way => {
                waited.under_way = under_way;
                Self(State::UnderWay(waited))
            }
        }
    }

    /// Whether it is known by now to be the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0, State::Settled { on: Ok(On::Cpu { .. }), .. })
    }

    /// Waits for the device, and tells of every step: of those that are past with a word that they ran beside the
    /// reading of the weights. Blocks.
    pub fn wait(self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<On, ModelError> {
        let asked = Instant::now();
        let mut tell = |step: Step| {
            let beside = if step.ended < asked { ", while the weights were read" } else { "" };
            report(Progress::step(format!("{} in {} ms{beside}", step.what, step.took.as_millis())));
        };
        match self.0 {
            State::Settled { on, steps } => {
                steps.into_iter().for_each(tell);
                on
            }
            State::UnderWay(mut waited) => loop {
                let Some(under_way) = waited.under_way.take() else {
                    return Err(ModelError::Other("nobody opens the GPU".to_owned()));
                };
                match under_way.steps.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Disconnected) => return joined(under_way.thread),
                    Ok(step) => tell(step),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                waited.under_way = Some(under_way);
                stop.check()?;
            },
        }
    }
}

fn joined(thread: JoinHandle<Result<On, ModelError>>) -> Result<On, ModelError> {
    thread
        .join()
        .unwrap_or_else(|_| Err(ModelError::Other("the thread that opens the GPU panicked".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// So many GPUs, of which the first ones fail, panic, or take until the test lets go.
    struct Scripted {
        opens: Vec<fn() -> Result<(), ModelError>>,
        count: Result<usize, &'static str>,
        tried: Arc<AtomicUsize>,
    }

    impl Gpus for Scripted {
        fn count(&self) -> Result<usize, ModelError> {
            self.count.map_err(|reason| ModelError::Other(reason.into()))
        }

        fn open(&self, ordinal: usize, tell: &mut dyn FnMut(Step)) -> Result<Gpu, ModelError> {
            self.tried.fetch_add(1, Ordering::Relaxed);
            tell(Step::since(Instant::now(), "context"));
            self.opens[ordinal]()?;
            Ok(Gpu::of(candle_core::Device::Cpu, ordinal, "a test's"))
        }
    }

    /// What is said, and what it runs on in the end.
    fn opened(wanted: Wanted, scripted: Scripted) -> (Vec<String>, Result<String, String>) {
        let mut said = Vec::new();
        let mut report = |progress: Progress| said.extend(progress.detail);
        let on =
            wanted.open_of(Some(Box::new(scripted)), &[], nothing_left()).wait(&mut report, &Stop::default());
        let on = on.map_err(|error| error.to_string()).map(|on| match on {
            On::Gpu(gpu) => gpu.name,
            On::Cpu { why } => format!("cpu: {}", why.unwrap_or_default()),
        });
        (said, on)
    }

    fn nothing_left() -> &'static Left {
        Box::leak(Box::default())
    }

    fn scripted(opens: &[fn() -> Result<(), ModelError>]) -> Scripted {
        Scripted { opens: opens.to_vec(), count: Ok(opens.len()), tried: Arc::default() }
    }

    fn broken() -> Result<(), ModelError> {
        Err(ModelError::Other("out of order".into()))
    }

    #[test]
    fn auto_takes_the_first_gpu_that_works_and_tells_its_steps() {
        let (said, on) = opened(Wanted::Auto, scripted(&[broken, || panic!("no such library"), || Ok(())]));
        assert_eq!(on.as_deref(), Ok("cuda:2"));
        assert_eq!(said.len(), 3);
        assert!(said[2].starts_with("cuda:2: context in "), "{said:?}");
    }

    #[test]
    fn auto_falls_to_the_cpu_and_says_why() {
        let (_, on) = opened(Wanted::Auto, scripted(&[broken, || panic!("no such library")]));
        assert_eq!(
            on.as_deref(),
            Ok("cpu: cuda:0 can't be used: out of order; cuda:1 can't be used: no such library")
        );
        let (_, on) = opened(Wanted::Auto, scripted(&[]));
        assert_eq!(on.as_deref(), Ok("cpu: the driver knows no GPU"));
        let (_, on) = opened(Wanted::Auto, Scripted { count: Err("no driver"), ..scripted(&[]) });
        assert_eq!(on.as_deref(), Ok("cpu: no driver"));
    }

    #[test]
    fn a_gpu_that_was_asked_for_is_that_one_or_an_error() {
        let gpus = scripted(&[|| Ok(()), broken]);
        let tried = Arc::clone(&gpus.tried);
        let (_, on) = opened(Wanted::Cuda(1), gpus);
        assert_eq!(on, Err("cuda:1 can't be used: out of order".to_owned()));
        assert_eq!(tried.load(Ordering::Relaxed), 1, "no other one was opened");
    }

    #[test]
    fn the_cpu_opens_nothing() {
        let gpus = scripted(&[|| Ok(())]);
        let tried = Arc::clone(&gpus.tried);
        assert!(Wanted::Cpu.open_of(Some(Box::new(gpus)), &[], nothing_left()).is_cpu());
        assert!(Wanted::Auto.open_of(None, &[], nothing_left()).is_cpu(), "a build without CUDA");
        assert_eq!(tried.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_was_opened_while_the_weights_were_read_is_told_as_that() {
        let mut opening =
            Wanted::Cuda(0).open_of(Some(Box::new(scripted(&[|| Ok(())]))), &[], nothing_left());
        while !matches!(opening.0, State::Settled { .. }) {
            std::thread::yield_now();
            opening = opening.settle();
        }
        assert!(!opening.is_cpu());
        let mut said = Vec::new();
        let on = opening.wait(&mut |progress| said.extend(progress.detail), &Stop::default());
        assert!(matches!(on, Ok(On::Gpu(_))));
        assert!(said[0].ends_with(" ms, while the weights were read"), "{said:?}");
    }

    #[test]
    fn a_gpu_that_hangs_can_be_given_up_and_keeps_one_thread_however_often_it_is_tried() {
        static DRIVER: Mutex<()> = Mutex::new(());
        let hangs: fn() -> Result<(), ModelError> = || {
            drop(DRIVER.lock());
            Ok(())
        };
        let (held, left, tried) = (DRIVER.lock(), nothing_left(), Arc::<AtomicUsize>::default());
        let open = || {
            let gpus = Scripted { tried: Arc::clone(&tried), ..scripted(&[hangs]) };
            Wanted::Cuda(0).open_of(Some(Box::new(gpus)), &[], left)
        };
        let stop = Stop::default();
        stop.stop();
        for _ in 0..3 {
            assert!(matches!(open().wait(&mut |_| (), &stop), Err(ModelError::Stopped)));
        }
        // A load that failed meanwhile drops it unasked.
        drop(open());
        let waiting = open();
        assert!(left.0.lock().is_empty());
        drop(held);
        assert!(matches!(waiting.wait(&mut |_| (), &Stop::default()), Ok(On::Gpu(_))));
        assert_eq!(tried.load(Ordering::Relaxed), 1, "all of them waited for the same");
    }
}
