//! Breakpoints and watchpoints as the user knows them: values, without a session.

use std::collections::BTreeMap;

use symbols::Type;
use trace::ThreadId;

use crate::catches::Catch;
use crate::linespec::Linespec;
use crate::printf::Template;

/// Numbers from here on are the engine's own, never shown.
pub(crate) const INTERNAL: u32 = 1 << 30;

/// A place of a breakpoint in one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) function: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: u32,
}

/// What a point stops at.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Break {
        spec: Linespec,
        /// The file that a bare line belongs to was put into `spec` when it was set.
        places: BTreeMap<u64, Vec<Place>>,
    },
    Watch(Watched),
    /// Events of the recording.
    Catch(Catch),
}

/// What a watchpoint watches.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) expression: String,
    pub(crate) address: u64,
    pub(crate) len: u64,
    pub(crate) ty: Option<Type>,
    pub(crate) reads: bool,
    /// Writes count too (`awatch`); `rwatch` stops at reads alone.
    pub(crate) writes: bool,
    pub(crate) image: u64,
    /// The frame a local variable lives in.
    pub(crate) scope: Option<Scope>,
}

/// A frame by thread and canonical frame address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) thread: ThreadId,
    pub(crate) cfa: u64,
    /// Entry of its function.
    pub(crate) function: Option<u64>,
}

/// A breakpoint or watchpoint.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) id: u32,
    /// The place as the user wrote it.
    pub(crate) text: String,
    pub(crate) kind: Kind,
    pub(crate) enabled: bool,
    pub(crate) temporary: bool,
    pub(crate) condition: Option<String>,
    /// So many hits are passed over.
    pub(crate) ignore: u64,
    pub(crate) hits: u64,
    /// Only this thread.
    pub(crate) thread: Option<ThreadId>,
    /// It prints this and does not stop.
    pub(crate) template: Option<Template>,
    /// Commands that are run when it stops.
    pub(crate) commands: Vec<String>,
}

impl Point {
    /// Type as `info breakpoints` shows it.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Break { .. } if self.template.is_some() => "dprintf",
            Kind::Break { .. } => "breakpoint",
            Kind::Watch(watched) => watched.name(),
            Kind::Catch(_) => "catchpoint",
        }
    }
}

impl Watched {
    /// gdb's name for the kind.
    pub(crate) fn name(&self) -> &'static str {
        match (self.reads, self.writes) {
            (false, _) => "hw watchpoint",
            (true, true) => "acc watchpoint",
            (true, false) => "read watchpoint",
        }
    }

    /// gdb's name for the kind in sentences.
    pub(crate) fn title(&self) -> &'static str {
        match (self.reads, self.writes) {
            (false, _) => "Hardware watchpoint",
            (true, true) => "Hardware access (read/write) watchpoint",
            (true, false) => "Hardware read watchpoint",
        }
    }
}

/// All points, with their numbers.
#[derive(Debug, Default)]
pub(crate) struct Points {
    last: u32,
    pub(crate) all: Vec<Point>,
}

impl Points {
    /// Adds a point and returns its number.
    pub(crate) fn add(&mut self, text: &str, kind: Kind, temporary: bool) -> &mut Point {
        self.last += 1;
        let index = self.all.len();
        self.all.push(Point {
            id: self.last,
            text: text.to_owned(),
            kind,
            enabled: true,
            temporary,
            condition: None,
            ignore: 0,
            hits: 0,
            thread: None,
            template: None,
            commands: Vec::new(),
        });
        &mut self.all[index]
    }

    /// Puts back points that were set aside, in place of those that came meanwhile, whose numbers are given back.
    pub(crate) fn take_back(&mut self, kept: Vec<Point>) {
        self.last = self.last.saturating_sub(self.all.len() as u32);
        self.all = kept;
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Point> {
        self.all.iter().find(|point| point.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Point> {
        self.all.iter_mut().find(|point| point.id == id)
    }

    pub(crate) fn remove(&mut self, id: u32) -> bool {
        let before = self.all.len();
        self.all.retain(|point| point.id != id);
        self.all.len() != before
    }

    /// Some breakpoint may have places in code that is not mapped yet.
    pub(crate) fn wants_code_changes(&self) -> bool {
        self.all.iter().any(|point| {
            point.enabled
                && matches!(&point.kind, Kind::Break { spec, .. } if !matches!(spec, Linespec::Address(_)))
        })
    }

    /// The enabled points as the session takes them.
    pub(crate) fn stops(&self) -> tracer::Stops {
        let mut stops = tracer::Stops::default();
        for point in self.all.iter().filter(|point| point.enabled) {
            match &point.kind {
                Kind::Break { places, .. } => {
                    let of_image = |(image, places): (&u64, &Vec<Place>)| {
                        let image = *image;
                        let point = |place: &Place| tracer::Breakpoint {
                            id: point.id,
                            address: place.address,
                            image,
                            condition: None,
                        };
                        places.iter().map(point).collect::<Vec<_>>()
                    };
                    stops.breakpoints.extend(places.iter().flat_map(of_image));
                }
                Kind::Catch(_) => {}
                Kind::Watch(watched) => stops.watchpoints.push(tracer::Watchpoint {
                    id: point.id,
                    address: watched.address,
                    len: watched.len,
                    reads: watched.reads,
                    image: watched.image,
                }),
            }
        }
        stops
    }

    /// How many debug registers the enabled watchpoints take.
    pub(crate) fn pieces(&self) -> usize {
        let stops = self.stops();
        let pieces =
            |point: &tracer::Watchpoint| tracer::Watch::pieces(point.address, point.len, point.reads).len();
        stops.watchpoints.iter().map(pieces).sum()
    }
}
