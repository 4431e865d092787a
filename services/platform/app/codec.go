package app

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is gRPC's own for protobuf, but for where its buffers come from: gRPC's pool has none between 32 KiB and 1 MiB, and
// clears a buffer from end to end each time, which for a page of tasks takes longer than to write it.
type codec struct{ pool mem.BufferPool }

// newCodec makes a codec with a pool, which is for its connections, too.
func newCodec() (codec, error) {
	var sizes []uint8 // each is a power of two
	for size := uint8(8); 1<<size <= maxMessage; size++ {
		sizes = append(sizes, size)
	}
	pool, err := mem.NewBinaryTieredBufferPool(sizes...)
	if err != nil {
		return codec{}, fmt.Errorf("pool buffers: %w", err)
	}
	return codec{pool}, nil
}

// Name is that of the encoding, which each call would tell: without one it is protobuf.
func (codec) Name() string { return "" }

// Marshal writes a message.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("write a message: %T is none", v)
	}
	size := proto.Size(m)
	write := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(size) {
		b, err := write.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("write a message: %w", err)
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	b := c.pool.Get(size)
	if _, err := write.MarshalAppend((*b)[:0], m); err != nil {
		c.pool.Put(b)
		return nil, fmt.Errorf("write a message: %w", err)
	}
	return mem.BufferSlice{mem.NewBuffer(b, c.pool)}, nil
}

// Unmarshal reads a message, which keeps nothing of the data.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("read a message: %T is none", v)
	}
	b := data.MaterializeToBuffer(c.pool)
	defer b.Free()
	if err := proto.Unmarshal(b.ReadOnlyData(), m); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	return nil
}
