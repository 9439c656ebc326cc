//! Who the process acts for: users, groups, capabilities, keys and security modules.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    102 getuid();
    104 getgid();
    105 setuid(uid: Id);
    106 setgid(gid: Id);
    107 geteuid();
    108 getegid();
    113 setreuid(ruid: Id, euid: Id);
    114 setregid(rgid: Id, egid: Id);
    115 getgroups(size: Int, list: Out(RetTimesUpTo(0, 4)));
    116 setgroups(size: Int, list: In(ArgTimes(0, 4)));
    117 setresuid(ruid: Id, euid: Id, suid: Id);
    118 getresuid(ruid: Out(Const(4)), euid: Out(Const(4)), suid: Out(Const(4)));
    119 setresgid(rgid: Id, egid: Id, sgid: Id);
    120 getresgid(rgid: Out(Const(4)), egid: Out(Const(4)), sgid: Out(Const(4)));
    122 setfsuid(fsuid: Id);
    123 setfsgid(fsgid: Id);
    // An unknown version in the header is replaced by the kernel's own, on EINVAL too.
    125 capget(hdrp: InOutAlways(Const(8)), datap: CapData);
    126 capset(hdrp: InOutAlways(Const(8)), datap: In(Const(24)));
    248 add_key(type: Path, description: Path, payload: In(Arg(3)), plen: Unsigned, keyring: Int);
    249 request_key(type: Path, description: Path, callout_info: Path, dest_keyring: Int) blocks;
    250 keyctl(operation: Int, arg2: Keyctl, arg3: Hex, arg4: Hex, arg5: Hex) blocks;
    444 landlock_create_ruleset(attr: In(Arg(1)), size: Unsigned, flags: Flags);
    445 landlock_add_rule(ruleset_fd: Fd, rule_type: Int, rule_attr: In(Const(16)), flags: Flags);
    446 landlock_restrict_self(ruleset_fd: Fd, flags: Flags);
    // E2BIG and EMSGSIZE write the size that was needed.
    459 lsm_get_self_attr(attr: Uint, ctx: Out(PtrU32(2)), size: InOutAlways(Const(4)), flags: Flags);
    460 lsm_set_self_attr(attr: Uint, ctx: In(Arg(2)), size: Uint, flags: Flags);
    461 lsm_list_modules(ids: Out(PtrU32(1)), size: InOutAlways(Const(4)), flags: Flags);
}
