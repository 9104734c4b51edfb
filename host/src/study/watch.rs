//! No executor: workers are started by hand, or by whatever else starts programs, and the study is only watched.

use super::plan::Study;
use super::{Progress, Telling};
use crate::experiment::RunError;
use crate::session::SessionError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the user's wish to stop is looked at.
const NAP: Duration = Duration::from_millis(200);

/// Tell how a study gets on until every run has ended. It touches nothing: workers take over from each other by themselves.
///
/// Errs when the user stops; the workers do not notice.
pub fn watch(study: &Study, cancelled: &AtomicBool, say: &dyn Fn(&str)) -> Result<Progress, SessionError> {
    let mut telling = Telling::new(study, say);
    while telling.look().left() > 0 {
        if cancelled.load(Ordering::Relaxed) {
            return Err(SessionError::Run(RunError::Cancelled));
        }
        std::thread::sleep(NAP);
    }
    Ok(telling.look_now())
}
