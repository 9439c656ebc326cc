//! The rows against the list of Linux 6.12, and against themselves.

use syscalls::{Kind, all, by_name, lookup};

/// Numbers and names of `arch/x86/entry/syscalls/syscall_64.tbl` in Linux 6.12, without x32.
const LINUX_6_12: &str = include_str!("../data/x86_64-6.12.txt");

/// Calls that came after 6.12.
const NEWER: &[(u32, &str)] = &[
    (336, "uprobe"),
    (463, "setxattrat"),
    (464, "getxattrat"),
    (465, "listxattrat"),
    (466, "removexattrat"),
    (467, "open_tree_attr"),
    (468, "file_getattr"),
    (469, "file_setattr"),
    (470, "listns"),
    (471, "rseq_slice_yield"),
];

fn linux_6_12() -> impl Iterator<Item = (u32, &'static str)> {
    LINUX_6_12.lines().map(|line| {
        let (nr, name) = line.split_once(' ').expect("a number and a name");
        (nr.parse().expect("a number"), name)
    })
}

#[test]
fn every_call_of_linux_6_12_has_its_row() {
    assert_eq!(linux_6_12().count(), 375);
    for (nr, name) in linux_6_12() {
        let row = lookup(nr.into()).unwrap_or_else(|| panic!("{nr} {name} has no row"));
        assert_eq!((row.nr, row.name), (nr, name));
        assert_eq!(by_name(name).map(|row| row.nr), Some(nr));
    }
}

#[test]
fn no_other_call_has_one() {
    let extra: Vec<_> = all()
        .map(|row| (row.nr, row.name))
        .filter(|row| !linux_6_12().any(|known| known == *row) && !NEWER.contains(row))
        .collect();
    assert_eq!(extra, []);
    assert!(lookup(400).is_none());
    assert!(lookup(1 << 30).is_none(), "x32");
    assert!(by_name("nonesuch").is_none());
}

#[test]
fn arguments_refer_to_numbers_of_their_own_row() {
    for row in all() {
        assert!(row.args.len() <= 6, "{}", row.name);
        for (index, arg) in row.args.iter().enumerate() {
            let Some(other) = arg.kind.arg() else { continue };
            let Some(target) = row.args.get(usize::from(other)) else {
                panic!("{}: {} refers to argument {other}", row.name, arg.name)
            };
            assert_ne!(index, usize::from(other), "{}: {} refers to itself", row.name, arg.name);
            let pointer = matches!(arg.kind, Kind::SockaddrOut(_))
                || matches!(arg.kind, Kind::Out(size) if matches!(size, syscalls::Size::PtrU32(_)));
            let number = !target.kind.is_written() && !matches!(target.kind, Kind::In(_) | Kind::Path);
            assert_eq!(number, !pointer, "{}: {} takes its size from {}", row.name, arg.name, target.name);
        }
    }
}

#[test]
fn names_of_arguments_are_unlike_each_other() {
    for row in all() {
        for (index, arg) in row.args.iter().enumerate() {
            assert!(
                row.args[..index].iter().all(|other| other.name != arg.name),
                "{}: {}",
                row.name,
                arg.name
            );
        }
    }
}
