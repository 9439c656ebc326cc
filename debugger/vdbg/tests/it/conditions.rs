//! Conditional breakpoints and log points: evaluated inside the process, they stop where the slow way stops.

use std::sync::OnceLock;

use crate::support::{check, folder, record, session};

const PROGRAM: &str = r#"#include <stddef.h>
#include <stdint.h>

enum color { RED, GREEN = 7, BLUE };
struct inner { short small; unsigned char bytes[4]; };
struct node { struct node *next; long value; enum color color; struct inner inner; unsigned narrow : 3; };
struct node nodes[16];
struct node *head = &nodes[3];
int table[8];
unsigned limit = 3000000000u;
double ratio;
const char *name = "zero";

static int visit(struct node *node, int number, unsigned char byte, const int *numbers)
{
    long local = 3L * number - 20;
    node->value += number;
    table[number % 8] = (int)local;
    ratio = number / 4.0;
    return (int)local + byte + numbers[1];
}

int main(void)
{
    int sum = 0;
    for (int i = 0; i < 16; i++)
        nodes[i].next = i % 5 == 4 ? NULL : &nodes[(i + 1) % 16];
    for (int i = -40; i < 60; i++) {
        struct node *node = &nodes[i & 15];
        node->color = i % 3 == 0 ? GREEN : RED;
        node->inner.small = (short)(i * 700);
        node->inner.bytes[2] = (unsigned char)i;
        node->narrow = (unsigned)i & 7;
        sum += visit(node, i, (unsigned char)(i * 5), table);
    }
    return sum == 12345;
}
"#;

fn program() -> &'static str {
    static ONCE: OnceLock<String> = OnceLock::new();
    ONCE.get_or_init(|| record("conditions.c", PROGRAM))
}

/// Conditions that are compiled for the process, and some that are not.
const CONDITIONS: &[&str] = &[
    "number == 17",
    "number < -38",
    "number != 3 && number > 57",
    "local == 31 || local == -140",
    "byte > 250",
    "byte == 200 && number < 0",
    "node->value == 5",
    "node->value",
    "!node->value",
    "!(number > -39 && number < 58)",
    "node->color == GREEN && number > 55",
    "node->inner.small < -27000",
    "node->inner.bytes[2] == 250",
    "node->next == 0 && number > 50",
    "node->next && node->next->value > 70",
    "node->next->value > 60",
    "node == &nodes[3] && number > 40",
    "node - nodes == 4 && number > 40",
    "nodes[5].value > 80",
    "nodes[number & 15].inner.bytes[2] == 9",
    "numbers[2] == 46",
    "*numbers == -20",
    "table[number & 7] > 140",
    "number < limit",
    "number > 2000000000u",
    "(unsigned char)number == 216",
    "(short)(number * 1000) == -5536",
    "-number == 12",
    "~number == 12",
    "number % 20 == 0",
    "number / 10 == 3",
    "(number ^ 5) == 9",
    "(number | 8) == 29 && byte & 1",
    "node->narrow == 5 && number > 50",
    "ratio == 3.5",
    "name[0] == 'z' && number == 4",
    "$rdi == (long)&nodes[7] && number > 40",
    "head->next->value > 80",
    "sizeof(struct node) == number + 20",
    "head == &nodes[3] && number == -40",
    "node->next->next->next->value == 62",
];

/// Those of them that only the debugger evaluates.
const NOT_COMPILED: &[&str] = &[
    "node - nodes == 4 && number > 40",
    "number % 20 == 0",
    "number / 10 == 3",
    "node->narrow == 5 && number > 50",
    "ratio == 3.5",
];

#[test]
fn compiled_conditions_stop_where_others_do() {
    let mut commands = Vec::new();
    let lines = ["visit", "conditions.c:18", "conditions.c:20"];
    for (condition, line) in CONDITIONS.iter().zip(lines.iter().cycle()) {
        commands.extend([format!("echo {line}: {condition}\\n"), format!("tbreak {line}")]);
        commands.extend(["goto start", "c", "delete"].map(str::to_owned));
        commands.push(format!("break {line} if {condition}"));
        for command in ["c", "c", "rc", "goto end", "rc", "rc", "info b", "delete"] {
            commands.push(command.to_owned());
            if command.ends_with('c') {
                commands.extend(["p table", "info registers rdi rip rsp rax", "when"].map(str::to_owned));
            }
        }
    }
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let fast = session(program(), &commands);
    let slow = session(program(), &[&["set breakpoint condition-evaluation host"], &commands[..]].concat());
    for (fast, slow) in fast.split("\n\n").zip(slow.split("\n\n")) {
        assert_eq!(fast, slow);
    }
    assert_eq!(fast, slow);
    assert!(fast.matches("Breakpoint ").count() > 100, "{fast}");
}

#[test]
fn ordinary_conditions_are_compiled() {
    program();
    let path = folder().join("conditions");
    let mut symbols = symbols::Symbols::new(symbols::ImageCache::new());
    symbols.add_file(&path, "conditions", 0x10_0000).unwrap();
    let place = symbols.line_addresses("conditions.c", 18).first().unwrap().address;
    let frame = symbols.frame_at(place).unwrap();
    let context = symbols::Context::new(&symbols, &symbols::NoMemory, Some(&frame));
    for condition in CONDITIONS {
        let compiled = context.lower(condition).is_some();
        assert_eq!(compiled, !NOT_COMPILED.contains(condition), "{condition}");
    }
}

#[test]
fn a_log_point_prints_and_goes_on() {
    check(
        program(),
        &[
            "dprintf 18,\"%d: %ld %s %.2f %#x\\n\", number, node->value, name, ratio, byte",
            "condition 1 number > 56",
            "break 21 if number == 58",
            "continue",
            "info breakpoints",
            "delete 2",
            "next 9",
        ],
        r#"
Dprintf 1 at ADDR: file conditions.c, line 18.
Breakpoint 2 at ADDR: file conditions.c, line 21.
57: 63 zero 14.00 0x1d
58: 70 zero 14.25 0x22

Breakpoint 2, visit (node=ADDR <nodes+320>, number=58, byte=34 '"', numbers=ADDR <table>) at conditions.c:21
21	}
Num     Type           Disp Enb Address            What
1       dprintf        keep y   ADDR in visit at conditions.c:18
	printf "%d: %ld %s %.2f %#x\n", number, node->value, name, ratio, byte
	stop only if number > 56
	breakpoint already hit 2 times
2       breakpoint     keep y   ADDR in visit at conditions.c:21
	stop only if number == 58
	breakpoint already hit 1 time
59: 77 zero 14.50 0x27
main () at conditions.c:28
28	    for (int i = -40; i < 60; i++) {
"#,
    );
}

#[test]
fn a_log_point_prints_backwards_too() {
    let out = session(
        program(),
        &[
            "dprintf conditions.c:18,\"<%d>\\n\", number",
            "break conditions.c:18 if number == 53",
            "goto end",
            "reverse-continue",
            "printf \"[%5d|%-4c|%s]\\n\", number, 65, name",
        ],
    );
    assert!(out.contains("<59>\n<58>\n<57>\n<56>\n<55>\n<54>\n<53>\n\nBreakpoint 2, visit"), "{out}");
    assert!(out.ends_with("[   53|A   |zero]\n"), "{out}");
}

#[test]
fn what_a_log_point_lacks_is_said() {
    let out = session(program(), &["dprintf visit", "dprintf visit,\"%d\"", "dprintf visit,\"%d\",1+"]);
    assert!(out.contains("a place, a comma and a format are needed"), "{out}");
}
