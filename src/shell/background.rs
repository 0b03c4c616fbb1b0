//! What goes on behind an answer.

use crate::runtime::ports::Background;

impl Background for worker::Context {
    fn go_on(&self, task: impl Future<Output = ()> + 'static) {
        self.wait_until(task);
    }
}
