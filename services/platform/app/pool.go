package app

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/trackway/trackway/services/platform/telemetry"
)

// ObservePool measures the connections of a service's database.
func (s *statements) ObservePool(pool *pgxpool.Pool) error {
	m := s.meter.Meter(telemetry.Scope)
	pooled := semconv.DBClientConnectionPoolName("postgres")
	set := func(attrs ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(attrs, pooled)...))
	}
	all, used, idle := set(), set(semconv.DBClientConnectionStateUsed), set(semconv.DBClientConnectionStateIdle)

	count, err := m.Int64ObservableUpDownCounter(dbconv.ClientConnectionCount{}.Name(),
		metric.WithUnit("{connection}"), metric.WithDescription("Connections, by what they do."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	most, err := m.Int64ObservableUpDownCounter(dbconv.ClientConnectionMax{}.Name(),
		metric.WithUnit("{connection}"), metric.WithDescription("Most connections that there may be."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	// The conventions have a histogram of each wait and a count of those who wait now; pgxpool tells only the sums.
	waits, err := m.Int64ObservableCounter("trackway.db.connection.waits",
		metric.WithUnit("{wait}"), metric.WithDescription("How often no connection was free."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	waited, err := m.Float64ObservableCounter("trackway.db.connection.wait_time",
		metric.WithUnit("s"), metric.WithDescription("How long it took altogether until a connection was free."))
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stat := pool.Stat()
		o.ObserveInt64(count, int64(stat.AcquiredConns()), used)
		o.ObserveInt64(count, int64(stat.IdleConns()), idle)
		o.ObserveInt64(most, int64(stat.MaxConns()), all)
		o.ObserveInt64(waits, stat.EmptyAcquireCount(), all)
		o.ObserveFloat64(waited, stat.EmptyAcquireWaitTime().Seconds(), all)
		return nil
	}, count, most, waits, waited)
	if err != nil {
		return fmt.Errorf("measure connections: %w", err)
	}
	return nil
}
