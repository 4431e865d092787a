package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/trackway/trackway/tools/traces"
)

// view is the page of the last traces.
type view struct {
	url    string
	closes []func(context.Context) error
}

// openView starts a collector and its page, unless the traces are to go elsewhere. The services find the collector by
// OpenTelemetry's standard variables, in this process as well as in others.
func openView(ctx context.Context) (*view, error) {
	if at := os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); at != "" || os.Getenv("OTEL_TRACES_EXPORTER") != "" {
		return &view{url: "sent to where the OTEL_ variables say: " + at}, nil
	}
	collector, err := traces.Listen(ctx, nil)
	if err != nil {
		return nil, err
	}
	v := &view{closes: []func(context.Context) error{collector.Stop}}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.Endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_BLRP_SCHEDULE_DELAY": "500", // milliseconds
	} {
		if err := os.Setenv(name, value); err != nil {
			return nil, errors.Join(err, v.close(ctx))
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("show traces: %w", err), v.close(ctx))
	}
	page := &http.Server{Handler: collector.Page(), ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- page.Serve(l) }()
	v.url = "http://" + l.Addr().String()
	v.closes = append(v.closes, func(context.Context) error {
		if err := page.Close(); err != nil {
			return fmt.Errorf("stop the page of traces: %w", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("show traces: %w", err)
		}
		return nil
	})
	return v, nil
}

// close stops it, after the services.
func (v *view) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var errs []error
	for _, c := range v.closes {
		errs = append(errs, c(ctx))
	}
	return errors.Join(errs...)
}
