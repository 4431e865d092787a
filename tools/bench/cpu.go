package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc: USER_HZ, which is 100 on every Linux.
const tick = time.Second / 100

// process is what /proc says of one.
type process struct {
	name   string
	parent int
	cpu    time.Duration // its own, and that of its children that have ended
}

// processes are all of this machine.
func processes() (map[int]process, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || err != nil && strings.Contains(err.Error(), "no such process") {
			continue // has ended
		}
		if err != nil {
			return nil, err
		}
		// The name is in parentheses, and may hold some itself: proc(5).
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		f := strings.Fields(string(b[end+1:]))
		if open < 0 || len(f) < 15 {
			return nil, fmt.Errorf("%s is not as proc(5) says", name)
		}
		p := process{name: string(b[open+1 : end])}
		numbers := make([]int64, len(f))
		for i := 1; i < 15; i++ {
			numbers[i], _ = strconv.ParseInt(f[i], 10, 64) // some are beyond int64, and not used here
		}
		p.parent = int(numbers[1])
		p.cpu = time.Duration(numbers[11]+numbers[12]+numbers[13]+numbers[14]) * tick
		all[pid] = p
	}
	return all, nil
}

// resident is the memory that a process holds, in bytes: its own, and pages of its program, which the system has of the
// file, shares with others that run it, and drops when it needs room.
type resident struct{ own, program int64 }

func (r resident) plus(more resident) resident {
	return resident{r.own + more.own, r.program + more.program}
}

func (r resident) String() string {
	return fmt.Sprintf("%d MB (%d its own, %d pages of the program)", (r.own+r.program)>>20, r.own>>20, r.program>>20)
}

// residentOf reads it.
func residentOf(pid int) (resident, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return resident{}, err
	}
	var r resident
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		into, ok := map[string]*int64{"RssAnon": &r.own, "RssFile": &r.program}[name]
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(value, "%d kB", into); err != nil {
			return resident{}, fmt.Errorf("read %s of process %d: %w", name, pid, err)
		}
		*into <<= 10
	}
	return r, nil
}

// tree is a process and all below it.
func tree(root int) (map[int]process, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	found := map[int]process{}
	for pid := range all {
		for up := pid; up > 1; up = all[up].parent {
			if up == root {
				found[pid] = all[pid]
				break
			}
		}
	}
	return found, nil
}

// usage is CPU time by the name of the program.
type usage map[string]time.Duration

// used is the CPU time taken so far by a process and all below it.
func used(root int) (usage, error) {
	found, err := tree(root)
	u := usage{}
	for _, p := range found {
		u[p.name] += p.cpu
	}
	return u, err
}

// since is what was used after an earlier look.
func (u usage) since(before usage) usage {
	out := usage{}
	for name, d := range u {
		if d -= before[name]; d > 0 {
			out[name] = d
		}
	}
	return out
}

func (u usage) total() (sum time.Duration) {
	for _, d := range u {
		sum += d
	}
	return sum
}

// each says what 1,000 of n requests took of each program, in CPU seconds, the most first.
func (u usage) each(n int) string {
	names := slices.SortedFunc(maps.Keys(u), func(a, b string) int { return int(u[b] - u[a]) })
	var parts []string
	for _, name := range names {
		if per := u[name].Seconds() * 1000 / float64(n); per >= 0.0005 {
			parts = append(parts, fmt.Sprintf("%s %.3f", name, per))
		}
	}
	return strings.Join(parts, ", ")
}

// machine is what the numbers were measured on.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil { // only for the headline
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s %s/%s", runtime.NumCPU(), model, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
