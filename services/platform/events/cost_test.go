package events

import (
	"context"
	"net/url"
	"testing"

	"github.com/trackway/trackway/services/platform/pgtest"
	"github.com/trackway/trackway/services/platform/postgres"
)

// What the relay asks for again and again reads no more of a long history than its end, whatever plan Postgres makes of
// it: one for all values, too, which knows nothing of the position.
func TestTheRelayReadsOnlyTheEnd(t *testing.T) {
	t.Parallel()
	at := pgtest.Open(t, "events", func(ctx context.Context, url string) error {
		return postgres.Migrate(ctx, url, Migrations())
	})
	for _, plan := range []string{"force_generic_plan", "force_custom_plan"} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("plan_cache_mode", plan)
		u.RawQuery = q.Encode()
		db, err := postgres.Open(t.Context(), postgres.Config{URL: u.String(), MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, db)
		err = db.InTx(t.Context(), func(ctx context.Context, tx postgres.Tx) error {
			last, err := Latest(ctx, tx, Position{}, Filter{}, 1)
			if err != nil || len(last) != 1 {
				t.Fatalf("%d events, %v", len(last), err)
			}
			if err := moveTo(ctx, tx, "one", last[0].Position); err != nil {
				return err
			}
			more, err := goesOn(ctx, tx, last[0].Position)
			if err != nil || more {
				t.Errorf("after the last event: %t, %v", more, err)
			}
			more, err = goesOn(ctx, tx, Position{last[0].Position.XID, last[0].Position.ID - 1})
			if err != nil || !more {
				t.Errorf("before the last event: %t, %v", more, err)
			}
			if list, err := List(ctx, tx, last[0].Position, Filter{}, batch); err != nil || len(list) != 0 {
				t.Errorf("%d events, %v", len(list), err)
			}
			if b, err := backlogOf(ctx, tx, "one"); err != nil || b.Count != 0 {
				t.Errorf("%+v, %v", b, err)
			}
			var read int64
			err = tx.Scan(ctx, tx.NewRaw("SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'events'"), &read)
			if read > 10 {
				t.Errorf("%s: %d of the events were read", plan, read)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// fill makes a history.
func fill(t *testing.T, db *postgres.DB) {
	t.Helper()
	_, err := db.NewRaw("INSERT INTO events (type, subject_id, version, payload) SELECT 'thing.put', n, 1, '' FROM generate_series(1, 5000) AS n").
		Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.NewRaw("VACUUM ANALYZE events").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Settle(t)
}
