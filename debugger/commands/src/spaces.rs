//! The replayed program as `symbols` sees it: memory, registers, and the modules of each address space.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use symbols::{DebugSources, Frame, ImageCache, Memory, Registers, Symbols, Unreadable};
use trace::ThreadId;
use tracer::TracerError;

use crate::target::View;

/// Layouts whose modules are kept. A program that loads code all the time has more; they are built again.
const LAYOUTS_MAX: usize = 256;

/// The vDSO is two pages, four on some kernels.
const VDSO_BYTES_MAX: u64 = 1 << 20;

/// The memory of a thread's address space.
pub(crate) struct ThreadMemory<'a> {
    pub(crate) session: &'a dyn View,
    pub(crate) thread: ThreadId,
}

impl Memory for ThreadMemory<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        match self.session.read_memory(self.thread, addr, buf) {
            Ok(read) if read == buf.len() => Ok(()),
            Ok(read) => Err(Unreadable { addr: addr.saturating_add(read as u64) }),
            Err(_) => Err(Unreadable { addr }),
        }
    }
}

/// Memory in which some bytes are as they were at another time.
pub(crate) struct Overlay<'a> {
    pub(crate) below: &'a dyn Memory,
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
}

impl Memory for Overlay<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        self.below.read(addr, buf)?;
        for (index, byte) in buf.iter_mut().enumerate() {
            let offset = addr.wrapping_add(index as u64).wrapping_sub(self.address);
            if let Some(old) = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset)) {
                *byte = *old;
            }
        }
        Ok(())
    }
}

/// The registers of a thread, with the vector registers.
pub(crate) fn registers(session: &dyn View, thread: ThreadId) -> Result<Registers, TracerError> {
    /// Where XSAVE's legacy area has xmm0 (Intel SDM volume 1, section 13.4.1).
    const XMM_OFFSET: usize = 160;
    let mut registers = Registers::from_user_regs(&session.registers(thread)?.words());
    if let Ok(state) = session.extended_state(thread) {
        let pieces = state.get(XMM_OFFSET..).unwrap_or_default().chunks_exact(16);
        for (slot, piece) in registers.xmm.iter_mut().zip(pieces) {
            *slot = piece.try_into().ok().map(u128::from_le_bytes);
        }
    }
    Ok(registers)
}

/// A module's place: start, end, file offset, stored file.
type Layout = Vec<(u64, u64, u64, PathBuf)>;

/// The modules of every address space, kept until its mappings change.
pub(crate) struct Spaces {
    cache: Arc<ImageCache>,
    layouts: HashMap<Layout, Rc<Symbols>>,
    recent: HashMap<ThreadId, (u64, u64, Rc<Symbols>)>,
    everything: Option<Rc<Symbols>>,
}

impl Spaces {
    pub(crate) fn new() -> Self {
        let cache = ImageCache::new();
        cache.look_in(DebugSources { cache: symbols::cache_folder(), ..DebugSources::default() });
        Self { cache, layouts: HashMap::new(), recent: HashMap::new(), everything: None }
    }

    /// The modules of a thread's address space.
    pub(crate) fn symbols(
        &mut self,
        session: &dyn View,
        thread: ThreadId,
    ) -> Result<Rc<Symbols>, TracerError> {
        let image = session.program(thread)?.0;
        let event = session.moment();
        if let Some((known, of, symbols)) = self.recent.get(&thread)
            && (*known, *of) == (event, image)
        {
            return Ok(Rc::clone(symbols));
        }
        let symbols = self.by_layout(session, thread)?;
        self.recent.insert(thread, (event, image, Rc::clone(&symbols)));
        Ok(symbols)
    }

    fn by_layout(&mut self, session: &dyn View, thread: ThreadId) -> Result<Rc<Symbols>, TracerError> {
        let mappings = session.regions(thread)?;
        let mut layout = Layout::new();
        let mut files = Vec::new();
        for mapping in &mappings {
            match &mapping.file {
                Some((path, offset)) => {
                    layout.push((mapping.start, mapping.end, *offset, path.clone()));
                    files.push(symbols::Mapping {
                        start: mapping.start,
                        end: mapping.end,
                        offset: *offset,
                        file: path.clone(),
                        name: mapping.name.clone().into(),
                    });
                }
                _ if mapping.name == "[vdso]" => {
                    layout.push((mapping.start, mapping.end, 0, mapping.name.clone().into()));
                }
                _ => {}
            }
        }
        if let Some(known) = self.layouts.get(&layout) {
            return Ok(Rc::clone(known));
        }
        // A mapped file that is no ELF object is data: nothing to say about it.
        let (mut symbols, _) = Symbols::from_mappings(Arc::clone(&self.cache), &files);
        for vdso in mappings.iter().filter(|mapping| mapping.name == "[vdso]") {
            let len = (vdso.end - vdso.start).min(VDSO_BYTES_MAX) as usize;
            let mut bytes = vec![0; len];
            if session.read_memory(thread, vdso.start, &mut bytes).is_ok_and(|read| read == len) {
                let _ = symbols.add_bytes(bytes, "[vdso]", vdso.start..vdso.end);
            }
        }
        if self.layouts.len() >= LAYOUTS_MAX {
            self.layouts.clear();
        }
        let symbols = Rc::new(symbols);
        self.layouts.insert(layout, Rc::clone(&symbols));
        Ok(symbols)
    }

    /// All files that the recording ever maps, at no particular address: to know a name that is not loaded yet from
    /// one that does not exist.
    pub(crate) fn everything(&mut self, session: &dyn View) -> Rc<Symbols> {
        /// Files looked at.
        const FILES_MAX: usize = 4096;
        if let Some(known) = &self.everything {
            return Rc::clone(known);
        }
        let mut symbols = Symbols::new(Arc::clone(&self.cache));
        let entries = session.mapped_files().map(std::fs::read_dir).into_iter().flatten();
        for entry in entries.flatten().filter_map(Result::ok).take(FILES_MAX) {
            // Only ELF objects become modules.
            let _ = symbols.add_file(&entry.path(), &entry.path().display().to_string(), 0);
        }
        let symbols = Rc::new(symbols);
        self.everything = Some(Rc::clone(&symbols));
        symbols
    }
}

/// The innermost physical frame's identity: its canonical frame address.
pub(crate) fn frame_address(symbols: &Symbols, registers: &Registers, memory: &dyn Memory) -> Option<u64> {
    symbols.frames_up_to(registers, memory, 1).first().and_then(|frame| frame.cfa)
}

/// The innermost frames alone: all inlined ones of the first physical frame.
pub(crate) fn innermost(symbols: &Symbols, registers: &Registers, memory: &dyn Memory) -> Option<Frame> {
    symbols.frames_up_to(registers, memory, 1).into_iter().next()
}
