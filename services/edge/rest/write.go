package rest

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/trackway/trackway/services/platform/idempotency"
)

const idempotencyKey = "Idempotency-Key"

// Keyed is a write that can carry a key (draft-ietf-httpapi-idempotency-key-header).
type Keyed struct {
	Key string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[\\x20-\\x7E]*$" patternDescription:"printable ASCII" example:"8e03978e-40d5-43e8-bc93-6894a57f9324" doc:"Makes the write happen once, however often it is sent: a repetition within 24 hours gets the first answer again. The key belongs to the caller; with another request it is refused."`

	condition string
}

// Resolve keeps the conditions as they were sent: a repetition has the same, whatever has changed since.
func (k *Keyed) Resolve(ctx huma.Context) []error {
	if match, none := ctx.Header("If-Match"), ctx.Header("If-None-Match"); match != "" || none != "" {
		k.condition = match + "\n" + none
	}
	return nil
}

// Create is the input of an operation that makes a thing.
type Create[B any] struct {
	Keyed

	Body B
}

// Write is the input of an operation that replaces or changes a thing.
type Write[B any] struct {
	Keyed
	Conditional

	Body B
}

// Delete is the input of an operation that deletes a thing.
type Delete struct {
	Keyed
	Conditional
}

type deleteByID struct {
	ID
	Delete
}

// restoreByID is the input of an operation that takes a thing out of the trash.
type restoreByID struct {
	ID
	Keyed
	Conditional
}

// unseen is the versionOf for a thing in the trash, where nobody can look.
func unseen(context.Context) (int64, error) {
	return 0, invalid{{Header: "If-Match", Detail: "must be one ETag here, without If-None-Match"}}
}

// answers200 makes an operation that is a POST and makes nothing answer with 200.
func answers200(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusOK
	return op
}

// call is an RPC.
type call[Req, Res any] func(ctx context.Context, req Req, opts ...grpc.CallOption) (Res, error)

// send does a write, with its key. Replayed is "true" if the answer was given before, else empty.
func send[Req, Res any](ctx context.Context, k Keyed, write call[Req, Res], req Req) (res Res, replayed string, err error) {
	var header metadata.MD
	res, err = write(idempotency.WithCondition(idempotency.WithKey(ctx, k.Key), k.condition), req, grpc.Header(&header))
	if v := header.Get(idempotency.ReplayedHeader); len(v) > 0 {
		replayed = v[0]
	}
	return res, replayed, err
}

// Written are the headers of a write's answer.
type Written struct {
	Replayed string `header:"Idempotency-Replayed" enum:"true" doc:"true when this answer was given before."`
}

// Versioned are the headers of an answer that is one thing.
type Versioned struct {
	//nolint:tagliatelle // the header's own name
	ETag string `header:"ETag" pattern:"^\".*\"$" maxLength:"100" example:"\"3\"" doc:"The version, for If-Match and If-None-Match."`
}

// Read is one thing.
type Read[V any] struct {
	Versioned

	Body V
}

// Created is a thing that was just made.
type Created[V any] struct {
	Written
	Versioned

	Location string `header:"Location" format:"uri-reference" maxLength:"1000" example:"/api/tasks/1/" doc:"Where it is."`
	Body     V
}

// Changed is a thing after a change.
type Changed[V any] struct {
	Written
	Versioned

	Body V
}

// message is what every thing in the contract has.
type message interface {
	GetId() int64
	GetVersion() int64
}

func read[M message, V any](m M, err error, view func(M) V) (*Read[V], error) {
	if err != nil {
		return nil, err
	}
	return &Read[V]{Versioned: Versioned{etag(m.GetVersion())}, Body: view(m)}, nil
}

// create makes a thing. Its address is base and its id.
func create[Req any, M message, V any](ctx context.Context, k Keyed, base string, write call[Req, M], req Req,
	view func(M) V,
) (*Created[V], error) {
	m, replayed, err := send(ctx, k, write, req)
	if err != nil {
		return nil, err
	}
	return &Created[V]{
		Written: Written{replayed}, Versioned: Versioned{etag(m.GetVersion())},
		Location: base + strconv.FormatInt(m.GetId(), 10) + "/", Body: view(m),
	}, nil
}

// change changes a thing.
func change[Req any, M message, V any](ctx context.Context, k Keyed, write call[Req, M], req Req, view func(M) V,
) (*Changed[V], error) {
	m, replayed, err := send(ctx, k, write, req)
	if err != nil {
		return nil, err
	}
	return &Changed[V]{Written: Written{replayed}, Versioned: Versioned{etag(m.GetVersion())}, Body: view(m)}, nil
}

// remove deletes a thing.
func remove[Req, Res any](ctx context.Context, k Keyed, write call[Req, Res], req Req) (*Written, error) {
	_, replayed, err := send(ctx, k, write, req)
	if err != nil {
		return nil, err
	}
	return &Written{replayed}, nil
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }
