//go:build !linux

package local

import "syscall"

// dieWithParent does nothing where only Linux could help. The next start on the same folder stops what was left behind.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
