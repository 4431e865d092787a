//go:build !linux

package system

import "syscall"

// dieWithParent does nothing where only Linux could help: there, a program that outlives a killed parent has its ports
// for itself, since every start takes free ones, and loses its database, which the next start stops first.
func dieWithParent(*syscall.SysProcAttr) {}
