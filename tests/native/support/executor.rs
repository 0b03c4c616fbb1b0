//! One thread, virtual time: time moves only when nothing is ready to run. Which
//! of several ready tasks runs next is drawn from the seed, so that a run repeats
//! exactly and another seed gives another order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Milliseconds; shared with SQLite, whose functions must be `Send`.
pub type SharedTime = Arc<AtomicI64>;

/// SplitMix64: small, and the same on every machine.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    /// Absent while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_ready: Arc<Flag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

pub struct Executor {
    now: SharedTime,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    timers: RefCell<BTreeMap<(i64, u64), Waker>>,
    current: Cell<Option<TaskId>>,
    counter: Cell<u64>,
    random: Random,
}

impl Executor {
    pub fn new(seed: u64, now_ms: i64) -> Rc<Self> {
        Self::sharing(seed, now_ms, Arc::default())
    }

    /// On a clock that databases kept from an earlier run look at.
    pub fn sharing(seed: u64, now_ms: i64, now: SharedTime) -> Rc<Self> {
        now.store(now_ms, Ordering::Relaxed);
        Rc::new(Self {
            now,
            tasks: RefCell::default(),
            timers: RefCell::default(),
            current: Cell::new(None),
            counter: Cell::new(0),
            random: Random::new(seed),
        })
    }

    pub fn shared_time(&self) -> SharedTime {
        Arc::clone(&self.now)
    }

    pub fn now_ms(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    pub fn sleep(self: &Rc<Self>, duration_ms: i64) -> Sleep {
        Sleep {
            executor: Rc::clone(self),
            at_ms: self.now_ms() + duration_ms,
            key: None,
        }
    }

    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Handle<T> {
        let slot = Rc::new(RefCell::new(Slot {
            value: None,
            waker: None,
        }));
        let filled = Rc::clone(&slot);
        let task = Task {
            future: Some(Box::pin(async move {
                let value = future.await;
                let mut slot = filled.borrow_mut();
                slot.value = Some(value);
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            })),
            is_ready: Arc::new(Flag(AtomicBool::new(true))),
        };
        let id = TaskId(self.draw());
        self.tasks.borrow_mut().insert(id, task);
        Handle { id, slot }
    }

    /// The running task is dropped at its next await: a crash.
    pub fn crash_current(&self) {
        if let Some(id) = self.current.get() {
            self.crash(id);
        }
    }

    pub fn crash(&self, id: TaskId) {
        // Dropped after the borrow: what it held may cancel timers.
        let crashed = self.tasks.borrow_mut().remove(&id);
        drop(crashed);
    }

    /// Ends all tasks; they hold what holds the executor.
    pub fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    pub fn has_timers(&self) -> bool {
        !self.timers.borrow().is_empty()
    }

    /// Runs until `is_done`, until nothing can happen any more, or until virtual
    /// time would pass `until_ms`; it then stands at `until_ms`.
    pub fn run(&self, until_ms: i64, is_done: impl Fn() -> bool) {
        let mut n_polls = 0_u32;
        while !is_done() {
            if let Some(id) = self.pick() {
                self.poll(id);
                n_polls += 1;
                assert!(n_polls < 50_000_000, "a task spins");
                continue;
            }
            let next = self.timers.borrow().keys().next().copied();
            match next {
                Some(key) if key.0 <= until_ms => {
                    self.now.store(key.0.max(self.now_ms()), Ordering::Relaxed);
                    if let Some(waker) = self.timers.borrow_mut().remove(&key) {
                        waker.wake();
                    }
                }
                _ => {
                    if until_ms != i64::MAX {
                        self.now
                            .store(until_ms.max(self.now_ms()), Ordering::Relaxed);
                    }
                    return;
                }
            }
        }
    }

    fn pick(&self) -> Option<TaskId> {
        let tasks = self.tasks.borrow();
        let ready: Vec<_> = tasks
            .iter()
            .filter(|(_, task)| task.is_ready.0.load(Ordering::Relaxed))
            .map(|(id, _)| *id)
            .collect();
        (!ready.is_empty()).then(|| ready[self.random.below(ready.len())])
    }

    fn poll(&self, id: TaskId) {
        let (mut future, is_ready) = {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(&id).unwrap();
            (task.future.take().unwrap(), Arc::clone(&task.is_ready))
        };
        is_ready.0.store(false, Ordering::Relaxed);
        self.current.set(Some(id));
        let waker = Waker::from(is_ready);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.current.set(None);
        let mut tasks = self.tasks.borrow_mut();
        match polled {
            Poll::Ready(()) => drop(tasks.remove(&id)),
            Poll::Pending => {
                if let Some(task) = tasks.get_mut(&id) {
                    task.future = Some(future);
                    return;
                }
            }
        }
        // Dropping a crashed task may cancel its timers.
        drop(tasks);
    }

    fn draw(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }
}

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// The outcome of a task; dropping it does not end the task.
pub struct Handle<T> {
    id: TaskId,
    slot: Rc<RefCell<Slot<T>>>,
}

impl<T> Handle<T> {
    pub fn is_done(&self) -> bool {
        self.slot.borrow().value.is_some()
    }

    /// For [`Executor::crash`].
    pub fn task(&self) -> TaskId {
        self.id
    }

    /// `None`: still running, or crashed.
    pub fn take(&self) -> Option<T> {
        self.slot.borrow_mut().value.take()
    }
}

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.slot.borrow_mut();
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

pub struct Sleep {
    executor: Rc<Executor>,
    at_ms: i64,
    key: Option<(i64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.executor.now_ms() >= self.at_ms {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => (self.at_ms, self.executor.draw()),
        };
        self.key = Some(key);
        self.executor
            .timers
            .borrow_mut()
            .insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.executor.timers.borrow_mut().remove(&key);
        }
    }
}

#[test]
fn time_moves_only_when_nothing_is_ready() {
    let executor = Executor::new(1, 1_000);
    let order = Rc::new(RefCell::new(Vec::new()));
    for duration_ms in [30, 10, 20] {
        let (executor_, order) = (Rc::clone(&executor), Rc::clone(&order));
        executor.spawn(async move {
            executor_.sleep(duration_ms).await;
            order.borrow_mut().push((duration_ms, executor_.now_ms()));
        });
    }
    executor.run(i64::MAX, || false);
    assert_eq!(*order.borrow(), [(10, 1_010), (20, 1_020), (30, 1_030)]);
}

#[test]
fn the_same_seed_gives_the_same_order_and_another_seed_another() {
    let order_of = |seed| {
        let executor = Executor::new(seed, 0);
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..12 {
            let order = Rc::clone(&order);
            executor.spawn(async move { order.borrow_mut().push(number) });
        }
        executor.run(i64::MAX, || false);
        order.take()
    };
    assert_eq!(order_of(1), order_of(1));
    assert_ne!(order_of(1), order_of(2));
}

#[test]
fn a_task_can_be_crashed_from_outside() {
    let executor = Executor::new(1, 0);
    let timer = executor.sleep(5);
    let handle = executor.spawn(timer);
    executor.run(2, || false);
    executor.crash(handle.task());
    executor.run(100, || false);
    assert!(!handle.is_done());
}

#[test]
fn a_crashed_task_goes_no_further_and_its_timers_are_gone() {
    let executor = Executor::new(1, 0);
    let inner = Rc::clone(&executor);
    let handle = executor.spawn(async move {
        inner.crash_current();
        inner.sleep(5).await;
    });
    executor.run(100, || false);
    assert!(!handle.is_done());
    assert!(executor.timers.borrow().is_empty());
}
