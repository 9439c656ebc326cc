//! SIGINT asks the session to stop what it is doing.

use std::sync::OnceLock;

use tracer::Interrupt;

static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// From now on Ctrl-C requests a stop of the session with this handle. Only the first call has an effect.
pub(crate) fn install(interrupt: Interrupt) -> std::io::Result<()> {
    let _ = INTERRUPT.set(interrupt);
    // SAFETY: an all-zero sigaction is a valid value of that C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_interrupt as *const () as usize;
    // No SA_RESTART: a wait that the session is in shall end.
    action.sa_flags = 0;
    // SAFETY: `action` is initialised, its handler is a function that only loads an atomic pointer and stores an atomic
    // flag, which is safe in a signal handler (signal-safety(7)); the old action is not asked for.
    let result = unsafe {
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

extern "C" fn on_interrupt(_signal: libc::c_int) {
    if let Some(interrupt) = INTERRUPT.get() {
        interrupt.request();
    }
}
