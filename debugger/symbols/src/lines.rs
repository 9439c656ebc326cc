//! The line table of one unit: rows in order of address, and the paths of its files.

use crate::debug::{Debug, Part, Unit};
use crate::image::R;
use gimli::AttributeValue;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Rows read of one unit at most.
const ROWS_MAX: usize = 20_000_000;

/// One row: from its address to the next row's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) address: u64,
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) is_stmt: bool,
    pub(crate) prologue_end: bool,
    pub(crate) end: bool,
}

/// Rows and files of one unit.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rows: OnceLock<Vec<Row>>,
    program: Option<gimli::IncompleteLineProgram<R>>,
    files: Vec<Arc<str>>,
    first_file: u64,
}

impl Lines {
    pub(crate) fn build(debug: &Debug, number: u32) -> Self {
        let Some(Part { dwarf, unit }) = debug.line_part(number) else { return Self::default() };
        let Some(program) = unit.line_program.clone() else { return Self::default() };
        let mut lines = files(dwarf, unit, program.header());
        lines.program = Some(program);
        lines
    }

    /// All rows; the line program runs on the first call, since most units are only asked for their files.
    pub(crate) fn rows(&self) -> &[Row] {
        self.rows.get_or_init(|| self.program.clone().map(read_rows).unwrap_or_default())
    }

    /// The path of a file by its number in the line table, absolute when the compiler told its folder.
    pub(crate) fn file(&self, file: u64) -> Option<&Arc<str>> {
        self.files.get(usize::try_from(file.checked_sub(self.first_file)?).ok()?)
    }

    /// File numbers with their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (u64, &Arc<str>)> {
        self.files.iter().enumerate().map(|(place, path)| (place as u64 + self.first_file, path))
    }

    /// The row that covers an address; of several at one address the last, as gdb takes it.
    pub(crate) fn row_at(&self, address: u64) -> Option<&Row> {
        let place = self.place_at(address)?;
        self.rows().get(place)
    }

    fn place_at(&self, address: u64) -> Option<usize> {
        let place = self.rows().partition_point(|row| row.address <= address).checked_sub(1)?;
        (!self.rows().get(place)?.end).then_some(place)
    }

    /// The span around an address over which the line stays the same: stepping goes on inside it.
    pub(crate) fn range_at(&self, address: u64) -> Option<(u64, u64)> {
        let place = self.place_at(address)?;
        let row = self.rows().get(place)?;
        let same = |other: &Row| !other.end && (other.line == row.line && other.file == row.file);
        let before = self.rows().get(..place)?.iter().rev().take_while(|other| same(other)).count();
        let start = self.rows().get(place - before)?.address;
        let after = self.rows().get(place..)?.iter().find(|other| !same(other) && other.address > address)?;
        Some((start, after.address))
    }

    /// The first address after a function's set-up: the row marked so, else the start of its second line.
    /// A function without a second row has no prologue to skip.
    pub(crate) fn after_prologue(&self, entry: u64, end: u64) -> u64 {
        let first = self.rows().partition_point(|row| row.address < entry);
        let rows = self.rows().get(first..).unwrap_or_default();
        let inside = || rows.iter().take_while(|row| row.address < end && !row.end);
        if let Some(marked) = inside().find(|row| row.prologue_end) {
            return marked.address;
        }
        // gcc repeats the opening line when the prologue is over: any second row with a line is the body.
        let second = inside().find(|row| row.address > entry && row.line != 0 && row.is_stmt);
        second.map_or(entry, |row| row.address)
    }
}

fn files(dwarf: &gimli::Dwarf<R>, unit: &Unit, header: &gimli::LineProgramHeader<R>) -> Lines {
    let first_file = if header.version() >= 5 { 0 } else { 1 };
    let text = |value: AttributeValue<R>| {
        dwarf.attr_string(unit, value).ok().map(|text| text.to_string_lossy().into_owned())
    };
    let comp_dir = unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let files = header.file_names().iter().map(|file| {
        let folder = file.directory(header).and_then(text).unwrap_or_default();
        let name = text(file.path_name()).unwrap_or_default();
        // `join` drops what stands before an absolute path, which is the rule of the format too.
        let path = Path::new(&comp_dir).join(folder).join(name);
        Arc::from(path.to_string_lossy().as_ref())
    });
    Lines { files: files.collect(), first_file, ..Lines::default() }
}

fn read_rows(program: gimli::IncompleteLineProgram<R>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut program = program.rows();
    let mut sequence = 0;
    for _ in 0..ROWS_MAX {
        let Ok(Some((_, row))) = program.next_row() else { break };
        let column = match row.column() {
            gimli::ColumnType::LeftEdge => 0,
            gimli::ColumnType::Column(column) => u32::try_from(column.get()).unwrap_or(0),
        };
        rows.push(Row {
            address: row.address(),
            file: u32::try_from(row.file_index()).unwrap_or(u32::MAX),
            line: row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0),
            column,
            is_stmt: row.is_stmt(),
            prologue_end: row.prologue_end(),
            end: row.end_sequence(),
        });
        if row.end_sequence() {
            // Dropped functions keep a sequence at address 0.
            if rows.get(sequence).is_some_and(|first: &Row| first.address == 0) {
                rows.truncate(sequence);
            }
            sequence = rows.len();
        }
    }
    // An end row must stand before the row of the next sequence that begins at the same address.
    rows.sort_by_key(|row| (row.address, !row.end));
    rows
}
