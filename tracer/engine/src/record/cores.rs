//! The cores that a program believes to run on.
//!
//! All of it runs on one, the recorder's. What it chooses and asks for shows what the kernel would have made of its choice:
//! a thread is on the recorder's core if it allows that one, otherwise on the first that it allows.

use std::rc::Rc;

use trace::Registers;

use super::Recorder;
use super::task::Intervention;
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::process;

impl Recorder {
    /// sched_setaffinity(2): the program may choose its cores; it only believes so.
    pub(super) fn set_affinity(
        &mut self,
        thread: i32,
        entry: &Registers,
    ) -> Result<Intervention, TracerError> {
        let [target, len, address, ..] = entry.arguments();
        let mut mask = vec![0; (len as u32 as usize).min(self.tasks[&thread].affinity.len())];
        if self.memory_of(thread).read(address, &mut mask).is_err() {
            return self.instead(thread, entry, -i64::from(libc::EFAULT));
        }
        let target = if target as i32 == 0 { thread } else { target as i32 };
        if !self.tasks.contains_key(&target) {
            return Ok(Intervention::None);
        }
        match process::cores_allowed(&mask, self.core) {
            Ok(cores) => {
                self.task(target).affinity = Rc::new(cores);
                self.instead(thread, entry, 0)
            }
            Err(error) => {
                let code = error.raw_os_error().unwrap_or(libc::EINVAL);
                self.instead(thread, entry, -i64::from(code))
            }
        }
    }

    /// sched_getaffinity(2) shows what the program chose, not the recorder's pinning.
    pub(super) fn show_affinity(&mut self, thread: i32, memory: &Memory, entry: &Registers, result: i64) {
        if entry.orig_rax as i64 != libc::SYS_sched_getaffinity || result <= 0 {
            return;
        }
        let target = if entry.rdi == 0 { thread } else { entry.rdi as i32 };
        if let Some(task) = self.tasks.get(&target) {
            let len = task.affinity.len().min(result as usize);
            // A buffer that cannot be written has made the call fail already.
            let _ = memory.write(entry.rdx, &task.affinity[..len]);
        }
    }

    /// getcpu(2) shows a core that the program has allowed.
    pub(super) fn show_core(&mut self, thread: i32, memory: &Memory, entry: &Registers, result: i64) {
        if entry.orig_rax as i64 != libc::SYS_getcpu || result != 0 {
            return;
        }
        let Some(core) = self.other_core(thread) else { return };
        for (address, value) in [(entry.rdi, core), (entry.rsi, process::node_of(core))] {
            if address != 0 {
                // One that cannot be written has made the call fail already.
                let _ = memory.write(address, &value.to_le_bytes());
            }
        }
    }

    /// What RDTSCP and RDPID give (`MSR_TSC_AUX`, as Linux sets it) where a thread is not to see `own`, the recorder's.
    pub(super) fn processor_shown(&self, thread: i32, own: u32) -> u32 {
        /// Above the core's number is the node's (arch/x86/include/asm/segment.h).
        const NODE_SHIFT: u32 = 12;
        self.other_core(thread).map_or(own, |core| process::node_of(core) << NODE_SHIFT | core)
    }

    /// The core that a thread believes to be on that has not allowed the recorder's.
    fn other_core(&self, thread: i32) -> Option<u32> {
        let affinity = &self.tasks[&thread].affinity;
        let allows = |core: &u32| affinity[(core / 8) as usize] >> (core % 8) & 1 == 1;
        let cores = 0..affinity.len() as u32 * 8;
        if cores.contains(&self.core) && allows(&self.core) { None } else { cores.clone().find(allows) }
    }
}
