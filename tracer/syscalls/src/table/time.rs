//! Clocks, timers and sleeping.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    // The time left is written when a signal interrupts the sleep.
    35 nanosleep(req: In(Const(16)), rem: OutAlways(Const(16))) blocks;
    36 getitimer(which: Int, curr_value: Out(Const(32)));
    37 alarm(seconds: Uint);
    38 setitimer(which: Int, new_value: In(Const(32)), old_value: Out(Const(32)));
    96 gettimeofday(tv: Out(Const(16)), tz: Out(Const(8)));
    100 times(buf: Out(Const(32)));
    // Copied back whatever the outcome.
    159 adjtimex(buf: InOutAlways(Const(208)));
    164 settimeofday(tv: In(Const(16)), tz: In(Const(8)));
    201 time(tloc: Out(Const(8)));
    // The id is written before the clock has its say.
    222 timer_create(clockid: Clock, sevp: In(Const(64)), timerid: InOutAlways(Const(4)));
    223 timer_settime(timerid: Int, flags: Flags, new_value: In(Const(32)), old_value: Out(Const(32)));
    224 timer_gettime(timerid: Int, curr_value: Out(Const(32)));
    225 timer_getoverrun(timerid: Int);
    226 timer_delete(timerid: Int);
    227 clock_settime(clockid: Clock, tp: In(Const(16)));
    228 clock_gettime(clockid: Clock, tp: Out(Const(16)));
    229 clock_getres(clockid: Clock, res: Out(Const(16)));
    230 clock_nanosleep(clockid: Clock, flags: Flags, request: In(Const(16)), remain: OutAlways(Const(16))) blocks;
    283 timerfd_create(clockid: Clock, flags: Flags);
    286 timerfd_settime(fd: Fd, flags: Flags, new_value: In(Const(32)), old_value: Out(Const(32)));
    287 timerfd_gettime(fd: Fd, curr_value: Out(Const(32)));
    305 clock_adjtime(clockid: Clock, buf: InOut(Const(208)));
}
