//! Admission to a service: so many at once, so many waiting, the rest turned away.
//!
//! Without a limit a gate costs one comparison. The limits are arguments and not state, because a
//! swap may change them while people wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::balance::ServiceState;

#[derive(Debug, Default)]
pub struct Gate {
    active: AtomicU32,
    /// As long as `waiting`; read without the lock on the way out.
    queued: AtomicUsize,
    waiting: Mutex<VecDeque<(u64, Waker)>>,
}

/// Somebody who wants in. Dropping it gives up the place in the queue.
#[derive(Debug)]
pub struct Admission {
    service: Arc<ServiceState>,
    ticket: Option<u64>,
}

/// A place inside; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place(Arc<ServiceState>);

impl Place {
    /// Whether it is one of this service's.
    pub fn is_of(&self, service: &Arc<ServiceState>) -> bool {
        Arc::ptr_eq(&self.0, service)
    }
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Gate {
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn try_enter(&self, limit: u32) -> bool {
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < limit).then_some(n + 1)
            })
            .is_ok()
    }

    fn wake_next(&self) {
        if self.queued.load(Ordering::Acquire) > 0 {
            let next = self.lock().front().map(|(_, waker)| waker.clone());
            if let Some(waker) = next {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Waker)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    pub fn new(service: Arc<ServiceState>) -> Self {
        Self {
            service,
            ticket: None,
        }
    }

    /// Ready with a place, or with [`Full`] when `max_queue` wait already; otherwise the waker is
    /// called when it is this one's turn. First come, first served.
    pub fn poll(&mut self, limit: u32, max_queue: u32, waker: &Waker) -> Poll<Result<Place, Full>> {
        static TICKETS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let gate = &self.service.gate;
        if self.ticket.is_none() && gate.queued() == 0 && gate.try_enter(limit) {
            return Poll::Ready(Ok(Place(self.service.clone())));
        }
        let mut waiting = gate.lock();
        match self.ticket {
            None => {
                // A limit of waiting ones is compared under the lock: the queue never exceeds it.
                if waiting.is_empty() && gate.try_enter(limit) {
                    return Poll::Ready(Ok(Place(self.service.clone())));
                }
                if waiting.len() >= max_queue as usize {
                    return Poll::Ready(Err(Full));
                }
                let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
                self.ticket = Some(ticket);
                waiting.push_back((ticket, waker.clone()));
                gate.queued.store(waiting.len(), Ordering::Release);
                // Somebody may have left between the first try and the lock, and seen no queue.
                // The fence pairs with the one in `Place::drop`: one of the two sees the other.
                fence(Ordering::SeqCst);
                if waiting.len() > 1 || !gate.try_enter(limit) {
                    return Poll::Pending;
                }
            }
            Some(ticket) => {
                let is_first = waiting.front().is_some_and(|(t, _)| *t == ticket);
                if !is_first || !gate.try_enter(limit) {
                    if let Some(entry) = waiting.iter_mut().find(|(t, _)| *t == ticket)
                        && !entry.1.will_wake(waker)
                    {
                        entry.1 = waker.clone();
                    }
                    return Poll::Pending;
                }
            }
        }
        waiting.pop_front();
        gate.queued.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.ticket = None;
        // A raised limit lets more than one in: each who enters looks after the next.
        gate.wake_next();
        Poll::Ready(Ok(Place(self.service.clone())))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let gate = &self.service.gate;
        let mut waiting = gate.lock();
        waiting.retain(|(t, _)| *t != ticket);
        gate.queued.store(waiting.len(), Ordering::Release);
        drop(waiting);
        gate.wake_next();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.gate.active.fetch_sub(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.0.gate.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(
        service: &Arc<ServiceState>,
        max_queue: u32,
    ) -> (Admission, Poll<Result<Place, Full>>) {
        let mut admission = Admission::new(service.clone());
        let poll = admission.poll(2, max_queue, Waker::noop());
        (admission, poll)
    }

    #[test]
    fn lets_the_limit_in_queues_the_rest_in_order_and_turns_away_when_full() {
        let service = Arc::new(ServiceState::default());
        let (_, a) = enter(&service, 2);
        let (_, b) = enter(&service, 2);
        let (mut c_adm, c) = enter(&service, 2);
        let (mut d_adm, d) = enter(&service, 2);
        let (_, e) = enter(&service, 2);
        assert!(a.is_ready() && b.is_ready() && c.is_pending() && d.is_pending());
        assert!(matches!(e, Poll::Ready(Err(Full))));
        drop(a);
        assert!(
            d_adm.poll(2, 2, Waker::noop()).is_pending(),
            "d came after c"
        );
        let c = c_adm.poll(2, 2, Waker::noop());
        assert!(matches!(c, Poll::Ready(Ok(_))));
        drop((b, c));
        assert!(matches!(
            d_adm.poll(2, 2, Waker::noop()),
            Poll::Ready(Ok(_))
        ));
        assert_eq!((service.gate.active(), service.gate.queued()), (0, 0));
    }

    #[test]
    fn giving_up_leaves_the_queue() {
        let service = Arc::new(ServiceState::default());
        let _held = (enter(&service, 1), enter(&service, 1));
        let (waiting, poll) = enter(&service, 1);
        assert!(poll.is_pending());
        assert_eq!(service.gate.queued(), 1);
        drop(waiting);
        assert_eq!(service.gate.queued(), 0);
    }

    #[test]
    fn nobody_is_forgotten_when_threads_come_and_go() {
        let service = Arc::new(ServiceState::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .build()
            .unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..200)
                .map(|_| {
                    let service = service.clone();
                    tokio::spawn(async move {
                        for _ in 0..50 {
                            let mut admission = Admission::new(service.clone());
                            let place =
                                std::future::poll_fn(|cx| admission.poll(3, 1000, cx.waker()))
                                    .await;
                            assert!(service.gate.active() <= 3);
                            tokio::task::yield_now().await;
                            drop(place);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!((service.gate.active(), service.gate.queued()), (0, 0));
    }
}
