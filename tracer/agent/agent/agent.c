/* The agent: makes the program's system calls and logs what they did, without a stop.
 *
 * It never allocates, calls no library, and touches no vector registers (it is compiled with -mgeneral-regs-only). It
 * reads the program's memory only behind arguments that the kernel has just written to. What it cannot handle it leaves
 * to the recorder: agent_call returns 0, and the thread goes on to a `syscall` instruction that stops it.
 *
 * Which calls it handles, and what they write, is in table.h, which the build makes from the `syscalls` crate.
 */

#include "agent.h"
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
	u8 count;	/* how many arguments it writes behind */
	struct out outs[4];
};

#include "table.h"

#define ERROR_LAST -4095

/* Numbers of the kernel's interface. */
#define SYS_poll 7
#define SYS_stat 4
#define SYS_fstat 5
#define SYS_open 2
#define SYS_openat 257
#define SYS_newfstatat 262
#define SYS_fcntl 72
#define F_GETFL 3
#define O_NONBLOCK 04000
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL 0x100
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
	u32 mode, user, group, padding;
	u64 of_device;
	i64 size;
	u8 rest[88];
};

/* A call that a thread is about to make. */
struct request {
	volatile struct area *area;
	const struct call *call;
};

static u64 argument(const struct request *request, int n)
{
	u64 value = request->area->saved[argument_places[n]];
	return request->call->argument32 >> n & 1 ? (u32)value : value;
}

static u64 size_of(const struct request *request, const struct out *out, u64 times)
{
	u64 limit;
	switch (out->size) {
	case CONSTANT:
		return out->bytes;
	case RETURNED:
		limit = argument(request, out->limit);
		return (times < limit ? times : limit) * out->bytes;
	case ARGUMENT:
		return argument(request, out->limit) * out->bytes;
	case BITS:
		return (argument(request, out->limit) + 63) / 64 * 8;
	default:
		return 0;
	}
}

/* The flags of an open-like call. */
static u64 open_flags(const struct request *request)
{
	switch (request->area->saved[SYSTEM_CALL_NUMBER]) {
	case SYS_open:
		return request->area->saved[10];
	case SYS_openat:
		return request->area->saved[9];
	default:
		return O_TRUNC;
	}
}

/* The class of a descriptor; special when nothing is known of it. */
static u8 class_of(const struct request *request, u64 descriptor)
{
	const u8 *classes = request->area->classes;
	if ((u32)descriptor >= DESCRIPTORS || !classes || !classes[(u32)descriptor])
		return CLASS_SPECIAL;
	return classes[(u32)descriptor];
}

static void set_class(const struct request *request, u64 descriptor, u8 class)
{
	if ((u32)descriptor < DESCRIPTORS && request->area->classes)
		request->area->classes[(u32)descriptor] = class;
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

/* Whether there is something in the file that is to be opened: cutting it off changes what others have mapped of it. */
static int has_contents(const struct request *request)
{
	volatile u64 *saved = request->area->saved;
	struct status status;
	int at = saved[SYSTEM_CALL_NUMBER] == SYS_openat;
	u64 path = at ? saved[10] : saved[11];
	i64 result = at ? agent_plain_call(SYS_newfstatat, saved[11], path, (u64)&status)
		: agent_plain_call(SYS_stat, path, (u64)&status, 0);
	return !result && (status.mode & S_IFMT) == S_IFREG && status.size;
}

/* Whether and how the call may be made here. */
enum way {
	REFUSED,	/* not here */
	HOLDING,	/* with the turn: it waits for nobody, or there is nobody who could wait meanwhile */
	RELEASING,	/* without the turn */
};

/* A call that may wait, and one that `ready` says would not. */
static enum way way_of_waiting(int ready)
{
	return ready ? HOLDING : CONTROL->outsiders ? REFUSED : RELEASING;
}

/* Whether others wait for the turn. Then a call that does not have to wait keeps it; if not, giving it up costs nothing, and
 * a thread that the call wakes can go on at once. */
static int turn_is_wanted(void)
{
	return CONTROL->outsiders || CONTROL->queued;
}

/* A call that never waits, but may wake another thread. */
static enum way way_of_waking(void)
{
	return CONTROL->alone || turn_is_wanted() ? HOLDING : RELEASING;
}

/* A call that waits until one of these events is there. */
static enum way way_of_transfer(const struct request *request, u16 events)
{
	if (CONTROL->alone)
		return HOLDING;
	if (!turn_is_wanted())
		return RELEASING;
	return way_of_waiting(is_ready(argument(request, 0), events));
}

/* How the call may be made; notes for the record go to `flags`. */
static enum way way_of(const struct request *request, u64 *flags)
{
	u8 class;
	u64 command;
	switch (request->call->check) {
	case PLAIN:
	case CLOSE:
	case DUP:
	case CLOCK:
		return HOLDING;
	case BLOCKS:
		return way_of_waiting(CONTROL->alone);
	case READ:
		class = class_of(request, argument(request, 0));
		if (class & CLASS_SPECIAL)
			return REFUSED;
		return class & CLASS_FILE ? HOLDING : way_of_transfer(request, POLLIN);
	case WRITE:
		class = class_of(request, argument(request, 0));
		if (class & CLASS_SPECIAL || class & CLASS_FILE && CONTROL->shared_files)
			return REFUSED;
		*flags = class & CLASS_ERROR ? 1UL << HEAD_OUTPUT_BIT | 1UL << HEAD_ERROR_BIT
			: class & CLASS_OUTPUT ? 1UL << HEAD_OUTPUT_BIT : 0;
		if (class & CLASS_FILE)
			return HOLDING;
		if (argument(request, 2) > PIPE_BUF && !CONTROL->alone)
			return way_of_waiting(never_waits(argument(request, 0)));
		return way_of_transfer(request, POLLOUT);
	case RECEIVE:
		class = class_of(request, argument(request, 0));
		if (class & CLASS_SPECIAL || argument(request, 4) || argument(request, 5))
			return REFUSED;
		if (argument(request, 3) & MSG_DONTWAIT)
			return HOLDING;
		/* That there is something does not mean that there is enough. */
		if (argument(request, 3) & MSG_WAITALL)
			return way_of_waiting(CONTROL->alone);
		return way_of_transfer(request, POLLIN);
	case OPEN:
		return open_flags(request) & O_TRUNC && (CONTROL->shared_files || has_contents(request)) ? REFUSED : HOLDING;
	case FCNTL:
		command = argument(request, 1);
		return command <= F_SETFL || command == F_DUPFD_CLOEXEC ? HOLDING : REFUSED;
	case IOCTL:
		command = argument(request, 1);
		return command == TCGETS || command == TIOCGWINSZ || command == FIONREAD
			|| command == FIONCLEX || command == FIOCLEX ? HOLDING : REFUSED;
	case PRLIMIT:
		return argument(request, 2) ? REFUSED : HOLDING;
	case FUTEX:
		command = argument(request, 1) & FUTEX_COMMAND;
		if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET)
			return way_of_waking();
		if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET)
			return way_of_waiting(CONTROL->alone);
		return REFUSED;
	case POLL:
		return way_of_waiting(CONTROL->alone || (u32)argument(request, 2) == 0 || turn_is_wanted()
			&& agent_plain_call(SYS_poll, argument(request, 0), argument(request, 1), 0) > 0);
	case EPOLL:
		/* An epoll instance that would report something is itself ready for reading. */
		return way_of_waiting(CONTROL->alone || (u32)argument(request, 3) == 0 || turn_is_wanted()
			&& poll_now(argument(request, 0), POLLIN));
	default:
		return REFUSED;
	}
}

/* Keeps the classes of descriptors up to date. */
static void note(const struct request *request, i64 result)
{
	u64 command;
	switch (request->call->check) {
	case OPEN:
		if (result >= 0)
			set_class(request, result, class_of_opened(result));
		break;
	case CLOSE:
		set_class(request, argument(request, 0), 0);
		break;
	case DUP:
		if (result >= 0)
			set_class(request, result, 0);
		break;
	case FCNTL:
		command = argument(request, 1);
		if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
			set_class(request, result, 0);
		break;
	}
}

static struct out ioctl_out(const struct request *request)
{
	static const struct out nothing;
	struct out out = { CONSTANT, 2, 0, 0, 0 };
	switch (argument(request, 1)) {
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

/* Answers a call that asks for the time, without making it, and logs it. 0: it has to be made. */
static int answer_clock(volatile struct area *area, u64 number)
{
	struct reading reading;
	if (CONTROL->head + CONTROL->reserved + RECORD_BYTES + 8 + sizeof reading.value + RECORD_BYTES > LOG_BYTES
	    || !agent_read_clock(number, area->saved[11], area->saved[10], &reading))
		return 0;
	area->stage = STAGE_AFTER;
	/* Where the program's address is wrong, the recorder has the call made outside. */
	agent_store_reading(&reading);
	area->result = reading.result;
	u64 *to = begin_record(area, 0);
	if (reading.words) {
		*to++ = reading.argument | reading.words * 8 << PIECE_BYTES_SHIFT;
		for (u64 n = 0; n < reading.words; n++)
			*to++ = reading.value[n];
	}
	end_record(to, 0, reading.words != 0);
	return 1;
}

/* Makes the call that the saved registers ask for. 0: the recorder has to. */
long agent_call(volatile struct area *area)
{
	volatile struct control *control = CONTROL;
	area->next = area->hook[HOOK_NEXT / 8];
	if (control->end)
		return serve(area);
	u64 number = area->saved[SYSTEM_CALL_NUMBER];
	if (control->attention || number >= CALLS)
		return 0;
	const struct request request = { area, &calls[number] };
	const struct call *call = request.call;
	if (call->check == NOT_HANDLED)
		return 0;
	if (call->check == CLOCK && answer_clock(area, number))
		return 1;
	struct out own_out;
	const struct out *outs = call->outs;
	int count = call->count;
	if (call->check == IOCTL) {
		own_out = ioctl_out(&request);
		outs = &own_out;
		count = own_out.size != NOTHING;
	}
	u64 most = RECORD_BYTES;
	for (int n = 0; n < count; n++) {
		if (argument(&request, outs[n].argument)) {
			u64 bytes = size_of(&request, &outs[n], -1UL);
			if (bytes > LOG_BYTES)
				return 0;
			most += 8 + bytes + 8;
		}
	}
	/* Another thread's entry may come before the record. */
	if (control->head + control->reserved + most + RECORD_BYTES > LOG_BYTES)
		return 0;
	u64 flags = 0;
	enum way way = way_of(&request, &flags);
	if (way == REFUSED)
		return 0;
	if (way == RELEASING) {
		area->reserved = most + RECORD_BYTES;
		control->reserved += area->reserved;
		give_up_turn(area);
	}
	i64 result = agent_main_call(area);
	area->result = result;
	if (way == RELEASING) {
		take_turn(area);
		control->reserved -= area->reserved;
		area->reserved = 0;
		if (area->report)
			control->pause = 1;
	}
	note(&request, result);
	if (result == -EFAULT) {
		/* How much was written, nobody says: the recorder looks. */
		area->unlogged = 1;
		control->pause = 1;
		return 1;
	}
	u64 *to = begin_record(area, area->announced ? 1UL << HEAD_RETURN_BIT : 0), writes = 0;
	for (int n = 0; n < count; n++) {
		u64 address = argument(&request, outs[n].argument);
		if (!address || (result < 0 && result >= ERROR_LAST && !outs[n].always))
			continue;
		u64 bytes = size_of(&request, &outs[n], result < 0 ? 0 : result);
		if (!bytes)
			continue;
		*to++ = outs[n].argument | bytes << PIECE_BYTES_SHIFT;
		copy_bytes(to, (void *)address, bytes);
		to += (bytes + 7) / 8;
		writes++;
	}
	area->announced = 0;
	end_record(to, result > 0 ? flags : 0, writes);
	return 1;
}
