package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// line is what one run took. CPU is in seconds for 1,000 requests, over all processes but the one that asks.
type line struct {
	mode, name, state string
	connections       int
	requests, bytes   int
	rate              float64
	p50, p99          time.Duration
	cpu               float64
	each              string
	allocations       float64 // a request; below 0 when not known
	keys              lookups // in Redis
	floors            []line  // in turn with it
}

// times says how much more it took than each of its floors, which have a letter.
func (l line) times() string {
	all := make([]string, 0, len(l.floors))
	for _, f := range l.floors {
		letter, _, _ := strings.Cut(f.name, ") ")
		all = append(all, fmt.Sprintf("%.2f %s)", l.cpu/f.cpu, letter))
	}
	return strings.Join(all, ", ")
}

type table struct {
	lines []line
	notes []string
}

// add keeps a line and those of its floors, and shows them at once to whoever waits.
func (t *table) add(l line) {
	for _, each := range append([]line{l}, l.floors...) {
		t.lines = append(t.lines, each)
		fmt.Printf("  %-28s %-5s %3d connections  %8.0f requests/s  %.3f CPU s/1,000 (%s)", each.name, each.state, each.connections, each.rate, each.cpu, each.each)
		if len(each.floors) > 0 {
			fmt.Printf("  × %s", each.times())
		}
		fmt.Println()
	}
}

func (t *table) print(w io.Writer) {
	fmt.Fprintln(w, "\nCPU seconds per 1,000 requests, over all processes, Postgres and Redis included; the client is not. The floors below a line"+
		"\nwere measured in turn with it, a second each; × is how much more it took than they did.")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "mode\twhat\tcache\tconnections\trequests\tbytes\trequests/s\tp50\tp99\tCPU s/1,000\t×\tallocations\tkeys found\t")
	for _, l := range t.lines {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%.0f\t%s\t%s\t%.3f\t%s\t%s\t%s\t\n", l.mode, l.name, l.state, l.connections, l.requests,
			l.bytes, l.rate, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond), l.cpu, l.times(),
			known(l.allocations, "%.0f", 1), known(l.keys.ratio(), "%.0f %%", 100))
	}
	_ = tw.Flush() // as w does
	for _, n := range t.notes {
		fmt.Fprintln(w, n)
	}
}

func known(v float64, format string, times float64) string {
	if v < 0 {
		return "–"
	}
	return fmt.Sprintf(format, v*times)
}
