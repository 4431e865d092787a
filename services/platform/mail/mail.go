// Package mail sends mail so that none is lost and none is sent twice because a request was: a service queues it in the
// transaction of the change that it tells of, and a job sends it, and tries again until it arrives or is of no use any
// more.
//
// A service that sends mail has Config in its configuration, Migrations among its migrations, an Outbox whose Run is one
// of its jobs, and calls Queue.
package mail

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations creates the table of mails.
func Migrations() fs.FS { return postgres.MigrationFiles(migrations) }

// Message is a mail to one person, in plain text.
type Message struct {
	To      string
	Subject string
	Text    string
	Expires time.Time // when nobody has use for it any more
}

// Sender delivers a message, or gives an error, after which it is tried again. The id is the same for each attempt.
type Sender interface {
	Send(ctx context.Context, id string, m Message) error
}

type row struct {
	bun.BaseModel `bun:"table:mails"`

	ID        int64 `bun:",pk,autoincrement"`
	Recipient string
	Subject   string
	Body      string
	ExpiresAt time.Time
	Attempts  int
	// Traceparent is the trace of who queued it.
	Traceparent string `bun:",nullzero"`
}

// Queue makes the message one that will be sent if the transaction is committed.
func Queue(ctx context.Context, tx bun.IDB, m Message) error {
	r := &row{Recipient: m.To, Subject: m.Subject, Body: m.Text, ExpiresAt: m.Expires, Traceparent: telemetry.Traceparent(ctx)}
	if _, err := tx.NewInsert().Model(r).Exec(ctx); err != nil {
		return fmt.Errorf("queue a mail: %w", err)
	}
	return nil
}

const (
	// pollEvery is how often the job looks for new mail, and sendTimeout how long one attempt may take.
	pollEvery   = time.Second
	sendTimeout = 20 * time.Second
	dbTimeout   = 5 * time.Second
	// A mail that could not be sent is tried again after a pause of pause, and twice as long each time up to longest. It is
	// as long from the start of an attempt, so that an attempt whose process died is made again, too.
	pause   = 30 * time.Second
	longest = time.Hour
)

// Outbox sends what is queued.
type Outbox struct {
	sender Sender // nil when none is configured
	log    *slog.Logger
	tracer trace.Tracer
	poll   time.Duration
	pause  time.Duration
}

// New makes the outbox of a configuration.
func New(cfg Config, env app.Env) (*Outbox, error) {
	sender, err := cfg.sender(env.LogTo)
	if err != nil {
		return nil, err
	}
	return NewOutbox(sender, env.Log, env.TracerProvider()), nil
}

// NewOutbox makes an outbox that sends by the sender; nil keeps what is queued until it expires.
func NewOutbox(sender Sender, log *slog.Logger, tracer trace.TracerProvider) *Outbox {
	return &Outbox{sender: sender, log: log, tracer: tracer.Tracer(telemetry.Scope), poll: pollEvery, pause: pause}
}

// Run sends what is queued in the database until ctx ends. Any number of replicas may run it: each mail is one's.
func (o *Outbox) Run(ctx context.Context, db bun.IDB) {
	if o.sender == nil {
		o.log.WarnContext(ctx, "no mail is sent: MAIL_URL is not set")
	}
	tick := time.NewTicker(o.poll)
	defer tick.Stop()
	for {
		sent, err := o.step(ctx, db)
		if err != nil && ctx.Err() == nil {
			o.log.ErrorContext(ctx, "mail is not sent", "error", err)
		}
		if sent && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// step sends one mail, and tells whether there was one.
func (o *Outbox) step(ctx context.Context, db bun.IDB) (bool, error) {
	if err := o.expire(ctx, db); err != nil || o.sender == nil {
		return false, err
	}
	r, err := o.claim(ctx, db)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for mail: %w", err)
	}
	return true, telemetry.Job(ctx, o.tracer, "send a mail", func(ctx context.Context) error {
		return o.deliver(ctx, db, r)
	}, r.Traceparent)
}

// deliver sends a mail that was claimed. What could not be sent stays, and is no error.
func (o *Outbox) deliver(ctx context.Context, db bun.IDB, r *row) error {
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := o.sender.Send(limited, fmt.Sprint(r.ID), Message{To: r.Recipient, Subject: r.Subject, Text: r.Body, Expires: r.ExpiresAt})
	if err != nil {
		// Without the error's text, which may quote the address.
		o.log.WarnContext(ctx, "a mail could not be sent, and is tried again", "mail", r.ID, "attempt", r.Attempts,
			"reason", reason(err))
		trace.SpanFromContext(ctx).SetStatus(codes.Error, "not sent")
		return nil
	}
	// It is sent: that must be noted also when the service is told to stop.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), dbTimeout)
	defer cancel()
	if _, err := db.NewDelete().Model(r).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("forget mail %d, which was sent: %w", r.ID, err)
	}
	return nil
}

// claim takes the next mail that is due, and puts it off, so that nobody else takes it.
func (o *Outbox) claim(ctx context.Context, db bun.IDB) (*row, error) {
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	r := new(row)
	err := db.NewRaw(`UPDATE mails SET attempts = attempts + 1,
			next_at = clock_timestamp() + least(? * 2 ^ least(attempts, 20), ?) * interval '1 second'
		WHERE id = (SELECT id FROM mails WHERE next_at <= clock_timestamp() ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, recipient, subject, body, expires_at, attempts, traceparent`, o.pause.Seconds(), longest.Seconds()).Scan(ctx, r)
	return r, err
}

// expire deletes what nobody has use for any more.
func (o *Outbox) expire(ctx context.Context, db bun.IDB) error {
	ctx, cancel := context.WithTimeout(ctx, dbTimeout)
	defer cancel()
	var lost []int64
	err := db.NewRaw("DELETE FROM mails WHERE expires_at <= now() RETURNING id").Scan(ctx, &lost)
	if err != nil {
		return fmt.Errorf("delete old mail: %w", err)
	}
	if len(lost) > 0 && o.sender != nil {
		o.log.ErrorContext(ctx, "mails were never sent, and are of no use any more", "mails", lost)
	}
	return nil
}

// console prints mails for who works on their own machine.
type console struct{ to io.Writer }

// Send prints the message.
func (c console) Send(_ context.Context, _ string, m Message) error {
	_, err := fmt.Fprintf(c.to, "\n--- mail to %s: %s ---\n%s\n---\n", m.To, m.Subject, m.Text)
	return err
}
