//! Runs of several photos, with a model that does what a photo's first byte says.

use std::sync::Mutex;

use tokio::time::Instant as Clock;

use super::*;

const FAILS: u8 = 200;
const PANICS: u8 = 201;
const LOSES: u8 = 202;

struct Scripted {
    bound: usize,
    /// More photos at once don't fit.
    memory: usize,
    /// The first byte of each photo of each run.
    runs: Mutex<Vec<Vec<u8>>>,
}

impl Scripted {
    fn of(bound: usize, memory: usize) -> Arc<Self> {
        Arc::new(Self { bound, memory, runs: Mutex::default() })
    }

    fn runs(&self) -> Vec<Vec<u8>> {
        self.runs.lock().expect("no panic holds it").clone()
    }

    fn run(&self, photos: &[&[u8]]) -> Vec<Result<Vec<f32>, ModelError>> {
        self.runs.lock().expect("no panic holds it").push(photos.iter().map(|rgb| rgb[0]).collect());
        let any = |byte| photos.iter().any(|rgb| rgb[0] == byte);
        assert!(!any(PANICS), "as the photo says");
        let error = |rgb: &[u8]| {
            let reason = "as the photo says".to_owned();
            if any(LOSES) {
                Some(ModelError::DeviceLost { reason })
            } else if photos.len() > self.memory {
                Some(ModelError::OutOfMemory { reason })
            } else {
                (rgb[0] == FAILS).then_some(ModelError::Other(reason))
            }
        };
        photos.iter().map(|rgb| error(rgb).map_or_else(|| Ok(vec![f32::from(rgb[0])]), Err)).collect()
    }
}

impl Segmenter for Scripted {
    fn size(&self) -> u32 {
        1
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn segment(&self, rgb: &[u8]) -> Result<Vec<f32>, ModelError> {
        self.run(&[rgb]).pop().expect("one")
    }

    fn batch(&self) -> usize {
        self.bound
    }

    fn segment_batch(&self, photos: &[&[u8]]) -> Vec<Result<Vec<f32>, ModelError>> {
        self.run(photos)
    }
}

type Answer = oneshot::Receiver<Result<Inferred, InferError>>;

fn command(segmenter: &Arc<Scripted>, byte: u8) -> (Command, Answer) {
    let (reply, answer) = oneshot::channel();
    let segmenter: Arc<dyn Segmenter> = Arc::<Scripted>::clone(segmenter);
    (Command { segmenter, rgb: vec![byte], asked: Instant::now(), span: Span::none(), reply }, answer)
}

/// What comes of photos that run at once: their map's value, or what went wrong.
fn answers(segmenter: &Arc<Scripted>, bytes: &[u8]) -> Vec<Result<f32, String>> {
    let (commands, answers): (Vec<_>, Vec<_>) = bytes.iter().map(|byte| command(segmenter, *byte)).unzip();
    answer(commands);
    let value = |mut answer: Answer| match answer.try_recv().expect("answered") {
        Ok(inferred) => Ok(inferred.map[0]),
        Err(error) => Err(error.to_string()),
    };
    answers.into_iter().map(value).collect()
}

struct Queue {
    commands: mpsc::Sender<Command>,
    coming: Arc<AtomicUsize>,
    gather: Gather,
    answers: Vec<Answer>,
}

impl Queue {
    fn new() -> Self {
        let (commands, received) = mpsc::channel(COMMANDS);
        let coming = Arc::new(AtomicUsize::new(0));
        Self { commands, gather: Gather::new(received, Arc::clone(&coming)), coming, answers: Vec::new() }
    }

    async fn push(&mut self, segmenter: &Arc<Scripted>, byte: u8) {
        let (command, answer) = command(segmenter, byte);
        self.commands.send(command).await.expect("open");
        self.answers.push(answer);
    }

    /// The next run, and how long it was waited for.
    async fn next(&mut self) -> (Vec<u8>, Duration) {
        let begun = Clock::now();
        let commands = self.gather.next().await.expect("open");
        (commands.iter().map(|command| command.rgb[0]).collect(), begun.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn photos_that_wait_run_at_once_up_to_the_models_bound() {
    let (mut queue, model) = (Queue::new(), Scripted::of(3, 9));
    for byte in 1..=5 {
        queue.push(&model, byte).await;
    }
    assert_eq!(queue.next().await, (vec![1, 2, 3], Duration::ZERO));
    assert_eq!(queue.next().await, (vec![4, 5], Duration::ZERO), "none is on its way");
}

#[tokio::test(start_paused = true)]
async fn a_bound_of_one_waits_for_nobody() {
    let (mut queue, model) = (Queue::new(), Scripted::of(1, 9));
    queue.coming.store(1, Ordering::Relaxed);
    queue.push(&model, 1).await;
    queue.push(&model, 2).await;
    assert_eq!(queue.next().await, (vec![1], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_on_its_way_is_waited_for_and_not_for_long() {
    let (mut queue, model) = (Queue::new(), Scripted::of(4, 9));
    queue.coming.store(2, Ordering::Relaxed);
    queue.push(&model, 1).await;
    let (late, answer) = command(&model, 2);
    let commands = queue.commands.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        commands.send(late).await.expect("open");
    });
    let (bytes, waited) = queue.next().await;
    assert_eq!(bytes, [1, 2]);
    assert!((Duration::from_millis(5)..Duration::from_millis(8)).contains(&waited), "{waited:?}");
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_is_skipped_and_another_model_has_its_own_run() {
    let (mut queue, model, other) = (Queue::new(), Scripted::of(4, 9), Scripted::of(4, 9));
    for byte in 1..=4 {
        queue.push(&model, byte).await;
    }
    queue.push(&other, 5).await;
    queue.push(&other, 6).await;
    queue.push(&model, 7).await;
    queue.answers.remove(2);
    queue.answers.remove(0);
    assert_eq!(queue.next().await.0, [2, 4]);
    assert_eq!(queue.next().await.0, [5, 6]);
    assert_eq!(queue.next().await.0, [7]);
}

#[test]
fn a_run_of_several_is_one() {
    let model = Scripted::of(4, 4);
    assert_eq!(answers(&model, &[1, 2, 3]), [Ok(1.0), Ok(2.0), Ok(3.0)]);
    assert_eq!(model.runs(), [[1, 2, 3]]);
}

#[test]
fn a_photo_that_fails_or_panics_does_so_alone() {
    let model = Scripted::of(4, 4);
    assert_eq!(answers(&model, &[1, FAILS, 3]), [Ok(1.0), Err("as the photo says".into()), Ok(3.0)]);
    assert_eq!(model.runs(), [vec![1, FAILS, 3], vec![FAILS]]);
    let model = Scripted::of(4, 4);
    let panicked = Err("the network panicked: as the photo says".into());
    assert_eq!(answers(&model, &[1, PANICS, 3]), [Ok(1.0), panicked, Ok(3.0)]);
    assert_eq!(model.runs(), [vec![1, PANICS, 3], vec![1], vec![PANICS], vec![3]]);
}

#[test]
fn memory_that_is_too_little_for_all_has_room_for_half_and_then_for_one() {
    let model = Scripted::of(8, 2);
    assert_eq!(answers(&model, &[1, 2, 3, 4]), [Ok(1.0), Ok(2.0), Ok(3.0), Ok(4.0)]);
    assert_eq!(model.runs(), [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4]]);
    let model = Scripted::of(8, 1);
    assert_eq!(answers(&model, &[1, 2, 3]), [Ok(1.0), Ok(2.0), Ok(3.0)]);
    let model = Scripted::of(8, 0);
    let full = || Err("the GPU's memory is full: as the photo says".to_owned());
    assert_eq!(answers(&model, &[1, 2]), [full(), full()], "and who asks for one learns that there is none");
}

#[test]
fn a_device_that_is_lost_is_not_tried_again() {
    let model = Scripted::of(4, 4);
    let lost = || Err("the GPU is lost: as the photo says".to_owned());
    assert_eq!(answers(&model, &[1, LOSES]), [lost(), lost()]);
    assert_eq!(model.runs(), [[1, LOSES]]);
}

#[test]
fn who_goes_before_a_run_has_none() {
    let model = Scripted::of(4, 4);
    let ((first, _), (second, mut answered)) = (command(&model, 1), command(&model, 2));
    answer(vec![first, second]);
    assert_eq!(model.runs(), [[2]]);
    assert!(answered.try_recv().expect("answered").is_ok());
}

#[tokio::test]
async fn the_thread_answers_and_lives_on_after_a_panic() {
    let (inference, model) = (Inference::spawn().expect("a thread"), Scripted::of(2, 2));
    let run = async |byte: u8| {
        let segmenter: Arc<dyn Segmenter> = Arc::<Scripted>::clone(&model);
        inference.run(segmenter, vec![byte]).await
    };
    let coming = inference.expect();
    let (first, second) = tokio::join!(run(1), run(PANICS));
    assert_eq!(first.expect("a map").map, [1.0]);
    assert!(matches!(second, Err(InferError::Panic(_))));
    drop(coming);
    assert_eq!(inference.coming.load(Ordering::Relaxed), 0);
    assert_eq!(run(3).await.expect("a map").map, [3.0]);
}
