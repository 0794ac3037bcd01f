//! A walk over a tree on all cores, in which a node is finished after its
//! children.
//!
//! Tasks never wait for one another: whoever finishes the last child goes on
//! with the parent. So the stack does not grow with the depth of the tree, and
//! since each thread takes its newest task first, neither does the number of
//! open directories much beyond depth times threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rayon::Scope;

/// What is done at each node.
pub(crate) trait Walk: Sync {
    /// What leads to a node.
    type Job: Send;
    /// What is kept of a node until its children are finished.
    type State: Send;
    /// What a node comes to.
    type Out: Send;
    /// Why the walk ends early.
    type Error: Send;

    /// Does a node's part before its children.
    fn enter(&self, job: Self::Job) -> Result<Step<Self>, Self::Error>;

    /// Does a node's part after its children, whose results are in order.
    fn leave(&self, state: Self::State, children: Vec<Self::Out>)
    -> Result<Self::Out, Self::Error>;
}

/// What entering a node led to.
pub(crate) enum Step<W: Walk + ?Sized> {
    /// It has no children.
    Done(W::Out),
    /// It has these.
    Children(W::State, Vec<W::Job>),
}

/// Walks from `root`. Of several errors, the first to happen is returned.
pub(crate) fn walk<W: Walk>(walker: &W, root: W::Job) -> Result<W::Out, W::Error> {
    let run = Run {
        walker,
        stopped: AtomicBool::new(false),
        result: Mutex::new(None),
    };
    rayon::scope(|scope| run.enter(scope, None, root));
    let result = lock(&run.result).take();
    match result {
        Some(result) => result,
        None => unreachable!("every task either delivers its result or notes an error"),
    }
}

struct Run<'a, W: Walk> {
    walker: &'a W,
    stopped: AtomicBool,
    result: Mutex<Option<Result<W::Out, W::Error>>>,
}

/// A node whose children are under way.
struct Open<W: Walk> {
    place: Place<W>,
    missing: AtomicUsize,
    inner: Mutex<Inner<W>>,
}

/// What is kept until the last child is finished.
struct Inner<W: Walk> {
    state: Option<W::State>,
    children: Vec<Option<W::Out>>,
}

/// The parent of a node and its number among the children.
type Place<W> = Option<(Arc<Open<W>>, usize)>;

impl<W: Walk> Run<'_, W> {
    fn enter<'s>(&'s self, scope: &Scope<'s>, place: Place<W>, job: W::Job) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        match self.walker.enter(job) {
            Ok(Step::Done(out)) => self.deliver(place, out),
            Ok(Step::Children(state, jobs)) => self.descend(scope, place, state, jobs),
            Err(error) => self.stop(error),
        }
    }

    fn descend<'s>(
        &'s self,
        scope: &Scope<'s>,
        place: Place<W>,
        state: W::State,
        jobs: Vec<W::Job>,
    ) {
        if jobs.is_empty() {
            match self.walker.leave(state, Vec::new()) {
                Ok(out) => self.deliver(place, out),
                Err(error) => self.stop(error),
            }
            return;
        }
        let open = Arc::new(Open {
            place,
            missing: AtomicUsize::new(jobs.len()),
            inner: Mutex::new(Inner {
                state: Some(state),
                children: jobs.iter().map(|_| None).collect(),
            }),
        });
        for (number, job) in jobs.into_iter().enumerate() {
            let place = Some((Arc::clone(&open), number));
            scope.spawn(move |scope| self.enter(scope, place, job));
        }
    }

    /// Hands a result to the parent, and that one's to its own as long as
    /// nothing else is missing.
    fn deliver(&self, mut place: Place<W>, mut out: W::Out) {
        while let Some((parent, number)) = place {
            lock(&parent.inner).children[number] = Some(out);
            if parent.missing.fetch_sub(1, Ordering::AcqRel) > 1 {
                return;
            }
            match self.finish(&parent) {
                Ok(finished) => out = finished,
                Err(error) => return self.stop(error),
            }
            place = parent
                .place
                .as_ref()
                .map(|(up, number)| (Arc::clone(up), *number));
        }
        *lock(&self.result) = Some(Ok(out));
    }

    fn finish(&self, open: &Open<W>) -> Result<W::Out, W::Error> {
        let (state, children) = {
            let mut inner = lock(&open.inner);
            (inner.state.take(), std::mem::take(&mut inner.children))
        };
        match state {
            Some(state) => self
                .walker
                .leave(state, children.into_iter().flatten().collect()),
            None => unreachable!("a node is finished once"),
        }
    }

    fn stop(&self, error: W::Error) {
        self.stopped.store(true, Ordering::Relaxed);
        lock(&self.result).get_or_insert(Err(error));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums the numbers below a bound over a binary tree; `bad` fails.
    struct Sum {
        bound: u64,
        bad: Option<u64>,
    }

    impl Walk for Sum {
        type Job = u64;
        type State = u64;
        type Out = u64;
        type Error = u64;

        fn enter(&self, job: u64) -> Result<Step<Self>, u64> {
            if self.bad == Some(job) {
                return Err(job);
            }
            let children = [2 * job, 2 * job + 1]
                .into_iter()
                .filter(|n| *n < self.bound);
            Ok(Step::Children(job, children.collect()))
        }

        fn leave(&self, state: u64, children: Vec<u64>) -> Result<u64, u64> {
            Ok(state + children.iter().sum::<u64>())
        }
    }

    #[test]
    fn children_are_finished_before_their_parent() {
        let check = |bound, bad, expected| assert_eq!(walk(&Sum { bound, bad }, 1), expected);
        check(2, None, Ok(1));
        check(1000, None, Ok(999 * 1000 / 2));
        check(1000, Some(77), Err(77));
        check(1000, Some(1), Err(1));
    }
}
