package errs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/trackway/trackway/services/platform/errs"
)

func TestErrorsCrossGRPCUnchanged(t *testing.T) {
	t.Parallel()
	for _, code := range errs.Codes() {
		sent := errs.New(code, "Because of %s.", code).Because(errors.New("a secret of ours"))
		sent.Fields = []errs.Field{{Name: "title", Detail: "must not be empty"}}
		sent.Retry = 3 * time.Second
		sent.Permission, sent.Project = "task.write", 7
		wire := errs.From(fmt.Errorf("create: %w", sent)).GRPCStatus().Proto()
		wire.Message = "max retries exhausted: rpc error: desc = " + wire.GetMessage() // as gRPC does when it gives up
		got := errs.From(status.FromProto(wire).Err())
		if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(errs.Error{})); diff != "" {
			t.Errorf("%s (-sent +received):\n%s", code, diff)
		}
		if got.Unwrap() != nil {
			t.Errorf("%s: the cause %v crossed the wire", code, got.Unwrap())
		}
		if code.HTTP() < 400 || code.GRPC() == codes.OK || code.Title() == "" {
			t.Errorf("%s: got HTTP %d, gRPC %s, title %q, want a row of the table", code, code.HTTP(), code.GRPC(), code.Title())
		}
	}
}

func TestForeignErrorsShowNothing(t *testing.T) {
	t.Parallel()
	const secret = "dial tcp 10.0.0.7:5432: password"
	tests := []struct {
		err  error
		want errs.Code
	}{
		{errors.New(secret), errs.Internal},
		{status.Error(codes.Internal, secret), errs.Internal},
		{status.Error(codes.Unknown, secret), errs.Internal},
		{status.Error(codes.Unavailable, secret), errs.Unavailable},
		{status.Error(codes.DeadlineExceeded, secret), errs.DeadlineExceeded},
		{status.Error(codes.ResourceExhausted, secret), errs.TooLarge},
		{fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), errs.DeadlineExceeded},
	}
	for _, tt := range tests {
		got := errs.From(tt.err)
		if got.Code != tt.want {
			t.Errorf("%v: got %s, want %s", tt.err, got.Code, tt.want)
		}
		if shown := got.GRPCStatus().String(); strings.Contains(shown, "10.0.0.7") {
			t.Errorf("%v: the caller sees %q", tt.err, shown)
		}
	}
	if errs.From(nil) != nil {
		t.Error("From(nil) is an error")
	}
}

func TestCheckNamesEveryField(t *testing.T) {
	t.Parallel()
	var c errs.Check
	c.Text("fine", "é", 1, 1)
	c.Text("empty", "", 1, 5)
	c.Text("long", "abcdef", 0, 5)
	c.Text("nul", "a\x00b", 0, 5)
	c.Text("bytes", "a\xff", 0, 5)
	c.Line("lines", "a\nb", 0, 5)
	c.Line("line", "a b", 0, 5)
	var got []string
	for _, f := range errs.From(c.Err()).Fields {
		got = append(got, f.Name)
	}
	if diff := cmp.Diff([]string{"empty", "long", "nul", "bytes", "lines"}, got); diff != "" {
		t.Errorf("fields at fault (-want +got):\n%s", diff)
	}
	if err := new(errs.Check).Err(); err != nil {
		t.Errorf("nothing wrong: got %v, want nil", err)
	}
}
