/* Entry and exit of the agent, and the only `syscall` instructions that the safety net lets through.
 *
 * A hooked `syscall` instruction jumps to its trampoline, which loads the address of its data into rcx and jumps here.
 * rcx and r11 are free, because the instruction would have overwritten them; everything else is the program's, also the
 * flags and the bytes below its stack pointer.
 *
 * Who comes in here has the turn (see turn.c): so the control page says which area is its own.
 */

#include "layout.h"

#define CONTROL(field) SHARED_START + CONTROL_##field

	.text
	.globl agent_entry, agent_saved, agent_called, agent_restore, agent_pause, agent_end
	.globl agent_plain_call, agent_main_call, agent_main_instruction, agent_main_return, agent_gadget
	.globl agent_asm_end, agent_end, agent_clocks

agent_entry:
	mov	CONTROL(TURN), %r11
	mov	%rsp, RSP(%r11)
	lea	RFLAGS + 8(%r11), %rsp
	pushfq
	mov	%r15, R15(%r11)
	mov	%r14, R14(%r11)
	mov	%r13, R13(%r11)
	mov	%r12, R12(%r11)
	mov	%rbp, RBP(%r11)
	mov	%rbx, RBX(%r11)
	mov	%r10, R10(%r11)
	mov	%r9, R9(%r11)
	mov	%r8, R8(%r11)
	mov	%rdx, RDX(%r11)
	mov	%rsi, RSI(%r11)
	mov	%rdi, RDI(%r11)
	mov	%rax, RAX(%r11)
	mov	%rcx, AREA_HOOK(%r11)
	movl	$STAGE_BEFORE, AREA_STAGE(%r11)
agent_saved:
	mov	CONTROL(TURN), %rbx
	lea	AREA_BYTES(%rbx), %rsp
	cld
	mov	%rbx, %rdi
	call	agent_call
agent_called:
	mov	AREA_HOOK(%rbx), %rcx
	test	%eax, %eax
	jz	1f
	mov	HOOK_CONTINUE(%rcx), %r11
	mov	AREA_RESULT(%rbx), %rax
	cmpl	$0, CONTROL(PAUSE)
	jne	agent_pause
	jmp	agent_restore
1:	mov	HOOK_TRACED(%rcx), %r11
	mov	RAX(%rbx), %rax
agent_restore:
	mov	%r11, CONTROL(EXIT)
	mov	HOOK_NEXT(%rcx), %rcx
	mov	R10(%rbx), %r10
	mov	R9(%rbx), %r9
	mov	R8(%rbx), %r8
	mov	RDX(%rbx), %rdx
	mov	RSI(%rbx), %rsi
	mov	RDI(%rbx), %rdi
	lea	RFLAGS(%rbx), %rsp
	mov	(%rsp), %r11
	popfq
	mov	RSP(%rbx), %rsp
	mov	RBX(%rbx), %rbx
	jmp	*CONTROL(EXIT)
agent_pause:
	/* The recorder wants to see the thread when the call is done: it takes it from here. */
	int3
	jmp	agent_restore
agent_asm_end:

/* A call of the agent's own: the number and three arguments, in the order of a C function; the kernel's fourth is 0. */
agent_plain_call:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	xor	%r10d, %r10d
	syscall
	ret

/* The program's call, with its own registers. */
agent_main_call:
	push	%rbx
	mov	%rdi, %rbx
	mov	RSI(%rbx), %rsi
	mov	RDX(%rbx), %rdx
	mov	R10(%rbx), %r10
	mov	R8(%rbx), %r8
	mov	R9(%rbx), %r9
	mov	RAX(%rbx), %rax
	mov	RDI(%rbx), %rdi
	movl	$STAGE_CALL, AREA_STAGE(%rbx)
agent_main_instruction:
	syscall
agent_main_return:
	movl	$STAGE_AFTER, AREA_STAGE(%rbx)
	pop	%rbx
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
