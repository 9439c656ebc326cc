/* The agent: makes the program's system calls and logs what they did, without a stop.
 *
 * It never allocates, calls no library, and touches no vector registers (it is compiled with -mgeneral-regs-only). It
 * reads the program's memory only behind arguments that the kernel has just written to. What it cannot handle it leaves
 * to the recorder: agent_call returns 0, and the thread goes on to a `syscall` instruction that stops it.
 *
 * Which calls it handles, and what they write, is in table.h, which the build makes from the `syscalls` crate.
 */

#include "layout.h"
#include "clock.h"

/* How a call is looked at before and after. */
enum check {
	NOT_HANDLED,
	PLAIN,
	BLOCKS,
	READ,
	WRITE,
	OPEN,
	CLOSE,
	DUP,
	FCNTL,
	IOCTL,
	PRLIMIT,
	FUTEX,
	POLL,
	EPOLL,
	RECEIVE,
	CLOCK,
};

/* How much a call writes behind an argument. */
enum size {
	NOTHING,
	CONSTANT,	/* bytes */
	RETURNED,	/* as often as it returned, but at most the limit argument, this many bytes */
	ARGUMENT,	/* as often as the limit argument says, this many bytes */
	BITS,		/* as many bits as the limit argument says, in words */
};

struct out {
	u8 size;
	u8 argument;
	u8 limit;
	u8 always;	/* also when the call fails */
	u32 bytes;
};

struct call {
	u8 check;
	u8 argument32;	/* bit n: the kernel looks at the lower half of argument n only */
	struct out outs[4];
};

#include "table.h"

/* Classes of descriptors. 0: not known yet. */
#define CLASS_FILE 1		/* never blocks */
#define CLASS_OUTPUT 2		/* the recording's standard output */
#define CLASS_ERROR 4		/* the recording's standard error */
#define CLASS_WAITS 8		/* may block: a pipe, a socket, a terminal */
#define CLASS_SPECIAL 128	/* the recorder changes what it shows */

/* A record of the log has a head, the words that differ from the record before, and a piece for each argument that the
 * call wrote behind: a word with the argument and the length, and the bytes, filled up to words. The words: address behind
 * the call, result, registers. The first record has all of them. The `calls` module of the `trace` crate reads this. */
#define WORDS 17
#define HEAD_OUTPUT (1UL << 17)
#define HEAD_ERROR (1UL << 18)
#define HEAD_WRITES 20
#define HEAD_BYTES 32
#define PIECE_BYTES 3

struct control {
	u32 attention;
	u32 pause;
	u32 stage;
	u32 alone;
	u64 exit;
	u64 *hook;
	i64 result;
	u64 head;
	u64 count;
	u64 data;
	/* SAVED */
	u64 saved[15];
	u32 shared_files;
	u32 unlogged;
	u8 *classes;
	u64 proc_device;
	u64 output_device, output_inode;
	u64 error_device, error_inode;
	u64 last[WORDS];
	u64 end;	/* at replay: how many bytes of the log are to be served */
};

#define CONTROL ((volatile struct control *)CONTROL_START)

_Static_assert(__builtin_offsetof(struct control, attention) == ATTENTION, "layout");
_Static_assert(__builtin_offsetof(struct control, pause) == PAUSE, "layout");
_Static_assert(__builtin_offsetof(struct control, stage) == STAGE, "layout");
_Static_assert(__builtin_offsetof(struct control, exit) == EXIT, "layout");
_Static_assert(__builtin_offsetof(struct control, hook) == HOOK, "layout");
_Static_assert(__builtin_offsetof(struct control, result) == RESULT, "layout");
_Static_assert(__builtin_offsetof(struct control, saved) == SAVED, "layout");
_Static_assert(__builtin_offsetof(struct control, last) == LAST, "layout");
_Static_assert(__builtin_offsetof(struct control, end) == END, "layout");

i64 agent_plain_call(u64 number, u64 a, u64 b, u64 c);
i64 agent_main_call(void);

#define ERROR_LAST -4095

/* Numbers of the kernel's interface. */
#define SYS_poll 7
#define SYS_fstat 5
#define SYS_open 2
#define SYS_openat 257
#define SYS_fcntl 72
#define F_GETFL 3
#define O_NONBLOCK 04000
#define MSG_DONTWAIT 0x40
#define POLLIN 1
#define POLLOUT 4
#define PIPE_BUF 4096
#define EFAULT 14
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define O_TRUNC 01000
#define F_DUPFD 0
#define F_SETFL 4
#define F_DUPFD_CLOEXEC 1030
#define TCGETS 0x5401
#define TIOCGWINSZ 0x5413
#define FIONREAD 0x541b
#define FIONCLEX 0x5450
#define FIOCLEX 0x5451
#define FUTEX_COMMAND 0x7f
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10

/* struct stat: st_dev, st_ino, st_nlink, st_mode; 144 bytes in all. */
struct status {
	u64 device;
	u64 inode;
	u64 links;
	u32 mode;
	u8 rest[116];
};

static void copy_bytes(void *to, const volatile void *from, u64 bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

/* Where the arguments are among the saved registers. */
static const u8 places[6] = { 11, 10, 9, 6, 8, 7 };

static u64 argument(const struct call *call, int n)
{
	u64 value = CONTROL->saved[places[n]];
	return call->argument32 >> n & 1 ? (u32)value : value;
}

static u64 size_of(const struct call *call, const struct out *out, u64 times)
{
	u64 limit;
	switch (out->size) {
	case CONSTANT:
		return out->bytes;
	case RETURNED:
		limit = argument(call, out->limit);
		return (times < limit ? times : limit) * out->bytes;
	case ARGUMENT:
		return argument(call, out->limit) * out->bytes;
	case BITS:
		return (argument(call, out->limit) + 63) / 64 * 8;
	default:
		return 0;
	}
}

/* The flags of an open-like call. */
static u64 open_flags(void)
{
	switch (CONTROL->saved[14]) {
	case SYS_open:
		return CONTROL->saved[10];
	case SYS_openat:
		return CONTROL->saved[9];
	default:
		return O_TRUNC;
	}
}

/* The class of a descriptor; special when nothing is known of it. */
static u8 class_of(u64 descriptor)
{
	if ((u32)descriptor >= DESCRIPTORS || !CONTROL->classes || !CONTROL->classes[(u32)descriptor])
		return CLASS_SPECIAL;
	return CONTROL->classes[(u32)descriptor];
}

static void set_class(u64 descriptor, u8 class)
{
	if ((u32)descriptor < DESCRIPTORS && CONTROL->classes)
		CONTROL->classes[(u32)descriptor] = class;
}

/* What poll(2) says of a descriptor now: these events, errors, or 0. */
static u16 poll_now(u64 descriptor, u16 events)
{
	struct {
		u32 descriptor;
		u16 events, revents;
	} poll = { (u32)descriptor, events, 0 };
	return agent_plain_call(SYS_poll, (u64)&poll, 1, 0) == 1 ? poll.revents : 0;
}

static int never_waits(u64 descriptor)
{
	return agent_plain_call(SYS_fcntl, descriptor, F_GETFL, 0) & O_NONBLOCK;
}

/* Whether a read or write that might wait for others would be done at once: whole, or not at all. */
static int is_ready(u64 descriptor, u16 events)
{
	return never_waits(descriptor) || poll_now(descriptor, events) & events;
}

static u8 class_of_opened(u64 descriptor)
{
	struct status status;
	if (agent_plain_call(SYS_fstat, descriptor, (u64)&status, 0))
		return 0;
	u32 kind = status.mode & S_IFMT;
	if (kind != S_IFREG && kind != S_IFDIR || status.device == CONTROL->proc_device)
		return 0;
	if (status.device == CONTROL->output_device && status.inode == CONTROL->output_inode)
		return 0;
	if (status.device == CONTROL->error_device && status.inode == CONTROL->error_inode)
		return 0;
	return CLASS_FILE;
}

/* Whether the call may be made here; notes for the record go to `flags`. */
static int may_call(const struct call *call, u64 *flags)
{
	u8 class;
	u64 command;
	switch (call->check) {
	case PLAIN:
	case CLOSE:
	case DUP:
	case CLOCK:
		return 1;
	case BLOCKS:
		return CONTROL->alone;
	case READ:
		class = class_of(argument(call, 0));
		if (class & CLASS_SPECIAL)
			return 0;
		return class & CLASS_FILE || CONTROL->alone || is_ready(argument(call, 0), POLLIN);
	case WRITE:
		class = class_of(argument(call, 0));
		if (class & CLASS_SPECIAL || class & CLASS_FILE && CONTROL->shared_files)
			return 0;
		*flags = class & CLASS_ERROR ? HEAD_OUTPUT | HEAD_ERROR : class & CLASS_OUTPUT ? HEAD_OUTPUT : 0;
		if (class & CLASS_FILE || CONTROL->alone)
			return 1;
		if (argument(call, 2) > PIPE_BUF)
			return never_waits(argument(call, 0));
		return is_ready(argument(call, 0), POLLOUT);
	case RECEIVE:
		class = class_of(argument(call, 0));
		if (class & CLASS_SPECIAL || argument(call, 4) || argument(call, 5))
			return 0;
		return CONTROL->alone || argument(call, 3) & MSG_DONTWAIT || is_ready(argument(call, 0), POLLIN);
	case OPEN:
		/* It may cut off a file that is mapped shared. */
		return !CONTROL->shared_files || !(open_flags() & O_TRUNC);
	case FCNTL:
		command = argument(call, 1);
		return command <= F_SETFL || command == F_DUPFD_CLOEXEC;
	case IOCTL:
		command = argument(call, 1);
		return command == TCGETS || command == TIOCGWINSZ || command == FIONREAD
			|| command == FIONCLEX || command == FIOCLEX;
	case PRLIMIT:
		return argument(call, 2) == 0;
	case FUTEX:
		command = argument(call, 1) & FUTEX_COMMAND;
		if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET)
			return 1;
		return CONTROL->alone && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET);
	case POLL:
		return CONTROL->alone || (u32)argument(call, 2) == 0
			|| agent_plain_call(SYS_poll, argument(call, 0), argument(call, 1), 0) > 0;
	case EPOLL:
		/* An epoll instance that would report something is itself ready for reading. */
		return CONTROL->alone || (u32)argument(call, 3) == 0 || poll_now(argument(call, 0), POLLIN);
	default:
		return 0;
	}
}

/* Keeps the classes of descriptors up to date. */
static void note(const struct call *call, i64 result)
{
	u64 command;
	switch (call->check) {
	case OPEN:
		if (result >= 0)
			set_class(result, class_of_opened(result));
		break;
	case CLOSE:
		set_class(argument(call, 0), 0);
		break;
	case DUP:
		if (result >= 0)
			set_class(result, 0);
		break;
	case FCNTL:
		command = argument(call, 1);
		if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
			set_class(result, 0);
		break;
	}
}

static struct out ioctl_out(const struct call *call)
{
	static const struct out nothing;
	struct out out = { CONSTANT, 2, 0, 0, 0 };
	switch (argument(call, 1)) {
	case TCGETS:
		out.bytes = 36;
		return out;
	case TIOCGWINSZ:
		out.bytes = 8;
		return out;
	case FIONREAD:
		out.bytes = 4;
		return out;
	default:
		return nothing;
	}
}

/* At replay: gives the call what the log says. 0: it is not the next in the log, or nothing is left. */
static long serve(void)
{
	volatile struct control *control = CONTROL;
	u64 head = control->head;
	if (head >= control->end)
		return 0;
	const u64 *from = (const u64 *)(LOG_START + head);
	u64 record = *from++;
	for (int n = 0; n < WORDS; n++) {
		if (record >> n & 1)
			control->last[n] = *from++;
		if (n == 0 && control->last[n] != control->hook[HOOK_NEXT / 8])
			return 0;
		if (n > 1 && control->last[n] != control->saved[n - 2])
			return 0;
	}
	for (u64 n = record >> HEAD_WRITES & 15; n; n--) {
		u64 piece = *from++, bytes = piece >> PIECE_BYTES;
		copy_bytes((void *)control->saved[places[piece & 7]], from, bytes);
		from += (bytes + 7) / 8;
	}
	control->result = control->last[1];
	control->count++;
	control->head = head + (record >> HEAD_BYTES);
	control->stage = STAGE_AFTER;
	if (control->head >= control->end)
		control->pause = 1;
	return 1;
}

/* Writes the words that differ from the record before, and says which. In the first record these are all. */
static inline u64 *log_words(u64 *to, int first, i64 result, u64 *changed)
{
	/* Nobody else reads or writes these meanwhile. */
	struct control *control = (struct control *)CONTROL_START;
	u64 *last = control->last, differ = 0;
#pragma GCC unroll 17
	for (int n = 0; n < WORDS; n++) {
		u64 word = n == 0 ? control->hook[HOOK_NEXT / 8] : n == 1 ? (u64)result : control->saved[n - 2];
		if (word != last[n] || first) {
			last[n] = *to++ = word;
			differ |= 1UL << n;
		}
	}
	*changed = differ;
	return to;
}

/* Answers a call that asks for the time, without making it, and logs it. 0: it has to be made. */
static int answer_clock(u64 number)
{
	volatile struct control *control = CONTROL;
	u64 head = control->head, changed;
	struct reading reading;
	if (head + 8 + 8 * WORDS + 8 + sizeof reading.value > LOG_BYTES
	    || !agent_read_clock(number, control->saved[11], control->saved[10], &reading))
		return 0;
	control->stage = STAGE_AFTER;
	/* Where the program's address is wrong, the recorder has the call made outside. */
	agent_store_reading(&reading);
	control->result = reading.result;
	u64 *first = (u64 *)(LOG_START + head);
	u64 *to = log_words(first + 1, head == 0, reading.result, &changed);
	if (reading.words) {
		*to++ = reading.argument | reading.words * 8 << PIECE_BYTES;
		for (u64 n = 0; n < reading.words; n++)
			*to++ = reading.value[n];
		changed |= 1UL << HEAD_WRITES;
		control->data += reading.words * 8;
	}
	u64 at = (u64)to - LOG_START;
	*first = changed | (at - head) << HEAD_BYTES;
	control->count++;
	control->head = at;
	return 1;
}

/* Makes the call that the saved registers ask for. 0: the recorder has to. */
long agent_call(void)
{
	volatile struct control *control = CONTROL;
	if (control->end)
		return serve();
	u64 number = control->saved[14];
	if (control->attention || number >= CALLS)
		return 0;
	const struct call *call = &calls[number];
	if (call->check == NOT_HANDLED)
		return 0;
	if (call->check == CLOCK && answer_clock(number))
		return 1;
	struct out outs[4];
	u64 most = 8 + 8 * WORDS;
	for (int n = 0; n < 4; n++) {
		outs[n] = call->outs[n];
		if (n == 0 && call->check == IOCTL)
			outs[0] = ioctl_out(call);
		if (outs[n].size && argument(call, outs[n].argument)) {
			u64 bytes = size_of(call, &outs[n], -1UL);
			if (bytes > LOG_BYTES)
				return 0;
			most += 8 + bytes + 8;
		}
	}
	u64 head = control->head;
	u64 flags = 0;
	if (head + most > LOG_BYTES || !may_call(call, &flags))
		return 0;

	i64 result = agent_main_call();
	control->result = result;
	note(call, result);
	if (result == -EFAULT) {
		/* How much was written, nobody says: the recorder looks. */
		control->unlogged = 1;
		control->pause = 1;
		return 1;
	}
	u64 *first = (u64 *)(LOG_START + head);
	u64 changed, writes = 0, data = 0;
	u64 *to = log_words(first + 1, head == 0, result, &changed);
	for (int n = 0; n < 4; n++) {
		if (!outs[n].size)
			continue;
		u64 address = argument(call, outs[n].argument);
		if (!address || (result < 0 && result >= ERROR_LAST && !outs[n].always))
			continue;
		u64 bytes = size_of(call, &outs[n], result < 0 ? 0 : result);
		if (!bytes)
			continue;
		*to++ = outs[n].argument | bytes << PIECE_BYTES;
		copy_bytes(to, (void *)address, bytes);
		to += (bytes + 7) / 8;
		data += bytes;
		writes++;
	}
	u64 at = (u64)to - LOG_START;
	*first = changed | (result > 0 ? flags : 0) | writes << HEAD_WRITES | (at - head) << HEAD_BYTES;
	control->data += data;
	control->count++;
	control->head = at;
	return 1;
}
