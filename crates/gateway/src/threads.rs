//! The threads sessions run on: one for each processor, each with a runtime of its own.
//!
//! A session stays on the thread it began on. A runtime whose threads take work from each other wakes a second thread for each statement, which
//! finds nothing to do: beside what a short statement costs here that is much. Connections go to the thread that has the fewest.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinSet,
};

/// Threads for sessions. When it is dropped they end, and what still runs on them.
#[derive(Debug)]
pub struct Threads {
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Connections on it.
    connections: Arc<AtomicU32>,
    _end: oneshot::Sender<()>,
}

/// A connection's place on a thread.
#[derive(Debug, Default)]
pub(crate) struct OnThread(Arc<AtomicU32>);

impl Drop for OnThread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts one for each processor this process may use, with stacks of `stack_bytes`.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors.
    pub fn start(stack_bytes: usize) -> io::Result<Self> {
        Self::start_some(std::thread::available_parallelism().map_or(1, usize::from), stack_bytes)
    }

    fn start_some(count: usize, stack_bytes: usize) -> io::Result<Self> {
        let threads = (0..count).map(|_| Thread::start(stack_bytes)).collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// Runs a connection on the thread that has the fewest. It is counted until its end.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, tasks: &mut JoinSet<()>, connection: impl FnOnce(OnThread) -> F) {
        let Some(thread) = self.threads.iter().min_by_key(|thread| thread.connections.load(Ordering::Relaxed)) else { return };
        thread.connections.fetch_add(1, Ordering::Relaxed);
        tasks.spawn_on(connection(OnThread(thread.connections.clone())), &thread.runtime);
    }
}

impl Thread {
    fn start(stack_bytes: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_stack_size(stack_bytes).thread_name("countersign").build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let named = std::thread::Builder::new().name("countersign-io".to_owned()).stack_size(stack_bytes);
        named.spawn(move || {
            let _ = runtime.block_on(ended);
            // What blocks a helper thread must not keep the process.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), _end: end })
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use super::*;

    /// Begins a connection that lives until it is told how to end; hands back where it runs.
    async fn begin(threads: &Threads, tasks: &mut JoinSet<()>) -> (ThreadId, oneshot::Sender<&'static str>) {
        let (told, place) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        threads.spawn(tasks, |on_thread| async move {
            let _on_thread = on_thread;
            told.send(std::thread::current().id()).unwrap();
            assert_eq!(ended.await, Ok("in order"));
        });
        (place.await.unwrap(), end)
    }

    #[tokio::test]
    async fn connections_go_where_the_fewest_are_and_leave_their_place_even_if_they_panic() {
        let (threads, mut tasks) = (Threads::start_some(3, 1 << 20).unwrap(), JoinSet::new());
        let mut begun = Vec::new();
        for _ in 0..6 {
            begun.push(begin(&threads, &mut tasks).await);
        }
        let here = std::thread::current().id();
        for (thread, _) in &begun {
            assert_ne!(*thread, here);
            assert_eq!(begun.iter().filter(|(other, _)| other == thread).count(), 2);
        }
        let (left, end) = begun.remove(0);
        end.send("in order").unwrap();
        assert!(tasks.join_next().await.unwrap().is_ok());
        begun.push(begin(&threads, &mut tasks).await);
        assert_eq!(begun.last().unwrap().0, left);
        let (left, end) = begun.remove(0);
        end.send("in disorder").unwrap();
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
        begun.push(begin(&threads, &mut tasks).await);
        assert_eq!(begun.last().unwrap().0, left);
        drop(threads);
        while let Some(ended) = tasks.join_next().await {
            assert!(ended.unwrap_err().is_cancelled());
        }
    }
}
