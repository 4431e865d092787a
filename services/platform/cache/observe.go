package cache

import (
	"fmt"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Observe makes a span of each command, without its keys and values, and measures the client's connections and commands.
func Observe(client redis.UniversalClient, tracer trace.TracerProvider, meter metric.MeterProvider) error {
	err := redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(tracer), redisotel.WithDBStatement(false),
		redisotel.WithCallerEnabled(false))
	if err != nil {
		return fmt.Errorf("trace Redis: %w", err)
	}
	if err := redisotel.InstrumentMetrics(client, redisotel.WithMeterProvider(meter)); err != nil {
		return fmt.Errorf("measure Redis: %w", err)
	}
	return nil
}
