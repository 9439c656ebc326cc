//! Where separate debug information is looked for, and which files are refused because they belong to another build.
//! A file of another build would give wrong answers; none is better, and a notice says so.

use crate::loading::Progress;
use crate::sections::{DebugFile, hex};
use object::Object;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Notices kept of one image.
const NOTICES_MAX: usize = 100;

/// Where debug information outside of the program's own file is looked for.
#[derive(Clone, Debug)]
pub struct DebugSources {
    /// Folders that are laid out as `/usr/lib/debug`: `.build-id/xx/yyyy.debug`, and programs' paths below them.
    /// Split DWARF (`.dwo`, `.dwp`) is looked for right in them too.
    pub folders: Vec<PathBuf>,
    /// Where indexes are kept between sessions; `None` keeps none.
    pub cache: Option<PathBuf>,
    /// How far reading is, and how to stop it.
    pub progress: Arc<Progress>,
}

impl Default for DebugSources {
    /// `/usr/lib/debug`, and no cache on disk.
    fn default() -> Self {
        Self { folders: vec![PathBuf::from("/usr/lib/debug")], cache: None, progress: Arc::default() }
    }
}

/// What went wrong while debug information was looked for, to be shown.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Vec<String>>);

impl Notices {
    pub(crate) fn add(&self, text: String) {
        // A poisoned lock only means that another thread panicked between two whole pushes.
        let mut all = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        if all.len() < NOTICES_MAX && !all.contains(&text) {
            all.push(text);
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).clone()
    }
}

/// gdb's search: by build id, then by `.gnu_debuglink` beside the file, in `.debug`, and below the folders.
pub(crate) fn debug_file(
    path: &Path,
    file: &object::File<'static>,
    sources: &DebugSources,
    notices: &Notices,
) -> Option<DebugFile> {
    let own_id = file.build_id().ok().flatten();
    if let Some(found) = own_id.and_then(|id| by_build_id(id, "debug", sources, path, notices)) {
        return Some(found);
    }
    let (name, crc) = file.gnu_debuglink().ok().flatten()?;
    linked_paths(path, &String::from_utf8_lossy(name), sources).into_iter().find_map(|candidate| {
        let found = DebugFile::open(&candidate)?;
        let id = found.file.build_id().ok().flatten();
        if let (Some(own), Some(id)) = (own_id, id)
            && own != id
        {
            notices.add(other_build(&candidate, id, path, own));
            return None;
        }
        let actual = crc32fast::hash(found.data);
        if actual != crc {
            notices.add(format!(
                "{} is not the debug file of {}: its checksum is {actual:08x}, not {crc:08x}",
                candidate.display(),
                path.display()
            ));
            return None;
        }
        Some(found)
    })
}

fn other_build(candidate: &Path, id: &[u8], path: &Path, own: &[u8]) -> String {
    format!(
        "{} belongs to another build than {}: its build id is {}, not {}",
        candidate.display(),
        path.display(),
        hex(id),
        hex(own)
    )
}

fn linked_paths(path: &Path, name: &str, sources: &DebugSources) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = real.parent().unwrap_or(Path::new("/"));
    let below = folder.strip_prefix("/").unwrap_or(folder);
    let mut all = vec![folder.join(name), folder.join(".debug").join(name)];
    all.extend(sources.folders.iter().map(|root| root.join(below).join(name)));
    all.retain(|candidate| *candidate != real && candidate != path);
    all
}

/// The file of this build id below the folders; `ending` tells debug information from other kinds.
pub(crate) fn by_build_id(
    id: &[u8],
    ending: &str,
    sources: &DebugSources,
    path: &Path,
    notices: &Notices,
) -> Option<DebugFile> {
    let (first, rest) = id.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let below = format!(".build-id/{first:02x}/{}.{ending}", hex(rest));
    sources.folders.iter().find_map(|root| {
        let candidate = root.join(&below);
        let found = DebugFile::open(&candidate)?;
        match found.file.build_id().ok().flatten() {
            Some(own) if own == id => Some(found),
            own => {
                notices.add(other_build(&candidate, own.unwrap_or_default(), path, id));
                None
            }
        }
    })
}

/// The file that dwz moved common parts to, named by `.gnu_debugaltlink` or by `.debug_sup`.
pub(crate) fn supplement(
    holder: (&Path, &object::File<'static>),
    sources: &DebugSources,
    notices: &Notices,
) -> Option<DebugFile> {
    let (path, file) = holder;
    let (name, id) = match file.gnu_debugaltlink().ok().flatten() {
        Some((name, id)) => (name.to_vec(), id.to_vec()),
        None => supplement_link(crate::sections::section_of(file, ".debug_sup")?.data)?,
    };
    let name = PathBuf::from(String::from_utf8_lossy(&name).into_owned());
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut candidates = vec![real.parent().unwrap_or(Path::new("/")).join(&name)];
    if let Ok(below) = name.strip_prefix("/usr/lib/debug") {
        candidates.extend(sources.folders.iter().map(|root| root.join(below)));
    }
    if let Some(last) = name.file_name() {
        candidates.extend(sources.folders.iter().map(|root| root.join(".dwz").join(last)));
    }
    let found = candidates.iter().find_map(|candidate| {
        let found = DebugFile::open(candidate)?;
        let own = identity(&found.file);
        if own.as_deref() == Some(&id) {
            return Some(found);
        }
        notices.add(other_build(candidate, own.as_deref().unwrap_or_default(), path, &id));
        None
    });
    let found = found.or_else(|| by_build_id(&id, "debug", sources, path, notices));
    if found.is_none() {
        notices.add(format!(
            "{} refers to {}, which is not there: part of its debug information is missing",
            path.display(),
            name.display()
        ));
    }
    found
}

/// What a supplementary file is known by: its build id, else the checksum in its `.debug_sup`.
fn identity(file: &object::File<'static>) -> Option<Vec<u8>> {
    if let Some(id) = file.build_id().ok().flatten() {
        return Some(id.to_vec());
    }
    Some(read_sup(crate::sections::section_of(file, ".debug_sup")?.data)?.2)
}

/// Name and checksum, when the section refers to another file and is not that file's own.
fn supplement_link(data: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (is_supplement, name, checksum) = read_sup(data)?;
    (!is_supplement && !name.is_empty()).then_some((name, checksum))
}

fn read_sup(data: &[u8]) -> Option<(bool, Vec<u8>, Vec<u8>)> {
    let (version, rest) = data.split_at_checked(2)?;
    let (&is_supplement, rest) = rest.split_first()?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    let name = rest.get(..end)?.to_vec();
    let mut reader = gimli::EndianSlice::new(rest.get(end + 1..)?, gimli::LittleEndian);
    use gimli::Reader;
    let size = usize::try_from(reader.read_uleb128().ok()?).ok()?;
    let checksum = reader.slice().get(..size)?.to_vec();
    (version == [5, 0]).then_some((is_supplement != 0, name, checksum))
}

/// Places of a `.dwo` file: where the compiler put it, else beside the program, else in the folders.
pub(crate) fn split_paths(
    program: &Path,
    comp_dir: &str,
    name: &str,
    sources: &DebugSources,
) -> Vec<PathBuf> {
    let folder = program.parent().unwrap_or(Path::new("/"));
    let mut all = vec![Path::new(comp_dir).join(name), folder.join(name)];
    if let Some(last) = Path::new(name).file_name() {
        all.push(folder.join(last));
        all.extend(sources.folders.iter().map(|root| root.join(last)));
    }
    // A relative compilation folder would mean the folder that we happen to stand in.
    all.retain(|candidate| candidate.is_absolute() || folder.is_relative());
    all.dedup();
    all
}

/// Places of a `.dwp` package: beside the program or its debug file, else in the folders.
pub(crate) fn package_paths(program: &Path, sources: &DebugSources) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let mut all = Vec::new();
    for path in [program, real.as_path()] {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        let name = PathBuf::from(name);
        if let Some(last) = name.file_name() {
            all.extend(sources.folders.iter().map(|root| root.join(last)));
        }
        all.insert(0, path.with_extension("dwp"));
        all.insert(0, name);
    }
    all.dedup();
    all
}
