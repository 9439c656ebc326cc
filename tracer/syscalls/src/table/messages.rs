//! System V and POSIX message queues, semaphores and shared memory segments (attaching is in `memory.rs`).

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    29 shmget(key: Int, size: Unsigned, shmflg: Flags);
    31 shmctl(shmid: Int, cmd: Int, buf: Shmctl);
    64 semget(key: Int, nsems: Int, semflg: Flags);
    65 semop(semid: Int, sops: In(ArgTimes(2, 6)), nsops: Uint) blocks;
    66 semctl(semid: Int, semnum: Int, cmd: Int, arg: Semctl);
    68 msgget(key: Int, msgflg: Flags);
    69 msgsnd(msqid: Int, msgp: In(Arg(2)), msgsz: Unsigned, msgflg: Flags) blocks;
    // The message is preceded by its type, a long that neither size counts.
    70 msgrcv(msqid: Int, msgp: MsgBuffer, msgsz: Unsigned, msgtyp: Long, msgflg: Flags) blocks;
    71 msgctl(msqid: Int, cmd: Int, buf: Msgctl);
    220 semtimedop(semid: Int, sops: In(ArgTimes(2, 6)), nsops: Uint, timeout: In(Const(16))) blocks;
    240 mq_open(name: Path, oflag: Flags, mode: Mode, attr: In(Const(64)));
    241 mq_unlink(name: Path);
    242 mq_timedsend(mqdes: Fd, msg_ptr: In(Arg(2)), msg_len: Unsigned, msg_prio: Uint, abs_timeout: In(Const(16))) blocks;
    243 mq_timedreceive(mqdes: Fd, msg_ptr: Out(RetUpTo(2)), msg_len: Unsigned, msg_prio: Out(Const(4)), abs_timeout: In(Const(16))) blocks;
    244 mq_notify(mqdes: Fd, sevp: In(Const(64)));
    245 mq_getsetattr(mqdes: Fd, newattr: In(Const(64)), oldattr: Out(Const(64)));
}
