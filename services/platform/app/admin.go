package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
)

// readyTimeout bounds one look at whether the service is ready.
const readyTimeout = 2 * time.Second

// maxLevel bounds the body of a request for another log level, in bytes.
const maxLevel = 16

// adminServer serves what only operators may see: the probes, /livez while the process works and /readyz while it should
// get requests; /metrics; /version; /log-level, which PUT changes until the next start; and profiles, if they are on.
func adminServer(ctx context.Context, cfg Config, env Env, ready func(context.Context) error) ([]server, error) {
	l, err := env.listen(ctx, cfg.Admin)
	if err != nil || l == nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		look, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if ctx.Err() != nil { // stopping
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := ready(look); err != nil {
			env.Log.WarnContext(look, "not ready", "error", err)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.Handle("GET /metrics", env.metricsPage())
	mux.HandleFunc("GET /version", version)
	if env.level != nil {
		mux.HandleFunc("GET /log-level", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, env.level.Level().String()+"\n")
		})
		mux.HandleFunc("PUT /log-level", func(w http.ResponseWriter, r *http.Request) { setLevel(w, r, env.level) })
	}
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return []server{httpServer(&http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout}, l)}, nil
}

func setLevel(w http.ResponseWriter, r *http.Request, level *slog.LevelVar) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLevel))
	if err == nil {
		err = level.UnmarshalText(text)
	}
	if err != nil {
		http.Error(w, "send debug, info, warn or error", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// version tells what the program was built from.
func version(w http.ResponseWriter, _ *http.Request) {
	built := struct {
		Module   string            `json:"module"`
		Version  string            `json:"version"`
		Go       string            `json:"go"`
		Settings map[string]string `json:"settings"` // such as vcs.revision
	}{Settings: make(map[string]string)}
	if info, ok := debug.ReadBuildInfo(); ok {
		built.Module, built.Version, built.Go = info.Main.Path, info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			built.Settings[s.Key] = s.Value
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, built, json.Deterministic(true))
}
