//! Conditions of breakpoints in the form that the session evaluates inside the replayed process.
//!
//! What cannot be said in that form is left to the referee, which evaluates the user's text at every visit; it also has
//! the last word at each stop. So the form must hold at least wherever the text does.

use std::collections::HashMap;
use std::rc::Rc;

use symbols::{Arithmetic, Comparison, Context, NoMemory, Symbols, Test, Word};
use trace::ThreadId;
use tracer::{Operation, Predicate, RegisterNumber, Relation, Size, Stops, Term, Width};

use crate::debugger::Debugger;

/// Forms kept; more are made again.
const FORMS_MAX: usize = 1024;

/// Program, address and text.
type Key = (u64, u64, String);

/// Forms of conditions, with the modules they were made for.
#[derive(Default)]
pub(crate) struct Conditions {
    forms: HashMap<Key, (Rc<Symbols>, Option<Predicate>)>,
}

impl Debugger {
    /// Gives each breakpoint the form of its condition, if it has one.
    pub(crate) fn lower_conditions(&mut self, stops: &mut Stops) {
        if self.settings.conditions_by_host {
            return;
        }
        for point in &mut stops.breakpoints {
            let condition = self.points.get(point.id).and_then(|known| known.condition.clone());
            let Some(condition) = condition else { continue };
            point.condition = self.lower_condition(point.image, point.address, condition);
        }
    }

    fn lower_condition(&mut self, image: u64, address: u64, text: String) -> Option<Predicate> {
        let threads = self.session.threads();
        let of_image =
            |thread: &ThreadId| self.session.program(*thread).is_ok_and(|program| program.0 == image);
        let thread = threads.iter().map(|info| info.thread).find(of_image)?;
        let symbols = self.spaces.symbols(self.session.view(), thread).ok()?;
        // What convenience variables hold may change.
        if text.contains('$') {
            return self.lower_at(&symbols, address, &text);
        }
        let key = (image, address, text);
        if let Some((of, form)) = self.conditions.forms.get(&key)
            && Rc::ptr_eq(of, &symbols)
        {
            return form.clone();
        }
        let form = self.lower_at(&symbols, address, &key.2);
        if self.conditions.forms.len() >= FORMS_MAX {
            self.conditions.forms.clear();
        }
        self.conditions.forms.insert(key, (symbols, form.clone()));
        form
    }

    fn lower_at(&self, symbols: &Symbols, address: u64, text: &str) -> Option<Predicate> {
        let frame = symbols.frame_at(address)?;
        let lookup = |name: &str| self.values.lookup(name);
        let context = Context::new(symbols, &NoMemory, Some(&frame)).with_convenience(&lookup);
        predicate(&context.lower(text)?)
    }
}

fn predicate(test: &Test) -> Option<Predicate> {
    let all = |parts: &[Test]| parts.iter().map(predicate).collect::<Option<Vec<_>>>();
    Some(match test {
        Test::Compare { left, comparison, signed, right } => {
            let relation = relation(*comparison, *signed);
            Predicate::Compare { left: term(left)?, relation, right: term(right)? }
        }
        Test::All(parts) => Predicate::All(all(parts)?),
        Test::Any(parts) => Predicate::Any(all(parts)?),
    })
}

fn relation(comparison: Comparison, signed: bool) -> Relation {
    match (comparison, signed) {
        (Comparison::Equal, _) => Relation::Equal,
        (Comparison::NotEqual, _) => Relation::NotEqual,
        (Comparison::Less, true) => Relation::Less,
        (Comparison::Less, false) => Relation::Below,
        (Comparison::LessOrEqual, true) => Relation::LessOrEqual,
        (Comparison::LessOrEqual, false) => Relation::BelowOrEqual,
        (Comparison::Greater, true) => Relation::Greater,
        (Comparison::Greater, false) => Relation::Above,
        (Comparison::GreaterOrEqual, true) => Relation::GreaterOrEqual,
        (Comparison::GreaterOrEqual, false) => Relation::AboveOrEqual,
    }
}

fn term(word: &Word) -> Option<Term> {
    /// Numbers of the registers' encodings, in DWARF's order (System V ABI for AMD64, figure 3.36).
    const ENCODINGS: [u8; 16] = [0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];
    let width = |size: u64, signed: bool| Some(Width { size: Size::of_bytes(size)?, signed });
    let boxed = |word: &Word| term(word).map(Box::new);
    Some(match word {
        Word::Constant(number) => Term::Constant(*number),
        Word::Register(number) => Term::Register(RegisterNumber::new(*ENCODINGS.get(usize::from(*number))?)?),
        Word::Load { address, size, signed } => {
            Term::Load { address: boxed(address)?, width: width(*size, *signed)? }
        }
        Word::Cut { of, size, signed } => Term::Cut { of: boxed(of)?, width: width(*size, *signed)? },
        Word::Combined { operation, left, right } => {
            let operation = match operation {
                Arithmetic::Add => Operation::Add,
                Arithmetic::Subtract => Operation::Subtract,
                Arithmetic::Multiply => Operation::Multiply,
                Arithmetic::And => Operation::And,
                Arithmetic::Or => Operation::Or,
                Arithmetic::Xor => Operation::Xor,
            };
            Term::Combined { operation, left: boxed(left)?, right: boxed(right)? }
        }
    })
}
