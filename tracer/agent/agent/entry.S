/* Entry and exit of the agent, and the only `syscall` instructions that the safety net lets through.
 *
 * A hooked `syscall` instruction jumps to its trampoline, which loads the address of its data into rcx and jumps here.
 * rcx and r11 are free, because the instruction would have overwritten them; everything else is the program's, also the
 * flags and the bytes below its stack pointer.
 *
 * Only one thread of the recorded processes executes at any time, and the recorder never takes the turn from one that is
 * in here. So there is one stack, and one place for the registers.
 */

#include "layout.h"

#define AT(offset) CONTROL_START + offset

	.text
	.globl agent_entry, agent_saved, agent_called, agent_restore, agent_pause, agent_end
	.globl agent_plain_call, agent_main_call, agent_main_instruction, agent_main_return, agent_gadget
	.globl agent_asm_end, agent_end, agent_clocks

agent_entry:
	mov	%rsp, AT(RSP)
	mov	$(CONTROL_START + RFLAGS + 8), %esp
	pushfq
	mov	%r15, AT(R15)
	mov	%r14, AT(R14)
	mov	%r13, AT(R13)
	mov	%r12, AT(R12)
	mov	%rbp, AT(RBP)
	mov	%rbx, AT(RBX)
	mov	%r10, AT(R10)
	mov	%r9, AT(R9)
	mov	%r8, AT(R8)
	mov	%rdx, AT(RDX)
	mov	%rsi, AT(RSI)
	mov	%rdi, AT(RDI)
	mov	%rax, AT(RAX)
	mov	%rcx, AT(HOOK)
	movl	$STAGE_BEFORE, AT(STAGE)
agent_saved:
	mov	$STACK_END, %esp
	cld
	call	agent_call
agent_called:
	mov	AT(HOOK), %rcx
	test	%eax, %eax
	jz	1f
	mov	HOOK_CONTINUE(%rcx), %r11
	mov	AT(RESULT), %rax
	cmpl	$0, AT(PAUSE)
	jne	agent_pause
	jmp	agent_restore
1:	mov	HOOK_TRACED(%rcx), %r11
	mov	AT(RAX), %rax
agent_restore:
	mov	%r11, AT(EXIT)
	mov	HOOK_NEXT(%rcx), %rcx
	mov	AT(R10), %r10
	mov	AT(R9), %r9
	mov	AT(R8), %r8
	mov	AT(RDX), %rdx
	mov	AT(RSI), %rsi
	mov	AT(RDI), %rdi
	mov	$(CONTROL_START + RFLAGS), %esp
	mov	(%rsp), %r11
	popfq
	mov	AT(RSP), %rsp
	jmp	*AT(EXIT)
agent_pause:
	/* The recorder wants to see the thread when the call is done: it takes it from here. */
	int3
	jmp	agent_restore
agent_asm_end:

/* A call of the agent's own: number and arguments as for the kernel, but the fourth argument in rcx. */
agent_plain_call:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	syscall
	ret

/* The program's call, with its own registers. */
agent_main_call:
	mov	AT(RDI), %rdi
	mov	AT(RSI), %rsi
	mov	AT(RDX), %rdx
	mov	AT(R10), %r10
	mov	AT(R8), %r8
	mov	AT(R9), %r9
	mov	AT(RAX), %rax
	movl	$STAGE_CALL, AT(STAGE)
agent_main_instruction:
	syscall
agent_main_return:
	movl	$STAGE_AFTER, AT(STAGE)
	ret

/* For calls that the recorder makes in a thread that it has stopped. */
agent_gadget:
	syscall
	int3
agent_end:

	/* Addresses of the vDSO's functions in this process; the recorder writes them. */
	.balign	8
agent_clocks:
	.quad	0, 0, 0

	.section .note.GNU-stack,"",@progbits
