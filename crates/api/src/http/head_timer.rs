//! The clock that the HTTP library gives up a client by who says nothing: one alarm for each connection.
//!
//! The library begins a wait for each request and ends it a moment later, and each would enter the runtime's timers and
//! leave them. Here the alarm of an earlier wait stays set: when it rings, it is set to what is waited for by then.
//!
//! Always true: an alarm that is set rings no later than the wait that it is for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

/// In a mutex since the library may share its timer; one connection never contends for it.
type Alarm = Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>;

/// The timer of one connection.
#[derive(Default)]
pub(super) struct HeadTimer {
    alarm: Alarm,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { alarm: Arc::clone(&self.alarm), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        // The runtime's, so that tests may step it.
        tokio::time::Instant::now().into_std()
    }
}

struct Wait {
    alarm: Alarm,
    deadline: tokio::time::Instant,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock();
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        if alarm.deadline() > self.deadline {
            alarm.as_mut().reset(self.deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::rt::Timer;
    use tokio::time::Instant;

    use super::HeadTimer;

    #[tokio::test]
    async fn each_wait_ends_when_it_should() {
        let (timer, begin) = (HeadTimer::default(), Instant::now());
        let after = |millis| (begin + Duration::from_millis(millis)).into_std();
        let soon = Duration::from_millis(1);
        // Nobody waits for it to the end: its alarm stays set.
        assert!(tokio::time::timeout(soon, timer.sleep_until(after(20))).await.is_err());
        for deadline in [50, 70] {
            timer.sleep_until(after(deadline)).await;
            assert!(begin.elapsed() >= Duration::from_millis(deadline));
        }
        // An alarm that is far away does not hold up a wait that is not.
        assert!(tokio::time::timeout(soon, timer.sleep_until(after(3_600_000))).await.is_err());
        timer.sleep(soon).await;
    }
}
