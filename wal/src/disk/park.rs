//! One word a thread can sleep on: the futex of the operating system, or a stand-in for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A 32-bit word that threads wait on until it changes.
///
/// Waking costs a system call, so a caller wakes only when somebody may sleep. What is written
/// before [`FutexWord::store`] or [`FutexWord::fetch_max`] is seen by whoever loads the new value.
#[derive(Debug, Default)]
pub struct FutexWord {
    word: AtomicU32,
    #[cfg(not(target_os = "linux"))]
    bed: bed::Bed,
}

impl FutexWord {
    /// A word that starts with `value`.
    pub fn new(value: u32) -> Self {
        let word = Self::default();
        word.store(value);
        word
    }

    /// The value now.
    #[inline]
    pub fn load(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    /// Sets the value; wakes nobody.
    #[inline]
    pub fn store(&self, value: u32) {
        self.word.store(value, Ordering::Release);
    }

    /// Raises the value to `value` if it is lower, and returns what it was; wakes nobody.
    #[inline]
    pub fn fetch_max(&self, value: u32) -> u32 {
        self.word.fetch_max(value, Ordering::AcqRel)
    }

    /// Sleeps while the word is `expected`, until a wake or for `timeout` at most. Returns false
    /// if the time ran out.
    ///
    /// May return early for no reason: look at the word again, in a loop. A change of the word
    /// that is followed by a wake is never missed, as the word is compared and the thread put to
    /// sleep in one step.
    pub fn wait(&self, expected: u32, timeout: Option<Duration>) -> bool {
        if self.load() != expected {
            return true;
        }
        self.sleep(expected, timeout)
    }

    /// Wakes every thread that waits.
    pub fn wake_all(&self) {
        // The kernel takes the count as a signed number.
        self.wake(u32::MAX >> 1);
    }

    /// Wakes one thread that waits, if any does.
    pub fn wake_one(&self) {
        self.wake(1);
    }
}

#[cfg(target_os = "linux")]
impl FutexWord {
    fn sleep(&self, expected: u32, timeout: Option<Duration>) -> bool {
        use rustix::thread::futex;
        // A time too long for the kernel is as good as none.
        let time = timeout.and_then(|time| futex::Timespec::try_from(time).ok());
        let slept = futex::wait(&self.word, futex::Flags::PRIVATE, expected, time.as_ref());
        // Whatever else it says (changed already, a signal came) means: look again.
        slept != Err(rustix::io::Errno::TIMEDOUT)
    }

    fn wake(&self, count: u32) {
        use rustix::thread::futex;
        // It fails for a bad address alone, and this one is a reference.
        let _ = futex::wake(&self.word, futex::Flags::PRIVATE, count);
    }
}

#[cfg(not(target_os = "linux"))]
impl FutexWord {
    fn sleep(&self, expected: u32, timeout: Option<Duration>) -> bool {
        self.bed.sleep(|| self.load() == expected, timeout)
    }

    fn wake(&self, count: u32) {
        self.bed.wake(count);
    }
}

/// The stand-in where there is no futex: a lock and a condition beside the word. Built for the
/// tests everywhere, so that it cannot rot.
#[cfg(any(test, not(target_os = "linux")))]
mod bed {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub(super) struct Bed {
        lock: Mutex<()>,
        rung: Condvar,
    }

    impl Bed {
        /// Sleeps if `asleep` holds under the lock: a waker changes the word first and takes the
        /// lock after, so either the change is seen here or its ring comes later.
        pub(super) fn sleep(&self, asleep: impl Fn() -> bool, timeout: Option<Duration>) -> bool {
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if !asleep() {
                return true;
            }
            match timeout {
                None => {
                    let _guard = self.rung.wait(guard);
                    true
                }
                Some(time) => match self.rung.wait_timeout(guard, time) {
                    Ok((_guard, result)) => !result.timed_out(),
                    Err(_) => true,
                },
            }
        }

        pub(super) fn wake(&self, count: u32) {
            drop(self.lock.lock());
            if count == 1 { self.rung.notify_one() } else { self.rung.notify_all() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Instant;

    /// The word as the tests see it: the real one, and the stand-in on every system.
    trait Word: Sync + Default {
        fn word(&self) -> &AtomicU32;
        fn wait(&self, expected: u32, timeout: Option<Duration>) -> bool;
        fn wake(&self, count: u32);

        fn set(&self, value: u32) {
            self.word().store(value, Ordering::Release);
        }
    }

    impl Word for FutexWord {
        fn word(&self) -> &AtomicU32 {
            &self.word
        }

        fn wait(&self, expected: u32, timeout: Option<Duration>) -> bool {
            FutexWord::wait(self, expected, timeout)
        }

        fn wake(&self, count: u32) {
            if count == 1 { self.wake_one() } else { self.wake_all() }
        }
    }

    #[derive(Default)]
    struct StandIn {
        word: AtomicU32,
        bed: bed::Bed,
    }

    impl Word for StandIn {
        fn word(&self) -> &AtomicU32 {
            &self.word
        }

        fn wait(&self, expected: u32, timeout: Option<Duration>) -> bool {
            let asleep = || {
                let same = self.word.load(Ordering::Acquire) == expected;
                // Widens the gap in which a wake could be lost.
                thread::yield_now();
                same
            };
            self.bed.sleep(asleep, timeout)
        }

        fn wake(&self, count: u32) {
            self.bed.wake(count);
        }
    }

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    fn time_runs_out<W: Word>() {
        let word = W::default();
        let begun = Instant::now();
        while word.wait(0, Some(Duration::from_millis(20))) {}
        assert!(begun.elapsed() >= Duration::from_millis(20));
        word.set(1);
        assert!(word.wait(0, LONG), "the word has changed already");
        assert!(word.wait(0, Some(Duration::MAX)), "a time beyond the clock");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    fn all_wake<W: Word>() {
        let word = W::default();
        let asleep = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    asleep.fetch_add(1, Ordering::SeqCst);
                    while word.word().load(Ordering::Acquire) == 0 {
                        assert!(word.wait(0, LONG), "nobody woke this thread");
                    }
                });
            }
            while asleep.load(Ordering::SeqCst) < 8 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(20));
            word.set(1);
            word.wake(u32::MAX);
        });
    }

    fn one_wakes<W: Word>() {
        let word = W::default();
        let woken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert!(word.wait(0, LONG), "nobody woke this thread");
                    woken.fetch_add(1, Ordering::SeqCst);
                });
            }
            // The word stays what it was, so only a wake ends a wait.
            thread::sleep(Duration::from_millis(20));
            let mut rung = 0;
            while woken.load(Ordering::SeqCst) < 4 {
                word.wake(1);
                rung += 1;
                thread::sleep(Duration::from_millis(5));
                assert!(woken.load(Ordering::SeqCst) <= rung, "one ring woke two");
            }
        });
    }

    /// Two threads throw a ball: a single lost wake would stop the game for twenty seconds.
    fn no_wake_is_lost<W: Word>() {
        let word = W::default();
        let play = |mine: u32| {
            for round in 0..2000 {
                let turn = round * 2 + mine;
                loop {
                    let now = word.word().load(Ordering::Acquire);
                    if now == turn {
                        break;
                    }
                    assert!(word.wait(now, LONG), "a wake was lost at {turn}");
                }
                word.set(turn + 1);
                word.wake(1);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| play(0));
            scope.spawn(|| play(1));
        });
    }

    #[test]
    fn the_word_keeps_its_promises() {
        time_runs_out::<FutexWord>();
        all_wake::<FutexWord>();
        one_wakes::<FutexWord>();
        no_wake_is_lost::<FutexWord>();
    }

    #[test]
    fn the_stand_in_keeps_its_promises() {
        time_runs_out::<StandIn>();
        all_wake::<StandIn>();
        one_wakes::<StandIn>();
        no_wake_is_lost::<StandIn>();
    }

    #[test]
    fn fetch_max_never_lowers() {
        let word = FutexWord::new(5);
        assert_eq!(word.fetch_max(3), 5);
        assert_eq!(word.fetch_max(9), 5);
        assert_eq!(word.load(), 9);
        word.store(1);
        assert_eq!(word.load(), 1);
    }
}
