package system

import "syscall"

// dieWithParent ends the child when the thread that started it dies.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
