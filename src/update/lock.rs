//! Waits for the lock of this Engine.

use super::Refresher;
use super::managed::Managed;
use super::renew::STOPPING;
use crate::engine::Image;
use crate::journal::Step;
use crate::swap;
use crate::swap::Attempt;
use crate::swap::Lock;
use std::time::Duration;
use std::time::Instant;

/// The longest wait for another imagewatch to finish.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

impl Refresher {
    /// Takes the lock. Waits while another live imagewatch holds it.
    ///
    /// # Errors
    /// The reason why there is no lock.
    #[cold]
    pub(super) fn lock(
        &self,
        image: &Image,
        managed: &[Managed],
        on: &(dyn Fn(&Step) + Sync),
    ) -> std::result::Result<Lock<'_>, String> {
        let begun = Instant::now();
        let mut said = false;
        let mut images = vec![image.clone()];
        loop {
            let who = match Lock::attempt(&self.engine, &images) {
                Ok(Attempt::Mine(lock)) => return Ok(lock),
                Ok(Attempt::Held(who)) => who,
                // The Engine may refuse to create from the new image. It has created from the running images.
                Err(error) if images.len() == 1 && !error.is_ambiguous() => {
                    let mut running = managed.iter().map(|one| one.container.image_id());
                    let other = running.find(|id| *id != image.id());
                    let other = other.and_then(|id| self.engine.find_image(id).ok().flatten());
                    match other {
                        Some(other) => images.push(other),
                        None => return Err(swap::explain(&error)),
                    }
                    continue;
                }
                Err(error) => return Err(swap::explain(&error)),
            };
            if self.shutdown.is_closed() {
                return Err(STOPPING.to_owned());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{who} is at work on this Engine"));
            }
            if !said {
                log::info!("waiting: {who} is at work on this Engine");
                said = true;
            }
            on(&Step::Alive);
            std::thread::sleep(PAUSE);
        }
    }
}
