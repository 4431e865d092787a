package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// processStop is how long a program may take to stop before it is killed. It is longer than its own grace.
	processStop = 10 * time.Second
	processKill = 5 * time.Second
)

// chooseProcessPlaces gives each service a free port of 127.0.0.1, and the edges those that the listeners show to be
// free.
func (s *System) chooseProcessPlaces(ctx context.Context, public map[string]net.Listener) error {
	all := s.names()
	ports, err := freePorts(ctx, 2*len(all))
	for _, l := range public {
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		return err
	}
	for i, name := range all {
		at := place{listen: "127.0.0.1:" + ports[2*i], admin: "127.0.0.1:" + ports[2*i+1]}
		if l := public[name]; l != nil {
			at.listen = l.Addr().String()
		}
		s.places[name] = at
	}
	return nil
}

// freePorts finds n ports of 127.0.0.1 on which nobody listens. They are below those that systems give to connections
// going out, so that none is taken between here and the start of the program that it is for.
func freePorts(ctx context.Context, n int) (ports []string, err error) {
	const lowest, highest = 20000, 32000
	var lc net.ListenConfig
	for tries := 50 * n; len(ports) < n; tries-- {
		number := lowest + rand.IntN(highest-lowest) //nolint:gosec // nobody gains by guessing it
		l, listenErr := lc.Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(number))
		switch {
		case listenErr == nil:
			ports = append(ports, port(l.Addr()))
			defer func() { err = errors.Join(err, l.Close()) }() // when all are found, and so differ
		case tries == 0:
			return nil, fmt.Errorf("find a free port: %w", listenErr)
		}
	}
	return ports, nil
}

// bin is where the programs are compiled to.
func (s *System) bin() string { return filepath.Join(s.Dir, "bin") }

// startProcesses migrates the databases and starts the services as processes.
func (s *System) startProcesses(ctx context.Context, keys secrets) error {
	bin := s.bin()
	migrations, migrating := errgroup.WithContext(ctx)
	for _, service := range s.services() {
		if service.migrate != nil {
			migrations.Go(func() error {
				cmd := s.program(migrating, bin, service.name, keys, "migrate")
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("migrate %s: %w: %s", service.name, err, out)
				}
				return nil
			})
		}
	}
	if err := migrations.Wait(); err != nil {
		return err
	}
	for _, name := range s.names() {
		cmd := s.program(context.WithoutCancel(ctx), bin, name, keys)
		cmd.Stdout, cmd.Stderr = s.log, s.log
		p, err := startProcess(cmd)
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		s.processes[name] = p
		s.started(p.stop, p.died)
	}
	return s.awaitReady(ctx)
}

// program is a service's program with its configuration.
func (s *System) program(ctx context.Context, bin, name string, keys secrets, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, programName(name)), args...)
	for k, v := range s.vars(name, keys) {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.WaitDelay = processKill
	return cmd
}

// process is a program that ends, on Linux, when this process does, however that ends.
type process struct {
	cmd     *exec.Cmd
	words   *lastLine
	stopped atomic.Bool
	died    chan error
	done    chan struct{}
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, words: &lastLine{}, died: make(chan error, 1), done: make(chan struct{})}
	cmd.Stderr = io.MultiWriter(cmd.Stderr, p.words)
	// Ctrl-C in a terminal goes to a process group. In one of its own the program outlives it, and is stopped in turn.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer close(p.died)
		// The parent whose death Linux reports is the thread that forked, so that one has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		if !p.stopped.Load() {
			p.died <- fmt.Errorf("the program %s ended by itself (%s); its last words: %s", filepath.Base(cmd.Path),
				exit(err), p.words)
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// stop asks the program to stop, and kills it if it does not.
func (p *process) stop(ctx context.Context) error {
	p.stopped.Store(true)
	name := filepath.Base(p.cmd.Path)
	if p.end(ctx, syscall.SIGTERM, processStop) {
		return nil
	}
	// What was not given time to stop must still be seen to end.
	if p.end(context.WithoutCancel(ctx), syscall.SIGKILL, processKill) {
		return fmt.Errorf("the program %s did not stop in time and was killed", name)
	}
	return fmt.Errorf("the program %s (process %d) does not end", name, p.cmd.Process.Pid)
}

// end sends the signal, and reports whether the program ended in time.
func (p *process) end(ctx context.Context, s syscall.Signal, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_ = p.cmd.Process.Signal(s) // fails only if the process has ended
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

func exit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLine remembers the last line written to it. It is written to by one goroutine, which ends before it is read.
type lastLine struct{ line string }

// Write keeps the last line of p.
func (l *lastLine) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			l.line = line
		}
	}
	return len(p), nil
}

// String is the last line.
func (l *lastLine) String() string { return l.line }
