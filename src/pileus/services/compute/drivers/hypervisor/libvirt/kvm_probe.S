# Boot sector of the KVM probe: real mode -> protected mode with paging -> long mode -> timer interrupt -> debug exit.
# Writes 0x2a to port 0xf4 (isa-debug-exit) only if each of these worked.
    .code16
    .globl _start
_start:
    cli
    cld
    xorl %eax, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    movw $0x1000, %di            # page tables: PML4 0x1000, PDPT 0x2000, PD 0x3000 with one 2 MiB page
    movw $0xc00, %cx
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x0083, 0x3000
    movl %cr4, %eax
    orb $0x20, %al               # CR4.PAE
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx       # EFER.LME
    rdmsr
    orb $1, %ah
    wrmsr
    lgdtl gdtr
    movl %cr0, %eax
    orl $0x80000001, %eax        # CR0.PG, CR0.PE
    movl %eax, %cr0
    ljmpl $0x08, $long
    .code64
long:
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x7000, %esp
    movl $0x4000, %edi           # 256 interrupt gates at 0x4000, all to `tick`
    movl $256, %ecx
1:  movl $tick, %eax
    movw %ax, (%rdi)
    movl $0x8e000008, 2(%rdi)
    movl $0, 6(%rdi)
    movl $0, 10(%rdi)
    movw $0, 14(%rdi)
    addl $16, %edi
    loop 1b
    lidt idtr
    movb $0x11, %al              # PIC: vectors from 0x20, only the timer unmasked
    outb %al, $0x20
    movb $0x20, %al
    outb %al, $0x21
    movb $0x04, %al
    outb %al, $0x21
    movb $0x01, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    movb $0x34, %al              # PIT channel 0, rate generator, about 1 kHz
    outb %al, $0x43
    movb $0xa9, %al
    outb %al, $0x40
    movb $0x04, %al
    outb %al, $0x40
    xorl %ebx, %ebx
    sti
2:  hlt
    cmpl $3, %ebx                # three ticks in a row
    jb 2b
    cli
    movb $0x2a, %al
    outb %al, $0xf4
3:  hlt
    jmp 3b
tick:
    incl %ebx
    movb $0x20, %al
    outb %al, $0x20
    iretq
    .align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00cf92000000ffff
gdtr:
    .word gdtr - gdt - 1
    .long gdt
idtr:
    .word 0xfff
    .quad 0x4000
    .org 510
    .word 0xaa55
