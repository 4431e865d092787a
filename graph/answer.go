package graph

import (
	"context"
	"crypto/sha256"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json"
	"github.com/vektah/gqlparser/v2/ast"
)

// Answers keeps whole answers to queries.
type Answers interface {
	// Answer gives what was kept of the answer for the caller of ctx to a query, which is named by all else that it depends
	// on. Nil means that execute has run it; what execute gives may be kept, unless that is nil.
	Answer(ctx context.Context, name string, execute func(context.Context) (keep []byte)) []byte
}

// dataBegins is how a kept answer begins, and every one without errors.
const dataBegins = `{"data":`

// packFrom is the least size of data that is packed, in bytes: below it, an answer is one packet either way.
const packFrom = 1024

// kept is an answer from its beginning to the end of its data: as JSON, or packed.
type kept []byte

// toKeep gives what is kept of a response.
func (s *server) toKeep(res *graphql.Response) kept {
	if len(res.Data) < packFrom {
		return append([]byte(dataBegins), res.Data...)
	}
	return s.packer.Pack([]byte(dataBegins), res.Data)
}

func (k kept) packed() bool { return len(k) > 0 && k[0] != dataBegins[0] }

// data is the data of the answer.
func (s *server) data(k kept) ([]byte, error) {
	if !k.packed() {
		return k[min(len(k), len(dataBegins)):], nil
	}
	b, err := s.packer.Unpack(k)
	return b[min(len(b), len(dataBegins)):], err //nolint:wrapcheck // it says what it was about
}

// answer executes a checked operation, unless it is a query whose answer has been kept. What is kept comes without a
// response; both come of what is kept from now on.
func (s *server) answer(ctx context.Context, raw *graphql.RawParams, op *graphql.OperationContext) (*graphql.Response, kept) {
	if s.cfg.Answers == nil || op.Operation.Operation != ast.Query {
		return s.execute(ctx, op), nil
	}
	variables, err := json.Marshal(raw.Variables, json.Deterministic(true))
	if err != nil { // what was read as JSON can be written so
		return s.execute(ctx, op), nil
	}
	name := sha256.New()
	for _, part := range []string{raw.Query, raw.OperationName, string(variables)} {
		sum := sha256.Sum256([]byte(part))
		name.Write(sum[:])
	}
	var (
		executed *graphql.Response
		keep     kept
	)
	before := s.cfg.Answers.Answer(ctx, string(name.Sum(nil)), func(ctx context.Context) []byte {
		if executed = s.execute(ctx, op); len(executed.Errors) == 0 && executed.Data != nil {
			keep = s.toKeep(executed)
		}
		return keep
	})
	if executed != nil {
		return executed, keep
	}
	return nil, before
}

// answerWhole is answer for who needs the response.
func (s *server) answerWhole(ctx context.Context, raw *graphql.RawParams, op *graphql.OperationContext) *graphql.Response {
	res, before := s.answer(ctx, raw, op)
	if res == nil {
		return s.unpacked(ctx, op, before)
	}
	return res
}

// unpacked makes a response of what was kept.
func (s *server) unpacked(ctx context.Context, op *graphql.OperationContext, before kept) *graphql.Response {
	data, err := s.data(before)
	if err != nil { // only where somebody has written to Redis who should not
		s.cfg.Log.ErrorContext(ctx, "a kept answer can not be read", "error", err)
		return s.execute(ctx, op)
	}
	return &graphql.Response{Data: data}
}
