package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	startTimeout = 25 * time.Minute // the programs may have to be compiled
	stopTimeout  = time.Minute
)

// child is this program, started once more.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer // when it closes, the child stops
	lines *bufio.Reader
	ask   io.Writer
}

// startChild starts this program with the arguments, and reads the line that says where it answers into where.
func startChild(ctx context.Context, where any, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = stopTimeout
	// Ctrl-C is for this process, which stops the child in turn.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: stdin, ask: stdin, lines: bufio.NewReader(stdout)}
	read := make(chan error, 1)
	go func() { read <- c.read(where) }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case err = <-read:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", args[0], err), c.stop())
	}
	return c, nil
}

func (c *child) read(into any) error {
	line, err := c.lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// stats asks the child for what only it can tell of itself.
func (c *child) stats(into any) error {
	if _, err := io.WriteString(c.ask, "\n"); err != nil {
		return err
	}
	return c.read(into)
}

func (c *child) stop() error {
	kill := time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Kill() }) // Wait then tells of it
	defer kill.Stop()
	_ = c.stdin.Close() // has no other end if the child has ended
	if _, err := io.Copy(io.Discard, c.lines); err != nil {
		return err
	}
	return c.cmd.Wait()
}

// attend says where the child answers, answers each line of the parent's with stats, and returns when there are no more.
func attend(where any, stats func() (any, error)) error {
	if err := say(where); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		answer, err := stats()
		if err != nil {
			return err
		}
		if err := say(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func say(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(b, '\n'))
	return err
}
