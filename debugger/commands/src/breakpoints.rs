//! Breakpoints: `break`, `tbreak`, `delete`, `enable`, `disable`, `condition`, `ignore`, `info breakpoints`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use trace::ThreadId;

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::linespec::Linespec;
use crate::output::Reply;
use crate::parse;
use crate::places::resolve;
use crate::points::{Kind, Place, Point};
use crate::printf::Template;

/// The body of `commands` while it is being typed.
#[derive(Debug)]
pub(crate) struct TypedCommands {
    ids: Vec<u32>,
    lines: Vec<String>,
}

impl Debugger {
    /// `commands [N…]`: the lines that follow, up to `end`, are run when a breakpoint stops.
    pub(crate) fn commands(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        let mut ids = parse::numbers(arguments).map_err(CommandError::Other)?;
        if ids.is_empty() {
            let last = self.points.all.last().map(|point| point.id);
            ids.extend(last);
        }
        if let Some(missing) = ids.iter().find(|id| self.points.get(**id).is_none()) {
            return Err(no_point(*missing));
        }
        if ids.is_empty() {
            return Err(CommandError::other("there is no breakpoint yet"));
        }
        self.typed = Some(TypedCommands { ids, lines: Vec::new() });
        Ok(Flow::Continue)
    }

    /// Takes a line of the body of `commands`.
    pub(crate) fn take_typed(&mut self, line: &str) {
        let Some(typed) = &mut self.typed else { return };
        if line != "end" {
            typed.lines.extend((!line.is_empty()).then(|| line.to_owned()));
            return;
        }
        let TypedCommands { ids, lines } =
            self.typed.take().unwrap_or(TypedCommands { ids: vec![], lines: vec![] });
        for id in ids {
            if let Some(point) = self.points.get_mut(id) {
                point.commands.clone_from(&lines);
            }
        }
    }

    /// `rbreak REGEX`: breakpoints at all functions whose names match.
    pub(crate) fn rbreak(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        /// More than this is hardly meant.
        const FUNCTIONS_MAX: usize = 1000;
        let wanted = pattern(arguments)?;
        let names = self.symbols()?.function_names(&|name| wanted.is_match(name), FUNCTIONS_MAX + 1);
        if names.is_empty() {
            return Err(CommandError::Other(format!("no function's name matches {arguments}")));
        }
        if names.len() > FUNCTIONS_MAX {
            return Err(CommandError::Other(format!(
                "more than {FUNCTIONS_MAX} functions match {arguments}: say more of the name"
            )));
        }
        for name in names {
            // Some have no code of their own.
            if let Err(error) = self.add_break(false, &name, None, reply) {
                reply.line(format!("{name}: {error}"));
            }
        }
        Ok(Flow::Continue)
    }

    /// `break [PLACE] [thread N] [if CONDITION]`.
    pub(crate) fn break_(
        &mut self,
        temporary: bool,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.add_break(temporary, arguments, None, reply)
    }

    /// A breakpoint, or a log point with its template.
    pub(crate) fn add_break(
        &mut self,
        temporary: bool,
        arguments: &str,
        template: Option<Template>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (place, condition) = parse::split_condition(arguments);
        let (place, thread) = self.split_thread(place)?;
        let spec = self.linespec(place)?;
        let places = self.addresses(&spec)?;
        if let Some(condition) = condition {
            self.check_condition(condition)?;
        }
        if places.is_empty() && !self.may_be_loaded(&spec) {
            return Err(self.no_such_place(&spec));
        }
        let image = self.image(self.thread()?)?;
        let of_image = (!places.is_empty()).then(|| (image, places.clone()));
        let kind = Kind::Break { spec, places: BTreeMap::from_iter(of_image) };
        let text = if place.is_empty() {
            places.first().map_or(String::new(), place_text)
        } else {
            place.to_owned()
        };
        let point = self.points.add(&text, kind, temporary);
        point.condition = condition.map(str::to_owned);
        point.thread = thread;
        point.template = template;
        let logs = point.template.is_some();
        let id = point.id;
        // Other programs of the recording may have the place too.
        self.find_places();
        let name = match temporary {
            _ if logs => "Dprintf",
            true => "Temporary breakpoint",
            false => "Breakpoint",
        };
        match places.as_slice() {
            [] => reply.line(format!(
                "{name} {id} ({text}) is pending: the program or library that has it comes later."
            )),
            [place] => reply.line(format!("{name} {id} at {:#x}{}", place.address, self.where_text(place))),
            [place, ..] => {
                reply.line(format!(
                    "{name} {id} at {:#x}: {text}. ({} locations)",
                    place.address,
                    places.len()
                ));
            }
        }
        reply.set(
            "breakpoint",
            json!({ "number": id, "places": places.iter().map(place_json).collect::<Vec<_>>() }),
        );
        Ok(Flow::Continue)
    }

    /// Cuts `… thread N` off a place.
    fn split_thread<'a>(&self, text: &'a str) -> Result<(&'a str, Option<ThreadId>), CommandError> {
        let padded = text.rfind("thread ").filter(|at| *at == 0 || text[..*at].ends_with(' '));
        let Some(at) = padded else { return Ok((text, None)) };
        let number = text[at + "thread ".len()..].trim();
        let thread = number.parse().ok().and_then(|number| self.threads.thread(number));
        let thread = thread.ok_or_else(|| {
            CommandError::Other(format!("there is no thread {number}; `info threads` lists them"))
        })?;
        Ok((text[..at].trim(), Some(thread)))
    }

    fn where_text(&self, place: &Place) -> String {
        match (&place.file, &place.function) {
            (Some(file), _) if place.line != 0 => {
                format!(": file {}, line {}.", self.short_path(file), place.line)
            }
            (_, Some(function)) => format!(" in {function}"),
            _ => String::new(),
        }
    }

    /// Some file that is mapped later has the place.
    fn may_be_loaded(&mut self, spec: &Linespec) -> bool {
        let everything = self.spaces.everything(self.session.view());
        !resolve(&everything, spec).is_empty()
    }

    /// A condition must at least be an expression.
    fn check_condition(&mut self, condition: &str) -> Result<(), CommandError> {
        if condition.is_empty() {
            return Err(CommandError::other("a condition must follow \"if\""));
        }
        if let Some(at) = parse::assignment(condition) {
            return Err(CommandError::Expression {
                message: "a condition cannot assign: compare with \"==\"".into(),
                column: condition[..at].chars().count() + 1,
                expression: condition.to_owned(),
            });
        }
        self.with_context(|context| context.check(condition))?
            .map_err(|error| CommandError::expression(condition, error))
    }

    /// Looks for the places of all breakpoints in every program that exists now, where its code has changed.
    pub(crate) fn find_places(&mut self) {
        if !self.points.wants_code_changes() {
            return;
        }
        let mut seen = Vec::new();
        for info in self.session.threads() {
            if seen.contains(&info.space) {
                continue;
            }
            seen.push(info.space);
            let (Ok((image, ..)), Ok(symbols)) =
                (self.session.program(info.thread), self.spaces.symbols(self.session.view(), info.thread))
            else {
                continue;
            };
            for point in self.points.all.iter_mut() {
                let Kind::Break { spec, places } = &mut point.kind else { continue };
                if matches!(spec, Linespec::Address(_)) {
                    continue;
                }
                let known = places.entry(image).or_default();
                for place in resolve(&symbols, spec) {
                    // A library that is unloaded later keeps its places: the way back leads through it.
                    if !known.iter().any(|other| other.address == place.address) {
                        known.push(place);
                    }
                }
            }
        }
    }

    /// `delete [breakpoints] [N…]`, `delete checkpoint N`.
    pub(crate) fn delete(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        let (word, rest) = parse::first_word(arguments);
        match word {
            "checkpoint" => return self.delete_mark(rest),
            "display" => return self.undisplay(rest),
            _ => {}
        }
        let list = if matches!(word, "breakpoints" | "breakpoint") { rest } else { arguments };
        if list.is_empty() {
            self.points.all.clear();
            return Ok(Flow::Continue);
        }
        for id in parse::numbers(list).map_err(CommandError::Other)? {
            if !self.points.remove(id) {
                return Err(no_point(id));
            }
        }
        Ok(Flow::Continue)
    }

    /// `clear PLACE`: removes the breakpoints there.
    pub(crate) fn clear(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let spec = self.linespec(arguments)?;
        let places = self.addresses(&spec)?;
        let at = |point: &Point| match &point.kind {
            Kind::Break { places: own, .. } => {
                own.values().flatten().any(|own| places.iter().any(|place| place.address == own.address))
            }
            Kind::Watch(_) | Kind::Catch(_) => false,
        };
        let gone: Vec<u32> = self.points.all.iter().filter(|point| at(point)).map(|point| point.id).collect();
        if gone.is_empty() {
            return Err(CommandError::other(
                "there is no breakpoint at this place; `info breakpoints` lists them",
            ));
        }
        self.points.all.retain(|point| !gone.contains(&point.id));
        let list = gone.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        reply.line(format!("Deleted breakpoint {list}"));
        Ok(Flow::Continue)
    }

    /// `enable [N…]` and `disable [N…]`.
    pub(crate) fn enable(&mut self, enabled: bool, arguments: &str) -> Result<Flow, CommandError> {
        let (word, rest) = parse::first_word(arguments);
        let list = if matches!(word, "breakpoints" | "breakpoint") { rest } else { arguments };
        let ids = parse::numbers(list).map_err(CommandError::Other)?;
        let all = ids.is_empty();
        if let Some(id) = ids.iter().find(|id| self.points.get(**id).is_none()) {
            return Err(no_point(*id));
        }
        let before: Vec<bool> = self.points.all.iter().map(|point| point.enabled).collect();
        for point in self.points.all.iter_mut().filter(|point| all || ids.contains(&point.id)) {
            point.enabled = enabled;
        }
        if let Err(error) = self.check_room() {
            self.points.all.iter_mut().zip(before).for_each(|(point, enabled)| point.enabled = enabled);
            return Err(error);
        }
        Ok(Flow::Continue)
    }

    /// `condition N [EXPRESSION]`.
    pub(crate) fn condition(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (number, condition) = parse::first_word(arguments);
        let id = self.point_number(number)?;
        let condition = match condition {
            "" => None,
            text => {
                self.check_condition(text)?;
                Some(text.to_owned())
            }
        };
        if condition.is_none() {
            reply.line(format!("Breakpoint {id} now unconditional."));
        }
        if let Some(point) = self.points.get_mut(id) {
            point.condition = condition;
        }
        Ok(Flow::Continue)
    }

    /// `ignore N COUNT`.
    pub(crate) fn ignore(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (number, count) = parse::first_word(arguments);
        let id = self.point_number(number)?;
        if count.is_empty() {
            return Err(CommandError::Usage {
                what: "a count must follow the number".into(),
                usage: "ignore N COUNT",
            });
        }
        let count = self.eval_number(count)?;
        if let Some(point) = self.points.get_mut(id) {
            point.ignore = count;
        }
        let crossings = match count {
            0 => "next time breakpoint".into(),
            1 => "next crossing of breakpoint".to_owned(),
            count => format!("next {count} crossings of breakpoint"),
        };
        match count {
            0 => reply.line(format!("Will stop {crossings} {id} is reached.")),
            _ => reply.line(format!("Will ignore {crossings} {id}.")),
        }
        Ok(Flow::Continue)
    }

    fn point_number(&self, text: &str) -> Result<u32, CommandError> {
        let id = text.parse().map_err(|_| match text {
            "" => CommandError::other("the number of a breakpoint is missing; `info breakpoints` lists them"),
            text => CommandError::Other(format!("\"{text}\" is no breakpoint's number")),
        })?;
        self.points.get(id).map(|point| point.id).ok_or_else(|| no_point(id))
    }

    /// `info breakpoints`.
    pub(crate) fn info_breakpoints(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.list_points("No breakpoints or watchpoints.", |_| true, reply)
    }

    /// `info watchpoints`.
    pub(crate) fn info_watchpoints(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.list_points("No watchpoints.", |point| matches!(point.kind, Kind::Watch(_)), reply)
    }

    fn list_points(
        &self,
        none: &str,
        wanted: impl Fn(&Point) -> bool,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let points: Vec<&Point> = self.points.all.iter().filter(|point| wanted(point)).collect();
        reply.set("breakpoints", points.iter().map(|point| point_json(point)).collect::<Vec<_>>());
        if points.is_empty() {
            reply.line(none);
            return Ok(Flow::Continue);
        }
        reply.line("Num     Type           Disp Enb Address            What");
        points.into_iter().for_each(|point| self.show_point(point, reply));
        Ok(Flow::Continue)
    }

    fn show_point(&self, point: &Point, reply: &mut Reply<'_>) {
        let disposition = if point.temporary { "del" } else { "keep" };
        let enabled = if point.enabled { "y" } else { "n" };
        let head = format!("{:<7} {:<14} {disposition:<4} {enabled:<3}", point.id, point.type_name());
        match &point.kind {
            Kind::Watch(watched) => reply.line(format!("{head} {:<18} {}", "", watched.expression)),
            Kind::Catch(catch) => reply.line(format!("{head} {:<18} {}", "", catch.title())),
            Kind::Break { places, .. } => {
                let all: Vec<&Place> = places.values().flatten().collect();
                match all.as_slice() {
                    [] => reply.line(format!("{head} {:<18} {}", "<PENDING>", point.text)),
                    [place] => {
                        reply.line(format!("{head} {:#018x} {}", place.address, self.what_text(place)))
                    }
                    places => {
                        reply.line(format!("{head} {:<18} {}", "<MULTIPLE>", point.text));
                        for (index, place) in places.iter().enumerate() {
                            let number = format!("{}.{}", point.id, index + 1);
                            let what = self.what_text(place);
                            reply.line(format!("{number:<28}{enabled:<3} {:#018x} {what}", place.address));
                        }
                    }
                }
            }
        }
        if let Some(template) = &point.template {
            reply.line(format!("\tprintf {}", template.text));
        }
        if let Some(condition) = &point.condition {
            reply.line(format!("\tstop only if {condition}"));
        }
        if let Some(thread) = point.thread {
            reply.line(format!("\tstop only in {}", self.thread_title(thread)));
        }
        point.commands.iter().for_each(|line| reply.line(format!("\t{line}")));
        match point.hits {
            0 => {}
            1 => reply.line("\tbreakpoint already hit 1 time"),
            hits => reply.line(format!("\tbreakpoint already hit {hits} times")),
        }
        if point.ignore > 0 {
            reply.line(format!("\tignore next {} hits", point.ignore));
        }
    }

    fn what_text(&self, place: &Place) -> String {
        let name = place.function.as_deref().unwrap_or("??");
        match &place.file {
            Some(file) if place.line != 0 => format!("in {name} at {}:{}", self.short_path(file), place.line),
            _ => format!("<{name}>"),
        }
    }
}

/// A regular expression as users write it.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, CommandError> {
    let built = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
    built.map_err(|error| CommandError::Other(format!("\"{text}\" is no regular expression: {error}")))
}

fn no_point(id: u32) -> CommandError {
    CommandError::Other(format!("there is no breakpoint number {id}; `info breakpoints` lists them"))
}

fn place_text(place: &Place) -> String {
    match &place.file {
        Some(file) if place.line != 0 => format!("{file}:{}", place.line),
        _ => format!("*{:#x}", place.address),
    }
}

fn place_json(place: &Place) -> Json {
    json!({
        "address": format!("{:#x}", place.address),
        "function": place.function,
        "file": place.file,
        "line": place.line,
    })
}

fn point_json(point: &Point) -> Json {
    let mut json = json!({
        "number": point.id,
        "type": point.type_name(),
        "text": point.text,
        "enabled": point.enabled,
        "temporary": point.temporary,
        "condition": point.condition,
        "hits": point.hits,
        "ignore": point.ignore,
    });
    match &point.kind {
        Kind::Break { places, .. } => {
            json["places"] = places.values().flatten().map(place_json).collect::<Vec<_>>().into();
        }
        Kind::Catch(catch) => json["catch"] = catch.title().into(),
        Kind::Watch(watched) => {
            json["address"] = format!("{:#x}", watched.address).into();
            json["bytes"] = watched.len.into();
        }
    }
    json
}
