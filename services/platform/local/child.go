package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	stopTimeout = 10 * time.Second // for a server that was asked to stop
	endTimeout  = 5 * time.Second  // for one that was told to
)

// child is a server process that ends, on Linux, when this process does, however that ends.
type child struct {
	cmd     *exec.Cmd
	log     string // the file it writes to
	stopped atomic.Bool
	died    chan error    // gets an error if it ends without being stopped; closed when it has ended
	done    chan struct{} // closed when it has ended
}

// startChild starts cmd with its output in the file log. It gets deathSignal when this process dies.
func startChild(cmd *exec.Cmd, log string, deathSignal syscall.Signal) (*child, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }() // the server has it
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// Ctrl-C in the terminal goes to a process group. In one of its own the server outlives it, and is stopped after
	// its clients.
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, deathSignal)

	c := &child{cmd: cmd, log: log, died: make(chan error, 1), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(c.done)
		defer close(c.died)
		// The parent whose death Linux reports is the thread that forked, so that one has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		if !c.stopped.Load() {
			c.died <- fmt.Errorf("%s ended by itself (%w); its last words: %s", c.name(), exit(err), c.lastWords())
		}
	}()
	if err := <-started; err != nil {
		<-c.done
		return nil, err
	}
	return c, nil
}

// awaitReady calls ping until it succeeds. If the server ends, or ctx does, it is gone when awaitReady returns an error.
func (c *child) awaitReady(ctx context.Context, ping func(context.Context) error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.try(ctx, ping)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.done:
			return <-c.died
		case <-ctx.Done():
			return errors.Join(
				fmt.Errorf("%s did not answer in time (%w); its last words: %s", c.name(), err, c.lastWords()),
				c.stop(ctx, syscall.SIGKILL),
			)
		}
	}
}

func (c *child) try(ctx context.Context, ping func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	return ping(ctx)
}

// stop sends each signal in turn until the process has ended, and SIGKILL in the end. ctx shortens the wait after the
// first signal only: what was not given time to stop must still be seen to end.
func (c *child) stop(ctx context.Context, signals ...syscall.Signal) error {
	c.stopped.Store(true)
	if c.endsBy(ctx, stopTimeout, signals[0]) {
		return nil
	}
	for _, s := range append(signals[1:], syscall.SIGKILL) {
		if c.endsBy(context.WithoutCancel(ctx), endTimeout, s) {
			return nil
		}
	}
	return fmt.Errorf("%s (process %d) does not end", c.name(), c.cmd.Process.Pid)
}

func (c *child) endsBy(ctx context.Context, timeout time.Duration, s syscall.Signal) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = c.cmd.Process.Signal(s) // fails only if the process has ended
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *child) ended() <-chan error { return c.died }

func (c *child) name() string { return filepath.Base(c.cmd.Path) }

// lastWords returns the end of what the process wrote, on one line.
func (c *child) lastWords() string {
	const most = 600
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	b = b[max(0, len(b)-most):]
	return strings.Join(strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' }), " | ")
}

func exit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// onPort calls start with port or, where that is 0, with a free one. A free port can be taken by somebody else before
// start gets to it, so then it tries others.
func onPort(ctx context.Context, port int, start func(port int) error) error {
	if port != 0 {
		if _, err := listen(ctx, port); err != nil {
			return fmt.Errorf("port %d of 127.0.0.1 is not free (%w): stop the program that uses it, or choose another port",
				port, err)
		}
		return start(port)
	}
	for tries := 5; ; tries-- {
		port, err := listen(ctx, 0)
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		err = start(port)
		if err == nil || tries == 0 {
			return err
		}
		if _, taken := listen(ctx, port); taken == nil {
			return err
		}
	}
}

// listen reports whether port can be listened on; it answers with the port, which it chooses when that is 0.
func listen(ctx context.Context, port int) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(fmt.Errorf("unexpected address %v", l.Addr()), l.Close())
	}
	return addr.Port, l.Close()
}
