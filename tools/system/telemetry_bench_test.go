package system

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/seed"
)

// BenchmarkHotReadWithTelemetry tells what CPU time a read from the cache takes without any telemetry, with metrics
// only, which is what is on when no collector is named, and with one trace in a hundred sent to a collector. It is that of
// this process: the edge and the client, and a collector that only reads what it is sent, as a real one runs elsewhere.
//
// A machine does other things beside, and is faster at some times than at others. Therefore the three take turns, in short
// rounds, and each round is compared with that of the same turn without telemetry: "more-%" is the median of these
// differences, and "q1-%" and "q3-%" are the quarters beside it.
//
//	go test ./tools/system -run '^$' -bench HotReadWithTelemetry -benchtime 16000x
func BenchmarkHotReadWithTelemetry(b *testing.B) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer collector.Close()
	sampled := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01",
	}
	for name, value := range sampled { // the SDK reads them itself; the others do not ask it
		b.Setenv(name, value)
	}
	modes := []*hotMode{
		{name: "off", environ: map[string]string{"OTEL_SDK_DISABLED": "true"}},
		{name: "metrics"},
		{name: "1%", environ: sampled},
	}
	for _, m := range modes {
		s, err := Start(b.Context(), benchOptions(b, m.environ))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = s.Stop(context.WithoutCancel(b.Context())) }()
		m.warm(b, s)
	}
	const round = 200
	rounds := max(b.N/round, 1)
	b.ResetTimer()
	for turn := range rounds {
		for i := range modes {
			if turn%2 == 1 { // who is first pays for what the last turn left
				i = len(modes) - 1 - i
			}
			modes[i].read(b, round)
		}
	}
	b.StopTimer()
	off := modes[0]
	for _, m := range modes {
		b.ReportMetric(median(m.cpu), m.name+"-µs/read")
		b.ReportMetric(float64(m.allocs)/float64(rounds*round), m.name+"-allocs/read")
		if m == off {
			continue
		}
		var more []float64
		for i := range m.cpu {
			more = append(more, 100*(m.cpu[i]/off.cpu[i]-1))
		}
		slices.Sort(more)
		b.ReportMetric(median(more), m.name+"-more-%")
		b.ReportMetric(more[len(more)/4], m.name+"-q1-%")
		b.ReportMetric(more[len(more)*3/4], m.name+"-q3-%")
	}
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// hotMode is a system whose cost is measured.
type hotMode struct {
	name    string
	environ map[string]string

	request []byte
	conn    net.Conn
	answers *bufio.Reader
	cpu     []float64 // of each round, in microseconds a read
	allocs  uint64
}

// warm signs in, and returns when the cache answers.
func (m *hotMode) warm(b *testing.B, s *System) {
	b.Helper()
	login := fmt.Sprintf(`{"email": %q, "password": %q}`, seed.Email, seed.Password)
	var tokens struct {
		Access string `json:"access_token"`
	}
	answer, _ := send(b, s, http.MethodPost, "/api/auth/login/", "", login)
	if err := json.Unmarshal(answer, &tokens); err != nil {
		b.Fatal(err)
	}
	const thing = "/api/tasks/1/"
	for end := time.Now().Add(startTimeout); ; {
		if _, timing := send(b, s, http.MethodGet, thing, tokens.Access, ""); strings.Contains(timing, `cache;desc="hit"`) {
			break
		}
		if time.Now().After(end) {
			b.Fatal("the cache does not answer")
		}
	}
	host := strings.TrimPrefix(s.URL, "http://")
	m.request = []byte("GET " + thing + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + tokens.Access + "\r\n\r\n")
	var (
		d   net.Dialer
		err error
	)
	if m.conn, err = d.DialContext(b.Context(), "tcp", host); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.conn.Close() })
	m.answers = bufio.NewReader(m.conn)
	m.read(b, 1000)
	m.cpu, m.allocs = nil, 0
}

// read reads one task n times, by a client that costs little.
func (m *hotMode) read(b *testing.B, n int) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := cpu(b)
	for range n {
		if _, err := m.conn.Write(m.request); err != nil {
			b.Fatal(err)
		}
		res, err := http.ReadResponse(m.answers, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatalf("got %v, %v", res, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		_ = res.Body.Close()
	}
	m.cpu = append(m.cpu, float64((cpu(b)-began).Nanoseconds())/1000/float64(n))
	runtime.ReadMemStats(&after)
	m.allocs += after.Mallocs - before.Mallocs
}

func benchOptions(b *testing.B, environ map[string]string) Options {
	b.Helper()
	vars := map[string]string{"RATE_LIMIT": "100000000", "AUTH_RATE_LIMIT": "0"} // counted, and never refused
	maps.Copy(vars, environ)
	return Options{Dir: dataDir(b), Throwaway: true, Log: io.Discard, Environ: vars, Demo: true}
}

func send(b *testing.B, s *System, method, path, token, body string) (answer []byte, timing string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("got %d %s, %v", res.StatusCode, answer, err)
	}
	return answer, res.Header.Get("Server-Timing")
}

// cpu is what this process has had of the processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
