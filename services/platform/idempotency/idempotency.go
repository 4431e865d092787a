// Package idempotency makes a write that carries a key happen once, whatever is retried, raced or killed: the key, a
// fingerprint of the request and the answer are stored in the write's own transaction.
// The header is that of draft-ietf-httpapi-idempotency-key-header.
package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
)

const (
	// KeyHeader is the metadata in which a call carries its key.
	KeyHeader = "idempotency-key"
	// ConditionHeader is the metadata in which a call carries the condition that its expected version was made of.
	ConditionHeader = "idempotency-condition"
	// ReplayedHeader is the metadata in which an answer says that it was given before.
	ReplayedHeader = "idempotency-replayed"
	// MaxKey is the longest key, in characters.
	MaxKey = 255
	// Kept is how long an answer is kept.
	Kept = 24 * time.Hour

	sweepEvery   = time.Hour
	sweepTimeout = 5 * time.Second
	sweepBatch   = 1000
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations creates the table of keys.
func Migrations() fs.FS { return postgres.MigrationFiles(migrations) }

// WithKey makes the calls of ctx carry a key. An empty key is none.
func WithKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, KeyHeader, key)
}

// WithCondition makes the calls of ctx be the same request as others with that condition, whatever version it has come
// to: what the client sent is the condition, and the version that it allows is another one when the client asks again.
func WithCondition(ctx context.Context, condition string) context.Context {
	if condition == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, ConditionHeader, base64.StdEncoding.EncodeToString([]byte(condition)))
}

type row struct {
	bun.BaseModel `bun:"table:idempotency_keys"`

	CallerID    int64
	Key         string
	Fingerprint []byte
	Seal        string
	Answer      []byte
}

// write is the write that a key stands for, while it runs.
type write struct {
	callerID    int64
	key         string
	fingerprint []byte
	seal        string
	opens       func(seal string) (bool, error)
	since       time.Time // what is not younger has outlived its time
}

type writeKey struct{}

// Opener reports whether a request's password is the one that an answer was sealed with.
type Opener func(ctx context.Context, req proto.Message, seal string) (bool, error)

// Intercept answers a call whose key has been used before with the stored answer, and gives every other call with a
// key to the next handler, whose transaction claims the key by Begin and stores the answer by Store. A key that was
// used for another request is KeyReused, and so is one whose answer is sealed with another password, of which opens tells;
// one whose first request still runs is InProgress. The methods of except, named in full, take no notice of keys: those
// whose answers hold secrets, which are not stored.
func Intercept(db postgres.Querier, opens Opener, except ...string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		key, err := Key(ctx)
		msg, isProto := req.(proto.Message)
		if key == "" && err == nil || !isProto || slices.Contains(except, info.FullMethod) {
			return next(ctx, req)
		}
		if err != nil {
			return nil, err
		}
		sum, err := fingerprint(info.FullMethod, msg, metadata.ValueFromIncomingContext(ctx, ConditionHeader))
		if err != nil {
			return nil, err
		}
		w := &write{
			callerID: auth.CallerFrom(ctx).UserID, key: key, fingerprint: sum,
			opens: func(seal string) (bool, error) { return opens(ctx, msg, seal) },
		}
		if answer, err := w.replay(ctx, db); answer != nil || err != nil {
			return answer, err
		}
		answer, err := next(context.WithValue(ctx, writeKey{}, w), req)
		if errors.Is(err, errDone) {
			return w.replay(ctx, db) // another request with the key committed meanwhile
		}
		return answer, err
	}
}

// Key gives the key of an incoming call, or nothing. It is for the methods that Intercept leaves alone.
func Key(ctx context.Context) (string, error) {
	keys := metadata.ValueFromIncomingContext(ctx, KeyHeader)
	if len(keys) == 0 {
		return "", nil
	}
	if n := len([]rune(keys[0])); n < 1 || n > MaxKey {
		return "", errs.InvalidField(KeyHeader, "must have 1 to %d characters", MaxKey)
	}
	return keys[0], nil
}

// MarkReplayed tells the client that the answer was given before.
func MarkReplayed(ctx context.Context) error {
	telemetry.Replayed(ctx)
	if err := grpc.SetHeader(ctx, metadata.Pairs(ReplayedHeader, "true")); err != nil {
		return fmt.Errorf("mark a replayed answer: %w", err)
	}
	return nil
}

// errDone says that the key's write has been done by another request since this one looked.
var errDone = errors.New("the write of this idempotency key is done")

// replay gives the stored answer of the key, or nil when there is none.
func (w *write) replay(ctx context.Context, db postgres.Querier) (proto.Message, error) {
	var r row
	err := db.Scan(ctx, db.NewSelect().Model(&r).Column("fingerprint", "seal", "answer").
		Where("caller_id = ? AND key = ? AND created_at > ?",
			postgres.Arg(w.callerID), postgres.Arg(w.key), postgres.Arg(time.Now().Add(-Kept))), &r)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil //nolint:nilnil // no answer is no error
	case err != nil:
		return nil, postgres.Error(fmt.Errorf("look up an idempotency key: %w", err), "idempotency key")
	case !bytes.Equal(r.Fingerprint, w.fingerprint):
		return nil, errReused()
	}
	if r.Seal != "" {
		switch ok, err := w.opens(r.Seal); {
		case err != nil:
			return nil, err
		case !ok:
			return nil, errReused()
		}
	}
	var packed anypb.Any
	if err := proto.Unmarshal(r.Answer, &packed); err != nil {
		return nil, fmt.Errorf("read a stored answer: %w", err)
	}
	answer, err := packed.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("read a stored answer: %w", err)
	}
	return answer, MarkReplayed(ctx)
}

func errReused() error {
	return errs.New(errs.KeyReused, "This Idempotency-Key was used for another request.")
}

// Seal keeps the answer under the key of ctx for requests with the password of the hash, which has to be a slow one. Without
// a key it does nothing.
func Seal(ctx context.Context, hash string) {
	if w, ok := ctx.Value(writeKey{}).(*write); ok {
		w.seal = hash
	}
}

// Keyed reports whether the request carries a key.
func Keyed(ctx context.Context) bool { return ctx.Value(writeKey{}) != nil }

// Begin claims the key of ctx for the transaction, so that a second request with it neither waits nor runs.
// Without a key it does nothing.
func Begin(ctx context.Context, tx postgres.Tx) error {
	w, ok := ctx.Value(writeKey{}).(*write)
	if !ok {
		return nil
	}
	var claimed, done bool
	w.since = time.Now().Add(-Kept)
	// Two statements, each with its own snapshot: the second one sees what the last holder of the lock has committed.
	err := errors.Join(
		tx.Later(ctx, tx.NewRaw("SELECT pg_try_advisory_xact_lock(hashtextextended(?, ?))",
			postgres.Arg(w.key), postgres.Arg(w.callerID)), &claimed),
		tx.Scan(ctx, tx.NewRaw("SELECT EXISTS (SELECT FROM idempotency_keys WHERE caller_id = ? AND key = ? AND created_at > ?)",
			postgres.Arg(w.callerID), postgres.Arg(w.key), postgres.Arg(w.since)), &done),
	)
	switch {
	case err != nil:
		return fmt.Errorf("claim an idempotency key: %w", err)
	case done:
		return errDone
	case !claimed:
		e := errs.New(errs.InProgress, "The first request with this Idempotency-Key is still running.")
		e.Retry = time.Second
		return e
	}
	return nil
}

// Store keeps the answer under the key of ctx, with the transaction's next statement or its end. Without a key it does
// nothing.
func Store(ctx context.Context, tx postgres.Tx, answer proto.Message) error {
	w, ok := ctx.Value(writeKey{}).(*write)
	if !ok {
		return nil
	}
	packed, err := anypb.New(answer)
	if err != nil {
		return fmt.Errorf("store an answer: %w", err)
	}
	b, err := proto.Marshal(packed)
	if err != nil {
		return fmt.Errorf("store an answer: %w", err)
	}
	// A row in the way can only be one that has outlived its time: Begin saw no other, and holds the lock.
	err = tx.Later(ctx, tx.NewInsert().
		Model(&row{CallerID: w.callerID, Key: w.key, Fingerprint: w.fingerprint, Seal: w.seal, Answer: b}).
		On("CONFLICT (caller_id, key) DO UPDATE").
		Set("fingerprint = EXCLUDED.fingerprint, seal = EXCLUDED.seal, answer = EXCLUDED.answer, created_at = now()").
		Where("?TableAlias.created_at <= ?", postgres.Arg(w.since)))
	if err != nil {
		return fmt.Errorf("store an answer: %w", err)
	}
	return nil
}

// fingerprint is the same for the same request. Secrets, which the contract marks debug_redact, stay out of it, as a fast
// hash of a password is not to be kept (see Seal); but for the tokens of mailed links, which are too random to be guessed. A
// condition stands for the expected version.
func fingerprint(method string, m proto.Message, condition []string) ([]byte, error) {
	m = proto.Clone(m)
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		o, ok := f.Options().(*descriptorpb.FieldOptions)
		if ok && o.GetDebugRedact() && f.Name() != "token" || len(condition) > 0 && f.Name() == "expected_version" {
			m.ProtoReflect().Clear(f)
		}
		return true
	})
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("fingerprint a request: %w", err)
	}
	sum := sha256.Sum256(append([]byte(method+"\x00"+strings.Join(condition, "")+"\x00"), b...))
	return sum[:], nil
}

// Sweep deletes answers that have been kept long enough, every hour, until ctx ends.
func Sweep(ctx context.Context, db bun.IDB, log *slog.Logger, tracer trace.TracerProvider) {
	telemetry.Every(ctx, tracer.Tracer(telemetry.Scope), log, sweepEvery, "delete old answers",
		func(ctx context.Context) error { return sweep(ctx, db) })
}

// sweep goes by batches: all of an hour at once could take longer than a statement may, and then would each time.
func sweep(ctx context.Context, db bun.IDB) error {
	for n := int64(sweepBatch); n == sweepBatch; {
		limited, cancel := context.WithTimeout(ctx, sweepTimeout)
		old := db.NewSelect().Model((*row)(nil)).Column("caller_id", "key").
			Where("created_at <= ?", time.Now().Add(-Kept)).Limit(sweepBatch).For("UPDATE SKIP LOCKED")
		res, err := db.NewDelete().Model((*row)(nil)).Where("(caller_id, key) IN (?)", old).Exec(limited)
		cancel()
		if err == nil {
			n, err = res.RowsAffected()
		}
		if err != nil {
			return fmt.Errorf("delete old answers: %w", err)
		}
	}
	return nil
}
