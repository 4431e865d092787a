package app //nolint:testpackage // what it hides has no other face

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // gRPC's own
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

func TestBuffersAreNotMuchLargerThanMessages(t *testing.T) {
	t.Parallel()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1024, 20_000, 40_000, 200_000, maxMessage} {
		b := c.pool.Get(size)
		if got := cap(*b); got > 2*size {
			t.Errorf("a message of %d bytes: got a buffer of %d, want at most twice as many", size, got)
		}
		c.pool.Put(b)
	}
}

func TestAMessageComesBackFromManyPieces(t *testing.T) {
	t.Parallel()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 10, 5000, 100_000} {
		want := &healthpb.HealthCheckRequest{Service: strings.Repeat("x", size)}
		whole, err := c.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var pieces mem.BufferSlice
		for piece := range slices.Chunk(whole.Materialize(), 16<<10) {
			pieces = append(pieces, mem.SliceBuffer(piece))
		}
		whole.Free()
		got := new(healthpb.HealthCheckRequest)
		if err := c.Unmarshal(pieces, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%d bytes: got %v, %d bytes, want what was written", size, err, len(got.GetService()))
		}
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("text: got no error, and it is no message")
	}
	if err := c.Unmarshal(nil, "text"); err == nil {
		t.Error("into text: got no error, and it is no message")
	}
	broken := mem.BufferSlice{mem.SliceBuffer{1}}
	if err := c.Unmarshal(broken, new(healthpb.HealthCheckRequest)); err == nil {
		t.Error("half a field: got no error")
	}
}

// BenchmarkCodec shows what it costs to write a message, beside gRPC's own codec.
func BenchmarkCodec(b *testing.B) {
	ours, err := newCodec()
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]encoding.CodecV2{"grpc": encoding.GetCodecV2("proto"), "ours": ours} {
		for _, size := range []int{500, 5000, 20_000, 40_000, 200_000} {
			m := &healthpb.HealthCheckRequest{Service: strings.Repeat("x", size)}
			b.Run(name+"/"+strconv.Itoa(size), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					data, err := c.Marshal(m)
					if err != nil {
						b.Fatal(err)
					}
					data.Free()
				}
			})
		}
	}
}
