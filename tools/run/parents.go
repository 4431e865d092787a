package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// watchParents calls stop when the `go run` or `make` that started this program is killed. They pass on Ctrl-C, but not
// every signal, and without them nobody would know that this still runs. The channel is closed when the watch ends.
func watchParents(ctx context.Context, stop context.CancelCauseFunc) (ended <-chan struct{}) {
	done := make(chan struct{})
	parents := builders(ctx)
	go func() {
		defer close(done)
		if len(parents) == 0 {
			return
		}
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for i, pid := range parents {
				if i == 0 && os.Getppid() != pid || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
					stop(errors.New("the program that started this one has ended"))
					return
				}
			}
		}
	}()
	return done
}

// builders are the processes of go and make above this one, the nearest first.
func builders(ctx context.Context) (pids []int) {
	for pid := os.Getppid(); ; {
		name, parent := process(ctx, pid)
		switch name {
		case "go", "make", "gmake":
			pids = append(pids, pid)
		default:
			return pids
		}
		pid = parent
	}
}

// process names a process and its parent; "" if it cannot be told.
func process(ctx context.Context, pid int) (name string, parent int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // "123 (name) S 122 …"
	if err == nil {
		_, rest, _ := strings.Cut(string(status), "(")
		i := strings.LastIndex(rest, ")")
		if i < 0 {
			return "", 0
		}
		name, rest = rest[:i], rest[i+1:]
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ = strconv.Atoi(fields[1])
		}
		return name, parent
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-o", "ppid=,comm=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", 0
	}
	number, command, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	parent, _ = strconv.Atoi(number)
	return filepath.Base(strings.TrimSpace(command)), parent
}
